"""Shards in object storage, copied to a local folder: all, or group by group.

A shard has its name only once its bytes are those of the manifest, so a copy
that was killed leaves nothing that looks whole, and goes on with what is
missing.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import hashlib
import io
import math
import pathlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files, stopping
from bert_jax.data import side_files
from bert_jax.data.progress import TextProgress
from bert_jax.data.sources import remote
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


class StagedPart:
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

    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS, 'stage') as pool:
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

  def keep_only(self, shards: Iterable[int], rows: TokenRows) -> None:
    """Removes all other shards that are here, out of `rows` as well."""
    kept = set(shards)
    others = [shard for shard in range(len(self.files)) if shard not in kept]
    rows.forget(others)
    for shard in others:
      for file in self.files[shard]:
        (self.folder / file.name).unlink(missing_ok=True)

  def _is_here(self, file: ShardFile) -> bool:
    try:
      return (self.folder / file.name).stat().st_size == file.num_bytes
    except FileNotFoundError:
      return False

  def _copy(self, file: ShardFile, advance: Callable[[int], None]) -> None:
    url = f'{self.url}/{file.name}'
    advance(0)
    with full_disk_explained(url, self.folder), contextlib.ExitStack() as stack:
      with remote.explained(url):
        from etils import epath

        source = stack.enter_context(epath.Path(url).open('rb'))
      path = self.folder / file.name
      target = stack.enter_context(durable_files.new_file(path))
      digest, num_bytes = hashlib.sha256(), 0
      # A stream that does not end would fill the disk.
      while num_bytes <= file.num_bytes:
        with remote.explained(url):
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


class StagedGroups:
  """The shards of two groups of a part: the one in use, and the next.

  The next is fetched by a thread while the one before it is read; who comes too
  early waits. No other shard is on the disk. To be closed.
  """

  def __init__(
    self,
    part: StagedPart,
    rows: TokenRows,
    stop: Callable[[], bool] = lambda: False,
  ):
    """`rows`: the part's folder, opened lazily; `stop`: whether not to wait."""
    self._part = part
    self._rows = rows
    self._stop = stop
    self._now: tuple[list[int], list[int]] = ([], [])
    self._closing = threading.Event()
    self._thread: threading.Thread | None = None

  def move_to(self, shards: Sequence[int], ahead: Sequence[int]) -> None:
    """Returns once `shards` are here, and begins to fetch `ahead`.

    Raises:
      InputError: as StagedPart.fetch, for what is needed now.
      stopping.WaitStopped: `stop` said so while it waited.
    """
    shards, ahead = list(shards), list(ahead)
    if (shards, ahead) == self._now:
      return
    if shards == self._now[1]:
      self._join()
    else:
      self.close()
    self._now = ([], [])
    self._part.keep_only([*shards, *ahead], self._rows)
    # Fetching ahead has usually brought them. Where it failed, it is tried
    # again, now that it can no longer wait.
    fetch_missing([self._part], [shards], self._stop)
    self._now = (shards, ahead)
    self._closing = threading.Event()
    self._thread = threading.Thread(
      target=self._fetch_ahead, args=(ahead,), name='stage-ahead', daemon=True
    )
    self._thread.start()

  def close(self) -> None:
    """Stops what is being fetched; what has come stays."""
    self._closing.set()
    self._join()
    self._now = ([], [])

  def _join(self) -> None:
    if self._thread is not None:
      self._thread.join()
      self._thread = None

  def _fetch_ahead(self, ahead: list[int]) -> None:
    try:
      self._part.fetch(
        self._part.missing(ahead),
        stop=lambda: self._closing.is_set() or self._stop(),
      )
    except stopping.WaitStopped:
      pass
    except (InputError, OSError) as error:
      print(
        f'stage: {error} (fetched ahead; tried once more when it is needed)',
        file=sys.stderr,
        flush=True,
      )


class BrowsedRows(TokenRows):
  """Rows of a part of which only the shards are fetched that are read."""

  def __init__(self, part: StagedPart):
    super().__init__(part.folder, lazy=True)
    self._part = part

  def rows(self, indices: np.ndarray) -> np.ndarray:
    """Reads rows as TokenRows does; raises InputError as StagedPart.fetch."""
    indices = np.asarray(indices, np.int64).reshape(-1)
    inside = indices[(0 <= indices) & (indices < self.num_rows)]
    shards = np.unique(self.shard_of(inside)).tolist()
    fetch_missing([self._part], [shards])
    return super().rows(indices)


def fetch_missing(
  parts: Sequence[StagedPart],
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
  with TextProgress(total, True, 'stage') as progress:
    for part, some in zip(parts, missing, strict=True):
      part.fetch(some, progress.update, stop)


@contextlib.contextmanager
def full_disk_explained(url: str, folder: pathlib.Path) -> Iterator[None]:
  """Turns the end of the disk into one line."""
  try:
    yield
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    raise InputError(
      f'{url}: no space left on the disk of {folder}; make room and run again, '
      'which copies what is missing, or set data.staging_path to a folder on '
      'a larger disk'
    ) from None
