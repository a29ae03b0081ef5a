"""The layout of a workdir, and its config in and out of JSON.

WORKDIR/config.json   the experiment, with `_type` for every dataclass
WORKDIR/inputs.json   what its paths held, see run_inputs.py
WORKDIR/input_stamps.json  of their files; spares reading them to compare
WORKDIR/tokenizer/    a copy: a workdir is complete without its corpus
WORKDIR/checkpoints/  see train/checkpoint.py
WORKDIR/best/         fine-tuning: the params of the best run, checkpoint form
WORKDIR/results.json  fine-tuning: the labels, every run and their mean
WORKDIR/starts.jsonl  one line a start: command, versions, devices
WORKDIR/metrics/      part-N.jsonl, one a start
WORKDIR/lock          held while a process works here
"""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import platform
import re
import shutil
import sys
import time
import types
import typing
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from bert_jax import durable_files
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError, quoted, shown
from bert_jax.local_paths import local_path


class Workdir:
  """Names within a workdir; nothing is created before `create`."""

  def __init__(self, path: str | os.PathLike):
    self.path = local_path(path, '--workdir')
    self.lock_path = self.path / 'lock'
    self.config = self.path / 'config.json'
    self.tokenizer = self.path / 'tokenizer'
    self.checkpoints = self.path / 'checkpoints'
    self.best = self.path / 'best'
    self.results = self.path / 'results.json'
    self.starts = self.path / 'starts.jsonl'
    self.metrics = self.path / 'metrics'
    self.tensorboard = self.path / 'tensorboard'
    self.profile = self.path / 'profile'
    self.fill_mask = self.path / 'fill_mask.json'
    self.report = self.path / 'report.html'

  def create(self) -> None:
    """Raises OSError where a run could not write: before it computes."""
    try:
      self.metrics.mkdir(parents=True, exist_ok=True)
      for folder in (self.path, self.checkpoints):
        durable_files.check_writable(folder)
    except OSError as error:
      # The folder that its user has named, not the file that was tried.
      raise OSError(error.errno, error.strerror, str(self.path)) from error

  def require(self) -> None:
    """Raises InputError unless this is a workdir."""
    if not self.config.is_file():
      raise InputError(
        f'--workdir={self.path} is not a workdir (it has no config.json); '
        'give the --workdir of a pretrain or finetune run'
      )

  @contextlib.contextmanager
  def lock(self) -> Iterator[None]:
    """Keeps a second process out; a dead owner's lock is free by itself.

    Raises InputError naming the owner.
    """
    what = f'--workdir={self.path}'
    with durable_files.exclusive_lock(self.lock_path, what):
      yield

  def binds(self) -> bool:
    """Whether there is something that the config and inputs here belong to."""
    return self.has_checkpoint() or self.results.exists()

  def has_checkpoint(self) -> bool:
    """Whether a run has come as far as its first checkpoint here."""
    return any(name.isdigit() for name in _names(self.checkpoints))

  def noted_checkpoint(self) -> int:
    """The step of the newest checkpoint that the metrics tell of, -1: none."""
    newest = -1
    for name in _names(self.metrics):
      if not _PART_NAME.fullmatch(name):
        continue
      for line in (self.metrics / name).read_bytes().splitlines():
        # A line may be cut where a process was killed.
        with contextlib.suppress(
          ValueError, KeyError, TypeError, RecursionError
        ):
          record = json.loads(line)
          if record['kind'] == 'checkpoint':
            newest = max(newest, int(record['step']))
    return newest

  def save_tokenizer(self, tokenizer: Tokenizer) -> None:
    """Writes the whole folder or nothing."""
    if not self.has_checkpoint():
      shutil.rmtree(self.tokenizer, ignore_errors=True)
    if not self.tokenizer.exists():
      partial = self.path / 'tokenizer.partial'
      shutil.rmtree(partial, ignore_errors=True)
      tokenizer.save(partial)
      partial.rename(self.tokenizer)

  def note_start(self, devices: list[str]) -> None:
    """Appends what a later reader needs to repeat or explain this start."""
    packages = ('bert_jax', 'jax', 'jaxlib', 'flax', 'optax')
    line = {
      'time': time.time(),
      'command': sys.argv,
      'python': platform.python_version(),
      'versions': {name: _version(name) for name in packages},
      'devices': devices,
      'host': platform.node(),
    }
    with open(self.starts, 'a') as file:
      file.write(json.dumps(line) + '\n')

  def config_changes(
    self,
    experiment: Any,
    allow_change: tuple[str, ...],
    same: tuple[str, ...] = (),
  ) -> list[str]:
    """How the config differs from the one that is here, as allowed by name.

    Raises InputError on any other difference. Before the first checkpoint a
    config binds nobody. `same` are fields that name the same content by another
    path, which are no difference.
    """
    recorded = self.recorded_config()
    if recorded is None:
      return []
    return check_unchanged(recorded, experiment, allow_change, same)

  def recorded_config(self) -> Any | None:
    """The config that binds the next start; None before the first checkpoint.

    Earlier versions left compute_dtype '' for the device to decide, so the
    devices of the newest start say what it was.
    """
    if not (self.config.exists() and self.binds()):
      return None
    config = self.read_config()
    if getattr(config, 'compute_dtype', None) == '':
      name = default_compute_dtype(self._devices_of_newest_start())
      config = dataclasses.replace(config, compute_dtype=name)
    return config

  def _devices_of_newest_start(self) -> str:
    starts = []
    if self.starts.is_file():
      for line in self.starts.read_bytes().splitlines():
        # A line may be cut where a process was killed.
        with contextlib.suppress(ValueError, RecursionError):
          starts.append(json.loads(line))
    named = [start['devices'] for start in starts if 'devices' in start]
    if not named:
      raise InputError(
        f'{self.starts}: it does not say on which devices the run was '
        'computed, and its config leaves compute_dtype to them; write '
        '"float32" or "bfloat16" into compute_dtype of config.json'
      )
    return str(named[-1])

  def write_config(
    self, experiment: Any, changes: list[str], next_example: int
  ) -> None:
    """Once nothing speaks against the changes any more: they are recorded."""
    for change in changes:
      print(
        f'changed as allowed, from example {next_example} on: {change}',
        flush=True,
      )
    if changes:
      line = {'time': time.time(), 'example': next_example, 'changes': changes}
      with open(self.starts, 'a') as file:
        file.write(json.dumps(line) + '\n')
    durable_files.write_json(self.config, encode(experiment))

  def read_config(self) -> Any:
    """The experiment that this workdir belongs to."""
    self.require()
    value = read_json(self.config)
    if isinstance(value, dict) and '_type' not in value:
      raise InputError(
        f'{self.path} is not the workdir of a bert-jax run: its config.json is '
        'of another program, such as Hugging Face transformers; name a run'
      )
    config = decode(value, where=str(self.config))
    # What the verbs ask of every experiment first.
    if not hasattr(config, 'model'):
      raise InputError(
        f'{self.config}: it holds no experiment; restore it or start anew'
      )
    return config


