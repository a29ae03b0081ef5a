"""An object storage in memory that stands in for gs://."""

import io
import pathlib
import threading
from collections.abc import Callable

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FakeStorage(MemoryFileSystem):
  """A file system in memory that can fail and records its reads.

  `error` is raised on opening files whose names contain `failing`. `opened`
  lists the paths that were opened for reading.
  """

  protocol = ('gs', 'gcs')
  store = {}
  pseudo_dirs = ['']
  error = None
  failing = ''
  opened = []

  @classmethod
  def _strip_protocol(cls, path):
    return '/' + path.removeprefix('gs://').strip('/')

  def unstrip_protocol(self, name):
    return 'gs://' + name.strip('/')

  def _open(self, path, mode='rb', **options):
    if mode == 'rb':
      FakeStorage.opened.append(path)
    if FakeStorage.error and FakeStorage.failing in path:
      raise FakeStorage.error
    return super()._open(path, mode, **options)


def upload(folder: pathlib.Path, url: str) -> None:
  """Copies all files below a folder to a URL."""
  storage = fsspec.filesystem('gs')
  for path in folder.rglob('*'):
    if path.is_file():
      name = path.relative_to(folder).as_posix()
      storage.pipe(f'{url}/{name}', path.read_bytes())


def opened_shards() -> set[str]:
  """The names of the shards that were opened."""
  names = {path.rpartition('/')[2] for path in FakeStorage.opened}
  return {name for name in names if name.endswith('.npy')}


def join_ahead() -> None:
  """Waits for the copies that are made ahead of need."""
  for thread in threading.enumerate():
    if thread.name == 'copy-ahead':
      thread.join()


class Watched(io.StringIO):
  """A text stream that calls `written` after each write."""

  def __init__(self, written: Callable[[], None]):
    super().__init__()
    self._written = written

  @property
  def text(self) -> str:
    return self.getvalue()

  def write(self, text: str) -> int:
    length = super().write(text)
    self._written()
    return length
