"""The row of a corpus that is example g: a pure function, O(1) for any g.

Because nothing is consumed and no state is kept, a run resumes at any step
without replaying, and the batch does not depend on hosts, devices or threads.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from bert_jax.data import token_rows
from bert_jax.errors import InputError

# Change it when the same (seed, number) would lead to another row.
STREAM_VERSION = 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW_WORD = np.uint64(0xFFFFFFFF)
# Purposes, so that no two permutations of a stream share a key.
_ROWS, _SHARDS = 0, 1


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


class GroupWindow(Protocol):
  """Brings the shards of a corpus to the disk, group by group."""

  def move_to(self, shards: Sequence[int], ahead: Sequence[int]) -> None:
    """Returns once `shards` can be read; `ahead` are those of the next group.

    All others may be gone then.
    """
    ...


class Stream:
  """The endless, shuffled sequence of a prepared corpus's rows.

  Every epoch visits each row once, in an order of its own. With
  `shards_per_group`, the shards of an epoch are permuted, taken in groups of
  that many, and rows are permuted within a group only, so that a corpus larger
  than a host's disk can be staged one group at a time.
  """

  def __init__(
    self,
    corpus: token_rows.TokenRows,
    *,
    seed: int,
    shuffle: bool = True,
    shards_per_group: int = 0,
    max_epochs: int = 0,
    window: GroupWindow | None = None,
  ):
    """0 means all shards in `shards_per_group`, and no limit in `max_epochs`.

    Without a `window` all shards are there; it changes no row.
    """
    if shards_per_group < 0:
      raise InputError(
        f'data.shards_per_group={shards_per_group}: give 0 (all shards in one '
        'group) or a positive number'
      )
    if max_epochs < 0:
      raise InputError(
        f'data.max_epochs={max_epochs}: give 0 (no limit) or a positive number'
      )
    if not corpus.num_rows:
      raise InputError(
        f'{corpus.folder}: the corpus has no row; prepare it from more text'
      )
    self.corpus = corpus
    self.seed = seed
    self.shuffle = shuffle
    self.max_epochs = max_epochs
    self._window = window
    num_shards = len(corpus.shard_sizes)
    if shards_per_group >= num_shards:
      shards_per_group = 0
    self.shards_per_group = shards_per_group
    self._shard_starts = _starts(np.asarray(corpus.shard_sizes, np.int64))
    self._epoch_orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    self.fingerprint = hashlib.sha256(
      json.dumps(
        [STREAM_VERSION, corpus.fingerprint, seed, shuffle, shards_per_group]
      ).encode()
    ).hexdigest()

  def locate(
    self, example_numbers: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """(epoch int64 [n], row int64 [n]) of the example numbers, uint64 [n].

    Raises:
      InputError: a number lies beyond `max_epochs`.
    """
    numbers = np.asarray(example_numbers).astype(np.uint64).reshape(-1)
    num_rows = self.corpus.num_rows
    epochs, positions = np.divmod(numbers, np.uint64(num_rows))
    if self.max_epochs and epochs.size and int(epochs.max()) >= self.max_epochs:
      raise InputError(
        f'data.max_epochs={self.max_epochs}: the corpus {self.corpus.folder} '
        f'of {num_rows} rows is used up before example {int(numbers.max())}; '
        'lower num_steps until num_steps x batch_size is at most '
        f'{self.max_epochs * num_rows}, or raise data.max_epochs'
      )
    if not self.shuffle:
      rows = positions.astype(np.int64)
    elif not self.shards_per_group:
      # A batch lies within one epoch, but for the few at its end.
      epoch = epochs[:1] if (epochs == epochs[:1]).all() else epochs
      rows = Permutation(num_rows, self.seed, _ROWS, epoch)(positions)
    else:
      rows = self._locate_in_groups(epochs, positions.astype(np.int64))
    return epochs.astype(np.int64), rows

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of the example numbers, uint64 [n], as one batch.

    Returns:
      'input_ids' int32 [n, row_length]; 'example_number' uint32 [n, 2]; what
      the corpus has in side files, see TokenRows.arrays.
    """
    return {
      **self.read(*self.locate(example_numbers)),
      'example_number': example_number_words(example_numbers),
    }

  def read(
    self, epochs: np.ndarray, rows: np.ndarray, max_segments: int = 0
  ) -> dict[str, np.ndarray]:
    """TokenRows.arrays of what `locate` gave: int64 [n], int64 [n]."""
    if self._window is None:
      return self.corpus.arrays(rows, max_segments)
    # Numbered through all epochs: one follows the last of an epoch as well.
    turns = self._group_turns(epochs, rows)
    result: dict[str, np.ndarray] = {}
    for turn in np.unique(turns).tolist():
      chosen = np.flatnonzero(turns == turn)
      self._window.move_to(self._group(turn), self._group(turn + 1))
      arrays = self.corpus.arrays(rows[chosen], max_segments)
      for name, array in arrays.items():
        if name not in result:
          result[name] = np.empty((len(rows), array.shape[1]), array.dtype)
        result[name][chosen] = array
    return result

  def _locate_in_groups(
    self, epochs: np.ndarray, positions: np.ndarray
  ) -> np.ndarray:
    rows = np.empty(positions.shape, np.int64)
    for epoch in np.unique(epochs):
      order, starts = self._epoch_order(int(epoch))
      group_starts = np.append(starts[: -1 : self.shards_per_group], starts[-1])
      groups = np.searchsorted(group_starts, positions, side='right') - 1
      for group in np.unique(groups[epochs == epoch]):
        chosen = np.flatnonzero((epochs == epoch) & (groups == group))
        start, end = group_starts[group], group_starts[group + 1]
        permutation = Permutation(
          int(end - start), self.seed, _ROWS, int(epoch), int(group)
        )
        # A position in the epoch's concatenation of its permuted shards.
        place = start + permutation(positions[chosen] - start)
        turn = np.searchsorted(starts, place, side='right') - 1
        rows[chosen] = self._shard_starts[order[turn]] + place - starts[turn]
    return rows

  def _group_turns(self, epochs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 [n]: epoch x groups of an epoch + group, of each row."""
    per_group, num_groups = self._groups()
    shards = np.searchsorted(self._shard_starts, rows, side='right') - 1
    turns = epochs * num_groups
    for epoch in np.unique(epochs):
      order, _ = self._epoch_order(int(epoch))
      chosen = np.flatnonzero(epochs == epoch)
      turns[chosen] += np.argsort(order)[shards[chosen]] // per_group
    return turns

  def _group(self, turn: int) -> list[int]:
    """The shards of a group, in order; none beyond the last epoch."""
    per_group, num_groups = self._groups()
    epoch, group = divmod(turn, num_groups)
    if self.max_epochs and epoch >= self.max_epochs:
      return []
    order, _ = self._epoch_order(epoch)
    return order[group * per_group : (group + 1) * per_group].tolist()

  def _groups(self) -> tuple[int, int]:
    """(shards of a group, groups of an epoch)."""
    num_shards = len(self.corpus.shard_sizes)
    per_group = self.shards_per_group or num_shards
    return per_group, -(-num_shards // per_group)

  def _epoch_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's order of shards [s], and where each then starts [s + 1]."""
    if epoch not in self._epoch_orders:
      if len(self._epoch_orders) >= 8:
        self._epoch_orders.clear()
      sizes = np.asarray(self.corpus.shard_sizes, np.int64)
      order = np.arange(len(sizes))
      if self.shuffle:
        order = Permutation(len(sizes), self.seed, _SHARDS, epoch)(order)
      self._epoch_orders[epoch] = order, _starts(sizes[order])
    return self._epoch_orders[epoch]


def example_number_words(numbers: Any) -> np.ndarray:
  """uint32 [n, 2], the high and the low word: numbers pass 2**32 in long runs.

  JAX has no 64-bit integers by default, so a number travels as two words.
  """
  numbers = np.asarray(numbers).astype(np.uint64).reshape(-1)
  high = numbers >> np.uint64(32)
  return np.stack([high, numbers & _LOW_WORD], axis=-1).astype(np.uint32)


def _starts(sizes: np.ndarray) -> np.ndarray:
  """[0, sizes[0], sizes[0] + sizes[1], ...]: int64 [len(sizes) + 1]."""
  return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


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