def default_compute_dtype(devices: str) -> str:
  """The dtype of products on devices, by their platform or what jax prints."""
  return 'float32' if 'cpu' in devices.lower() else 'bfloat16'


_PART_NAME = re.compile(r'part-.*\.jsonl')


def _names(folder: pathlib.Path) -> list[str]:
  """What is in a folder; none where it is not there, OSError of a bad disk."""
  try:
    return os.listdir(folder)
  except FileNotFoundError:
    return []


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
  cls = _config_class(fields.pop('_type', None), where)
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
  values = {name: _decode(item, where) for name, item in fields.items()}
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
  # Any is the place of a component's config, whichever was chosen.
  if annotation is Any:
    return dataclasses.is_dataclass(value)
  if dataclasses.is_dataclass(annotation):
    return isinstance(value, annotation)
  # Not isinstance: bool is an int to Python.
  return type(value) in _PLAIN_TYPES.get(annotation, ())


_PLAIN_TYPES = {
  int: (int,),
  float: (int, float),
  bool: (bool,),
  str: (str,),
  type(None): (type(None),),
}
_CONFIG_NAME = re.compile(r'(bert_jax(?:\.[a-z][a-z0-9_]*){1,4})\.([A-Z]\w*)')


def _config_class(name: Any, where: str) -> type:
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


def read_json(path: pathlib.Path) -> Any:
  """Raises InputError naming the file if it is not JSON."""
  try:
    return json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise InputError(
      f'{path} is not readable JSON ({error}); restore it or start anew'
    ) from None


def _version(package: str) -> str:
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return 'not installed'
