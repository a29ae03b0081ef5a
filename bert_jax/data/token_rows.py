"""The format of a prepared corpus: memory-mapped .npy shards and a manifest.

Random rows are read straight from the page cache, without a loader framework:
shards are plain matrices of token ids, so numpy alone opens them anywhere.
"""

import collections
import json
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol, TypedDict

import numpy as np

from bert_jax import durable_files
from bert_jax.config.json_decoder import Check, Decoder
from bert_jax.config.json_files import json_digest
from bert_jax.data import side_files
from bert_jax.data.shards import (
  AGAIN,
  check_digest,
  map_shard,
  refuse_link_out,
  write_shards,
)
from bert_jax.errors import InputError, shown

FORMAT_VERSION = 1
MANIFEST_NAME = 'manifest.json'
SHARD_BYTES = 2**26
# Mapped shards hold file descriptors, of which a process often has 1,024.
_MAX_OPEN_SHARDS = 512
_ROWS = 'rows'
_SHARD_NAME = re.compile(rf'{_ROWS}-\d{{5,}}-of-\d{{5,}}\.npy')


class _ShardEntry(TypedDict):
  # The pattern has no separator, so no name can lead out of the folder.
  name: Annotated[str, Check(_SHARD_NAME.fullmatch, 'the name of a shard')]
  rows: int
  sha256: str


class _Manifest(TypedDict):
  format_version: int
  fingerprint: str
  tokenizer_fingerprint: str
  vocab_size: int
  row_length: int
  num_rows: int
  dtype: str
  shards: Annotated[
    list[
      Annotated[
        _ShardEntry,
        Check(lambda shard: 0 < shard['rows'] < 2**63, 'an entry of a shard'),
      ]
    ],
    Check(
      lambda shards: len({s['name'] for s in shards}) == len(shards),
      'a list that has each shard once',
    ),
  ]


class GroupWindow(Protocol):
  """Brings the shards of a corpus to the disk, group by group."""

  def move_to(self, shards: Sequence[int], ahead: Sequence[int]) -> None:
    """Returns once `shards` can be read; `ahead` are those of the next group.

    All others may be gone then.
    """
    ...


