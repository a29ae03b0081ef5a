"""Shapes of JSON values that were read from a file, and a check of them.

A shape is str, int or float (any number); a list of one shape, for all of its
items; a dict, of a shape for each name; or Each. A damaged file is named here,
and is no bug of whoever reads on.
"""

import dataclasses
import math
import re
from typing import Any

from bert_jax.errors import InputError, shown

# Above every loss, perplexity and count, and not too large for any arithmetic.
_MAX_NUMBER = 1e305

_REMOVE = 'restore the file, or remove it'


@dataclasses.dataclass(frozen=True)
class Maybe:
  """A shape that need not be there."""

  shape: Any


@dataclasses.dataclass(frozen=True)
class Each:
  """An object of any names, whose values have the shape."""

  shape: Any


def require(value: Any, shape: Any, where: str) -> None:
  """Raises InputError unless a JSON value has the shape.

  Args:
    value: as json gives it.
    shape: str, int or float; [shape] for a list; {name: shape} for an object,
      which may have other names too; or an Each.
    where: the file and the field, for the message.
  """
  if isinstance(shape, dict | Each):
    if not isinstance(value, dict):
      raise _misfit(value, 'an object', where)
    if isinstance(shape, Each):
      shape = dict.fromkeys(value, shape.shape)
    for name, inner in shape.items():
      if name in value:
        inner = inner.shape if isinstance(inner, Maybe) else inner
        require(value[name], inner, f'{where} {shown(name)}')
      elif not isinstance(inner, Maybe):
        raise InputError(f'{where} {name} is missing; {_REMOVE}')
  elif isinstance(shape, list):
    if not isinstance(value, list):
      raise _misfit(value, 'a list', where)
    for item in value:
      require(item, shape[0], where)
  elif shape is str:
    # Half of a surrogate pair cannot be written.
    if not isinstance(value, str) or re.search('[\ud800-\udfff]', value):
      raise _misfit(value, 'a text', where)
  elif shape is int:
    if type(value) is not int or abs(value) > 2**53:
      raise _misfit(value, 'a whole number', where)
  elif not is_number(value):
    raise _misfit(value, 'a number', where)


def is_number(value: Any) -> bool:
  return type(value) in (int, float) and not _MAX_NUMBER < abs(value) < math.inf


def _misfit(value: Any, expected: str, where: str) -> InputError:
  # Not repr of it all: it may be nested without end.
  found = f'a {type(value).__name__}'
  if value is None or isinstance(value, str | int | float):
    found = shown(repr(value))
  return InputError(f'{where} {found} is not {expected}; {_REMOVE}')
