"""What a run finds damaged or gone when it starts again."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from runs import assert_same_run, records, untimed

from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.report.page import write_report
from bert_jax.train.checkpoint import saved_steps
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.processes


@pytest.fixture
def copy(finished_run, tmp_path):
  return Workdir(shutil.copytree(finished_run, tmp_path / 'run'))


def test_all_checkpoints_gone_is_no_fresh_start(copy, small_experiment):
  shutil.rmtree(copy.checkpoints)
  with pytest.raises(InputError, match='tell of a checkpoint of step 10'):
    pretrain(small_experiment, copy.path)
  assert not copy.has_checkpoint()


def test_the_newest_gone_is_said(copy, small_experiment, finished_run, capsys):
  shutil.rmtree(copy.checkpoints / '10')
  pretrain(small_experiment, copy.path)
  assert (
    'checkpoint of step 10 is not there any more' in capsys.readouterr().out
  )
  assert_same_run(copy.path, finished_run)


def test_the_newest_half_deleted(copy, small_experiment, finished_run):
  for path in sorted((copy.checkpoints / '10').rglob('*'))[::2]:
    if path.is_file():
      path.unlink()
  pretrain(small_experiment, copy.path)
  assert saved_steps(copy.checkpoints) == [10, 5]
  assert_same_run(copy.path, finished_run)


@pytest.mark.parametrize('keep', [0, 1, 0.5, -1])
def test_metrics_cut_in_the_middle_of_a_line(copy, small_experiment, keep):
  (part,) = copy.metrics.iterdir()
  data = part.read_bytes()
  # Where the last line of step 6 begins.
  start = data.index(b'{"kind": "train", "step": 6')
  end = data.index(b'\n', start)
  cut = start + keep if isinstance(keep, int) else (start + end) // 2
  part.write_bytes(data[: end if keep == -1 else cut])
  shutil.rmtree(copy.checkpoints / '10')
  before = untimed(records_of_report(copy))
  assert before.keys() == ({2, 4} if keep != -1 else {2, 4, 6})
  pretrain(small_experiment, copy.path)
  assert set(records_of_report(copy)) == {2, 4, 6, 8, 10}
  write_report(copy.path)


def records_of_report(workdir):
  from bert_jax.report.records import read_metrics

  return {record['step']: record for record in read_metrics(workdir).train}


def test_a_clock_that_goes_backwards(
  small_experiment, finished_run, tmp_path, monkeypatch
):
  """Each look at the clock is a minute earlier than the last."""
  now = time.time()

  def earlier():
    nonlocal now
    now -= 60
    return now

  monkeypatch.setattr(time, 'time', earlier)
  small_experiment.logging.tensorboard = True
  workdir = Workdir(tmp_path / 'run')
  pretrain(small_experiment, workdir.path)
  shutil.rmtree(workdir.checkpoints / '10')
  pretrain(small_experiment, workdir.path)
  assert_same_run(workdir.path, finished_run)
  write_report(workdir.path)


def test_two_starts_at_the_same_moment(
  small_experiment, finished_run, tmp_path
):
  """One works, the other says who does; or it comes after all is done."""
  import pickle

  script = (
    'import pickle, sys\n'
    'from bert_jax import errors\n'
    'from bert_jax.jobs.pretrain import pretrain\n'
    'experiment = pickle.load(open(sys.argv[1], "rb"))\n'
    'print("ready", flush=True)\n'
    'sys.stdin.readline()\n'
    'try:\n'
    '  pretrain(experiment, sys.argv[2])\n'
    'except errors.InputError as error:\n'
    '  sys.exit(str(error))\n'
  )
  config = tmp_path / 'experiment.pickle'
  config.write_bytes(pickle.dumps(small_experiment))
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', script, str(config), str(tmp_path / 'run')],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=os.environ | {'JAX_NUM_CPU_DEVICES': '1'},
    )
    for _ in range(2)
  ]
  for process in processes:
    assert process.stdout.readline() == 'ready\n'
  for process in processes:
    process.stdin.write('\n')
    process.stdin.flush()
  errors = [process.communicate()[1] for process in processes]
  statuses = [process.returncode for process in processes]
  assert sorted(statuses) == [0, 1], errors
  error = errors[statuses.index(1)]
  # 'another process' where the first has not written its number yet.
  assert re.search('is in use by (another )?process', error)
  assert_same_run(tmp_path / 'run', finished_run)
  for line in (tmp_path / 'run' / 'starts.jsonl').read_text().splitlines():
    json.loads(line)
  assert set(records(tmp_path / 'run', 'train')) == {2, 4, 6, 8, 10}
