"""A seeded order of any number of things, without a table of it."""

import math

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Permutation:
  """A seeded bijection of range(size), evaluated only where it is asked.

  A Feistel network over pairs (high, low) with about as many values of the one
  as of the other, and cycle walking: a pair beyond `size`, of which there are
  about its square root, is sent through again (FE1 of Black and Rogaway,
  "Ciphers with Arbitrary Finite Domains", 2002). No table is kept, so its
  memory does not grow with `size`.
  """

  def __init__(self, size: int, *key: int | np.ndarray):
    """`key` is what selects the permutation, such as (seed, epoch).

    Args:
      size: the number of values, 1 to 2**63.
      *key: integers, or integer arrays [n]: then n positions are asked for,
        and each goes through the permutation of its own key.
    """
    if not 1 <= size <= 2**63:
      raise ValueError(f'Permutation: size {size} is not within 1 and 2**63')
    self.size = size
    num_low = math.isqrt(size - 1) + 1
    self._num_low = np.uint64(num_low)
    self._num_high = np.uint64(-(-size // num_low))
    # A round of a small network changes little. Measured on orders of 3 to 7
    # values: 8 rounds are far from uniform, 24 pass a chi-square test.
    num_rounds = 24 if size <= 256 else 10
    # uint64 [rounds, 1], or [rounds, n] where each position has its own key.
    self._round_keys = _mix(
      _fold(*key) + np.arange(num_rounds, dtype=np.uint64)[:, None]
    )

  def __call__(self, positions: np.ndarray) -> np.ndarray:
    """int64 of the shape of `positions`, which lie in range(size)."""
    positions = np.asarray(positions)
    values = positions.astype(np.uint64).reshape(-1)
    if values.size and int(values.max()) >= self.size:
      raise ValueError(
        f'Permutation: position {int(values.max())} is not below the size '
        f'{self.size}'
      )
    values = self._encrypt(values, self._round_keys)
    outside = np.flatnonzero(values >= np.uint64(self.size))
    while outside.size:
      round_keys = self._round_keys
      if round_keys.shape[1] > 1:
        round_keys = round_keys[:, outside]
      walked = self._encrypt(values[outside], round_keys)
      values[outside] = walked
      outside = outside[walked >= np.uint64(self.size)]
    return values.astype(np.int64).reshape(positions.shape)

  def _encrypt(self, values: np.ndarray, round_keys: np.ndarray) -> np.ndarray:
    high, low = np.divmod(values, self._num_low)
    for step, round_key in enumerate(round_keys):
      if step % 2:
        low = (low + _mix(high ^ round_key) % self._num_low) % self._num_low
      else:
        high = (high + _mix(low ^ round_key) % self._num_high) % self._num_high
    return high * self._num_low + low


def _fold(*parts: int | np.ndarray) -> np.ndarray:
  """Folds integers and integer arrays [n] into one uint64 key [1] or [n]."""
  key = np.zeros(1, np.uint64)
  for part in parts:
    if isinstance(part, int):
      part = part % 2**64
    # At least one dimension: numpy warns when a scalar overflows.
    part = np.atleast_1d(np.asarray(part)).astype(np.uint64)
    key = _mix(key ^ _mix(part + _GOLDEN))
  return key


def _mix(values: np.ndarray) -> np.ndarray:
  """Scrambles each uint64: SplitMix64's finaliser (Steele et al., 2014)."""
  values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return values ^ (values >> np.uint64(31))
