"""The content of input files, by which a finished output is compared.

A description of a source names its files as `InputFile` and `InputFiles`;
`Contents.identify` reads them and adds a digest to each. Reading is spared
where the file cannot have changed since an earlier reading: size, both times
and inode are those of then, and both times were older than that reading by two
seconds, so that no later change can have left them as they were.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.config.json_files import read_or_none
from bert_jax.data.progress import TextProgress
from bert_jax.data.remote import storage
from bert_jax.data.sources.base import Source
from bert_jax.errors import InputError

STAMPS_NAME = 'input_stamps.json'
# The coarsest time stamps in use are those of FAT, of two seconds.
SETTLED_NS = 2 * 10**9
_CHUNK_BYTES = 2**20
# Read within a second or two; below it no progress is shown.
_LONG_BYTES = 2**30
_MAX_THREADS = 8


class InputFile(dict):
  """The entry of a file in a description, {'name', 'bytes'}, and its path.

  A dict, so that a description is JSON also before its files are read.
  """

  def __init__(self, path: Any, num_bytes: int):
    super().__init__(name=path.name, bytes=num_bytes)
    self.path = path


class InputFiles(dict):
  """The entry of many small files as one, {'files': how many}.

  Args:
    paths: path of each file by the name that its content has here.
  """

  def __init__(self, paths: Mapping[str, str]):
    super().__init__(files=len(paths))
    self.paths = {name: pathlib.Path(path) for name, path in paths.items()}


@dataclasses.dataclass(frozen=True)
class _Read:
  """Content of a file as read, and what the file looked like then."""

  facts: dict[str, Any]
  stamp: str
  is_settled: bool


class Contents:
  """The content of files as it was found, to be looked at again at the end.

  Args:
    known: sha256 by stamp, of an earlier reading.
    now_ns: a time before anything is read, by the clock that is furthest
      behind; see `open_contents`.
    progress: shows how far the reading is, where it takes long.
  """

  def __init__(
    self, known: Mapping[str, str], now_ns: int, *, progress: bool = False
  ):
    self._known = dict(known)
    self._now_ns = now_ns
    self._progress = progress
    self._files: dict[Any, _Read] = {}
    self.num_read = 0

  def identify(self, description: Any) -> Any:
    """The description with the content of its files, as JSON gives it back.

    Each file has `bytes` and, by where it lies, `sha256` or the checksum that
    its storage keeps; many as one have a `sha256` of all.

    Raises:
      InputError: a file cannot be read, or changes meanwhile.
    """
    self._read_all(list(_paths_in(description)))
    return json.loads(json.dumps(self._with_facts(description)))

  def require_unchanged(self, description: Any = None) -> None:
    """Raises InputError where a file is not what it was when it was read.

    It looks at the files of the description, or at all.
    """
    paths = self._files if description is None else _paths_in(description)
    unsure = [
      path
      for path in dict.fromkeys(paths)
      if storage.is_remote(path)
      or not self._files[path].is_settled
      or _stamp_now(path) != self._files[path].stamp
    ]
    before = {path: self._files.pop(path) for path in unsure}
    storage.forget_listings(unsure)
    self._read_all(unsure, use_known=False)
    for path in unsure:
      if self._files[path].facts != before[path].facts:
        raise InputError(
          f'{path}: has changed while it was being read; nothing was written. '
          'Wait until it is complete, and run again'
        )

  def stamps(self) -> dict[str, str]:
    """sha256 by stamp, of the files whose stamp will tell of any change."""
    return {
      read.stamp: read.facts['sha256']
      for read in self._files.values()
      if read.is_settled
    }

  def _read_all(self, paths: Sequence[Any], use_known: bool = True) -> None:
    left = []
    for path in dict.fromkeys(paths):
      if path in self._files:
        continue
      if use_known and (read := self._spared(path)):
        self._files[path] = read
      else:
        left.append(path)
    if left:
      self.num_read += len(left)
      self._files |= self._look_at(left)

  def _spared(self, path: pathlib.Path) -> _Read | None:
    if not self._known or storage.is_remote(path):
      return None
    try:
      stat = path.stat()
    except OSError as error:
      raise _unreadable(path, error) from None
    stamp = _stamp(stat)
    if stamp not in self._known or not self._is_settled(stat):
      return None
    facts = {'bytes': stat.st_size, 'sha256': self._known[stamp]}
    return _Read(facts, stamp, True)

  def _is_settled(self, stat: os.stat_result) -> bool:
    newest = max(stat.st_mtime_ns, stat.st_ctime_ns)
    return newest < self._now_ns - SETTLED_NS

  def _look_at(self, paths: Sequence[Any]) -> dict[Any, _Read]:
    """Reads files in threads: hashing and waiting release Python's lock."""
    stop, lock = threading.Event(), threading.Lock()
    total = sum(map(_size, paths))
    is_long = self._progress and total >= _LONG_BYTES
    with TextProgress(total, is_long, 'looking at the input') as shown:

      def read(path: Any) -> _Read:
        def note(count: int) -> None:
          with lock:
            shown.update(count)
          if stop.is_set():
            raise InputError(f'{path}: reading it was stopped')

        if storage.is_remote(path):
          facts = storage.checksum(path) or _hash_remote(path, note)
          return _Read(facts, '', False)
        facts, stat = _hash_local(path, note)
        return _Read(facts, _stamp(stat), self._is_settled(stat))

      threads = _MAX_THREADS
      if not any(map(storage.is_remote, paths)):
        threads = min(threads, os.cpu_count() or 1)
      with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
          return dict(zip(paths, pool.map(read, paths), strict=True))
        except BaseException:  # a signal does not wait for a large file
          stop.set()
          raise

  def _with_facts(self, value: Any) -> Any:
    if isinstance(value, InputFile):
      return {'name': value['name'], **self._files[value.path].facts}
    if isinstance(value, InputFiles):
      digest, num_bytes = hashlib.sha256(), 0
      for name, path in value.paths.items():
        facts = self._files[path].facts
        line = f'{facts["sha256"]} {name}\n'
        digest.update(line.encode(errors='surrogateescape'))
        num_bytes += facts['bytes']
      return {**value, 'bytes': num_bytes, 'sha256': digest.hexdigest()}
    if isinstance(value, dict):
      return {name: self._with_facts(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
      return [self._with_facts(inner) for inner in value]
    return value


def of_source(
  output: pathlib.Path,
  lock: pathlib.Path,
  source: Source,
  progress: bool,
  parts: Sequence[pathlib.Path] = (),
) -> tuple[Contents, dict[str, Any]]:
  """The contents of a source's files, and its description with them.

  Their stamps are kept beside the output, not in it: the same input gives an
  output of the same bytes, but copies of that input have other stamps. `lock`
  is as in `open_contents`; `parts` are what `write_stamps` left of parts.
  """
  stamps = output.with_name(f'.{output.name}.{STAMPS_NAME}')
  contents = open_contents(stamps, lock, parts=parts, progress=progress)
  identified = contents.identify(source.describe())
  # What the parts have read is to be known when their files are gone.
  write_stamps(stamps, contents, always=bool(parts))
  return contents, identified


def open_contents(
  stamps: pathlib.Path,
  lock: pathlib.Path,
  *,
  parts: Iterable[pathlib.Path] = (),
  progress: bool = False,
) -> Contents:
  """Contents that spare reading what `write_stamps` left in files.

  `lock` was just written beside `stamps`: its time is that of the disk or
  server there, whose clock may be behind the one of this machine. `parts` are
  further files of stamps.
  """
  now_ns = min(lock.stat().st_mtime_ns, time.time_ns())
  known: dict[str, str] = {}
  for path in (*parts, stamps):
    known |= _read_stamps(path)
  return Contents(known, now_ns, progress=progress)


def write_stamps(
  stamps: pathlib.Path, contents: Contents, *, always: bool = False
) -> None:
  """Spares the next comparison the reading, where this one had to read."""
  found = contents.stamps() if contents.num_read or always else {}
  if found and os.access(stamps.parent, os.W_OK):
    durable_files.write_json(stamps, found)


def _read_stamps(path: pathlib.Path) -> dict[str, str]:
  """{} where they are not whole: what is lost is time, as all is read then."""
  stamps = read_or_none(path)
  if not isinstance(stamps, dict):
    return {}
  return {k: v for k, v in stamps.items() if isinstance(v, str)}


def without_files(value: Any) -> Any:
  """A description without its entries of files: how they are read."""
  if isinstance(value, dict):
    items = value.items()
    return {k: without_files(v) for k, v in items if not _is_entry(v)}
  if isinstance(value, (list, tuple)):
    return [without_files(inner) for inner in value if not _is_entry(inner)]
  return value


def _is_entry(value: Any) -> bool:
  return isinstance(value, (InputFile, InputFiles))


def _paths_in(value: Any) -> Iterator[Any]:
  if isinstance(value, InputFile):
    yield value.path
  elif isinstance(value, InputFiles):
    yield from value.paths.values()
  elif isinstance(value, dict):
    for inner in value.values():
      yield from _paths_in(inner)
  elif isinstance(value, (list, tuple)):
    for inner in value:
      yield from _paths_in(inner)


def _stamp(stat: os.stat_result) -> str:
  """Inode, size and both times, which any change of the content changes.

  The device is one more where times are of whole seconds, in which two small
  disks can be filled alike; elsewhere it is left out, as the number of a
  network disk is another on each machine.
  """
  times = stat.st_mtime_ns, stat.st_ctime_ns
  parts = [stat.st_ino, stat.st_size, *times]
  if not stat.st_ctime_ns % 10**9:
    parts.append(stat.st_dev)
  return ' '.join(map(str, parts))


def _stamp_now(path: pathlib.Path) -> str:
  try:
    return _stamp(path.stat())
  except OSError:
    return ''  # reading it says why


def _size(path: Any) -> int:
  """Bytes to read for a digest; 0 where the storage has a checksum."""
  try:
    return 0 if storage.is_remote(path) else path.stat().st_size
  except OSError:
    return 0  # as above


def _hash_local(
  path: pathlib.Path, note: Any
) -> tuple[dict[str, Any], os.stat_result]:
  """(bytes and sha256, what the file looked like before it was read)."""
  try:
    # Unbuffered: the chunks are large.
    with open(path, 'rb', buffering=0) as file:
      before = os.fstat(file.fileno())
      facts = _hash(file, note)
      after = os.fstat(file.fileno())
  except OSError as error:
    raise _unreadable(path, error) from None
  # st_ctime is left out: a new hard link changes it as well.
  if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
    raise InputError(
      f'{path}: has changed while it was being read; wait until it is '
      'complete, and run again'
    )
  return facts, before


def _hash_remote(path: Any, note: Any) -> dict[str, Any]:
  with storage.explained(path), path.open('rb') as file:
    return _hash(file, note)


def _hash(file: Any, note: Any) -> dict[str, Any]:
  digest, num_bytes = hashlib.sha256(), 0
  while chunk := file.read(_CHUNK_BYTES):
    digest.update(chunk)
    num_bytes += len(chunk)
    note(len(chunk))
  return {'bytes': num_bytes, 'sha256': digest.hexdigest()}


def _unreadable(path: Any, error: OSError) -> InputError:
  return InputError(
    f'{path}: cannot be read ({error.strerror or error}); check that it is '
    'there and may be read'
  )
