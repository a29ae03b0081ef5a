"""Functions of the user's own, named on the command line."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from bert_jax.errors import InputError, shown


def load(flag: str, name: str, example: str) -> Callable[..., Any]:
  """The function that `--flag=MODULE:FUNCTION` names, such as `example`.

  Raises InputError where there is none.
  """
  module, colon, function = name.partition(':')
  if not (module and colon and function):
    raise InputError(
      f'--{flag}={shown(name)}: give MODULE:FUNCTION, such as {example}'
    )
  try:
    found = getattr(importlib.import_module(module), function, None)
  except ModuleNotFoundError as error:
    raise InputError(
      f'--{flag}={shown(name)}: {error}; put its folder on PYTHONPATH'
    ) from None
  if not callable(found):
    raise InputError(f'--{flag}={shown(name)}: {module} has no such function')
  return found


def describe(name: str, function: Callable[..., Any]) -> dict[str, Any]:
  """A JSON object of what decides the function's answers: name and code.

  The code is that of the files in which the named module and the function are
  written; what these import is not looked at. {'name'} alone of a function that
  is built into Python.
  """
  named = sys.modules[name.partition(':')[0]]
  home = getattr(inspect.unwrap(function), '__module__', None)
  written = sys.modules.get(home or '')
  paths = {
    path: None
    for module in (named, written)
    if (path := getattr(module, '__file__', None))
  }
  if not paths:
    return {'name': name}
  digest = hashlib.sha256()
  for path in paths:
    with open(path, 'rb') as file:
      digest.update(hashlib.file_digest(file, 'sha256').digest())
  return {'name': name, 'sha256': digest.hexdigest()}
