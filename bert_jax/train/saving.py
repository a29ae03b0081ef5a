"""When a run saves, and what it does where that fails.

A full disk or a lost mount must not cost what has been computed: training goes
on, the failure is reported at the next step, and saving is tried again, at once
at first and then less and less often. A run whose first save fails ends there,
and so does one whose workdir may not be written any more: going on would spend
accelerators on what cannot be kept.
"""

import dataclasses
from collections.abc import Callable

from bert_jax.errors import InputError
from bert_jax.stopping import StopSignal
from bert_jax.train.checkpoint import Checkpoints, Position, SaveFailed
from bert_jax.train.logging import Log
from bert_jax.train.state import TrainState


@dataclasses.dataclass
class Saver:
  """Saves every `every_steps`, at the end, and where it is asked for step 0.

  Each checkpoint on the disk gives a record of kind 'checkpoint': where the
  folder is found empty later, that tells that there was something.
  """

  checkpoints: Checkpoints
  every_steps: int
  log: Log
  stop: StopSignal

  def __post_init__(self) -> None:
    self._noted = self.checkpoints.last_saved
    self._has_saved = False
    self._retry_at: int | None = None
    self._patience = 0

  def before_first_step(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> None:
    """Saves step 0 where it is one of those to keep and not there yet.

    This and all below raise InputError where the failure ends the run.
    """
    is_new = done == 0 and self.checkpoints.last_saved < 0
    if is_new and self.checkpoints.keeps_the_start:
      self._attempt(0, lambda: self.checkpoints.save(state, position()))

  def after_step(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> None:
    """Called after each step, when nothing of it is left to do."""
    self._attempt(done, self.checkpoints.poll)
    self._note_saved()
    retry = self._retry_at is not None and done >= self._retry_at
    if retry or done % self.every_steps == 0:
      self._retry_at = None
      self._attempt(done, lambda: self.checkpoints.save(state, position()))

  def keep_all(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> bool:
    """Saves what is not saved yet and waits for it.

    False, and it will be tried again, where that cannot be done.
    """
    failure = self._save_and_wait(state, done, position)
    if failure:
      self._try_again(done, failure)
    return not failure

  def finish(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> None:
    """Like `keep_all`, but raises InputError where it cannot be done."""
    failure = self._save_and_wait(state, done, position)
    if failure:
      raise self._end(failure)

  def settle(self) -> str:
    """Waits for what is being written; returns what is kept then."""
    try:
      self.checkpoints.close()
    except SaveFailed as error:
      self.log.say(str(error))
    return kept(self.checkpoints.last_saved)

  def _save_and_wait(
    self, state: TrainState, done: int, position: Callable[[], Position]
  ) -> SaveFailed | None:
    """Why it failed, None where all is saved."""
    # A failure of the save before this one says nothing of this one.
    if earlier := _failure(self.checkpoints.wait):
      self.log.say(f'step {done}: {earlier}; it will be tried again')
    failure = None
    if done > self.checkpoints.last_saved:
      failure = _failure(
        lambda: self.checkpoints.save(state, position())
      ) or _failure(self.checkpoints.wait)
    self._note_saved()
    return failure

  def _attempt(self, done: int, action: Callable[[], None]) -> None:
    if failure := _failure(action):
      self._try_again(done, failure)

  def _try_again(self, done: int, failure: SaveFailed) -> None:
    self._note_saved()  # the one before it may have ended well just now
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
  """What there is of a run whose newest checkpoint is of `step` (-1: none)."""
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
