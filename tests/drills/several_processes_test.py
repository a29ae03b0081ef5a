"""One pretraining run as several real processes: stopped, killed, restarted."""

import json
import re
import shutil
import textwrap

import numpy as np
import pytest
from launched import ACTING, STEP, Ended, launch
from runs import arrays, assert_same_arrays, assert_same_run, records

from bert_jax.train.checkpoint import saved_steps
from bert_jax.train.goodput import read_starts
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.hosts

# The same run on other processes and devices adds its sums in another order.
TOLERANCE = {'rtol': 1e-4, 'atol': 3e-6}

EXPERIMENT = """
  import os, sys

  from bert_jax import bucket_lock
  from bert_jax.data.config import DataConfig
  from bert_jax.experiment import PretrainExperiment
  from bert_jax.models.config import EncoderConfig
  from bert_jax.optim.adamw import AdamWConfig
  from bert_jax.train.checkpoint_config import CheckpointConfig
  from bert_jax.train.evaluation import EvaluationConfig
  from bert_jax.train.logging import LoggingConfig

  # A dead owner's lock in a bucket is waited for.
  bucket_lock.RENEW_SECONDS, bucket_lock.STALE_SECONDS = 0.5, 3.0


  def get_config():
    return PretrainExperiment(
      model=EncoderConfig(
        num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32,
        dropout=0.1, attention_dropout=0.1,
      ),
      num_steps=10 + (os.environ.get('ANOTHER') in sys.argv),
      batch_size=8,
      data=DataConfig(row_length=32),
      optimizer=AdamWConfig(learning_rate=1e-2),
      evaluation=EvaluationConfig(every_steps=5, batch_size=16),
      checkpoint=CheckpointConfig(every_steps=5, keep_last=3),
      logging=LoggingConfig(every_steps=2, peak_tflops=1.0),
    )
"""


@pytest.fixture(scope='module')
def config(module_folder):
  path = module_folder / 'experiment.py'
  path.write_text(ACTING + textwrap.dedent(EXPERIMENT))
  return path


@pytest.fixture
def go(config, small_corpus):
  def go(workdir, processes=2, devices=2, *flags, status=0, act='') -> Ended:
    words = ['pretrain', f'--config={config}', f'--workdir={workdir}']
    words += [f'--config.data.path={small_corpus}', *flags]
    options = {'processes': processes, 'devices': devices}
    return launch(*words, **options, status=status, act=act)

  return go


@pytest.fixture
def whole(module_folder, go):
  """A run of two processes that nobody disturbed."""
  workdir = module_folder / 'whole'
  if not workdir.exists():
    ended = go(workdir)
    for process in range(2):
      assert f'complete: {workdir}' in ended.lines_of(process)
    assert 'step 10/10 train' in ended.lines_of(0)
    assert 'train' not in ended.lines_of(1).replace('pretrain', '')
  return workdir


@pytest.fixture
def stopped(module_folder, go):
  """A run of two processes, of which one had SIGTERM after its third step."""
  workdir = module_folder / 'stopped'
  if not workdir.exists():
    flag = '--preempted_exit_code=75'
    ended = go(workdir, 2, 2, flag, status=75, act=f'1 SIGTERM {STEP} 3')
    assert ended.seconds < 30
    (step,) = saved_steps(Workdir(workdir).checkpoints)
    assert 3 <= step < 10
    said = f'stopped by SIGTERM; the checkpoint of step {step} is kept'
    assert all(said in ended.lines_of(process) for process in range(2))
  return workdir


def test_one_process_alone_writes_what_they_share(whole):
  workdir = Workdir(whole)
  assert saved_steps(workdir.checkpoints) == [10, 5]
  assert [p.name for p in workdir.metrics.iterdir()] == ['part-0.jsonl']
  (start,) = workdir.starts.read_text().splitlines()
  assert len(json.loads(start)['devices']) == 4
  (account,) = read_starts(workdir.goodput)
  assert account.last_step == 10
  assert json.loads(workdir.complete.read_text()) == {'step': 10}
  assert not workdir.lock_path.exists()


def test_a_stopped_run_goes_on_bit_for_bit(whole, stopped, go, tmp_path):
  assert not Workdir(stopped).complete.exists()
  workdir = shutil.copytree(stopped, tmp_path / 'run')
  go(workdir)
  assert_same_run(workdir, whole)


@pytest.mark.parametrize('processes, devices', [(1, 4), (4, 1)])
def test_a_stopped_run_goes_on_anywhere(
  whole, stopped, go, tmp_path, processes, devices
):
  workdir = shutil.copytree(stopped, tmp_path / 'run')
  go(workdir, processes, devices)
  assert_near(workdir, whole)