class TokenRows:
  """A prepared corpus of one row length, read by row number.

  Attributes:
    folder: the folder it lies in.
    manifest: the whole manifest, with the counts of what was prepared.
    num_rows, row_length, vocab_size: its sizes.
    shard_sizes: rows in each shard.
    fingerprint: digest of rows, tokenizer and format; no path or date.
    tokenizer_fingerprint: that of the tokenizer that wrote the ids.
    side_files: the arrays beside the rows by name, most often none.
  """

  def __init__(self, folder, *, lazy: bool = False):
    """Checks the manifest and every shard's header and size, not its content.

    Args:
      folder: the folder it lies in.
      lazy: a shard is checked when it is first read; until then, and after
        `forget`, it need not be there.

    Raises:
      InputError: not a prepared corpus, or one that is damaged; see `verify`.
    """
    self.folder = pathlib.Path(folder)
    self.manifest = _read_manifest(self.folder)
    self.num_rows: int = self.manifest['num_rows']
    self.row_length: int = self.manifest['row_length']
    self.vocab_size: int = self.manifest['vocab_size']
    self.fingerprint: str = self.manifest['fingerprint']
    self.tokenizer_fingerprint: str = self.manifest['tokenizer_fingerprint']
    self.shard_sizes: tuple[int, ...] = tuple(
      shard['rows'] for shard in self.manifest['shards']
    )
    self.side_files: dict[str, side_files.SideFile] = {
      side_file.name: side_file
      for side_file in side_files.read_entries(
        self.folder / MANIFEST_NAME, self.manifest
      )
    }
    self._dtype = np.dtype(self.manifest['dtype'])
    self._starts = np.concatenate(
      [np.zeros(1, np.int64), np.cumsum(self.shard_sizes, dtype=np.int64)]
    )
    self._open: collections.OrderedDict[tuple[str, int], np.ndarray] = (
      collections.OrderedDict()
    )
    self._alone = self.num_bytes > _bytes_of_memory() / 2
    # Prefetch threads share one object.
    self._lock = threading.Lock()
    if not lazy:
      for array in (_ROWS, *self.side_files):
        for shard in range(len(self.shard_sizes)):
          self._map(array, shard)

  def rows(self, indices: np.ndarray) -> np.ndarray:
    """int32 [n, row_length]: the rows of the numbers `indices` [n].

    Raises:
      InputError: a row holds an id beyond the vocabulary.
    """
    result = np.empty((len(indices), self.row_length), np.int32)
    for shard, chosen, places in self._by_shard(indices):
      rows = self._map(_ROWS, shard)[places]
      self._check(_ROWS, rows, shard)
      result[chosen] = rows
    return result

  def arrays(
    self, indices: np.ndarray, max_segments: int = 0
  ) -> dict[str, np.ndarray]:
    """The rows of the numbers `indices` [n], with what lies beside them.

    Args:
      indices: integer [n].
      max_segments: 'pair_labels' get this width at least, filled with -1.

    Returns:
      'input_ids' int32 [n, row_length]; of the side files that there are,
      'word_starts' bool [n, row_length] and 'pair_labels' int32 [n, at least
      as many as the row of the corpus with the most pairs].

    Raises:
      InputError: a row holds an id, or a label, that there is not.
    """
    found = {'input_ids': self.rows(indices)}
    for name, side_file in self.side_files.items():
      stored = np.empty((len(indices), side_file.width), side_file.dtype)
      for shard, chosen, places in self._by_shard(indices):
        stored[chosen] = self._map(name, shard)[places]
        self._check(name, stored[chosen], shard)
      found[name] = side_file.decode(stored, self.row_length)
    if side_files.PAIR_LABELS in found:
      found[side_files.PAIR_LABELS] = side_files.pad_labels(
        found[side_files.PAIR_LABELS], max_segments
      )
    return found

  @property
  def max_segments(self) -> int:
    """The width of 'pair_labels'; 0 where there are none."""
    labels = self.side_files.get(side_files.PAIR_LABELS)
    return labels.width if labels else 0

  def _by_shard(
    self, indices: np.ndarray
  ) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
    """(shard, which of `indices` lie in it, their places in the shard)."""
    indices = np.asarray(indices, np.int64).reshape(-1)
    if indices.size and not (
      0 <= indices.min() and indices.max() < self.num_rows
    ):
      raise IndexError(
        f'{self.folder}: row numbers are 0 to {self.num_rows - 1}, asked for '
        f'{indices.min()} to {indices.max()}'
      )
    shard_of_row = self.shard_of(indices)
    order = np.argsort(shard_of_row, kind='stable')
    shards, firsts = np.unique(shard_of_row[order], return_index=True)
    for shard, chosen in zip(
      shards.tolist(), np.split(order, firsts[1:]), strict=False
    ):
      yield shard, chosen, indices[chosen] - self._starts[shard]

  def shard_of(self, indices: np.ndarray) -> np.ndarray:
    """int64 [n]: the shard that each of the rows `indices` [n] lies in."""
    return np.searchsorted(self._starts, indices, side='right') - 1

  def forget(self, shards: Iterable[int]) -> None:
    """Closes shards: a file that is removed takes its place until then."""
    with self._lock:
      for shard in shards:
        for array in (_ROWS, *self.side_files):
          self._open.pop((array, shard), None)

  @property
  def num_bytes(self) -> int:
    """The size in bytes of the rows and of the side files."""
    return self.num_rows * (
      self.row_length * self._dtype.itemsize
      + sum(s.width * s.dtype.itemsize for s in self.side_files.values())
    )

  def verify(self, shard_done: Callable[[int], None] | None = None) -> None:
    """Reads every shard; InputError names the first that has changed.

    Args:
      shard_done: called after each shard with the number of bytes of its array.
    """
    for array in (_ROWS, *self.side_files):
      for shard, entry in enumerate(self._entries(array)):
        check_digest(self.folder / entry['name'], entry['sha256'])
        stored = self._map(array, shard)
        self._check(array, stored, shard)
        if shard_done:
          shard_done(stored.nbytes)

  def _check(self, array: str, stored: np.ndarray, shard: int) -> None:
    path = self.folder / self._entries(array)[shard]['name']
    if array != _ROWS:
      self.side_files[array].check(stored, path)
    elif stored.size and int(stored.max()) >= self.vocab_size:
      raise InputError(
        f'{path}: a row holds the id {int(stored.max())}, but the '
        f'vocabulary has {self.vocab_size} entries; {AGAIN}'
      )

  def _entries(self, array: str) -> list[dict[str, Any]]:
    if array == _ROWS:
      return self.manifest['shards']
    return self.manifest[side_files.ENTRY][array]['shards']

  def _map(self, array: str, shard: int) -> np.ndarray:
    with self._lock:
      if (array, shard) not in self._open:
        if len(self._open) >= _MAX_OPEN_SHARDS:
          self._open.popitem(last=False)
        width, dtype = self.row_length, self._dtype
        if array != _ROWS:
          width = self.side_files[array].width
          dtype = self.side_files[array].dtype
        self._open[array, shard] = map_shard(
          self.folder / self._entries(array)[shard]['name'],
          (self.shard_sizes[shard], width),
          dtype,
          alone=self._alone,
        )
      self._open.move_to_end((array, shard))
      return self._open[array, shard]


