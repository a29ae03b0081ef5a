"""Damage: tells a damaged checkpoint from one that could not be read just now.

Proof is a digest that differs, or a file that is missing, cut or changed, seen
twice, while the system can read every file of the folder. An error of the disk,
the memory, the device or the program proves nothing about the checkpoint.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import jax

from bert_jax import durable_files
from bert_jax.buckets import BucketPath
from bert_jax.config.json_files import json_digest
from bert_jax.errors import InputError, one_line
from bert_jax.parallel import distributed
from bert_jax.train import orbax_traces

# The list of a finished step's files: {name: [size, sha256]}. Large ones are
# not hashed here: they hold arrays, which have digests.
MANIFEST = 'files.json'
_SMALL = 4 << 20
# Files that Orbax writes for every item that holds arrays.
_ARRAY_FILES = ('_METADATA', 'manifest.ocdbt')

T = TypeVar('T')


class CheckpointError(Exception):
  """A checkpoint that cannot be trusted; the message says why."""


class Incomplete(Exception):
  """A part that Orbax reports as missing, which is no proof of damage."""


@dataclasses.dataclass(frozen=True)
class Fault:
  """The reason why Orbax or one of our checks failed.

  kind: 'digest' and 'array file' mean damage if they are seen twice; 'memory',
    'device' and 'disk' are faults of the environment; 'missing' and 'unknown'
    need proof.
  number: the errno, or 0 if it was no error of the system.
  """

  kind: str
  text: str
  number: int = 0


class FaultOfAll(Exception):
  """A fault that one of several processes has met, in all of them."""

  def __init__(self, fault: Fault):
    super().__init__(fault.text)
    self.fault = fault


# Kinds of faults of the environment, which prove nothing.
_OUTSIDE = ('memory', 'device', 'disk')
# The order in which the others count where an error has several faults.
_RANKS = {'digest': 1, 'array file': 2, 'missing': 3}
# Errors that say a file is missing, which is no fault of the disk.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_DAMAGE = re.compile(r'(NOT_FOUND|OUT_OF_RANGE|DATA_LOSS): ')
_ENVIRONMENT = re.compile(
  r'(UNKNOWN|UNAVAILABLE|RESOURCE_EXHAUSTED|PERMISSION_DENIED|ABORTED'
  r'|DEADLINE_EXCEEDED|CANCELLED|INTERNAL|UNAUTHENTICATED): '
)
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_LOCAL_FILE = re.compile(r'(?:local file |open file |open: )"?(/[^":]+)')

_ADVICE = {
  'memory': 'it needs more memory than is free: close what else runs on this '
  'machine, or give the run more or larger devices',
  'device': 'try again; where it stays so, look after the device',
  'disk': 'try again, or move the workdir to another disk',
  'missing': 'its files are there; try again, or move the workdir to another '
  'disk',
  'unknown': 'it may have been written by another version of bert_jax or '
  'Orbax; try again with that one, or move this folder away to go on from the '
  'checkpoint before it',
}


def sound(path: pathlib.Path, items: Sequence[str], load: Callable[[], T]) -> T:
  """Returns what `load` returns for the `items`; tries a failed call once more.

  Raises:
    CheckpointError: it fails, and there is proof of damage.
    InputError: it fails without such proof; nothing was changed.
  """
  with orbax_traces.quiet():
    result, first = _tried(load)
    if first is None:
      return cast(T, result)
    # Reading every byte here tells an error of the disk from damage.
    unreadable = _unreadable(path)
    if first.kind in _OUTSIDE or unreadable:
      raise _not_read(path, unreadable or first)
    result, second = _tried(load)
    if second is None:
      print(
        f'checkpoint {path} was read at the second try; the first said: '
        f'{first.text}. Look after the disk and the memory of this machine',
        flush=True,
      )
      return cast(T, result)
    try:
      proof = _proof_of_damage(path, items)
    except OSError as error:
      raise _not_read(path, fault_of(error)) from error
    if second.kind == 'digest':
      raise CheckpointError(second.text)
    if proof or second.kind == 'array file':
      raise CheckpointError(proof or second.text)
    raise _not_read(path, second)


def together(read: Callable[[], T]) -> T:
  """Returns what `read` returns, once all of several processes have read.

  A fault of one is raised by all as FaultOfAll: none of them waits for the
  others in what follows, and all do the same about it.
  """
  if not distributed.several():
    return read()
  result, fault = None, None
  try:
    result = read()
  except InputError:
    raise
  except Exception as error:  # whatever a damaged folder makes Orbax raise
    fault = fault_of(error)
  mine = fault and [fault.kind, fault.text, fault.number]
  found = [
    Fault(kind, f'process {process}: {text}', number)
    for process, its in enumerate(distributed.agree('reading', mine))
    for kind, text, number in ([its] if its else [])
  ]
  if found:
    raise FaultOfAll(min(found, key=_rank))
  return cast(T, result)


def _tried(load: Callable[[], T]) -> tuple[T | None, Fault | None]:
  fault = None
  try:
    return load(), None
  except InputError:
    raise
  except Exception as error:  # whatever a damaged folder makes Orbax raise
    fault = fault_of(error)
  # The error kept Orbax's tasks alive; now that it is gone they can be freed.
  orbax_traces.collect()
  return None, fault


def _not_read(path: pathlib.Path, fault: Fault) -> InputError:
  kind = fault.kind if fault.kind in _ADVICE else 'unknown'
  return InputError(
    f'checkpoint {path} could not be read ({fault.text}); nothing was changed; '
    f'{_ADVICE[kind]}'
  )


def fault_of(error: BaseException) -> Fault:
  """The fault behind an error; faults of the environment come first."""
  causes = list(_causes(error))
  if found := [fault for cause in causes if (fault := _classified(cause))]:
    return min(found, key=_rank)
  root = causes[-1]
  return Fault('unknown', f'{_one_line(root)}{_place(root)}')


def _rank(fault: Fault) -> int:
  return _RANKS.get(fault.kind, 0)


def _classified(error: BaseException) -> Fault | None:
  text = str(error)
  if isinstance(error, FaultOfAll):
    return error.fault
  if isinstance(error, CheckpointError):
    return Fault('digest', text)
  if isinstance(error, MemoryError):
    return Fault('memory', _one_line(error))
  if isinstance(error, OSError):
    if error.errno is None or error.errno in _MISSING:
      return Fault('missing', _one_line(error))
    return _disk(error.errno, error.filename)
  if match := _OS_ERROR.search(text):
    if int(match[1]) not in _MISSING:
      names = _LOCAL_FILE.findall(text)
      return _disk(int(match[1]), names[-1] if names else None)
  if isinstance(error, Incomplete):
    return Fault('missing', text)
  if 'RESOURCE_EXHAUSTED' in text or "can't start new thread" in text:
    return Fault('memory', _one_line(error))
  if isinstance(error, jax.errors.JaxRuntimeError):
    return Fault('device', _one_line(error))
  if _ENVIRONMENT.match(text):
    return Fault('disk', _one_line(error))
  if _DAMAGE.match(text):
    return Fault('array file', _one_line(error))
  return None


def _disk(number: int, filename: object) -> Fault:
  kind = 'memory' if number == errno.ENOMEM else 'disk'
  name = errno.errorcode.get(number, str(number))
  where = f' on {os.fsdecode(filename)}' if isinstance(filename, str) else ''
  return Fault(kind, f'{name}: {os.strerror(number)}{where}', number)


def _causes(error: BaseException) -> Iterator[BaseException]:
  """Yields the error and its causes, outermost first, each once."""
  ahead, seen = [error], set()
  while ahead:
    current = ahead.pop(0)
    if id(current) in seen:
      continue
    seen.add(id(current))
    yield current
    inner = [*getattr(current, 'exceptions', ())]
    inner += [current.__cause__ or current.__context__]
    ahead += [cause for cause in inner if cause is not None]


def _one_line(error: BaseException) -> str:
  return f'{type(error).__name__}: {one_line(error)}'


def _place(error: BaseException) -> str:
  frames = traceback.extract_tb(error.__traceback__)
  if not frames:
    return ''
  return f', at {pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno}'


def _unreadable(folder: pathlib.Path) -> Fault | None:
  """Lists and reads the whole folder; returns the system's first error."""
  path = folder
  try:
    for name in durable_files.sizes(folder):
      path = folder / name
      durable_files.read_through(path)
  except OSError as error:
    return _disk(error.errno or errno.EIO, error.filename or str(path))
  except MemoryError as error:
    return Fault('memory', _one_line(error))
  return None