def assert_near(workdir, expected):
  """Asserts the same examples, and parameters that differ by rounding alone."""
  mine, theirs = arrays(workdir), arrays(expected)
  assert mine.keys() == theirs.keys()
  for name in mine:
    np.testing.assert_allclose(
      mine[name], theirs[name], **TOLERANCE, err_msg=name
    )
  for step, record in records(expected, 'train').items():
    found = records(workdir, 'train')[step]
    assert found['examples'] == record['examples']
    np.testing.assert_allclose(found['loss'], record['loss'], **TOLERANCE)


@pytest.mark.parametrize('victim', [0, 1])
def test_a_killed_process_ends_the_others_and_costs_no_bit(
  whole, go, tmp_path, victim
):
  workdir = tmp_path / 'run'
  ended = go(workdir, status=137, act=f'{victim} SIGKILL {STEP} 8')
  assert ended.seconds < 60
  assert f'process {victim} of 2' in ended.lines_of(1 - victim)
  assert 'is gone' in ended.lines_of(1 - victim)
  assert 5 in saved_steps(Workdir(workdir).checkpoints)
  if victim:  # a restart does not depend on who was killed
    go(workdir)
    assert_same_arrays(workdir, whole)


# What process 1 does as the signal comes to it, and the call of it.
PHASES = {
  'evaluating': ('bert_jax.train.evaluation', 'RowsInOrder.batches', 2),
  'saving': ('bert_jax.train.checkpoint', 'Checkpoints.save', 1),
}


@pytest.mark.parametrize('phase', PHASES)
def test_a_stop_while_it_evaluates_or_saves_is_one_save_of_all(
  go, tmp_path, phase
):
  module, name, call = PHASES[phase]
  act = f'1 SIGTERM {module} {name} {call}'
  ended = go(tmp_path / 'run', act=act)
  assert ended.seconds < 30
  said = set(re.findall(r'stopped by SIGTERM; .*', ended.text))
  assert len(said) == 1, ended.text
  steps = saved_steps(Workdir(tmp_path / 'run').checkpoints)
  assert f'checkpoint of step {max(steps)} is kept' in said.pop()


@pytest.mark.parametrize(
  'place',
  [
    'bert_jax.parallel.distributed _start_jax',
    'bert_jax.train.evaluation HeldOutLosses.warm_up',
  ],
)
def test_a_stop_before_the_first_step_is_told_to_the_others(
  go, tmp_path, place
):
  ended = go(tmp_path / 'run', status=143, act=f'1 SIGTERM {place} 1')
  assert ended.seconds < 30
  assert re.search('process 1 of 2 .* stopped by a signal', ended.lines_of(0))
  assert not saved_steps(Workdir(tmp_path / 'run').checkpoints)


def test_a_disk_that_is_full_on_one_host_is_named(go, tmp_path):
  act = '1 DISK_FULL bert_jax.train.checkpoint Checkpoints.save 1'
  # A process writes what its own devices hold, so parameters are split.
  ended = go(tmp_path / 'run', 2, 2, '--config.mesh.fsdp=4', status=2, act=act)
  assert ended.seconds < 90
  assert re.search('saving step 5 failed: process 1: EFBIG', ended.lines_of(0))


def test_another_config_on_one_host_is_named(go, tmp_path, monkeypatch):
  monkeypatch.setenv('ANOTHER', '--process_id=1')
  ended = go(tmp_path / 'run', status=2)
  said = ended.lines_of(0)
  assert 'process 1 on ' in said and 'another config.num_steps' in said
  assert '11, not 10' in said


def test_in_a_bucket_kills_and_stops_cost_no_bit(gcs, whole, go):
  url = 'gs://bucket/run'
  # The save of step 5 is under way, or done, at the next step.
  ended = go(url, status=137, act=f'0 SIGKILL {STEP} 6')
  assert 'process 0 of 2' in ended.lines_of(1) and 'is gone' in ended.text
  assert set(saved_steps(Workdir(url).checkpoints)) <= {5}
  assert 'run/lock' in gcs.names('bucket')
  ended = go(url, act=f'1 SIGTERM {STEP} 2')
  assert 'is locked by process' in ended.lines_of(0)
  step = saved_steps(Workdir(url).checkpoints)[0]
  assert f'the checkpoint of step {step} is kept' in ended.lines_of(1)
  go(url)
  assert_same_run(url, whole)
  assert json.loads(Workdir(url).complete.read_text()) == {'step': 10}
  assert 'run/lock' not in gcs.names('bucket')
