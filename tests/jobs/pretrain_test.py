"""Whole pretraining runs: exact resume, branches, stops, bad input."""

import dataclasses
import json
import shutil
import signal
import sys
import textwrap

import jax
import numpy as np
import pytest
from other_process import run_python
from runs import (
  arrays,
  assert_same_arrays,
  assert_same_run,
  records,
  stop_after,
)

from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs.pretrain import pretrain
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train.checkpoint import saved_steps
from bert_jax.workdir import Workdir


@pytest.fixture
def experiment(small_experiment) -> PretrainExperiment:
  return small_experiment


@pytest.fixture
def finished(finished_run):
  return finished_run


def test_the_run_learns_and_writes_what_it_promises(finished):
  assert saved_steps(Workdir(finished).checkpoints) == [10, 5]
  train, evals = records(finished, 'train'), records(finished, 'eval')
  assert sorted(train) == [2, 4, 6, 8, 10]
  assert sorted(evals) == [5, 10]
  assert train[10]['loss'] < train[2]['loss']
  assert evals[10]['perplexity'] == pytest.approx(np.exp(evals[10]['mlm_loss']))
  assert 0 <= evals[10]['masked_accuracy'] <= 1
  for name in ('tokens_per_second', 'step_seconds', 'mfu'):
    assert train[10][name] > 0
  assert 0 <= train[10]['input_wait_share'] < 1
  (start,) = Workdir(finished).starts.read_text().splitlines()
  assert json.loads(start)['versions']['jax'] == jax.__version__


def test_a_complete_run_is_left_as_it_is(finished, experiment, tmp_path):
  workdir = Workdir(shutil.copytree(finished, tmp_path / 'run'))
  before = write_times(workdir.checkpoints)
  outcome = pretrain(experiment, workdir.path)
  assert outcome.saved_step == 10
  assert write_times(workdir.checkpoints) == before


def write_times(folder):
  return {path: path.stat().st_mtime_ns for path in folder.rglob('*')}


def test_the_precision_of_a_run_is_settled_by_its_first_start(
  finished, experiment, tmp_path
):
  """A run that moves to other devices does not change its precision unseen."""
  workdir = Workdir(shutil.copytree(finished, tmp_path / 'run'))
  assert workdir.read_config().compute_dtype == 'float32'
  config = json.loads(workdir.config.read_text())
  config['compute_dtype'] = 'bfloat16'
  workdir.config.write_text(json.dumps(config))
  with pytest.raises(InputError, match='was computed in bfloat16 so far'):
    pretrain(experiment, workdir.path)
  experiment.compute_dtype = 'float32'
  with pytest.raises(InputError, match="'bfloat16' -> 'float32'"):
    pretrain(experiment, workdir.path)


@pytest.mark.parametrize(
  'devices, dtype',
  [
    (['TFRT_CPU_0'], 'float32'),
    (['cpu:0', 'cpu:1'], 'float32'),
    (['TPU_0(process=0,(0,0,0,0))'], 'bfloat16'),
    (['cuda:0'], 'bfloat16'),
  ],
)
def test_a_run_of_an_earlier_version_was_computed_as_its_devices_say(
  finished, tmp_path, devices, dtype
):
  workdir = Workdir(shutil.copytree(finished, tmp_path / 'run'))
  config = json.loads(workdir.config.read_text())
  workdir.config.write_text(json.dumps(config | {'compute_dtype': ''}))
  with workdir.starts.open('a') as file:
    file.write(json.dumps({'devices': devices}) + '\n')
    file.write(json.dumps({'changes': []}) + '\n{"cut')
  assert workdir.recorded_config().compute_dtype == dtype
  workdir.starts.unlink()
  with pytest.raises(InputError, match='on which devices'):
    workdir.recorded_config()


