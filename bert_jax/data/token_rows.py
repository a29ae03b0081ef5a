"""The format of a prepared corpus: memory-mapped .npy shards and a manifest.

Random rows are read straight from the page cache, without a loader framework:
shards are plain matrices of token ids, so numpy alone opens them anywhere.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.errors import InputError, quoted, shown

FORMAT_VERSION = 1
MANIFEST_NAME = 'manifest.json'
SHARD_BYTES = 2**26
# Each mapping holds a file descriptor, of which a process often has 1,024.
_MAX_OPEN_SHARDS = 512
_SHARD_NAME = re.compile(r'rows-\d{5,}-of-\d{5,}\.npy')
_FIELDS = {
  'format_version': int,
  'fingerprint': str,
  'tokenizer_fingerprint': str,
  'vocab_size': int,
  'row_length': int,
  'num_rows': int,
  'dtype': str,
  'shards': list,
}


class TokenRows:
  """A prepared corpus of one row length, read by row number.

  Attributes:
    folder: where it lies.
    manifest: the whole manifest, with the counts of what was prepared.
    num_rows, row_length, vocab_size: its sizes.
    shard_sizes: rows in each shard.
    fingerprint: of the rows, the tokenizer and the format: no path or date.
    tokenizer_fingerprint: of the tokenizer that wrote the ids.
  """

  def __init__(self, folder, *, lazy: bool = False):
    """Checks the manifest and every shard's header and size, not its content.

    Args:
      folder: where it lies.
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
    self._dtype = np.dtype(self.manifest['dtype'])
    self._starts = np.concatenate(
      [np.zeros(1, np.int64), np.cumsum(self.shard_sizes, dtype=np.int64)]
    )
    self._open: collections.OrderedDict[int, np.ndarray] = (
      collections.OrderedDict()
    )
    # Prefetch threads share one object.
    self._lock = threading.Lock()
    if not lazy:
      for shard in range(len(self.shard_sizes)):
        self._map(shard)

  def rows(self, indices: np.ndarray) -> np.ndarray:
    """int32 [n, row_length]: the rows of the numbers `indices` [n].

    Raises:
      InputError: a row holds an id beyond the vocabulary.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    if indices.size and not (
      0 <= indices.min() and indices.max() < self.num_rows
    ):
      raise IndexError(
        f'{self.folder}: row numbers are 0 to {self.num_rows - 1}, asked for '
        f'{indices.min()} to {indices.max()}'
      )
    result = np.empty((len(indices), self.row_length), np.int32)
    shard_of_row = self.shard_of(indices)
    order = np.argsort(shard_of_row, kind='stable')
    shards, firsts = np.unique(shard_of_row[order], return_index=True)
    for shard, chosen in zip(
      shards.tolist(), np.split(order, firsts[1:]), strict=False
    ):
      rows = self._map(shard)[indices[chosen] - self._starts[shard]]
      self._check_ids(rows, shard)
      result[chosen] = rows
    return result

  def shard_of(self, indices: np.ndarray) -> np.ndarray:
    """int64 [n]: the shard that each of the rows `indices` [n] lies in."""
    return np.searchsorted(self._starts, indices, side='right') - 1

  def forget(self, shards: Iterable[int]) -> None:
    """Closes shards: a file that is removed takes its place until then."""
    with self._lock:
      for shard in shards:
        self._open.pop(shard, None)

  @property
  def num_bytes(self) -> int:
    """Of the ids in all shards."""
    return self.num_rows * self.row_length * self._dtype.itemsize

  def verify(self, shard_done: Callable[[int], None] | None = None) -> None:
    """Reads every shard; InputError names the first that has changed.

    Args:
      shard_done: called after each shard with the number of bytes of its ids.
    """
    for shard, entry in enumerate(self.manifest['shards']):
      path = self._path(shard)
      try:
        with open(path, 'rb') as file:
          digest = hashlib.file_digest(file, 'sha256').hexdigest()
      except OSError as error:  # a bad sector, a share that went away
        raise InputError(
          f'{path}: cannot be read ({error.strerror}); {_AGAIN}'
        ) from None
      if digest != entry['sha256']:
        raise InputError(
          f'{path}: the content has changed since it was prepared '
          f'(sha256 {digest}, the manifest has {entry["sha256"]}); {_AGAIN}'
        )
      rows = self._map(shard)
      self._check_ids(rows, shard)
      if shard_done:
        shard_done(rows.nbytes)

  def _check_ids(self, rows: np.ndarray, shard: int) -> None:
    if rows.size and int(rows.max()) >= self.vocab_size:
      raise InputError(
        f'{self._path(shard)}: a row holds the id {int(rows.max())}, but the '
        f'vocabulary has {self.vocab_size} entries; {_AGAIN}'
      )

  def _path(self, shard: int) -> pathlib.Path:
    return self.folder / self.manifest['shards'][shard]['name']

  def _map(self, shard: int) -> np.ndarray:
    with self._lock:
      if shard not in self._open:
        if len(self._open) >= _MAX_OPEN_SHARDS:
          self._open.popitem(last=False)
        shape = (self.shard_sizes[shard], self.row_length)
        self._open[shard] = _map_shard(self._path(shard), shape, self._dtype)
      self._open.move_to_end(shard)
      return self._open[shard]


def refuse_link_out(path: pathlib.Path) -> None:
  """Raises InputError where a file of a corpus is a link to another place.

  Who hands on a corpus could read what its user can read otherwise.
  """
  # Not pathlib's resolve(), which fails on links in a circle before 3.13.
  if os.path.dirname(os.path.realpath(path)) != os.path.realpath(path.parent):
    raise InputError(
      f'{path}: a link that leads out of the corpus; put the file itself there'
    )


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
) -> dict[str, Any]:
  """Writes the shards of `blocks`, one after the other, then the manifest.

  Shards have a fixed number of rows, so where they end depends on the rows
  alone. Memory: one shard.

  Args:
    folder: made here; of its parents, all must be there.
    blocks: integer [any number, row_length] each.
    num_rows: of all blocks together.
    row_length: tokens in a row.
    vocab_size: entries of the vocabulary; decides the dtype.
    tokenizer_fingerprint: of the tokenizer that made the ids.
    facts: further entries of the manifest.

  Returns:
    The manifest.
  """
  folder.mkdir()
  dtype = row_dtype(vocab_size)
  rows_per_shard = max(1, SHARD_BYTES // (row_length * dtype.itemsize))
  num_shards = -(-num_rows // rows_per_shard)
  shards = []
  for rows in _regroup(blocks, rows_per_shard):
    name = f'rows-{len(shards):05d}-of-{num_shards:05d}.npy'
    rows = np.ascontiguousarray(rows, dtype)
    with durable_files.new_file(folder / name) as file:
      # As np.save does it, whose error does not tell that a disk is full.
      header = np.lib.format.header_data_from_array_1_0(rows)
      np.lib.format.write_array_header_1_0(file, header)
      file.write(rows.data)
    with open(folder / name, 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
    shards.append({'name': name, 'rows': len(rows), 'sha256': digest})
  assert sum(shard['rows'] for shard in shards) == num_rows
  manifest = {
    'format_version': FORMAT_VERSION,
    'tokenizer_fingerprint': tokenizer_fingerprint,
    'vocab_size': vocab_size,
    'row_length': row_length,
    'num_rows': num_rows,
    'dtype': dtype.name,
    'shards': shards,
  }
  manifest = {'fingerprint': _fingerprint(manifest), **manifest, **facts}
  durable_files.write_json(folder / MANIFEST_NAME, manifest)
  return manifest


_AGAIN = 'prepare the corpus again, or copy it again from where it is whole'


def _regroup(
  blocks: Iterable[np.ndarray], rows_per_shard: int
) -> Iterable[np.ndarray]:
  waiting: list[np.ndarray] = []
  num_waiting = 0
  for block in blocks:
    while num_waiting + len(block) >= rows_per_shard:
      taken = rows_per_shard - num_waiting
      yield np.concatenate([*waiting, block[:taken]])
      block, waiting, num_waiting = block[taken:], [], 0
    if len(block):
      waiting.append(block)
      num_waiting += len(block)
  if waiting:
    yield np.concatenate(waiting)


def _fingerprint(manifest: dict[str, Any]) -> str:
  content = [
    manifest['format_version'],
    manifest['tokenizer_fingerprint'],
    manifest['vocab_size'],
    manifest['row_length'],
    manifest['dtype'],
    [[shard['rows'], shard['sha256']] for shard in manifest['shards']],
  ]
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


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
  """What a manifest.json holds; InputError names `path` if it is damaged."""
  try:
    manifest = json.loads(data.decode('utf-8'))
  except (ValueError, RecursionError) as error:
    raise _not_json(path, error) from None
  if not isinstance(manifest, dict):
    raise InputError(f'{path}: not a manifest; {_AGAIN}')
  if manifest.get('format_version') != FORMAT_VERSION:
    raise InputError(
      f'{path}: format_version '
      f'{shown(repr(manifest.get("format_version")))}, this program reads '
      f'{FORMAT_VERSION}; prepare the corpus again'
    )
  for name, kind in _FIELDS.items():
    # bool is an int to Python.
    if type(manifest.get(name)) is not kind:
      raise InputError(
        f'{path}: {name} is {shown(repr(manifest.get(name)))}, expected '
        f'{kind.__name__}; {_AGAIN}'
      )
  _check_shard_entries(path, manifest)
  if (
    manifest['row_length'] < 1
    or manifest['vocab_size'] < 1
    or manifest['dtype'] != row_dtype(manifest['vocab_size']).name
    or manifest['num_rows'] != sum(s['rows'] for s in manifest['shards'])
    or manifest['fingerprint'] != _fingerprint(manifest)
  ):
    raise InputError(
      f'{path}: its sizes and fingerprint do not agree with one another, so it '
      f'was changed; {_AGAIN}'
    )
  return manifest


def _not_json(path: Any, error: Exception) -> InputError:
  return InputError(f'{path}: cannot be read as JSON ({error}); {_AGAIN}')


def _check_shard_entries(path: Any, manifest: dict[str, Any]) -> None:
  names = set()
  for entry in manifest['shards']:
    if not isinstance(entry, dict) or not (
      isinstance(entry.get('name'), str)
      and type(entry.get('rows')) is int
      and 0 < entry['rows'] < 2**63
      and isinstance(entry.get('sha256'), str)
    ):
      raise InputError(
        f'{path}: not an entry of a shard: {shown(repr(entry))}; {_AGAIN}'
      )
    # The pattern has no separator, so no name can lead out of the folder.
    if not _SHARD_NAME.fullmatch(entry['name']) or entry['name'] in names:
      raise InputError(
        f'{path}: {quoted(entry["name"])} is not the name of a shard, or '
        f'stands there twice; {_AGAIN}'
      )
    names.add(entry['name'])


def _map_shard(
  path: pathlib.Path, shape: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
  if not path.is_file():
    raise InputError(f'{path}: the shard is missing; {_AGAIN}')
  refuse_link_out(path)
  try:
    rows = np.load(path, mmap_mode='r', allow_pickle=False)
  except (ValueError, EOFError, OSError) as error:
    raise InputError(
      f'{path}: cannot be read, so it is damaged or cut off ({error}); {_AGAIN}'
    ) from None
  if (
    not isinstance(rows, np.memmap)
    or rows.shape != shape
    or rows.dtype != dtype
    or not rows.flags.c_contiguous
    or path.stat().st_size != rows.offset + rows.nbytes
  ):
    raise InputError(
      f'{path}: holds {getattr(rows, "dtype", type(rows))} '
      f'{getattr(rows, "shape", "")} in {path.stat().st_size} bytes, the '
      f'manifest has {dtype} {shape}; {_AGAIN}'
    )
  return rows
