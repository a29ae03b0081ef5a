"""`--config.FIELD=VALUE`: looks up the field, reads the value, sets it.

ml_collections follows a path such as `data.stages[0].num_steps`. It answers a
misspelt name or a value of another type with a traceback, and reads `a,b` as
one string even if the field is a tuple; so both are checked here before.
"""

import ast
import dataclasses
import difflib
import enum
import math
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from bert_jax.errors import InputError, cut, shown

# Errors of ast.literal_eval on a text that is no literal; it raises the last
# two if brackets or signs are nested too deeply.
_NO_LITERAL = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)
_BOOLS = {'true': True, 'false': False, '1': True, '0': False}
_NAMES = {int: 'an integer', float: 'a number', bool: 'true or false'}
# The largest integer of jax and numpy.
_MAX_INTEGER = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Field:
  """A field of a config: its value, its annotation, and if it has fields."""

  value: Any
  type: Any
  is_group: bool = False


def config_fields(config: Any) -> dict[str, Field]:
  """Returns {'optimizer.learning_rate': Field} of all nested fields."""
  fields = {}
  types_of = typing.get_type_hints(type(config))
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    items = {field.name: value}
    if isinstance(value, list | tuple):
      items |= {f'{field.name}[{i}]': item for i, item in enumerate(value)}
    for name, item in items.items():
      if dataclasses.is_dataclass(item):
        fields[name] = Field(item, type(item), is_group=True)
        for inner_name, inner in config_fields(item).items():
          fields[f'{name}.{inner_name}'] = inner
      elif name == field.name:
        fields[name] = Field(item, types_of[field.name])
  return fields


def find_field(path: str, fields: dict[str, Field]) -> Field:
  """Looks up 'optimizer.learning_rate'; InputError names the nearest field."""
  if path not in fields:
    near, group = nearest(path, fields), path.rpartition('.')[0]
    if near and near[0] != group:
      hint = f'the nearest is --config.{near[0]}'
    elif group in fields and fields[group].is_group:
      hint = (
        f'--config.{group} is of {fields[group].type.__name__}; another kind '
        'comes with another experiment file'
      )
    else:
      names = [name for name in fields if '.' not in name]
      hint = f'there are {cut(", ".join(names), 300)}'
    raise InputError(f'--config.{shown(path)}: no such field; {hint}')
  field = fields[path]
  if field.is_group:
    inner = next((n for n in fields if n.startswith(f'{path}.')), '')
    raise InputError(
      f'--config.{path} is a group of fields; '
      + (
        f'set one of them, like --config.{inner}'
        if inner
        else 'choose another one in the experiment file'
      )
    )
  return field


def nearest(path: str, fields: Iterable[str]) -> list[str]:
  """Returns the field most like `path` by its whole or last name, or [].

  Initials are a name too: lr is learning_rate.
  """
  fields = list(fields)
  last = path.rpartition('.')[2]
  return (
    difflib.get_close_matches(path, fields, 1, cutoff=0.7)
    or [name for name in fields if name.rpartition('.')[2] == last][:1]
    or [name for name in fields if _initials(name) == last and last[1:]][:1]
    or difflib.get_close_matches(path, fields, 1, cutoff=0.5)
  )


def _initials(path: str) -> str:
  return ''.join(word[:1] for word in path.rpartition('.')[2].split('_'))


def set_field(config: Any, path: str, text: str) -> None:
  """Sets the field 'optimizer.learning_rate' of a config to a value's text.

  Raises:
    InputError: there is no such field, the text is no value of its type, or the
      field belongs to a frozen dataclass.
  """
  # A bare image for accelerators need not have it to read a config.
  try:
    from ml_collections.config_flags import config_path
  except ImportError:
    raise InputError(
      f'--config.{path} needs the package ml_collections: pip install '
      'ml_collections, or set the field in the experiment file'
    ) from None
  field = find_field(path, config_fields(config))
  try:
    config_path.set_value(path, config, _convert(text, field.type))
  except dataclasses.FrozenInstanceError:
    raise InputError(
      f'--config.{path}: its dataclass is frozen; change the experiment file'
    ) from None
  except ValueError as error:
    raise InputError(f'--config.{path}={shown(text)}: {error}') from None


def _convert(text: str, annotation: Any) -> Any:
  """Converts the text to a value; ValueError says what the text should be."""
  origin = typing.get_origin(annotation)
  if origin in (typing.Union, types.UnionType):
    inner = [t for t in typing.get_args(annotation) if t is not type(None)]
    if len(inner) == 1:
      return _convert(text, inner[0])
  elif annotation is tuple or origin is tuple:
    return _convert_tuple(text, typing.get_args(annotation))
  elif annotation is str:
    return text
  elif annotation is bool:
    if text.lower() in _BOOLS:
      return _BOOLS[text.lower()]
    raise ValueError('should be true or false')
  elif annotation in (int, float):
    return _convert_number(text, annotation)
  elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
    names = {
      name.lower(): item for name, item in annotation.__members__.items()
    }
    if text.lower() in names:
      return names[text.lower()]
    raise ValueError(f'should be one of {", ".join(annotation.__members__)}')
  name = getattr(annotation, '__name__', str(annotation))
  raise ValueError(
    f'a field of type {name} cannot be set here; change the experiment file'
  )


def _convert_number(text: str, annotation: type) -> int | float:
  try:
    number = annotation(text)
  except ValueError:
    raise ValueError(f'should be {_NAMES[annotation]}') from None
  if annotation is int and abs(number) > _MAX_INTEGER:
    raise ValueError(f'should be an integer of at most {_MAX_INTEGER}')
  if annotation is float and not math.isfinite(number):
    raise ValueError('should be a finite number')
  return number


def _convert_tuple(text: str, element_types: Sequence[Any]) -> tuple:
  """Reads `a,b`, `(1, 2)` or `` into a tuple of the annotated elements."""
  text = text.strip()
  if text[:1] in ('(', '['):
    try:
      items = ast.literal_eval(text)
      items = items if isinstance(items, list | tuple) else (items,)
      items = [str(item) for item in items]
    except _NO_LITERAL:
      raise ValueError('should be written a,b or ("a", "b")') from None
  else:
    items = text.split(',') if text else []
  if not element_types or element_types[-1] is Ellipsis:
    element_types = [*(element_types[:1] or [str])] * len(items)
  if len(items) != len(element_types):
    raise ValueError(
      f'should have {len(element_types)} elements, separated by ,'
    )
  try:
    return tuple(map(_convert, items, element_types))
  except ValueError as error:
    raise ValueError(f'each element {error}') from None