def test_ten_steps_equal_five_and_kill_and_five(finished, experiment, tmp_path):
  """A real process, killed by SIGKILL right after step 5 is saved."""
  script = textwrap.dedent("""
    import os, pickle, signal, sys
    from bert_jax.jobs import pretrain
    from bert_jax.train.checkpoint import Checkpoints
    save = Checkpoints.save
    def save_and_die(checkpoints, state, position):
      save(checkpoints, state, position)
      checkpoints.wait()
      os.kill(os.getpid(), signal.SIGKILL)
    Checkpoints.save = save_and_die
    pretrain.pretrain(pickle.load(open(sys.argv[1], 'rb')), sys.argv[2])
  """)
  import pickle

  config = tmp_path / 'experiment.pickle'
  config.write_bytes(pickle.dumps(experiment))
  killed = run_python('-c', script, config, tmp_path / 'run')
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  assert saved_steps(Workdir(tmp_path / 'run').checkpoints) == [5]
  pretrain(experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', finished)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on_exactly(
  finished, experiment, tmp_path, monkeypatch, number
):
  with monkeypatch.context() as patch:
    stop_after(patch, 3, number)
    outcome = pretrain(experiment, tmp_path / 'run')
  assert outcome.stopped_by == signal.Signals(number).name
  assert outcome.saved_step == 3
  pretrain(experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', finished)


def test_resume_on_eight_devices_continues_the_same_run(
  finished, experiment, tmp_path, monkeypatch
):
  monkeypatch.undo()
  shutil.copytree(finished, tmp_path / 'run')
  shutil.rmtree(Workdir(tmp_path / 'run').checkpoints / '10')
  experiment.mesh = MeshConfig(data=2, fsdp=4)
  pretrain(experiment, tmp_path / 'run')
  mine, theirs = arrays(tmp_path / 'run'), arrays(finished)
  for name in mine:
    np.testing.assert_allclose(
      mine[name], theirs[name], atol=1e-5, err_msg=name
    )


def test_a_damaged_newest_checkpoint_costs_only_its_steps(
  finished, experiment, tmp_path
):
  shutil.copytree(finished, tmp_path / 'run')
  newest = Workdir(tmp_path / 'run').checkpoints / '10'
  path = max(
    (p for p in newest.rglob('d/*')), key=lambda path: path.stat().st_size
  )
  path.write_bytes(path.read_bytes()[:-8])
  pretrain(experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', finished)


def test_resume_from_is_a_branch_with_all_state(finished, experiment, tmp_path):
  experiment.resume_from = f'{finished}@5'
  pretrain(experiment, tmp_path / 'branch')
  assert_same_arrays(tmp_path / 'branch', finished)


def test_init_from_takes_parameters_alone(
  finished, experiment, tmp_path, capsys
):
  experiment.init_from = str(finished)
  experiment.num_steps = 1
  experiment.optimizer.learning_rate = 1e-9
  pretrain(experiment, tmp_path / 'run')
  assert 'new: none; left out: none\n' in capsys.readouterr().out
  mine, theirs = arrays(tmp_path / 'run', step=1), arrays(finished)
  for name in mine:
    if name.startswith('params'):
      np.testing.assert_allclose(mine[name], theirs[name], atol=1e-6)


def test_another_model_in_init_from_names_all_flags(
  finished, experiment, tmp_path
):
  experiment.init_from = str(finished)
  experiment.model = dataclasses.replace(
    experiment.model, mlp_dim=64, num_layers=1, activation='gelu_tanh'
  )
  flags = (
    '--config.model.num_layers=2 --config.model.mlp_dim=32 '
    '--config.model.activation=gelu '
  )
  with pytest.raises(InputError, match=f'give {flags}'):
    pretrain(experiment, tmp_path / 'run')


def test_a_checkpoint_that_is_not_of_its_config_is_named(
  finished, experiment, tmp_path
):
  shutil.copytree(finished, tmp_path / 'other')
  path = tmp_path / 'other' / 'config.json'
  path.write_text(path.read_text().replace('"mlp_dim": 32', '"mlp_dim": 64'))
  experiment.init_from = str(tmp_path / 'other')
  experiment.model = dataclasses.replace(experiment.model, mlp_dim=64)
  with pytest.raises(InputError, match='input/bias has shape .* restore it'):
    pretrain(experiment, tmp_path / 'run')


def test_another_config_is_refused_unless_allowed(
  finished, experiment, tmp_path
):
  shutil.copytree(finished, tmp_path / 'run')
  experiment.num_steps = 12
  with pytest.raises(InputError, match='num_steps: 10 -> 12'):
    pretrain(experiment, tmp_path / 'run')
  outcome = pretrain(experiment, tmp_path / 'run', allow_change=('num_steps',))
  assert outcome.saved_step == 12
  assert 'num_steps: 10 -> 12' in Workdir(tmp_path / 'run').starts.read_text()


def test_other_data_is_refused(finished, experiment, tmp_path):
  shutil.copytree(finished, tmp_path / 'run')
  experiment.data.shuffle = False
  with pytest.raises(InputError, match='the data is not what the run has'):
    pretrain(experiment, tmp_path / 'run', allow_change=('data',))


def test_too_many_non_finite_steps_stop_the_run_and_keep_the_checkpoint(
  finished, experiment, tmp_path, monkeypatch
):
  from bert_jax.optim.adamw import AdamWConfig as Config

  shutil.copytree(finished, tmp_path / 'run')
  shutil.rmtree(Workdir(tmp_path / 'run').checkpoints / '10')
  build = Config.build_schedule
  monkeypatch.setattr(
    Config,
    'build_schedule',
    lambda self, steps: lambda step: build(self, steps)(step) * np.inf,
  )
  experiment.max_nonfinite_steps = 2
  with pytest.raises(InputError) as error:
    pretrain(experiment, tmp_path / 'run')
  # The infinite rate of step 5 spoils the parameters; 6 and 7 see it.
  assert 'steps 6 to 7, examples 48 to 63' in str(error.value)
  assert 'the checkpoint of step 5 is kept' in str(error.value)
  assert saved_steps(Workdir(tmp_path / 'run').checkpoints) == [5]


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('data.row_length', 4, 'data.row_length is 4'),
    ('data.row_length', 64, 'model.max_positions=32'),
    ('data.row_length', 16, 'has rows of length 32'),
    ('data.path', '/nowhere', 'does not exist'),
    ('model.vocab_size', 50, 'smaller than the'),
    ('model.num_heads', 3, 'does not divide'),
    ('num_microbatches', 3, 'num_microbatches=3 does not divide'),
    ('batch_size', 12, 'not a multiple of the 8 devices'),
    ('num_microbatches', 8, 'multiple of num_microbatches=8 times the 8'),
    ('compute_dtype', 'float8', 'compute_dtype'),
    ('optimizer.schedule.warmup_steps', 10, 'does not fit'),
    ('resume_from', '/nowhere', 'no checkpoint'),
  ],
)
def test_bad_config_names_field_and_fix(
  experiment, tmp_path, monkeypatch, field, value, message
):
  monkeypatch.undo()
  *parents, name = field.split('.')
  holder = experiment
  for parent in parents:
    holder = getattr(holder, parent)
  setattr(holder, name, value)
  if field == 'optimizer.schedule.warmup_steps':
    holder.warmup_share = 0.0
  with pytest.raises(InputError, match=message):
    pretrain(experiment, tmp_path / 'run')
  assert not Workdir(tmp_path / 'run').checkpoints.exists()