def _bytes_of_memory() -> int:
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def row_dtype(vocab_size: int) -> np.dtype:
  """uint16 as long as every id fits."""
  return np.dtype('<u2' if vocab_size <= 2**16 else '<u4')


def write_token_rows(
  folder: pathlib.Path,
  blocks: Iterable[np.ndarray],
  *,
  num_rows: int,
  row_length: int,
  vocab_size: int,
  tokenizer_fingerprint: str,
  facts: dict[str, Any],
  beside: Mapping[side_files.SideFile, Iterable[np.ndarray]] | None = None,
) -> dict[str, Any]:
  """Writes the shards of `blocks`, one after the other, then the manifest.

  Shards have a fixed number of rows, so where they end depends on the rows
  alone. Memory: one shard.

  Args:
    folder: made here; of its parents, all must be there.
    blocks: integer [any number, row_length] each.
    num_rows: the rows of all blocks together.
    row_length: tokens in a row.
    vocab_size: entries of the vocabulary; decides the dtype.
    tokenizer_fingerprint: that of the tokenizer that made the ids.
    facts: further entries of the manifest.
    beside: the side files, each with its blocks [any number, width]; their rows
      are those of `blocks`.

  Returns:
    The manifest.
  """
  folder.mkdir()
  dtype = row_dtype(vocab_size)
  rows_per_shard = max(1, SHARD_BYTES // (row_length * dtype.itemsize))
  sizes = {'num_rows': num_rows, 'rows_per_shard': rows_per_shard}
  manifest: dict[str, Any] = {
    'format_version': FORMAT_VERSION,
    'tokenizer_fingerprint': tokenizer_fingerprint,
    'vocab_size': vocab_size,
    'row_length': row_length,
    'num_rows': num_rows,
    'dtype': dtype.name,
    'shards': write_shards(folder, _ROWS, blocks, dtype=dtype, **sizes),
  }
  if beside:
    manifest[side_files.ENTRY] = {
      side_file.name: side_files.manifest_entry(
        side_file,
        write_shards(
          folder, side_file.name, stored, dtype=side_file.dtype, **sizes
        ),
      )
      for side_file, stored in beside.items()
    }
  manifest = {
    'fingerprint': manifest_fingerprint(manifest),
    **manifest,
    **facts,
  }
  durable_files.write_json(folder / MANIFEST_NAME, manifest)
  return manifest


def manifest_fingerprint(manifest: dict[str, Any]) -> str:
  content = [
    manifest['format_version'],
    manifest['tokenizer_fingerprint'],
    manifest['vocab_size'],
    manifest['row_length'],
    manifest['dtype'],
    [[shard['rows'], shard['sha256']] for shard in manifest['shards']],
    *side_files.fingerprint_content(manifest),
  ]
  return json_digest(content)


def _read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / MANIFEST_NAME
  refuse_link_out(path)
  try:
    return parse_manifest(path.read_bytes(), path)
  except (FileNotFoundError, NotADirectoryError):
    raise InputError(
      f'{folder}: not a prepared corpus ({MANIFEST_NAME} is missing); give a '
      'folder such as DIR/128 that `prepare --output=DIR` wrote'
    ) from None
  except OSError as error:
    raise _not_json(path, error) from None


def parse_manifest(data: bytes, path: Any) -> dict[str, Any]:
  """Parses a manifest.json; InputError names `path` if it is damaged."""
  try:
    manifest = json.loads(data.decode('utf-8'))
  except (ValueError, RecursionError) as error:
    raise _not_json(path, error) from None
  if not isinstance(manifest, dict):
    raise InputError(f'{path}: not a manifest; {AGAIN}')
  if manifest.get('format_version') != FORMAT_VERSION:
    raise InputError(
      f'{path}: format_version '
      f'{shown(repr(manifest.get("format_version")))}, this program reads '
      f'{FORMAT_VERSION}; prepare the corpus again'
    )
  Decoder(where=str(path), fix=AGAIN).decode(manifest, _Manifest)
  side_files.read_entries(path, manifest)
  if (
    manifest['row_length'] < 1
    or manifest['vocab_size'] < 1
    or manifest['dtype'] != row_dtype(manifest['vocab_size']).name
    or manifest['num_rows'] != sum(s['rows'] for s in manifest['shards'])
    or manifest['fingerprint'] != manifest_fingerprint(manifest)
  ):
    raise InputError(
      f'{path}: its sizes and fingerprint do not agree with one another, so it '
      f'was changed; {AGAIN}'
    )
  return manifest


def _not_json(path: Any, error: Exception) -> InputError:
  return InputError(f'{path}: cannot be read as JSON ({error}); {AGAIN}')
