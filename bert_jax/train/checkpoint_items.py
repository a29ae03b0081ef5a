"""The items of one checkpoint folder: read, and compared with what was saved.

`params`, `state` (everything else that training changes) and `data` (the next
example number, fingerprints, digests). Orbax does not notice a flipped bit in
an array, and casts to another dtype without a word; both are found here.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from bert_jax.config.json_files import json_digest
from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.parallel import distributed
from bert_jax.parallel.sharding import replicated
from bert_jax.train import digests
from bert_jax.train.damage import (
  CheckpointError,
  Incomplete,
  sound,
  together,
)
from bert_jax.train.digests import array_digests
from bert_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Position:
  """The progress of a run, beside its arrays.

  next_example: number of the first example not yet seen.
  read: the data read so far; see MixedStream.read_before.
  window: metrics of the steps that have had no log line yet.
  evaluated: False where the evaluation due at this step was cut short.
  """

  next_example: int
  read: dict[str, str]
  window: tuple[dict[str, Any], ...] = ()
  evaluated: bool = True


def items_of(state: TrainState, position: Position) -> dict[str, Any]:
  """The items that Orbax saves for a run."""
  items = {'params': state.params, 'state': without_params(state)}
  data = dataclasses.asdict(position) | _digests_of(items)
  return items | {'data': _sealed(data)}


def items_of_params(params: functional.Params) -> dict[str, Any]:
  """The items that Orbax saves for a model alone."""
  items = {'params': params}
  return items | {'data': _sealed(_digests_of(items))}


def load(
  path: pathlib.Path, abstract: TrainState
) -> tuple[TrainState, Position]:
  """The state and position of one checkpoint, all of it as it was saved.

  Raises:
    CheckpointError: the checkpoint is proven damaged.
    InputError: it could not be read, or holds another tree than `abstract`.
  """
  wanted = {'params': abstract.params, 'state': without_params(abstract)}
  return sound(path, list(wanted), lambda: _load(path, wanted))


def load_params(path: pathlib.Path) -> functional.Params:
  """The params of one checkpoint as host arrays; raises what `load` raises."""
  return sound(path, ['params'], lambda: _load_params(path))


def without_params(state: TrainState) -> dict[str, Any]:
  # A run without an average is saved as in earlier versions.
  others = {'params'} if state.average is not None else {'params', 'average'}
  names = [field.name for field in dataclasses.fields(state)]
  return {name: getattr(state, name) for name in names if name not in others}


@functools.cache
def context() -> ocp.Context:
  registry = ocp.handlers.local_registry()
  registry.add(ocp.handlers.JsonHandler, checkpointable_name='data')
  made = ocp.Context()
  made.checkpointables.registry = registry
  return made


@functools.cache
def _context_alone() -> ocp.Context:
  """A context in which a process does not wait for the others to read."""
  process = jax.process_index()
  made = ocp.Context()
  made.checkpointables.registry = context().checkpointables.registry
  made.multiprocessing.primary_host = process
  made.multiprocessing.active_processes = {process}
  return made


def _load(
  path: pathlib.Path, wanted: dict[str, Any]
) -> tuple[TrainState, Position]:
  def read() -> tuple[dict[str, Any], dict[str, Any]]:
    _check_folders(path, [*wanted, 'data'])
    data = _read_data(path)
    saved = _saved_tree(path, list(wanted), data['digests'])
    _check_tree(path, saved, wanted)
    return data, _read(path, wanted)

  data, items = together(read)
  expected, version = data.pop('digests'), data.pop('digest_version')
  _check_digests(items, expected, version)
  position = Position(**data | {'window': tuple(data['window'])})
  return TrainState(params=items['params'], **items['state']), position


def _load_params(path: pathlib.Path) -> functional.Params:
  _check_folders(path, ['params', 'data'])
  data = _read_data(path)
  expected = {
    name: digest
    for name, digest in data['digests'].items()
    if name.startswith('params/')
  }
  saved = _saved_tree(path, ['params'], expected)
  mesh = jax.sharding.get_mesh()
  whole = (
    jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if mesh.empty
    else replicated(mesh)
  )
  abstract = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
    saved,
  )
  items = _read(path, abstract)
  _check_digests(items, expected, data['digest_version'])
  return jax.tree.map(np.asarray, items['params'])


def _check_folders(path: pathlib.Path, names: list[str]) -> None:
  # Orbax takes any error of stat for a missing folder, so stat is called here.
  for name in names:
    (path / name).stat()


def _read_data(path: pathlib.Path) -> dict[str, Any]:
  """The content of the item `data`, with the version of its digests.

  Earlier versions of bert_jax did not record the version, which was 1.
  """
  data = _unsealed(_read(path, {'data': None})['data'])
  version = data.setdefault('digest_version', 1)
  if version not in range(1, digests.VERSION + 1):
    raise InputError(
      f'checkpoint {path} has digests of version {version}, and this bert_jax '
      f'knows 1 to {digests.VERSION}; go on with the version of bert_jax that '
      'wrote it'
    )
  return data


def _read(path: pathlib.Path, abstract: dict[str, Any]) -> dict[str, Any]:
  with _context_alone() if distributed.several() else context():
    return ocp.load_checkpointables(path, abstract)


def _saved_tree(
  path: pathlib.Path, names: list[str], expected: dict[str, int]
) -> dict[str, Any]:
  """Shapes and dtypes that Orbax recorded for the arrays of `expected`.

  Raises Incomplete unless they cover exactly the arrays that have digests.
  """
  with context():
    metadata = ocp.checkpointables_metadata(path).metadata
  for name in names:
    if metadata.get(name) is None:
      # Orbax only logs why metadata could not be read; reading it raises that.
      _read(path, {name: None})
      raise Incomplete(f'it has no metadata of {name}')
  saved = {name: metadata[name] for name in names}
  if functional.flatten(saved).keys() != expected.keys():
    raise Incomplete('its metadata does not list the arrays that it holds')
  return saved


def _check_tree(path: pathlib.Path, saved: Any, wanted: Any) -> None:
  """Raises InputError naming the first array whose shape or dtype differs."""
  there, here = (
    {
      name: f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
      for name, leaf in functional.flatten(tree).items()
    }
    for tree in (saved, wanted)
  )
  for name in [*here, *(name for name in there if name not in here)]:
    if there.get(name) != here.get(name):
      part, fields = (
        ('optimizer', 'optimizer')
        if name.startswith('state/optimizer_state')
        else ('model', 'model and objective')
      )
      raise InputError(
        f'checkpoint {path} is of another {part} than this config: {name} is '
        f'{there.get(name, "not there")} in it, here it is '
        f'{here.get(name, "not there")}; nothing was changed; give the '
        f'{fields} and the version of bert_jax that wrote it, or begin in '
        'another --workdir with init_from, which takes the parameters alone'
      )


def _digests_of(items: dict[str, Any]) -> dict[str, Any]:
  return {'digests': array_digests(items), 'digest_version': digests.VERSION}


def _check_digests(items: Any, expected: dict[str, int], version: int) -> None:
  found = array_digests(items, version)
  wrong = [path for path in expected if found.get(path) != expected[path]]
  wrong += [path for path in found if path not in expected]
  if wrong:
    raise CheckpointError(
      f'{len(wrong)} arrays are not what was saved, first {wrong[0]}'
    )


def _sealed(data: Any) -> dict[str, Any]:
  return {'data': data, 'sha256': json_digest(data, sort_keys=True)}


def _unsealed(sealed: dict[str, Any]) -> dict[str, Any]:
  if not isinstance(sealed, dict) or _sealed(sealed.get('data')) != sealed:
    raise CheckpointError('its data position is not what was saved')
  return sealed['data']
