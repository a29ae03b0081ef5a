"""Checkpoints: the only file that knows Orbax.

A checkpoint is one folder with three items: `params`, `state` (everything else
that training changes) and `data` (the next example number, fingerprints,
digests). Orbax does not notice a flipped bit in an array, nor does it fall back
from a damaged folder to the one before it; both are done here.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.parallel.sharding import replicated
from bert_jax.train import digests
from bert_jax.train.digests import array_digests
from bert_jax.train.state import TrainState

# What training shows at its start; Orbax's own lines are for its developers.
# Nor are the pages that it logs of a failure, which is raised here.
for _name in ('absl', 'asyncio'):
  logging.getLogger(_name).setLevel(logging.CRITICAL)
warnings.filterwarnings('ignore', 'coroutine .* was never awaited')
# Nor what its tasks that a failure left behind say when they are collected,
# some time after that.
_ECHOES = ('Event loop is closed', 'Encountered error while reading array')


def _without_echoes(report: Callable[[Any], Any]) -> Callable[[Any], None]:
  def filtered(unraisable: Any) -> None:
    if not str(unraisable.exc_value).startswith(_ECHOES):
      report(unraisable)

  return filtered


sys.unraisablehook = _without_echoes(sys.unraisablehook)


@dataclasses.dataclass(kw_only=True, slots=True)
class CheckpointConfig:
  """Saves every `every_steps`; keeps the `keep_last` newest.

  With `keep_every` above 0 all whose step it divides are kept as well, that of
  step 0 among them: what the run began with.
  """

  every_steps: int = 1000
  keep_last: int = 3
  keep_every: int = 0

  def validate(self) -> None:
    if self.every_steps < 1 or self.keep_last < 1 or self.keep_every < 0:
      raise InputError(
        f'checkpoint.every_steps={self.every_steps} and keep_last='
        f'{self.keep_last} must be 1 or more, keep_every={self.keep_every} '
        'must be 0 or more'
      )


@dataclasses.dataclass(frozen=True)
class Position:
  """Where a run stands, beside its arrays.

  next_example: the first one not yet seen.
  read: what it has read of which data; see MixedStream.read_before.
  window: the metrics of the steps that have had no log line yet.
  evaluated: False where the evaluation due at this step was cut short.
  """

  next_example: int
  read: dict[str, str]
  window: tuple[dict[str, Any], ...] = ()
  evaluated: bool = True


class CheckpointError(Exception):
  """A checkpoint that cannot be trusted; the message says why."""


class SaveFailed(Exception):
  """A checkpoint that could not be written; the message says why."""


class Checkpoints:
  """The checkpoints of one folder, written in the background.

  `last_saved` is the step of the newest one that is whole on the disk, -1
  without one.
  """

  def __init__(self, folder: pathlib.Path, config: CheckpointConfig):
    self.folder = folder
    self._config = config
    self._checkpointer: ocp.training.Checkpointer | None = None
    self._pending: tuple[int, Any] | None = None
    self.last_saved = -1

  @property
  def keeps_the_start(self) -> bool:
    """Whether step 0 is one of those to keep."""
    return self._config.keep_every > 0

  def save(self, state: TrainState, position: Position) -> None:
    """Starts writing; returns when the arrays are copied to the host.

    Raises SaveFailed, also for the save before this one; then nothing is begun.
    """
    step = _step(state)
    rest = _without_params(state)
    data = dataclasses.asdict(position) | _digests_of(
      {'params': state.params, 'state': rest}
    )
    self.wait()
    try:
      response = self._open().save_checkpointables_async(
        step,
        {'params': state.params, 'state': rest, 'data': _sealed(data)},
        force=True,
      )
    except Exception as error:  # whatever a full or lost disk makes Orbax raise
      raise self._failed(step, error) from error
    self._pending = step, response

  def poll(self) -> None:
    """Takes note of a save that has ended; raises SaveFailed if it failed."""
    self._settle(timeout=0)

  def wait(self) -> None:
    """Waits for the save in progress; raises SaveFailed if it failed."""
    self._settle(timeout=None)

  def close(self) -> None:
    """Waits for the save in progress; raises SaveFailed if it failed."""
    try:
      self.wait()
    finally:
      self._close_checkpointer()

  def _settle(self, timeout: float | None) -> None:
    if self._pending is None:
      return
    step, response = self._pending
    try:
      response.result(timeout=timeout)
    except Exception as error:
      if timeout == 0 and isinstance(error, TimeoutError):
        return  # still at work
      self._pending = None
      raise self._failed(step, error) from error
    self._pending = None
    self.last_saved = step

  def _failed(self, step: int, error: Exception) -> SaveFailed:
    # Orbax counts a failed step among those it has, and would refuse to save
    # it again; the next save opens a new one, which removes what is half there.
    with contextlib.suppress(Exception):  # its close raises the same once more
      self._close_checkpointer()
    return SaveFailed(f'saving step {step} failed: {_one_line(error)}')

  def _close_checkpointer(self) -> None:
    if self._checkpointer is not None:
      checkpointer, self._checkpointer = self._checkpointer, None
      checkpointer.close()

  def restore(self, abstract: TrainState) -> tuple[TrainState, Position] | None:
    """The newest state whose digests hold, or None where none was ever saved.

    `abstract` gives shapes, dtypes and shardings: any mesh will do. Damaged
    checkpoints are reported and renamed to `damaged-STEP`.

    Raises:
      InputError: there were checkpoints, but not one that can be trusted.
    """
    steps = saved_steps(self.folder)
    for step in steps:
      try:
        state, position = _load(self.folder / str(step), abstract)
      except CheckpointError as error:
        aside = _set_aside(self.folder, step)
        print(
          f'checkpoint {self.folder / str(step)} is damaged ({error}); '
          f'it is now {aside.name}, trying the one before it',
          flush=True,
        )
        continue
      self.last_saved = step
      return state, position
    if steps:
      raise InputError(
        f'{self.folder}: none of its {len(steps)} checkpoints can be read; '
        'start again with another --workdir'
      )
    return None

  def _open(self) -> ocp.training.Checkpointer:
    # Opened at the first save: by then damaged folders are out of its way.
    if self._checkpointer is None:
      keep = ocp.training.preservation_policies
      policies = [keep.LatestN(self._config.keep_last)]
      if self._config.keep_every:
        policies.append(keep.EveryNSteps(self._config.keep_every))
      self._checkpointer = ocp.training.Checkpointer(
        self.folder,
        context=_context(),
        preservation_policy=keep.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=True,
      )
    return self._checkpointer


def saved_steps(folder: pathlib.Path) -> list[int]:
  """Steps that have a folder of their own, newest first."""
  if not folder.is_dir():
    return []
  names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
  return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def restore_step(
  folder: pathlib.Path, step: int, abstract: TrainState
) -> tuple[TrainState, Position]:
  """One named checkpoint, read only. Raises InputError if it is not sound."""
  path = folder / str(step)
  if not path.is_dir():
    raise _no_step(folder, step)
  if not (path / 'state').is_dir():
    raise InputError(
      f'checkpoint {path} has parameters alone, as a converted model has; give '
      'init_from, not resume_from'
    )
  try:
    return _load(path, abstract)
  except CheckpointError as error:
    raise InputError(
      f'checkpoint {path} cannot be used: {error}; there are {_listed(folder)}'
    ) from error


def save_params(folder: pathlib.Path, params: functional.Params) -> None:
  """Writes a params-only checkpoint `folder/0`, replacing an older one."""
  data = _digests_of({'params': params})
  with _context():
    ocp.save_checkpointables(
      folder / '0',
      {'params': params, 'data': _sealed(data)},
      overwrite=True,
    )


def load_params(
  folder: pathlib.Path, step: int | None = None
) -> tuple[functional.Params, int]:
  """Params as host arrays, with the step they are from.

  Without `step`, the newest checkpoint that can be trusted; nothing is moved.
  """
  steps = saved_steps(folder)
  if not steps:
    raise InputError(
      f'{folder}: no checkpoint has been saved in it yet; let the run go on, '
      'or give a workdir that has one'
    )
  if step is not None:
    if step not in steps:
      raise _no_step(folder, step)
    steps = [step]
  problems = []
  for candidate in steps:
    try:
      return _load_params(folder / str(candidate)), candidate
    except CheckpointError as error:
      problems.append(f'{candidate}: {error}')
  raise InputError(
    f'{folder}: no checkpoint to load params from ({"; ".join(problems)})'
  )


def _no_step(folder: pathlib.Path, step: int) -> InputError:
  return InputError(
    f'{folder}: there is no checkpoint of step {step}; there are '
    f'{_listed(folder)}'
  )


def _listed(folder: pathlib.Path) -> str:
  return ', '.join(map(str, sorted(saved_steps(folder)))) or 'none at all'


def _load(
  path: pathlib.Path, abstract: TrainState
) -> tuple[TrainState, Position]:
  wanted = {'params': abstract.params, 'state': _without_params(abstract)}
  items = _read(path, wanted | {'data': None})
  data = _unsealed(items.pop('data'))
  _check_digests(items, data, ('params/', 'state/'))
  del data['digests'], data['digest_version']
  position = Position(**data | {'window': tuple(data['window'])})
  return TrainState(params=items['params'], **items['state']), position


def _load_params(path: pathlib.Path) -> functional.Params:
  try:
    with _context():
      saved = ocp.checkpointables_metadata(path).metadata['params']
  except Exception as error:  # whatever a damaged folder makes Orbax raise
    raise CheckpointError(_one_line(error)) from error
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
  items = _read(path, {'params': abstract, 'data': None})
  data = _unsealed(items.pop('data'))
  _check_digests(items, data, ('params/',))
  return jax.tree.map(np.asarray, items['params'])


def _read(path: pathlib.Path, abstract: dict[str, Any]) -> dict[str, Any]:
  try:
    with _context():
      return ocp.load_checkpointables(path, abstract)
  except Exception as error:  # whatever a damaged folder makes Orbax raise
    raise CheckpointError(_one_line(error)) from error


def _digests_of(items: dict[str, Any]) -> dict[str, Any]:
  return {'digests': array_digests(items), 'digest_version': digests.VERSION}


def _check_digests(
  items: Any, data: dict[str, Any], prefixes: tuple[str, ...]
) -> None:
  """Holds arrays against the digests in `data` whose paths begin so.

  Earlier versions did not say the version of their digests: it was 1.
  """
  expected = {
    path: digest
    for path, digest in data['digests'].items()
    if path.startswith(prefixes)
  }
  version = data.setdefault('digest_version', 1)
  if version not in range(1, digests.VERSION + 1):
    raise InputError(
      f'the digests of the checkpoint are of version {version}, and this '
      f'bert_jax knows 1 to {digests.VERSION}; go on with the version of '
      'bert_jax that wrote it'
    )
  found = array_digests(items, version)
  wrong = [path for path in expected if found.get(path) != expected[path]]
  wrong += [path for path in found if path not in expected]
  if wrong:
    raise CheckpointError(
      f'{len(wrong)} arrays are not what was saved, first {wrong[0]}'
    )


def _sealed(data: dict[str, Any]) -> dict[str, Any]:
  text = json.dumps(data, sort_keys=True)
  return {'data': data, 'sha256': hashlib.sha256(text.encode()).hexdigest()}


def _unsealed(sealed: dict[str, Any]) -> dict[str, Any]:
  if not isinstance(sealed, dict) or _sealed(sealed.get('data')) != sealed:
    raise CheckpointError('its data position is not what was saved')
  return sealed['data']


def _without_params(state: TrainState) -> dict[str, Any]:
  names = [field.name for field in dataclasses.fields(state)]
  return {name: getattr(state, name) for name in names if name != 'params'}


def _step(state: TrainState) -> int:
  return int(np.max(jax.device_get(state.step)))


def _set_aside(folder: pathlib.Path, step: int) -> pathlib.Path:
  number, aside = 0, folder / f'damaged-{step}'
  while aside.exists():
    number += 1
    aside = folder / f'damaged-{step}-{number}'
  return (folder / str(step)).rename(aside)


@functools.cache
def _context() -> ocp.Context:
  registry = ocp.handlers.local_registry()
  registry.add(ocp.handlers.JsonHandler, checkpointable_name='data')
  context = ocp.Context()
  context.checkpointables.registry = registry
  return context


def _one_line(error: Exception) -> str:
  text = ' '.join(str(error).split())
  return f'{type(error).__name__}: {text[:200]}'
