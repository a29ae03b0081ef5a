"""Shards in object storage, copied to a local folder one by one.

A shard has its name only once its bytes are those of the manifest, so a copy
that was killed leaves nothing that looks whole, and goes on with what is
missing.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import math
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files, stopping
from bert_jax.data import side_files
from bert_jax.data.progress import TextProgress
from bert_jax.data.remote import storage
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError

# Streams at a time: one from an object store is far slower than the network.
_NUM_THREADS = 8
_CHUNK_BYTES = 2**23


@dataclasses.dataclass(frozen=True)
class ShardFile:
  """A file of a shard, as the manifest has it."""

  name: str
  num_bytes: int
  sha256: str


def shard_files(manifest: dict[str, Any]) -> list[list[ShardFile]]:
  """The files of each shard of what token_rows.parse_manifest gave."""
  rows = {'dtype': manifest['dtype'], 'row_shape': [manifest['row_length']]}
  arrays = [{**rows, 'shards': manifest['shards']}]
  arrays += manifest.get(side_files.ENTRY, {}).values()
  return [
    [
      _shard_file(array['shards'][number], shard['rows'], array)
      for array in arrays
    ]
    for number, shard in enumerate(manifest['shards'])
  ]


def _shard_file(
  entry: dict[str, Any], num_rows: int, array: dict[str, Any]
) -> ShardFile:
  dtype = np.dtype(array['dtype']).newbyteorder('<')
  shape = (num_rows, *array['row_shape'])
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {'descr': dtype.str, 'fortran_order': False, 'shape': shape}
  )
  num_bytes = header.tell() + math.prod(shape) * dtype.itemsize
  return ShardFile(entry['name'], num_bytes, entry['sha256'])


class RemotePart:
  """A part of a corpus, such as 128 or eval/128, and its folder here.

  Attributes:
    url: the address of the part.
    folder: the folder of its copy.
    files: the files of each shard.
  """

  def __init__(
    self,
    url: str,
    folder: pathlib.Path,
    files: Sequence[Sequence[ShardFile]],
  ):
    self.url = url
    self.folder = folder
    self.files = files

  def missing(self, shards: Iterable[int] | None = None) -> list[int]:
    """The shards among `shards` (None: all) that are not here, or cut off."""
    wanted = range(len(self.files)) if shards is None else shards
    return [
      shard
      for shard in wanted
      if not all(map(self._is_here, self.files[shard]))
    ]

  def num_bytes(self, shards: Iterable[int]) -> int:
    return sum(f.num_bytes for shard in shards for f in self.files[shard])

  def fetch(
    self,
    shards: Sequence[int],
    copied: Callable[[int], None] = lambda num_bytes: None,
    stop: Callable[[], bool] = lambda: False,
  ) -> None:
    """Copies shards, several at a time, each checked against the manifest.

    Args:
      shards: their numbers.
      copied: called with numbers of bytes as they come.
      stop: asked between pieces whether to end.

    Raises:
      InputError: the storage cannot be read, a file differs from its checksum,
        or the disk is full.
      stopping.WaitStopped: `stop` said so.
    """
    failed = threading.Event()
    one_at_a_time = threading.Lock()

    def advance(num_bytes: int) -> None:
      if stop() or failed.is_set():
        raise stopping.WaitStopped
      with one_at_a_time:
        copied(num_bytes)

    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS, 'copy') as pool:
      futures = [
        pool.submit(self._copy, file, advance)
        for shard in shards
        for file in self.files[shard]
      ]
      try:
        for future in concurrent.futures.as_completed(futures):
          future.result()
      except BaseException:
        failed.set()
        pool.shutdown(cancel_futures=True)
        raise

  def _is_here(self, file: ShardFile) -> bool:
    try:
      return (self.folder / file.name).stat().st_size == file.num_bytes
    except FileNotFoundError:
      return False

  def _copy(self, file: ShardFile, advance: Callable[[int], None]) -> None:
    url = f'{self.url}/{file.name}'
    advance(0)
    with full_disk_explained(url, self.folder), contextlib.ExitStack() as stack:
      with storage.explained(url):
        from etils import epath

        source = stack.enter_context(epath.Path(url).open('rb'))
      path = self.folder / file.name
      target = stack.enter_context(durable_files.new_file(path))
      digest, num_bytes = hashlib.sha256(), 0
      # A stream that does not end would fill the disk.
      while num_bytes <= file.num_bytes:
        with storage.explained(url):
          data = source.read(_CHUNK_BYTES)
        if not data:
          break
        target.write(data)
        digest.update(data)
        num_bytes += len(data)
        advance(len(data))
      if num_bytes != file.num_bytes or digest.hexdigest() != file.sha256:
        raise InputError(
          f'{url}: its content differs from the checksum of the manifest '
          f'({num_bytes} bytes, sha256 {digest.hexdigest()}; the '
          f'manifest has {file.num_bytes} bytes, {file.sha256}); copy the '
          'file there again from where the corpus is whole'
        )


class BrowsedRows(TokenRows):
  """Rows of a part of which only the shards are fetched that are read."""

  def __init__(self, part: RemotePart):
    super().__init__(part.folder, lazy=True)
    self._part = part

  def rows(self, indices: np.ndarray) -> np.ndarray:
    """Reads rows as TokenRows does; raises InputError as RemotePart.fetch."""
    indices = np.asarray(indices, np.int64).reshape(-1)
    inside = indices[(0 <= indices) & (indices < self.num_rows)]
    shards = np.unique(self.shard_of(inside)).tolist()
    fetch_missing([self._part], [shards])
    return super().rows(indices)


def fetch_missing(
  parts: Sequence[RemotePart],
  shards: Sequence[Iterable[int] | None],
  stop: Callable[[], bool] = lambda: False,
) -> None:
  """Copies what is not here yet of the shards of each part, with progress."""
  missing = [
    part.missing(some) for part, some in zip(parts, shards, strict=True)
  ]
  total = sum(
    part.num_bytes(some) for part, some in zip(parts, missing, strict=True)
  )
  if not total:
    return
  with TextProgress(total, True, 'copy') as progress:
    for part, some in zip(parts, missing, strict=True):
      part.fetch(some, progress.update, stop)


@contextlib.contextmanager
def full_disk_explained(url: str, folder: pathlib.Path) -> Iterator[None]:
  """Turns the error of a full disk into one line."""
  try:
    yield
  except OSError as error:
    if error.errno not in durable_files.NO_SPACE:
      raise
    raise InputError(
      f'{url}: no space left on the disk of {folder}; make room and run again, '
      'which copies what is missing, or set data.staging_path to a folder on '
      'a larger disk'
    ) from None


def check_disk(root: pathlib.Path, needed: int, *, in_groups: bool) -> None:
  free = shutil.disk_usage(root).free
  if needed > free:
    way_out = (
      'lower data.shards_per_group (for a new run)'
      if in_groups
      else 'set data.staging_gigabytes, with data.shards_per_group, to have '
      'two groups of shards there at a time'
    )
    raise InputError(
      f'data.staging_path={root}: {shown(needed)} of the corpus have to be '
      f'copied there, and {shown(free)} are free; make room, name a folder on '
      f'a larger disk, or {way_out}'
    )


def shown(num_bytes: int) -> str:
  return f'{num_bytes:,} bytes'
