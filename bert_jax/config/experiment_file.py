"""Experiment files: Python whose `get_config()` returns an experiment."""

import contextlib
import dataclasses
import difflib
import os
import pathlib
import traceback
import types
from collections.abc import Iterable, Iterator
from typing import Any

import bert_jax
from bert_jax.config import own_classes
from bert_jax.errors import InputError, one_line


def load_config(path: str) -> Any:
  """Returns what `get_config()` of an experiment file returns, a dataclass.

  Args:
    path: a Python file; what follows a colon is passed to `get_config`.

  Raises:
    InputError: there is no such file, it has no `get_config`, or that does not
      return a dataclass instance; or its code raises an exception, which is the
      `__cause__` then.
  """
  module, argument = _load(path)
  if not hasattr(module, 'get_config'):
    raise InputError(f'--config={path}: the file has no function get_config()')
  with _one_line_for(path, getattr(module.get_config, '__code__', None)):
    config = module.get_config(*argument)
  if not dataclasses.is_dataclass(config) or isinstance(config, type):
    raise InputError(
      f'--config={path}: get_config() returns a {type(config).__name__}; it '
      'must return a dataclass instance'
    )
  return config


def load_classes(path: str, modules: Iterable[str]) -> None:
  """Makes the user's own classes known, for a config.json that names them.

  Args:
    path: the file of --config, or ''. It may be an experiment file, whose
      `get_config` is not called.
    modules: the names of --import.

  Raises:
    InputError: there is no such file or module.
  """
  if path:
    _load(path)
  own_classes.import_modules(modules)


def missing_config(verb: str) -> str:
  """Returns the message for a command without `--config`."""
  folder = pathlib.Path('experiments') / verb
  names = [file.name for file in _experiments() if file.parent.name == verb]
  there = f' ({", ".join(names)})' if names else ''
  return f'--config is missing; give a file of {folder}{there}'


def _load(path: str) -> tuple[types.ModuleType, list[str]]:
  """The module of FILE:ARGUMENT, and the argument if there is one."""
  file, *argument = path.split(':', 1)
  if not pathlib.Path(file).is_file():
    raise InputError(f'--config={path}: no such file; {_where(file)}')
  with _one_line_for(path):
    return own_classes.load_file(file), argument


@contextlib.contextmanager
def _one_line_for(
  path: str, called: types.CodeType | None = None
) -> Iterator[None]:
  """Turns an exception of the file's code into an InputError that names it.

  `called` is the function to name if its call fails before it begins, as it
  does without an argument that it needs.
  """
  file = os.path.abspath(path.split(':', 1)[0])
  try:
    yield
  except InputError:
    raise
  except Exception as error:
    lines = [
      frame.lineno
      for frame in traceback.extract_tb(error.__traceback__)
      if os.path.abspath(frame.filename) == file
    ]
    if not lines and called:
      lines = [called.co_firstlineno]
    if not lines and isinstance(error, OSError):
      raise  # The file itself cannot be read.
    where = f'line {lines[-1]}: ' if lines else ''
    what = ': '.join(filter(None, [type(error).__name__, one_line(error)]))
    fix = 'mend the file'
    if called:
      fix += ', or give what get_config() takes as --config=FILE:ARGUMENT'
    raise InputError(f'--config={path}: {where}{what}; {fix}') from error


def _experiments() -> list[pathlib.Path]:
  """The experiment files of the checkout that this package lies in."""
  root = pathlib.Path(bert_jax.__file__).parents[1]
  return sorted((root / 'experiments').glob('*/*.py'))


def _where(path: str) -> str:
  files = {file.name: file for file in _experiments()}
  near = difflib.get_close_matches(pathlib.Path(path).name, files, 1)
  if not near:
    return 'the ones that come with bert_jax are in its folder experiments/'
  file = files[near[0]]
  if file.is_relative_to(pathlib.Path.cwd()):
    file = file.relative_to(pathlib.Path.cwd())
  return f'the nearest is {file}'