def test_a_corpus_of_another_tokenizer_is_refused(
  small_corpus, experiment, tmp_path
):
  shutil.copytree(small_corpus, tmp_path / 'corpus')
  vocab = tmp_path / 'corpus' / 'tokenizer' / 'vocab.txt'
  vocab.write_text(vocab.read_text() + 'onemore\n')
  experiment.data.path = str(tmp_path / 'corpus')
  with pytest.raises(InputError, match='prepared with another tokenizer'):
    pretrain(experiment, tmp_path / 'run')


@pytest.mark.parametrize('name', ['', 'vocab.txt'])
def test_a_corpus_whose_tokenizer_lies_elsewhere_is_refused(
  small_corpus, experiment, tmp_path, name
):
  shutil.copytree(small_corpus, tmp_path / 'corpus')
  path = tmp_path / 'corpus' / 'tokenizer' / name
  path.rename(tmp_path / 'elsewhere')
  path.symlink_to(tmp_path / 'elsewhere')
  experiment.data.path = str(tmp_path / 'corpus')
  with pytest.raises(InputError, match='link that leads out of the corpus'):
    pretrain(experiment, tmp_path / 'run')


def test_profile_steps_write_a_trace(experiment, tmp_path):
  experiment.profile_steps = (1, 2)
  experiment.num_steps = 3
  pretrain(experiment, tmp_path / 'run')
  traces = list(Workdir(tmp_path / 'run').profile.rglob('*.xplane.pb'))
  assert len(traces) == 1
  assert traces[0].stat().st_size > 0


def test_a_missing_logger_is_named(experiment, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  experiment.logging.wandb_project = 'project'
  with pytest.raises(InputError, match=r'pip install .bert_jax\[wandb\]'):
    pretrain(experiment, tmp_path / 'run')


def test_tensorboard_without_tensorflow(experiment, tmp_path):
  experiment.logging.tensorboard = True
  experiment.num_steps = 2
  pretrain(experiment, tmp_path / 'run')
  assert list(Workdir(tmp_path / 'run').tensorboard.glob('events.*'))
  assert 'tensorflow' not in sys.modules
