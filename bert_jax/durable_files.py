"""Files that are there whole or not at all; a lock that dies with its owner.

A process can be killed, or a machine lose power, between any two instructions.
So a file gets its final name only when it is complete and on the disk. Paths
of a workdir may be those of a bucket (buckets.py), whose objects are there
whole or not at all by themselves.
"""

import contextlib
import errno
import fcntl
import io
import json
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from bert_jax import bucket_lock
from bert_jax.buckets import BucketPath, finished_folders
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path

# Errors of a disk, or of a user's share of it, that has no space left.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A file to write, which gets the name `path` once it is on the disk."""
  if isinstance(path, BucketPath):
    content = io.BytesIO()
    yield content
    path.write(content.getvalue())
    return
  temporary = path.with_name(f'.{path.name}.{_unique()}.tmp')
  try:
    with open(temporary, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def _unique() -> str:
  """A word that no other writer on a shared disk has.

  Process ids repeat between hosts: that of a container is often 1.
  """
  return secrets.token_hex(8)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes indented JSON, the same bytes for the same value."""
  text = json.dumps(value, indent=2, ensure_ascii=False) + '\n'
  with new_file(path) as file:
    # A lone surrogate, as in a file name that is not UTF-8, becomes its JSON
    # escape.
    file.write(text.encode(errors='backslashreplace'))


def append_line(path: pathlib.Path, value: Any) -> None:
  """Appends a line of JSON to a file that no other process writes."""
  line = json.dumps(value) + '\n'
  if isinstance(path, BucketPath):
    before, generation = path.read() if path.is_file() else (b'', 0)
    path.write(before + line.encode(), generation)
    return
  with open(path, 'a') as file:
    file.write(line)


def names(folder: pathlib.Path) -> list[str]:
  """Names in a folder; none if there is no folder. OSError on a bad disk."""
  if isinstance(folder, BucketPath):
    return [path.name for path in folder.iterdir()]
  try:
    return os.listdir(folder)
  except FileNotFoundError:
    return []


def folders(path: pathlib.Path) -> list[str]:
  """Names of the finished folders in a folder; none if there is no folder.

  A folder on a disk has its name once it is complete, one in a bucket once it
  holds the object that says so. Raises OSError if it cannot be listed.
  """
  if isinstance(path, BucketPath):
    return finished_folders(path)
  try:
    with os.scandir(path) as entries:
      return [entry.name for entry in entries if entry.is_dir()]
  except FileNotFoundError:
    return []


def remove_tree(path: pathlib.Path) -> None:
  """Removes a folder with all that is in it, if it is there."""
  if isinstance(path, BucketPath):
    path.remove_tree()
  else:
    shutil.rmtree(path, ignore_errors=True)


def sizes(folder: pathlib.Path) -> dict[str, int]:
  """The bytes of all files below a folder by their names in it, in order.

  Raises OSError if it cannot be listed.
  """
  if isinstance(folder, BucketPath):
    return folder.sizes()
  return {
    str(path.relative_to(folder)): path.stat().st_size
    for path in _files(folder)
  }


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda entry: entry.name):
      if entry.is_dir(follow_symlinks=False):
        yield from _files(pathlib.Path(entry.path))
      else:
        yield pathlib.Path(entry.path)


def read_through(path: pathlib.Path) -> None:
  """Reads a whole file, from the disk itself; OSError if that fails."""
  if isinstance(path, BucketPath):
    path.read_through()
    return
  with open(path, 'rb', buffering=0) as file:
    # Dropping the page cache forces a new read of the disk.
    if hasattr(os, 'posix_fadvise'):
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    while file.read(1 << 20):
      pass


def sync_folder(path: pathlib.Path) -> None:
  """Makes the names in a folder last through a power cut."""
  if isinstance(path, BucketPath):
    return
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def sync_tree(path: pathlib.Path) -> None:
  """Makes all below a folder last through a power cut, names and contents."""
  if isinstance(path, BucketPath):
    return
  for folder, _, names in os.walk(path, onerror=_raise):
    for name in names:
      with open(os.path.join(folder, name), 'rb') as file:
        os.fsync(file.fileno())
    sync_folder(pathlib.Path(folder))


def _raise(error: OSError) -> None:
  raise error


def check_writable(folder: pathlib.Path) -> None:
  """Makes a file for a moment; OSError if that fails in an existing folder."""
  path = folder / f'.writable.{_unique()}'
  with contextlib.suppress(FileNotFoundError):
    with new_file(path) as file:
      file.write(b'a run begins here')
    path.unlink()


def publish_folder(source: pathlib.Path, target: pathlib.Path) -> None:
  """Renames a finished folder once all its files are on the disk."""
  sync_tree(source)
  os.rename(source, target)
  sync_folder(target.parent)


@contextlib.contextmanager
def whole_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to fill, which gets the name `path` once all is on the disk.

  The caller keeps other processes out. Raises OSError if `path` is there
  already, unless it is an empty folder. A folder in a bucket is filled file by
  file.
  """
  if isinstance(path, BucketPath):
    with tempfile.TemporaryDirectory() as folder:
      yield pathlib.Path(folder)
      for name in sizes(pathlib.Path(folder)):
        (path / name).write((pathlib.Path(folder) / name).read_bytes())
    return
  partial = path.with_name(path.name + '.partial')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir()
  try:
    yield partial
    publish_folder(partial, path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def new_folder(output: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """The folder of a verb's --output, made by `whole_folder` under a lock.

  Raises InputError if it is there already, or is being written.
  """
  path = local_path(output, '--output')
  with output_lock(path):
    if path.exists():
      raise InputError(
        f'--output={path} is there already; remove it, or choose another'
      )
    with whole_folder(path) as partial:
      yield partial


@contextlib.contextmanager
def output_lock(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Holds the lock of a verb's --output, whose folder it makes.

  Yields the lock file beside it, which was just written. Raises InputError if
  another process holds it.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  lock = path.with_name(path.name + '.lock')
  with exclusive_lock(lock, f'--output={path}'):
    yield lock


@contextlib.contextmanager
def workdir_lock(path: pathlib.Path, what: str) -> Iterator[Callable[[], None]]:
  """Holds `path` as a lock, on a disk or in a bucket.

  Yields a function that raises InputError once another process has taken the
  lock over, which happens in buckets alone; see bucket_lock.py.
  """
  if isinstance(path, BucketPath):
    with bucket_lock.held(path, what) as require:
      yield require
  else:
    with exclusive_lock(path, what):
      yield lambda: None


@contextlib.contextmanager
def exclusive_lock(
  path: pathlib.Path,
  what: str,
  wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
  """Holds `path` as a lock; InputError names the owner if another holds it.

  The kernel drops the lock when its owner dies, however it dies, so a file left
  behind blocks nobody, and a reused process id misleads nobody.

  Args:
    path: the file, made here and removed at the end.
    what: name of the locked thing; begins the error's message.
    wait: is called with the owner's name, and the lock is waited for; None
      raises the error instead.
  """
  while True:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
      _take(handle, what, wait)
    except BaseException:
      os.close(handle)
      raise
    # The previous owner may have removed the file after it was opened here.
    with contextlib.suppress(FileNotFoundError):
      if os.stat(path).st_ino == os.fstat(handle).st_ino:
        break
    os.close(handle)
  try:
    os.ftruncate(handle, 0)
    os.write(
      handle, f'process {os.getpid()} on {os.uname().nodename}\n'.encode()
    )
    yield
  finally:
    os.unlink(path)
    os.close(handle)


def _take(handle: int, what: str, wait: Callable[[str], None] | None) -> None:
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return
  except OSError as error:
    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
      raise
  owner = os.read(handle, 200).decode('utf-8', 'replace').strip()
  owner = owner or 'another process'
  if wait is None:
    raise InputError(
      f'{what} is in use by {owner}; wait for it, or choose another'
    )
  wait(owner)
  fcntl.flock(handle, fcntl.LOCK_EX)
