"""Checkpoints: written in the background, and the newest sound one restored.

A checkpoint is one folder: checkpoint_items.py says what is in it, damage.py
when it is set aside. Orbax does not fall back from a damaged folder to the one
before it, so this module does.
"""

import contextlib
import errno
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

from orbax.checkpoint import v1 as ocp

from bert_jax import durable_files
from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.parallel import distributed
from bert_jax.train import checkpoint_items, orbax_traces
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.checkpoint_items import Position as Position
from bert_jax.train.damage import CheckpointError, fault_of, seal, set_aside
from bert_jax.train.state import TrainState, host_step

# Errors that the disk will give again at the next try.
_LASTING = (errno.EROFS, errno.EACCES, errno.EPERM)
# Of several processes that wait for a save: the time from one look to the next,
# and the looks after which they ask if one of them has failed.
_LOOK_SECONDS = 1.0
_PATIENT_LOOKS = 15


class SaveFailed(Exception):
  """A checkpoint that could not be written; the message says why.

  lasting: trying again would not help, for example on a read-only disk.
  """

  def __init__(self, step: int, reason: str, lasting: bool = False):
    super().__init__(f'saving step {step} failed: {reason}')
    self.reason = reason
    self.lasting = lasting


class _Done:
  """A save with nothing left to wait for."""

  def result(self, timeout: float | None) -> None:
    pass


