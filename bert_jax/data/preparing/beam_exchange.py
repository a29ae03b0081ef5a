"""Files between the process that prepares a corpus and Beam's workers."""

import contextlib
import hashlib
import os
import pathlib
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from bert_jax import durable_files
from bert_jax.data.preparing.blocks import Block, BlockDone
from bert_jax.errors import InputError, one_line

Task = tuple[Block, pathlib.Path]


class Exchange:
  """A folder in which tasks reach the workers and finished blocks come back.

  It is pickled with the work: each process opens the files by itself.
  """

  def __init__(self, partial: pathlib.Path, temporary: str):
    self._is_elsewhere = bool(temporary)
    self._folder = str(partial)
    if temporary:
      key = hashlib.sha256(os.fsencode(partial)).hexdigest()[:8]
      self._folder = f'{temporary.rstrip("/")}/{partial.name}-{key}'
    # A name for each run: workers of one that was killed may still be writing.
    self._run = uuid.uuid4().hex
    self._is_ready = False

  def write_task(self, number: int, task: Task) -> None:
    import zstandard

    data = zstandard.ZstdCompressor(level=1).compress(pickle.dumps(task))
    with self._explained():
      if not self._is_ready:
        self.remove(finished=False)
        _files().mkdirs(self._tasks)
        self._is_ready = True
      self._write(self._task_name(number), data)

  def work_on(self, number: int, worker: Callable[[Task], BlockDone]) -> None:
    """Turns the block of a task into a file, in a process of Beam's."""
    import zstandard

    data = self._read(self._task_name(number))
    block, path = pickle.loads(zstandard.ZstdDecompressor().decompress(data))
    if self._is_elsewhere:
      done = self._work_elsewhere(block, path.name, worker)
    else:
      done = worker((block, path))
    self._write(self._done_name(number), pickle.dumps(done))

  def is_done(self, number: int) -> bool:
    with self._explained():
      return _files().exists(self._done_name(number))

  def read_done(self, number: int, path: pathlib.Path) -> BlockDone:
    """Fetches the block as the file `path`, where it is not there yet."""
    with self._explained():
      done = pickle.loads(self._read(self._done_name(number)))
      if self._is_elsewhere:
        with (
          self._open(f'{self._folder}/{path.name}') as source,
          durable_files.new_file(path) as target,
        ):
          shutil.copyfileobj(source, target)
    return done

  def remove(self, finished: bool) -> None:
    """Removes the tasks and, if all blocks were fetched, the blocks."""
    folders = [self._tasks]
    if finished and self._is_elsewhere:
      folders.append(self._folder)
    with self._explained():
      for folder in folders:
        _remove_folder(folder)

  @property
  def _tasks(self) -> str:
    return f'{self._folder}/tasks'

  def _task_name(self, number: int) -> str:
    return f'{self._tasks}/{self._run}-{number:08d}.task'

  def _done_name(self, number: int) -> str:
    return f'{self._tasks}/{self._run}-{number:08d}.done'

  def _work_elsewhere(
    self, block: Block, name: str, worker: Callable[[Task], BlockDone]
  ) -> BlockDone:
    target = f'{self._folder}/{name}'
    with tempfile.TemporaryDirectory() as scratch:
      local = pathlib.Path(scratch, name)
      if _files().exists(target):
        with self._open(target) as source, open(local, 'wb') as copy:
          shutil.copyfileobj(source, copy)
      done = worker((block, local))
      if not done.was_there:
        self._write(target, local.read_bytes())
    return done

  def _open(self, name: str) -> Any:
    # Beam would unpack by the name's ending; these bytes stay as they are.
    return _files().open(name, compression_type='uncompressed')

  def _read(self, name: str) -> bytes:
    with self._open(name) as file:
      return file.read()

  def _write(self, name: str, data: bytes) -> None:
    """Writes a file whole or not at all, since tasks may be tried twice."""
    part = f'{name}.{uuid.uuid4().hex}.part'
    with _files().create(part, compression_type='uncompressed') as file:
      file.write(data)
    _files().rename([part], [name])

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    """Turns an error at --temp_location into one line for the user."""
    try:
      yield
    except InputError:
      raise
    # Every storage has errors of its own; many are not OSErrors.
    except Exception as error:
      full = (
        isinstance(error, OSError) and error.errno in durable_files.NO_SPACE
      )
      if full or not self._is_elsewhere:
        raise
      raise InputError(
        f'--temp_location: {self._folder} cannot be used ({last_line(error)}); '
        'check the name, the network and the account'
      ) from error


def _remove_folder(folder: str) -> None:
  if _is_on_disk(folder):
    # Beam's own deletion takes a name with [ as a pattern.
    if os.path.isdir(folder):
      shutil.rmtree(folder)
    return
  # Storage has objects with names, not folders.
  (found,) = _files().match([f'{folder}/*'])
  if paths := [file.path for file in found.metadata_list]:
    _files().delete(paths)


def _is_on_disk(name: str) -> bool:
  return _files().get_scheme(name) is None


def last_line(error: object) -> str:
  """The last line of a text, which is where a traceback says why."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return one_line(lines[-1], 300)


def _files() -> Any:
  from apache_beam.io.filesystems import FileSystems

  return FileSystems
