"""Converts config dataclasses to JSON values and back, and compares them.

Only dataclasses of this package, and a user's own that are imported already,
are made from a file: a config.json may come from anybody, so it never decides
what is imported.
"""

import contextlib
import dataclasses
import importlib
import json
import re
import typing
from typing import Any

from bert_jax.config import own_classes
from bert_jax.config.json_decoder import Decoder
from bert_jax.config.renamed import RENAMED
from bert_jax.errors import InputError, listed, shown


def encode(value: Any) -> Any:
  """Turns a config into JSON values; every dataclass carries its `_type`.

  Raises:
    InputError: JSON cannot hold a value, or a class cannot be named.
  """
  if dataclasses.is_dataclass(value):
    fields = {
      field.name: encode(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
    return {'_type': own_classes.recorded_name(type(value)), **fields}
  if isinstance(value, (list, tuple)):
    return [encode(item) for item in value]
  if isinstance(value, dict):
    return {name: encode(item) for name, item in value.items()}
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise InputError(
    f'the config holds {shown(repr(value))}, a {type(value).__name__}; '
    'config.json has texts, numbers, lists and dataclasses of them'
  )


def decode(value: Any, *, where: str) -> Any:
  """Reverses `encode`; `where` names the file in errors.

  Raises InputError unless every class is of this package or imported already,
  and every field exists and has a value of its annotated type.
  """
  decoder = Decoder(
    where=where, fix='restore the file or start anew', make=_make
  )
  try:
    if not isinstance(value, dict):
      raise InputError(f'{where}: holds no config; {decoder.fix}')
    return _make(value, '', decoder)
  except RecursionError:
    raise InputError(
      f'{where}: is nested too deeply for a config; restore it or start anew'
    ) from None


def check_recordable(config: Any) -> None:
  """Raises InputError on a config that would not come back from config.json.

  Such a config has a value of another type than its annotation, mostly in a
  user's class, and its run could not be continued.
  """
  back = decode(json.loads(json.dumps(encode(config))), where='the config')
  for name, given, read in differences(config, back):
    raise InputError(
      f'{name} is {shown(repr(given))}, and would be {shown(repr(read))} when '
      'it is read from config.json; give it, or annotate it, as that'
    )


def _make(items: dict[str, Any], field: str, decoder: Decoder) -> Any:
  fields = dict(items)
  cls = config_class(fields.pop('_type', None), decoder.where)
  if from_earlier := getattr(cls, 'from_earlier', None):
    fields = from_earlier(fields)
  return decoder.fill(cls, fields, field or cls.__name__)


_CONFIG_NAME = re.compile(r'(bert_jax(?:\.[a-z][a-z0-9_]*){1,4})\.([A-Z]\w*)')


def config_class(name: Any, where: str) -> type:
  """The class that a `_type` names; InputError if none may be made."""
  if isinstance(name, str):
    cls = (
      _class_of_package(name)
      if name.startswith('bert_jax.')
      else own_classes.find(name)
    )
    if cls:
      return cls
  refused = f'{where}: {shown(repr(name))} is not a config class of bert_jax'
  module = name.rpartition('.')[0] if isinstance(name, str) else ''
  if not re.fullmatch(r'(?!bert_jax\.)[\w.]{1,60}', module):
    raise InputError(f'{refused}; refused')
  raise InputError(
    f'{refused}, and none that is imported; refused. If it is yours, give '
    f'--import={module}, or its file as --config=FILE'
  )


def _class_of_package(name: str) -> type | None:
  short = name.removeprefix('bert_jax.')
  match = _CONFIG_NAME.fullmatch(f'bert_jax.{RENAMED.get(short, short)}')
  # Importing a verb has effects: it defines the flags of the process.
  if not match or match[1].startswith('bert_jax.cli'):
    return None
  with contextlib.suppress(ModuleNotFoundError):
    cls = getattr(importlib.import_module(match[1]), match[2], None)
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
      # A class that the module only imported is refused.
      return cls if cls.__module__ == match[1] else None
  return None


def differences(
  old: Any, new: Any, prefix: str = ''
) -> list[tuple[str, Any, Any]]:
  """Returns (field, old value, new value) for each difference of two configs.

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


def check_classes(config: Any) -> None:
  """Raises InputError if a field holds a class that its annotation excludes.

  Numbers, texts and tuples are not looked at. Python itself checks no
  annotation, and an experiment file may put anything into a field.
  """
  for name, expected in typing.get_type_hints(type(config)).items():
    value = getattr(config, name)
    is_class = isinstance(expected, type) and expected.__module__ != 'builtins'
    if is_class and not isinstance(value, expected):
      lacking = [
        name
        for part in expected.__mro__[:-1]
        for name in (*vars(part), *vars(part).get('__annotations__', ()))
        if not name.startswith('_') and not hasattr(value, name)
      ]
      what = f': it lacks {listed(sorted({*lacking}))}' if lacking else ''
      raise InputError(
        f'{name} is {shown(repr(value))}, which is no {expected.__name__} '
        f'({expected.__module__.replace(".", "/")}.py){what}; mend it in the '
        'experiment file'
      )


def check_unchanged(
  old: Any, new: Any, allowed: tuple[str, ...], same: tuple[str, ...] = ()
) -> list[str]:
  """Raises InputError on fields that may not change; returns what did change.

  `allowed` are the fields named by --allow_change, with all fields below them.
  `same` are fields that are not compared.
  """
  if type(old) is not type(new):
    raise InputError(
      f'the workdir belongs to a {type(old).__name__}, and the config is a '
      f'{type(new).__name__}; use another --workdir'
    )
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
