"""The account of a run's time, from notes of its starts."""

import random

import pytest

from bert_jax.train.goodput import CATEGORIES, PHASES, Start, goodput_of


def start(began, first_step, last_step, saves=(), **seconds):
  """A start whose steps take a second each, unless `step` says otherwise."""
  seconds = {'start_up': 4.0, 'step': float(last_step - first_step)} | seconds
  return Start(
    began=began,
    seconds=dict.fromkeys(PHASES, 0.0) | seconds,
    first_step=first_step,
    last_step=last_step,
    step_seconds_at={str(step): float(step - first_step) for step in saves},
  )


def seconds_of(*starts):
  found = goodput_of(starts)
  wall = starts[found.num_starts - 1].ended - starts[0].began
  assert found.total == pytest.approx(wall, abs=1e-6)
  assert sum(map(found.share, CATEGORIES)) == pytest.approx(1)
  return {name: s for name, s in found.seconds.items() if s}


def test_one_start():
  one = start(100.0, 0, 50, saves=[50], save=6.0, evaluation=3.0)
  assert seconds_of(one) == {
    **{'step': 50, 'save': 6, 'evaluation': 3, 'start_up': 4}
  }
  assert goodput_of([one]).line() == (
    'goodput 79.4% of 0:01:03: evaluation 4.8%, save stall 9.5%, start-up 6.3%'
  )


def test_steps_taken_again_and_the_time_between_are_not_goodput():
  killed = start(100.0, 0, 57, saves=[20, 40], step=57.5)  # within a step
  again = start(180.0, 40, 60, saves=[60])
  assert seconds_of(killed, again) == {
    **{'step': 60, 'lost': 17.5, 'start_up': 8, 'idle': 180 - 161.5}
  }
  assert 'in 2 starts' in goodput_of([killed, again]).line()


def test_nothing_is_lost_by_a_stop_that_saves():
  stopped = start(100.0, 0, 30, saves=[20, 30])
  assert seconds_of(stopped, start(140.0, 30, 60)) == {
    **{'step': 60, 'start_up': 8, 'idle': 6}
  }


def test_a_step_is_lost_once_however_often_it_is_taken():
  starts = [
    start(100.0, 0, 30, saves=[10, 20]),
    start(200.0, 20, 28),  # killed before its save
    start(300.0, 0, 0, start_up=7.0),  # killed before its first step
    start(400.0, 20, 25, saves=[25]),
    start(500.0, 10, 40),  # the checkpoints after step 10 were damaged
  ]
  found = seconds_of(*starts)
  assert found['step'] == 40
  assert found['lost'] == 20 + 8 + 5


def test_between_saves_the_time_is_estimated():
  """Only the newest saves are noted; damage may force an older one."""
  killed = start(0.0, 0, 99, saves=[80, 90])
  assert seconds_of(killed, start(200.0, 40, 100))['lost'] == (
    pytest.approx(59, abs=1)
  )


def test_starts_with_nothing_to_do_do_not_count():
  done = start(100.0, 0, 50)
  idle_for_days = start(1e6, 0, 0)
  assert seconds_of(done, idle_for_days) == seconds_of(done)
  assert goodput_of([]) is None and goodput_of([idle_for_days]) is None


def test_all_categories_are_the_wall_time():
  rng = random.Random(0)
  for _ in range(200):
    now, starts = 1.7e9, []
    for _ in range(rng.randint(1, 6)):
      first = rng.randint(0, 50)
      last = first + rng.randint(0, 50)
      saves = range(first, last, rng.randint(1, 60))
      seconds = {name: rng.uniform(0, 9) for name in PHASES}
      starts.append(start(now, first, last, saves, **seconds))
      now = starts[-1].ended + rng.uniform(0, 100)
    if goodput_of(starts):
      found = seconds_of(*starts)
      assert all(seconds > 0 for seconds in found.values())
