"""Saving that fails: reported at the next step, tried again, never hidden."""

import contextlib

import pytest

from bert_jax.errors import InputError
from bert_jax.stopping import StopSignal
from bert_jax.train.account import Account
from bert_jax.train.checkpoint import SaveFailed
from bert_jax.train.saving import Saver, kept


class Disk:
  """In place of Checkpoints: a save ends, or fails, at the next look."""

  def __init__(self):
    self.works, self.is_read_only = True, False
    self.last_saved = -1
    self.begun = []
    self._pending = None

  def save(self, step, unused_position):
    self.wait()
    self.begun.append(step)
    self._pending = step

  def poll(self):
    step, self._pending = self._pending, None
    if step is None:
      return
    if not self.works:
      raise SaveFailed(step, 'no room', self.is_read_only)
    self.last_saved = step

  wait = close = poll


class Log:
  def __init__(self):
    self.said, self.records = [], []
    self.say, self.note = self.said.append, self.records.append
    self.flush = lambda: None


@pytest.fixture
def disk():
  return Disk()


@pytest.fixture
def saver(disk):
  return Saver(disk, 10, Log(), StopSignal('work', ''), Account(0.0))


def steps(saver, first, last):
  for done in range(first, last + 1):
    saver.after_step(done, done, lambda: None, contextlib.nullcontext)


def test_a_step_waits_for_the_device_only_where_it_saves(saver, disk):
  pauses = []

  @contextlib.contextmanager
  def pause():
    pauses.append(done)
    yield

  for done in range(1, 26):
    disk.works = done != 21
    saver.after_step(done, done, lambda: None, pause)
  # The save of step 20 fails at 21, where it is tried again.
  assert pauses == disk.begun == [10, 20, 21]


def test_saves_at_its_cadence_and_notes_what_is_on_the_disk(saver, disk):
  steps(saver, 1, 25)
  saver.finish(25, 25, lambda: None)
  assert disk.begun == [10, 20, 25]
  assert [record['step'] for record in saver.log.records] == [10, 20, 25]
  assert not saver.log.said
  assert saver.stop.kept.startswith('the checkpoint of step 25 is kept')


def test_a_failure_is_reported_at_the_next_step_and_retried(saver, disk):
  steps(saver, 1, 11)
  disk.works = False
  steps(saver, 12, 20)
  assert not saver.log.said
  steps(saver, 21, 21)
  assert saver.log.said == [
    'step 21: saving step 20 failed: no room; it will be tried again'
  ]
  assert disk.begun == [10, 20, 21]
  disk.works = True
  steps(saver, 22, 22)
  assert disk.last_saved == 21
  assert saver.log.records[1:] == [{'kind': 'checkpoint', 'step': 21}]


def test_a_first_save_that_fails_ends_the_run(saver, disk):
  disk.works = False
  steps(saver, 1, 10)
  with pytest.raises(InputError) as error:
    steps(saver, 11, 11)
  assert str(error.value).startswith('saving step 10 failed: no room; nothing')
  assert 'run the same command again' in str(error.value)


def test_so_it_does_where_a_start_continues_a_run(disk):
  disk.last_saved, disk.works = 40, False
  saver = Saver(disk, 10, Log(), StopSignal('work', ''), Account(0.0))
  with pytest.raises(InputError, match='the checkpoint of step 40 is kept'):
    steps(saver, 41, 51)


def test_what_may_not_be_written_any_more_ends_the_run(saver, disk):
  steps(saver, 1, 11)
  disk.works, disk.is_read_only = False, True
  steps(saver, 12, 20)
  with pytest.raises(InputError, match='the checkpoint of step 10 is kept'):
    steps(saver, 21, 21)


def test_tries_become_rarer_but_not_rarer_than_the_cadence(saver, disk):
  steps(saver, 1, 11)
  disk.works = False
  steps(saver, 12, 69)
  assert disk.begun == [10, 20, 21, 23, 26, 30, 39, 40, 50, 60]


def test_patience_is_as_at_first_after_a_success(saver, disk):
  steps(saver, 1, 11)
  disk.works = False
  steps(saver, 12, 26)
  disk.works = True
  steps(saver, 27, 30)
  disk.works = False
  steps(saver, 31, 32)
  assert disk.begun == [10, 20, 21, 23, 26, 30, 31]


def test_the_end_cannot_be_saved(saver, disk):
  steps(saver, 1, 12)
  disk.works = False
  with pytest.raises(InputError) as error:
    saver.finish(15, 15, lambda: None)
  assert 'saving step 15 failed: no room' in str(error.value)
  assert 'the checkpoint of step 10 is kept' in str(error.value)
  assert 'run the same command again' in str(error.value)


def test_nothing_new_is_not_saved_again(saver, disk):
  steps(saver, 1, 10)
  saver.finish(10, 10, lambda: None)
  assert disk.begun == [10]


def test_a_failed_save_does_not_keep_the_end_from_being_saved(saver, disk):
  disk.works = False
  steps(saver, 1, 10)
  disk.works = True
  poll = disk.poll

  def fail_once():
    disk.wait = poll
    disk._pending = None
    raise SaveFailed(10, 'no room')

  disk.wait = fail_once
  saver.finish(12, 12, lambda: None)
  assert disk.last_saved == 12


def test_settling_says_what_is_kept(saver, disk):
  steps(saver, 1, 20)
  disk.works = False
  assert saver.settle() == 'the checkpoint of step 10 is kept'
  assert saver.log.said == ['saving step 20 failed: no room']
  assert kept(-1) == 'nothing has been saved yet'


def test_all_is_kept_or_it_is_said_and_tried_again(saver, disk):
  steps(saver, 1, 12)
  disk.works = False
  assert not saver.keep_all(12, 12, lambda: None)
  assert saver.log.said == [
    'step 12: saving step 12 failed: no room; it will be tried again'
  ]
  disk.works = True
  steps(saver, 13, 14)
  assert disk.last_saved == 13
  assert saver.keep_all(14, 14, lambda: None)
  assert disk.last_saved == 14
