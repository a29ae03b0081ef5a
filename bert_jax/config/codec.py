"""Config dataclasses to JSON values and back, and where two of them differ.

Only dataclasses of this package are made from a file: a config.json is data of
whoever wrote it, and never names what is imported.
"""

import contextlib
import dataclasses
import importlib
import re
import types
import typing
from typing import Any

from bert_jax.errors import InputError, quoted, shown


def encode(value: Any) -> Any:
  """A config -> JSON values; every dataclass carries its `_type`."""
  if dataclasses.is_dataclass(value):
    cls = type(value)
    fields = {
      field.name: encode(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
    return {'_type': f'{cls.__module__}.{cls.__qualname__}', **fields}
  if isinstance(value, (list, tuple)):
    return [encode(item) for item in value]
  return value


def decode(value: Any, *, where: str) -> Any:
  """The reverse of `encode`; `where` names the file in errors.

  Only dataclasses of this package are made, with the fields they have and
  values of the types that these say. Raises InputError on all else.
  """
  try:
    return _decode(value, where)
  except RecursionError:
    raise InputError(
      f'{where}: is nested too deeply for a config; restore it or start anew'
    ) from None


def _decode(value: Any, where: str) -> Any:
  if isinstance(value, list):
    return tuple(_decode(item, where) for item in value)
  if not isinstance(value, dict):
    return value
  fields = dict(value)
  cls = config_class(fields.pop('_type', None), where)
  if from_earlier := getattr(cls, 'from_earlier', None):
    fields = from_earlier(fields)
  known = {field.name: field for field in dataclasses.fields(cls)}
  unknown = sorted(set(fields) - set(known))
  missing = [
    name
    for name, field in known.items()
    if name not in fields
    and field.default is field.default_factory is dataclasses.MISSING
  ]
  if unknown or missing:
    problem = 'no field' if unknown else 'to have a field'
    raise InputError(
      f'{where}: {cls.__name__} has {problem} '
      f'{quoted((unknown or missing)[0])}; it was written by another version '
      'of bert_jax'
    )
  values = {
    name: item if _is_json(known[name].type) else _decode(item, where)
    for name, item in fields.items()
  }
  for name, value in values.items():
    if not _is_a(value, known[name].type):
      expected = getattr(known[name].type, '__name__', 'config')
      raise InputError(
        f'{where}: {cls.__name__}.{name} is {shown(repr(value))}, which is no '
        f'{expected}; restore the file or start anew'
      )
  return cls(**values)


def _is_a(value: Any, annotation: Any) -> bool:
  """Whether a decoded value is of the type that its field says."""
  origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
  if origin in (typing.Union, types.UnionType):
    return any(_is_a(value, kind) for kind in inner)
  if origin is tuple:
    if not isinstance(value, tuple):
      return False
    if inner[-1] is Ellipsis:
      inner = inner[:1] * len(value)
    return len(value) == len(inner) and all(map(_is_a, value, inner))
  if origin is dict:
    return isinstance(value, dict)
  # Any is the place of a component's config, whichever was chosen.
  if annotation is Any:
    return dataclasses.is_dataclass(value)
  if dataclasses.is_dataclass(annotation):
    return isinstance(value, annotation)
  # Not isinstance: bool is an int to Python.
  return type(value) in _PLAIN_TYPES.get(annotation, ())


def _is_json(annotation: Any) -> bool:
  """Whether a field holds an object of JSON as it is: dict, or None."""
  kinds = typing.get_args(annotation) or (annotation,)
  return any(typing.get_origin(kind) is dict for kind in (annotation, *kinds))


_PLAIN_TYPES = {
  int: (int,),
  float: (int, float),
  bool: (bool,),
  str: (str,),
  type(None): (type(None),),
}
_CONFIG_NAME = re.compile(r'(bert_jax(?:\.[a-z][a-z0-9_]*){1,4})\.([A-Z]\w*)')


def config_class(name: Any, where: str) -> type:
  """The dataclass of this package that a `_type` names; else InputError."""
  match = _CONFIG_NAME.fullmatch(name) if isinstance(name, str) else None
  cls = None
  # A verb is run by being imported: it defines the flags of the process.
  if match and not match[1].startswith('bert_jax.cli'):
    with contextlib.suppress(ModuleNotFoundError):
      cls = getattr(importlib.import_module(match[1]), match[2], None)
  if not (
    isinstance(cls, type)
    and dataclasses.is_dataclass(cls)
    # Not one that the module has imported.
    and cls.__module__ == match[1]
  ):
    raise InputError(
      f'{where}: {shown(repr(name))} is not a config class of bert_jax; refused'
    )
  return cls


def differences(
  old: Any, new: Any, prefix: str = ''
) -> list[tuple[str, Any, Any]]:
  """(field, old value, new value) where two configs differ.

  Fields with `execution` in their metadata say how a run is carried out, not
  what it computes; they are left out.
  """
  if type(old) is not type(new) or not dataclasses.is_dataclass(old):
    return [] if old == new else [(prefix, old, new)]
  found = []
  for field in dataclasses.fields(old):
    if field.metadata.get('execution'):
      continue
    name = f'{prefix}.{field.name}' if prefix else field.name
    found += differences(
      getattr(old, field.name), getattr(new, field.name), name
    )
  return found


def execution(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
  """A dataclass field that may change when a run is continued."""
  if default is not dataclasses.MISSING:
    kwargs['default'] = default
  return dataclasses.field(metadata={'execution': True}, **kwargs)


def check_unchanged(
  old: Any, new: Any, allowed: tuple[str, ...], same: tuple[str, ...] = ()
) -> list[str]:
  """Raises InputError on fields that may not change; returns what did change.

  `allowed` are the fields named by --allow_change; a name covers all below it.
  `same` are fields that are not compared.
  """
  changes = []
  for name, before, after in differences(old, new):
    if name in same:
      continue
    line = f'{name}: {before!r} -> {after!r}'
    if any(name == item or name.startswith(item + '.') for item in allowed):
      changes.append(line)
      continue
    raise InputError(
      f'the config differs from that of the workdir in {line}; use another '
      f'--workdir, or --allow_change={name} to go on from its checkpoint'
    )
  return changes