class Checkpoints:
  """The checkpoints of one folder, written in the background.

  `last_saved` is the step of the newest checkpoint that is whole on the disk,
  -1 if there is none. Several processes save and restore together, and a
  failure of one is one of all. `require_lock` raises InputError if this process
  may write there no more.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    config: CheckpointConfig,
    require_lock: Callable[[], None] = lambda: None,
  ):
    self.folder = folder
    self._require_lock = require_lock
    self._config = config
    self._checkpointer: ocp.training.Checkpointer | None = None
    self._pending: tuple[int, Any] | None = None
    self._looks = 0  # at the save in progress
    self._stuck: SaveFailed | None = None
    # Orbax logs from its own threads while it writes.
    self._quiet = contextlib.ExitStack()
    self._other_threads: set[threading.Thread] = set()
    self.last_saved = -1

  @property
  def keeps_the_start(self) -> bool:
    """True if the checkpoint of step 0 is to be kept."""
    return self._config.keep_every > 0

  def save(self, state: TrainState, position: Position) -> None:
    """Starts writing; returns when the arrays are copied to the host.

    Raises SaveFailed, also if the previous save failed; then none is started.
    """
    self._require_lock()
    step = host_step(state)
    items = checkpoint_items.items_of(state, position)
    self.wait()
    self._quiet.enter_context(orbax_traces.quiet_threads())
    self._other_threads = set(threading.enumerate())
    response: Any = None
    with orbax_traces.quiet():
      failure = None
      try:
        if self._has(step):
          # Orbax has finished this step, but its files were not synced.
          response = _Done()
        else:
          response = self._open().save_checkpointables_async(
            step, items, force=True
          )
      except Exception as error:  # whatever a full disk makes Orbax raise
        failure = self._failed(step, error)
      failure = self._of_all(step, failure)
      if failure is None:
        self._pending, self._looks = (step, response), 0
        return
      orbax_traces.collect()
    self._quiet.close()
    raise failure

  def _has(self, step: int) -> bool:
    """Looks in process 0: others may see a shared folder differently."""
    answer: list[Any] = [False]
    if distributed.is_first():
      try:
        answer = [step in saved_steps(self.folder)]
      except OSError as error:
        answer = [error.errno, error.strerror, str(self.folder)]
    found, *fault = distributed.as_first('saved', answer)
    if fault:
      raise OSError(found, *fault)
    return found

  def poll(self) -> None:
    """Notices a save that has ended; raises SaveFailed if it failed."""
    self._require_lock()
    self._looks += 1
    # Each look of several processes costs messages, so they look less and less.
    if distributed.several() and self._looks & (self._looks - 1):
      return
    self._settle(wait=False)

  def wait(self) -> None:
    """Waits for the save in progress; raises SaveFailed if it failed."""
    self._settle(wait=True)

  def close(self) -> None:
    """Waits for the save in progress; raises SaveFailed if it failed."""
    try:
      self.wait()
    finally:
      self._close_checkpointer()

  def _settle(self, *, wait: bool) -> None:
    if self._stuck:
      raise self._stuck
    if self._pending is None:
      return
    step, response = self._pending
    with orbax_traces.quiet():
      failure, at_work = self._look(step, response, wait)
      looks = 1
      while any(distributed.agree('at work', at_work)):
        if not wait:
          return
        if looks >= _PATIENT_LOOKS:
          self._end_if_stuck(step, failure)
        failure, at_work = self._look(step, response, wait)
        looks += 1
      failure = self._of_all(step, failure)
      if failure:
        orbax_traces.collect()
        failure = self._without_removals(step, failure)
    self._pending = None
    self._quiet.close()
    if failure:
      raise failure
    self.last_saved = step

  def _look(
    self, step: int, response: Any, wait: bool
  ) -> tuple[SaveFailed | None, bool]:
    """Looks at a save: (its failure, whether it is still at work)."""
    timeout = _LOOK_SECONDS if wait else 0.0
    end = time.monotonic() + timeout
    alone = wait and not distributed.several()
    try:
      response.result(timeout=None if alone else timeout)
      if distributed.is_first():
        seal(self.folder / str(step))
    except Exception as error:
      # Orbax has timeouts of its own, and so has the storage, with a number.
      ours = isinstance(error, TimeoutError) and not error.errno
      if ours and not alone and time.monotonic() >= end:
        return None, True
      return self._failed(step, error), False
    return None, False

  def _end_if_stuck(self, step: int, failure: SaveFailed | None) -> None:
    """Raises SaveFailed if one process has failed and others wait for it.

    Orbax lets them wait 20 minutes, and cannot save in the meantime.
    """
    error = orbax_traces.held_back()
    mine = failure.reason if failure else error and fault_of(error).text
    for process, reason in enumerate(distributed.agree('stuck', mine)):
      if reason:
        self._checkpointer = None  # closing it would wait as well
        self._stuck = SaveFailed(step, f'process {process}: {reason}', True)
        raise self._stuck

  def _failed(self, step: int, error: Exception) -> SaveFailed:
    # Orbax lists a failed step as saved and would refuse to save it again. The
    # next save opens a new checkpointer, which removes the half-written folder.
    with contextlib.suppress(Exception):  # closing raises the error again
      self._close_checkpointer()
    orbax_traces.end_threads(self._other_threads)
    fault = fault_of(error)
    return SaveFailed(step, fault.text, fault.number in _LASTING)

  def _of_all(self, step: int, failure: SaveFailed | None) -> SaveFailed | None:
    """The failure of this process; the first one of several processes."""
    if not distributed.several():
      return failure
    mine = failure and [failure.reason, failure.lasting]
    for process, found in enumerate(distributed.agree('failure', mine)):
      if found:
        if failure is None:
          with contextlib.suppress(Exception):  # as `_failed` does elsewhere
            self._close_checkpointer()
        return SaveFailed(step, f'process {process}: {found[0]}', found[1])
    return None

  def _without_removals(
    self, step: int, failure: SaveFailed
  ) -> SaveFailed | None:
    """Drops a failure that was only about removing older checkpoints.

    Returns None if the step itself is whole on the disk, else `failure`.
    """
    whole = False
    if distributed.is_first():
      with contextlib.suppress(OSError):
        if step in saved_steps(self.folder):
          seal(self.folder / str(step))
          whole = True
    if not distributed.as_first('whole', whole):
      return failure
    print(
      f'step {step} is saved; what Orbax does after that, such as removing '
      f'older checkpoints, ended in {failure.reason}',
      flush=True,
    )
    return None

  def _close_checkpointer(self) -> None:
    if self._checkpointer is not None:
      checkpointer, self._checkpointer = self._checkpointer, None
      with orbax_traces.quiet():
        checkpointer.close()

  def restore(self, abstract: TrainState) -> tuple[TrainState, Position] | None:
    """Returns the newest state whose digests hold, None if none was ever saved.

    `abstract` gives shapes, dtypes and shardings; any mesh will do. A
    checkpoint that is proven damaged is reported and renamed to `damaged-STEP`.

    Raises:
      InputError: a checkpoint could not be read for another reason, or holds
        another tree, or none of them can be trusted.
    """
    steps = distributed.as_first('steps', saved_steps(self.folder))
    for step in steps:
      path = self.folder / str(step)
      try:
        state, position = checkpoint_items.load(path, abstract)
      except CheckpointError as error:
        aside = set_aside(self.folder, step)
        print(
          f'checkpoint {path} is damaged ({error}); '
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
    # Orbax is opened at the first save: by then damaged folders are renamed.
    if self._checkpointer is None:
      keep = ocp.training.preservation_policies
      policies = [keep.LatestN(self._config.keep_last)]
      if self._config.keep_every:
        policies.append(keep.EveryNSteps(self._config.keep_every))
      self._checkpointer = ocp.training.Checkpointer(
        self.folder,
        context=checkpoint_items.context(),
        preservation_policy=keep.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=True,
      )
    return self._checkpointer


def saved_steps(folder: pathlib.Path) -> list[int]:
  """Steps that have a finished folder, newest first.

  Raises OSError if the folder cannot be listed, which does not mean it is
  empty.
  """
  names = durable_files.folders(folder)
  return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def restore_step(
  folder: pathlib.Path, step: int, abstract: TrainState
) -> tuple[TrainState, Position]:
  """Loads the checkpoint of one step and changes nothing on the disk.

  Raises InputError if the checkpoint is not sound.
  """
  path = folder / str(step)
  if step not in saved_steps(folder):
    raise _no_step(folder, step)
  there = durable_files.names(path)
  if 'state' not in there and 'params' in there:
    raise InputError(
      f'checkpoint {path} has parameters alone, as a converted model has; give '
      'init_from, not resume_from'
    )
  try:
    return checkpoint_items.load(path, abstract)
  except CheckpointError as error:
    raise InputError(
      f'checkpoint {path} cannot be used: {error}; there are {_listed(folder)}'
    ) from error


def save_params(folder: pathlib.Path, params: functional.Params) -> None:
  """Writes `folder/0` of params alone, or replaces it; all processes join."""
  with orbax_traces.quiet(), checkpoint_items.context():
    ocp.save_checkpointables(
      folder / '0', checkpoint_items.items_of_params(params), overwrite=True
    )
  if distributed.is_first():
    seal(folder / '0')


def load_params(
  folder: pathlib.Path, step: int | None = None
) -> tuple[functional.Params, int]:
  """Params as host arrays, with the step they are from.

  Without `step`, loads the newest checkpoint that can be trusted. Damaged ones
  are named on stdout and stay where they are.
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
    path = folder / str(candidate)
    try:
      params = checkpoint_items.load_params(path)
    except CheckpointError as error:
      problems.append(f'{candidate}: {error}')
      continue
    if problems:
      print(
        f'checkpoints passed over as damaged ({"; ".join(problems)}); the '
        f'params are those of {path}',
        flush=True,
      )
    return params, candidate
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
