"""Experiment files: loads one, and checks `--config.FIELD=VALUE` against it.

ml_collections sets the fields, but answers a misspelt name or a value of
another type with a traceback, and reads `a,b` as one string where a field is a
tuple. So each override is looked up and converted here before it gets there.
"""

import ast
import dataclasses
import difflib
import enum
import importlib.util
import math
import pathlib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import bert_jax
from bert_jax.errors import InputError, shown

# All that ast.literal_eval says of a text that is none; the last two where its
# brackets or signs are nested too deeply.
_NO_LITERAL = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)
_BOOLS = {'true': True, 'false': False, '1': True, '0': False}
_NAMES = {int: 'an integer', float: 'a number', bool: 'true or false'}
# What jax and numpy can hold.
_MAX_INTEGER = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Field:
  """One field of a config: its value, its annotation, and if it has fields."""

  value: Any
  type: Any
  is_group: bool = False


def load_config(path: str) -> Any:
  """Returns what `get_config()` of an experiment file returns, a dataclass.

  Args:
    path: a Python file; what follows a colon is passed to `get_config`.

  Raises:
    InputError: when there is no such file, no `get_config` in it, or it
      returns something else than a dataclass instance.
  """
  file, *argument = path.split(':', 1)
  if not pathlib.Path(file).is_file():
    raise InputError(f'--config={path}: no such file; {_where(file)}')
  spec = importlib.util.spec_from_file_location('experiment', file)
  if spec is None or spec.loader is None:
    raise InputError(f'--config={path}: an experiment is a file *.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise InputError(f'--config={path}: the file has no function get_config()')
  config = module.get_config(*argument)
  if not dataclasses.is_dataclass(config) or isinstance(config, type):
    raise InputError(
      f'--config={path}: get_config() returns a {type(config).__name__}; it '
      'must return a dataclass instance'
    )
  return config


def missing_config(verb: str) -> str:
  """Returns the message for a command without `--config`."""
  folder = pathlib.Path('experiments') / verb
  names = [file.name for file in _experiments() if file.parent.name == verb]
  there = f' ({", ".join(names)})' if names else ''
  return f'--config is missing; give a file of {folder}{there}'


def config_fields(config: Any) -> dict[str, Field]:
  """Returns {'optimizer.learning_rate': Field} of all nested fields."""
  fields = {}
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
        fields[name] = Field(item, field.type)
  return fields


def find_field(path: str, fields: dict[str, Field]) -> Field:
  """Looks up 'optimizer.learning_rate'; InputError names the nearest field."""
  if path not in fields:
    near = nearest(path, fields)
    hint = (
      f'the nearest is --config.{near[0]}'
      if near
      else 'there are '
      + (', '.join(name for name in fields if '.' not in name))
    )
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
  """Returns the field most like `path` by its whole or last name, or []."""
  fields = list(fields)
  last = path.rpartition('.')[2]
  return (
    difflib.get_close_matches(path, fields, 1, cutoff=0.7)
    or [name for name in fields if name.rpartition('.')[2] == last][:1]
    or difflib.get_close_matches(path, fields, 1, cutoff=0.5)
  )


def canonical(path: str, field: Field, text: str) -> str:
  """Returns `text` as ml_collections reads it into a field of this type.

  Raises:
    InputError: when the text is no value of the field's type.
  """
  try:
    value = _convert(text, field.type)
  except ValueError as error:
    raise InputError(f'--config.{path}={shown(text)}: {error}') from None
  return repr(value) if isinstance(value, tuple) else text


def _convert(text: str, annotation: Any) -> Any:
  """Returns the value; ValueError says what the text should be."""
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
