"""Decides when a run saves, and what it does if saving fails.

A full disk or a lost mount must not cost what has been computed: training goes
on, the failure is reported at the next step, and saving is tried again, at once
at first and then less and less often. A run ends if its first save fails, or if
its workdir may not be written any more: going on would spend accelerators on
results that cannot be kept.
"""

import contextlib
import dataclasses
from collections.abc import Callable

from bert_jax.errors import InputError
from bert_jax.parallel import distributed
from bert_jax.stopping import StopSignal
from bert_jax.train.account import Account
from bert_jax.train.checkpoint import Checkpoints, Position, SaveFailed
from bert_jax.train.logging import Log
from bert_jax.train.state import TrainState


@dataclasses.dataclass
class Saver:
  """Saves every `every_steps`, at the end, and at step 0 if that is kept.

  Each checkpoint on the disk gets a record of kind 'checkpoint'. If the folder
  is found empty later, the record tells that there was one.
  """

  checkpoints: Checkpoints
  every_steps: int
  log: Log
  stop: StopSignal
  account: Account

  def __post_init__(self) -> None:
    self._noted = self.checkpoints.last_saved
    self._has_saved = False
    self._finished = False
    self._retry_at: int | None = None
    self._patience = 0

  def before_first_step(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> None:
    """Saves step 0 if it is to be kept and not there yet.

    All methods that save raise InputError if their failure ends the run.
    """
    is_new = done == 0 and self.checkpoints.last_saved < 0
    if is_new and self.checkpoints.keeps_the_start:
      self._attempt(0, lambda: self._begin(state, done, position))

  def after_step(
    self,
    state: TrainState,
    done: int,
    position: Callable[[], Position],
    pause: Callable[[], contextlib.AbstractContextManager[None]],
  ) -> None:
    """Saves if a save is due; called once a step is dispatched.

    A save waits for the device, in the context that `pause` makes. Other steps
    do not, so that the device always has the next one.
    """
    self._attempt(done, self.checkpoints.poll)
    self._note_saved()
    retry = self._retry_at is not None and done >= self._retry_at
    if retry or done % self.every_steps == 0:
      self._retry_at = None
      with pause():
        self._attempt(done, lambda: self._begin(state, done, position))

  def keep_all(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> bool:
    """Saves what is not saved yet and waits for it.

    Returns False if that fails; it will be tried again.
    """
    failure = self._save_and_wait(state, done, position)
    if failure:
      self._try_again(done, failure)
    return not failure

  def finish(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> None:
    """Does the same as `keep_all`, but raises InputError if it fails."""
    failure = self._save_and_wait(state, done, position)
    if failure:
      raise self._end(failure)
    self._finished = True

  def close(self) -> None:
    """Waits for a save in progress, also after an error.

    After an error of several processes it does not: the others may be
    elsewhere, and would be waited for.
    """
    if self._finished or not distributed.several():
      self.settle()

  def settle(self) -> str:
    """Waits for a save in progress; returns a phrase on what is kept."""
    try:
      self.checkpoints.close()
    except SaveFailed as error:
      self.log.say(str(error))
    return kept(self.checkpoints.last_saved)

  def _save_and_wait(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> SaveFailed | None:
    """Saves and waits; returns the failure, None if all is saved."""
    with self.account.phase('save'):
      # A failure of the previous save says nothing about this one.
      if earlier := _failure(self.checkpoints.wait):
        self.log.say(f'step {done}: {earlier}; it will be tried again')
      failure = None
      if done > self.checkpoints.last_saved:
        failure = _failure(
          lambda: self._begin(state, done, position)
        ) or _failure(self.checkpoints.wait)
    self._note_saved()
    return failure

  def _begin(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> None:
    self.account.saving(done)
    # A start from this checkpoint takes no earlier step again.
    self.log.flush()
    self.checkpoints.save(state, position())

  def _attempt(self, done: int, action: Callable[[], None]) -> None:
    with self.account.phase('save'):
      failure = _failure(action)
    if failure:
      self._try_again(done, failure)

  def _try_again(self, done: int, failure: SaveFailed) -> None:
    self._note_saved()  # the previous save may have succeeded just now
    if failure.lasting or not self._has_saved:
      raise self._end(failure)
    self._retry_at = done + self._patience
    self._patience = min(max(1, 2 * self._patience), self.every_steps)
    self.log.say(f'step {done}: {failure}; it will be tried again')

  def _end(self, failure: SaveFailed) -> InputError:
    return InputError(
      f'{failure}; {kept(self.checkpoints.last_saved)}. Mend what it says, '
      'such as by making room, and run the same command again'
    )

  def _note_saved(self) -> None:
    step = self.checkpoints.last_saved
    if step > self._noted:
      self._noted = step
      self._has_saved = True
      self._patience = 0
      self.stop.kept = kept_and_goes_on(step)
      self.log.note({'kind': 'checkpoint', 'step': step})


def kept(step: int) -> str:
  """Says what is kept of a run whose newest checkpoint is `step` (-1: none)."""
  if step < 0:
    return 'nothing has been saved yet'
  return f'the checkpoint of step {step} is kept'


def kept_and_goes_on(step: int) -> str:
  where = 'from there' if step >= 0 else 'from the beginning'
  return f'{kept(step)}. The same command goes on {where}.'


def _failure(action: Callable[[], None]) -> SaveFailed | None:
  try:
    action()
  except SaveFailed as error:
    return error
  return None