def seal(folder: pathlib.Path) -> None:
  """Puts a finished checkpoint on the disk for good, with its MANIFEST.

  Orbax leaves its metadata in the system's cache. Raises OSError if syncing
  fails. A full disk costs only the MANIFEST: the checkpoint is whole without
  it, as after a kill, and the next save reports the disk.
  """
  durable_files.sync_tree(folder)
  durable_files.sync_folder(folder.parent)
  # A bucket has checksums of its own, and each read of it takes time.
  limit = -1 if isinstance(folder, BucketPath) else _SMALL
  files = {
    name: [size, _hash((folder / name).read_bytes()) if size <= limit else '']
    for name, size in durable_files.sizes(folder).items()
    if name != MANIFEST
  }
  with contextlib.suppress(OSError):
    digest = json_digest(files, sort_keys=True)
    durable_files.write_json(
      folder / MANIFEST, {'files': files, 'sha256': digest}
    )


def set_aside(folder: pathlib.Path, step: int) -> pathlib.Path:
  """Renames a damaged checkpoint for all processes; returns its new path."""
  number, aside = 0, folder / f'damaged-{step}'
  while aside.exists():
    number += 1
    aside = folder / f'damaged-{step}-{number}'
  if distributed.is_first():
    (folder / str(step)).rename(aside)
  return folder / distributed.as_first('set aside', aside.name)


def _proof_of_damage(folder: pathlib.Path, items: Sequence[str]) -> str:
  """Names a file that is missing, cut or changed; '' if there is none."""
  return _changed(folder) or _incomplete(folder, items)


def _changed(folder: pathlib.Path) -> str:
  """Says what differs from the MANIFEST; '' if nothing, or without one."""
  try:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    files = manifest['files']
    if manifest['sha256'] != json_digest(files, sort_keys=True):
      return ''
  except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
    return ''  # the process may have been killed before it wrote the MANIFEST
  for name, (size, digest) in files.items():
    path = folder / name
    try:
      found = path.stat().st_size
    except FileNotFoundError:
      return f'its file {name} is missing'
    if found != size:
      return f'its file {name} has {found} bytes, {size} were written'
    if digest and _hash(path.read_bytes()) != digest:
      return f'its file {name} is not what was written'
  return ''


def _incomplete(folder: pathlib.Path, items: Sequence[str]) -> str:
  """Names a file of every checkpoint that is missing or not JSON; '' if none.

  Orbax's report proves nothing: it takes any error in looking for a file for a
  missing file.
  """
  names = [f'{item}/{name}' for item in items for name in _ARRAY_FILES]
  for name in ['data/data.json', *names]:
    try:
      content = (folder / name).read_bytes()
      if not name.endswith('.ocdbt'):
        json.loads(content)
    except (FileNotFoundError, NotADirectoryError):
      return f'its file {name} is missing'
    except ValueError:
      return f'its file {name} is cut or changed'
  return ''


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()
