"""Functions of the user's own, named on the command line."""

import importlib
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
