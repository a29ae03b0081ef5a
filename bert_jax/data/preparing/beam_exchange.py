"""Files between the process that prepares a corpus and Beam's workers."""

import contextlib
import hashlib
import os
import pathlib
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.data.preparing.blocks import Block, BlockDone
from bert_jax.data.preparing.groups import Task
from bert_jax.data.preparing.reading_workers import End, Read, events
from bert_jax.errors import InputError, one_line

Piece = tuple[Block, pathlib.Path]


class Exchange:
  """A folder in which tasks reach the workers and finished blocks come back.

  It is pickled with the work: each process opens the files by itself.
  """

  def __init__(self, partial: pathlib.Path, temporary: str):
    self._is_elsewhere = bool(temporary)
    self._partial = partial
    self._folder = str(partial)
    if temporary:
      key = hashlib.sha256(os.fsencode(partial)).hexdigest()[:8]
      self._folder = f'{temporary.rstrip("/")}/{partial.name}-{key}'
    self._run = ''

  def write_tasks(self, read: Read, tasks: Sequence[Task]) -> None:
    """Leaves tasks for the workers; call it before this object is pickled."""
    with self._explained():
      self.remove(finished=False)
      _files().mkdirs(self._tasks)
      # A name for each run: workers of one that was killed may still write.
      self._run = uuid.uuid4().hex
      self._write(self._name('tasks'), pickle.dumps((read, list(tasks))))

  def read_tasks(self) -> tuple[Read, list[Task]]:
    return pickle.loads(self._read(self._name('tasks')))

  def work_on(
    self,
    read: Read,
    task: Task,
    number: int,
    worker: Callable[[Piece], BlockDone],
  ) -> None:
    """Does all of a task, in a process of Beam's."""
    work = self._work_elsewhere if self._is_elsewhere else _work
    done = [
      event if isinstance(event, End) else work(event, worker)
      for event in events(read(task))
    ]
    self._write(self._name(f'{number:08d}'), pickle.dumps(done))

  def is_done(self, number: int) -> bool:
    with self._explained():
      return _files().exists(self._name(f'{number:08d}'))

  def read_done(self, number: int) -> list[Any]:
    """The events of a task; the blocks are then files of the folder."""
    with self._explained():
      done = pickle.loads(self._read(self._name(f'{number:08d}')))
      for block in done if self._is_elsewhere else ():
        if isinstance(block, BlockDone):
          with (
            self._open(f'{self._folder}/{block.name}') as source,
            durable_files.new_file(self._partial / block.name) as target,
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

  def _name(self, what: str) -> str:
    return f'{self._tasks}/{self._run}-{what}'

  def _work_elsewhere(
    self, piece: Piece, worker: Callable[[Piece], BlockDone]
  ) -> BlockDone:
    block, path = piece
    target = f'{self._folder}/{path.name}'
    with tempfile.TemporaryDirectory() as scratch:
      local = pathlib.Path(scratch, path.name)
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


def _work(piece: Piece, worker: Callable[[Piece], BlockDone]) -> BlockDone:
  return worker(piece)


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
