"""The account of a run that is killed, and of its next start."""

import pickle
import time

import pytest
from other_process import run_python
from runs import assert_same_run

from bert_jax.jobs.pretrain import pretrain
from bert_jax.report.page import write_report
from bert_jax.train.goodput import goodput_of, read_starts
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.processes

# Saves step 5, and is killed after step 8; each step takes 0.1 s or more.
KILLED = """
import os, pickle, signal, sys, time
from bert_jax.jobs.pretrain import pretrain
from bert_jax.train import account
from bert_jax.train.window import Window

account.BEAT_SECONDS = 0.05
add, count = Window.add, 0

def slow(window, metrics):
  global count
  add(window, metrics)
  count += 1
  time.sleep(0.1 if count < 8 else 0.6)
  if count == 8:
    print('killed at', time.time(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

Window.add = slow
with open(sys.argv[1], 'rb') as file:
  experiment = pickle.load(file)
pretrain(experiment, sys.argv[2])
"""


def test_a_killed_run_loses_the_steps_after_its_save(
  small_experiment, finished_run, tmp_path
):
  workdir = Workdir(tmp_path / 'run')
  path = tmp_path / 'experiment'
  path.write_bytes(pickle.dumps(small_experiment))
  ended = run_python('-c', KILLED, path, workdir.path)
  assert ended.returncode == -9, ended.stderr
  killed = float(ended.stdout.split()[-1])
  time.sleep(0.3)
  again = time.time()
  pretrain(small_experiment, workdir.path)
  end = time.time()

  first, second = starts = read_starts(workdir.goodput)
  # The sign of life is as old as one beat, and as the beat took to write.
  assert killed - 0.5 < first.ended < killed + 0.01
  assert second.began == pytest.approx(again, abs=0.1)
  assert second.ended == pytest.approx(end, abs=0.5)
  assert (first.first_step, first.last_step) == (0, 8)
  assert (second.first_step, second.last_step) == (5, 10)

  found = goodput_of(starts)
  seconds = found.seconds
  assert found.total == pytest.approx(second.ended - first.began, abs=1e-5)
  assert seconds['idle'] == pytest.approx(second.began - first.ended, abs=1e-5)
  assert seconds['idle'] >= 0.3
  # Steps 6 to 8 were slowed by 0.8 s, of which one beat may be missing.
  assert 0.3 < seconds['lost'] < 2
  together = sum(start.seconds['step'] for start in starts)
  assert seconds['step'] + seconds['lost'] == pytest.approx(together)
  assert 0.5 < seconds['step'] < together

  assert_same_run(workdir.path, finished_run)
  page = write_report(workdir.path).read_text()
  assert 'aria-label="Where the time went"' in page
  assert '<td>lost to restarts</td>' in page
  assert f'<td>{seconds["lost"]:,.1f}</td>' in page
