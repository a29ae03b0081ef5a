"""The row of a corpus that is example g: a pure function, O(1) for any g.

Because nothing is consumed and no state is kept, a run resumes at any step
without replaying, and the batch does not depend on hosts, devices or threads.
"""

from typing import Any

import numpy as np

from bert_jax.config.json_files import json_digest
from bert_jax.data import token_rows
from bert_jax.data.reading.permutation import Permutation
from bert_jax.errors import InputError

# Change it when the same (seed, number) would lead to another row.
STREAM_VERSION = 2

_LOW_WORD = np.uint64(0xFFFFFFFF)
# Purposes, so that no two permutations of a stream share a key.
_ROWS, _SHARDS = 0, 1


class Stream:
  """The endless, shuffled sequence of a prepared corpus's rows.

  Every epoch visits each row once, in an order of its own. With
  `shards_per_group`, the shards of an epoch are permuted, taken in groups of
  that many, and rows are permuted within a group only, so that a corpus larger
  than a host's disk can be copied here one group at a time.
  """

  def __init__(
    self,
    corpus: token_rows.TokenRows,
    *,
    seed: int,
    shuffle: bool = True,
    shards_per_group: int = 0,
    max_epochs: int = 0,
    window: token_rows.GroupWindow | None = None,
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
    self.fingerprint = json_digest(
      [STREAM_VERSION, corpus.fingerprint, seed, shuffle, shards_per_group]
    )

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
      # A batch lies within one epoch, except for the few at its end.
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
