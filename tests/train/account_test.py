"""The account that a run keeps of its time, against the clock."""

import errno
import json
import time

import pytest
from runs import assert_same_run

from bert_jax import durable_files
from bert_jax.data.reading.device_feed import DeviceFeed
from bert_jax.data.reading.mixture import MixedStream
from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.train import account as account_module
from bert_jax.train.account import Account, open_account
from bert_jax.train.checkpoint import Checkpoints
from bert_jax.train.evaluation import HeldOutLosses
from bert_jax.train.goodput import goodput_of, read_starts
from bert_jax.train.program import Program
from bert_jax.train.window import Window
from bert_jax.workdir import Workdir


@pytest.fixture
def clock(monkeypatch):
  """A clock that the test sets."""
  now = [1000.0]
  monkeypatch.setattr(account_module.time, 'monotonic', lambda: now[0])
  return now


def test_each_moment_belongs_to_one_phase(clock):
  account = Account(time.time())
  clock[0] += 2
  with account.steps(7):
    clock[0] += 10
    account.last_step = 9
    with account.phase('evaluation'):
      clock[0] += 3
      with account.phase('save'):
        clock[0] += 4
        assert account.so_far().seconds['save'] == 4  # also while it goes on
      clock[0] += 5
    account.saving(9)
    clock[0] += 10
  clock[0] += 6
  found = account.so_far()
  assert found.seconds.pop('start_up') == pytest.approx(2, abs=0.1)
  assert found.seconds == {
    **{'step': 20, 'evaluation': 8, 'save': 10, 'compile': 0, 'input_wait': 0}
  }
  assert (found.first_step, found.last_step) == (7, 9)
  assert found.step_seconds_at == {'9': 10}


def test_only_the_newest_saves_are_kept():
  account = Account(time.time())
  for step in range(100):
    account.saving(step)
  assert list(account.so_far().step_seconds_at) == ['96', '97', '98', '99']


class Slow:
  """Makes methods slow, and measures the time that all calls take."""

  def __init__(self, monkeypatch):
    self._monkeypatch = monkeypatch
    self.calls = {}

  def __call__(self, holder, name, seconds=0.0):
    original = getattr(holder, name)
    calls = self.calls.setdefault(name, [])

    def slow(*arguments, **options):
      began = time.perf_counter()
      time.sleep(seconds)
      try:
        return original(*arguments, **options)
      finally:
        calls.append(time.perf_counter() - began)

    self._monkeypatch.setattr(holder, name, slow)


def test_each_delay_is_found_in_its_phase(
  small_experiment, finished_run, tmp_path, monkeypatch, capsys
):
  slow = Slow(monkeypatch)
  slow(MixedStream, 'batch', 0.35)  # in the thread of the feed
  slow(DeviceFeed, '__next__')
  slow(HeldOutLosses, 'warm_up', 0.3)
  slow(HeldOutLosses, 'run', 0.2)
  slow(Checkpoints, 'save', 0.2)
  slow(Program, 'step_fn', 0.02)
  slow(Window, 'add', 0.02)
  before = time.time()
  pretrain(small_experiment, tmp_path / 'run', began=before - 2)
  wall = time.time() - before + 2

  workdir = Workdir(tmp_path / 'run')
  (start,) = read_starts(workdir.goodput)
  sums = {name: sum(calls) for name, calls in slow.calls.items()}
  first_step, *later_steps = slow.calls['step_fn']
  # Each phase contains its calls, so none of their time is elsewhere if all
  # phases together last as long as the run.
  least = {
    'start_up': 2,
    'input_wait': sums['__next__'],
    'evaluation': sums['run'],
    'save': sums['save'],
    'compile': sums['warm_up'] + first_step,
    'step': sum(later_steps) + sums['add'],
  }
  for phase, seconds in least.items():
    assert start.seconds[phase] >= seconds > 0.2, phase
  assert 0.9 * wall < sum(start.seconds.values()) <= wall + 0.01

  line = goodput_of([start]).line()
  assert capsys.readouterr().out.count(line) == 1
  assert_same_run(workdir.path, finished_run)


def test_a_start_with_nothing_to_do_changes_no_account(
  small_experiment, tmp_path, capsys
):
  small_experiment.num_steps = 2
  for _ in range(2):
    pretrain(small_experiment, tmp_path / 'run')
  starts = read_starts(Workdir(tmp_path / 'run').goodput)
  assert len(starts) == 2
  assert starts[1].began >= starts[0].ended
  assert goodput_of(starts) == goodput_of(starts[:1])
  assert capsys.readouterr().out.count(goodput_of(starts).line()) == 2


def test_a_disk_without_room_costs_a_line_and_no_run(
  tmp_path, monkeypatch, capsys
):
  workdir = Workdir(tmp_path)
  write_json = durable_files.write_json

  def fail(path, value):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(durable_files, 'write_json', fail)
  monkeypatch.setattr(account_module, 'BEAT_SECONDS', 0.01)
  with open_account(workdir, time.time()) as account, account.steps(0):
    time.sleep(0.1)
    account.last_step = 1
    monkeypatch.setattr(durable_files, 'write_json', write_json)
  assert read_starts(workdir.goodput)[0].last_step == 1
  said = capsys.readouterr().err
  assert said.count('goodput.json: [Errno 28] No space left') == 1


def test_a_damaged_account_is_named(tmp_path):
  workdir = Workdir(tmp_path)
  with open_account(workdir, time.time()):
    pass
  value = json.loads(workdir.goodput.read_text())
  del value['starts'][0]['seconds']['save']
  workdir.goodput.write_text(json.dumps(value))
  with pytest.raises(InputError, match=r'goodput.json: starts\[0\].seconds is'):
    with open_account(workdir, time.time()):
      pass
