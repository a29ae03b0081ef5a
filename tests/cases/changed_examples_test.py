"""Examples, tokenizer or parameters that have changed under a tuning run.

| what                                           | right                     |
|------------------------------------------------|---------------------------|
| other labels, texts or number, train and eval  | refused, names the field  |
| the same under a stopped run                   | refused                   |
| the same files moved, renamed or copied        | complete                  |
| another tokenizer at the same path             | refused                   |
| other parameters at init_from, figures there   | refused                   |
| the same under a stopped run                   | goes on and says so       |
| other packages under installed_docs:           | refused                   |
| a run of an earlier version                    | its figures, and says so  |
| another config, its checkpoints removed        | refused                   |
| a file that changes while it is read           | refused                   |
"""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from bert_jax import durable_files, run_inputs
from bert_jax.data.sources import content, installed_docs
from bert_jax.data.sources.content import InputFiles
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs import finetune as finetune_job
from bert_jax.jobs.finetune import finetune
from bert_jax.models.config import EncoderConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.checkpoint import CheckpointConfig, load_params, save_params
from bert_jax.train.logging import LoggingConfig
from bert_jax.workdir import Workdir

HEADER = 'text,label\n'
TRAIN = HEADER + 'this array,one\nthese arrays,many\n' * 16
EVAL = HEADER + 'the function,one\nthe functions,many\n' * 4


def swapped(text):
  lines = text.removeprefix(HEADER).splitlines()
  texts, labels = zip(*(line.split(',') for line in lines), strict=True)
  pairs = zip(texts, labels[1:] + labels[:1], strict=True)
  return HEADER + ''.join(f'{text},{label}\n' for text, label in pairs)


CHANGES = {
  'labels': swapped,
  'one text': lambda text: text.replace('array,', 'axis_,', 1),
  'one less': lambda text: text[: text.rindex('the')],
  'another class': lambda text: text.replace(',one', ',two'),
}


def experiment_in(folder, tokenizer) -> FinetuneExperiment:
  (folder / 'train.csv').write_text(TRAIN)
  (folder / 'dev.csv').write_text(EVAL)
  return FinetuneExperiment(
    num_epochs=2,
    batch_size=8,
    max_length=16,
    tokenizer=str(tokenizer),
    model=EncoderConfig(
      num_layers=1, embed_dim=8, num_heads=1, mlp_dim=8, max_positions=16
    ),
    task=ClassificationConfig(
      train_path=str(folder / 'train.csv'), eval_path=str(folder / 'dev.csv')
    ),
    checkpoint=CheckpointConfig(every_steps=3, keep_last=1),
    logging=LoggingConfig(every_steps=4, tensorboard=False, peak_tflops=1.0),
  )


def as_if_trained(is_finished):
  """What a run leaves behind of what is looked at before it goes on."""

  def train(experiment, workdir, task, examples, source, inputs, stop, account):
    inputs.write(experiment, 0)
    params = {'encoder': {'table': np.zeros(4, np.float32)}}
    save_params(workdir.checkpoints, params)
    if is_finished:
      save_params(workdir.best, params)
      durable_files.write_json(workdir.results, {'labels': ['many', 'one']})

  return train


@pytest.fixture
def folder(small_corpus, tmp_path, monkeypatch):
  """A finished run and one that was stopped, with what they read."""
  shutil.copytree(small_corpus / 'tokenizer', tmp_path / 'tokenizer')
  experiment = experiment_in(tmp_path, tmp_path / 'tokenizer')
  for name in ('finished', 'stopped'):
    monkeypatch.setattr(
      finetune_job, '_train', as_if_trained(name == 'finished')
    )
    finetune(experiment, tmp_path / name)

  def no_training(*unused):
    raise AssertionError('it went on to train')

  monkeypatch.setattr(finetune_job, '_train', no_training)
  return tmp_path


@pytest.fixture
def experiment(folder):
  return experiment_in(folder, folder / 'tokenizer')


def test_the_same_content_is_complete_wherever_it_lies(
  folder, experiment, capsys
):
  capsys.readouterr()
  assert not finetune(experiment, folder / 'finished').stopped_by
  (folder / 'dev.csv').rename(folder / 'test.csv')
  (folder / 'tokenizer').rename(folder / 'tok')
  experiment.task.eval_path = str(folder / 'test.csv')
  experiment.tokenizer = str(folder / 'tok')
  assert not finetune(experiment, folder / 'finished').stopped_by
  assert not capsys.readouterr().out


@pytest.mark.parametrize('run', ['finished', 'stopped'])
@pytest.mark.parametrize('name', ['train', 'dev'])
@pytest.mark.parametrize('change', CHANGES)
def test_other_examples_are_refused(folder, experiment, run, name, change):
  path = folder / f'{name}.csv'
  before = path.stat()
  changed = CHANGES[change](path.read_text())
  if changed == path.read_text():  # its text has no array in it
    changed = changed.replace('function,', 'funktion,', 1)
  path.write_text(changed)
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
  field = {'train': 'train', 'dev': 'eval'}[name]
  with pytest.raises(InputError) as raised:
    finetune(experiment, folder / run)
  assert str(raised.value) == (
    f'task.{field}_path: the content of {name}.csv has changed since '
    f'--workdir={folder / run} was begun; put back what it was, or use '
    'another --workdir'
  )


def test_other_held_out_examples_may_be_allowed(folder, experiment):
  (folder / 'dev.csv').write_text(swapped(EVAL))
  with pytest.raises(AssertionError, match='went on to train'):
    finetune(experiment, folder / 'finished', allow_change=('task.eval_path',))


@pytest.mark.parametrize('run', ['finished', 'stopped'])
def test_another_tokenizer_at_the_same_path(folder, experiment, run):
  vocab = folder / 'tokenizer' / 'vocab.txt'
  entries = vocab.read_text().splitlines()
  entries[-2:] = entries[-1], entries[-2]
  vocab.write_text('\n'.join(entries) + '\n')
  with pytest.raises(InputError, match='tokenizer: its content has changed si'):
    finetune(experiment, folder / run)


def test_a_rerun_reads_no_file(folder, experiment, monkeypatch):
  monkeypatch.setattr(content, 'SETTLED_NS', -(10**12))
  finetune(experiment, folder / 'finished')
  monkeypatch.delattr(content, '_hash_local')
  finetune(experiment, folder / 'finished')


@pytest.mark.parametrize('run', ['finished', 'stopped'])
def test_a_run_of_an_earlier_version_says_so(folder, experiment, run, capsys):
  (folder / run / run_inputs.NAME).unlink()
  if run == 'finished':
    finetune(experiment, folder / run)
  else:
    with pytest.raises(AssertionError, match='went on to train'):
      finetune(experiment, folder / run)
  said = capsys.readouterr().out
  assert 'is of an earlier version, which did not record the content' in said
  (folder / 'dev.csv').rename(folder / 'test.csv')
  experiment.task.eval_path = str(folder / 'test.csv')
  with pytest.raises(InputError, match='config differs .* task.eval_path'):
    finetune(experiment, folder / run)


def test_figures_without_checkpoints_are_of_their_config(folder, experiment):
  shutil.rmtree(folder / 'finished' / 'checkpoints')
  finetune(experiment, folder / 'finished')
  experiment.num_epochs = 3
  with pytest.raises(InputError, match='num_epochs: 2 -> 3'):
    finetune(experiment, folder / 'finished')


def test_a_damaged_record_is_named(folder, experiment):
  for damaged in ('[]', '{"task'):
    (folder / 'finished' / run_inputs.NAME).write_text(damaged)
    with pytest.raises(InputError, match=f'{run_inputs.NAME}.* restore it or'):
      finetune(experiment, folder / 'finished')


def test_a_file_that_changes_while_it_is_read(folder, experiment, monkeypatch):
  load = finetune_job.load_examples

  def changing(*arguments):
    examples = load(*arguments)
    (folder / 'dev.csv').write_text(swapped(EVAL))
    return examples

  monkeypatch.setattr(finetune_job, 'load_examples', changing)
  with pytest.raises(InputError, match='dev.csv: has changed while it was bei'):
    finetune(experiment, folder / 'new')


def test_other_packages_under_installed_docs(tmp_path, monkeypatch):
  path = tmp_path / 'module.py'
  path.write_text('"""One docstring."""')
  monkeypatch.setattr(
    installed_docs,
    'installed_files',
    lambda unused: {'numpy': InputFiles({'numpy.core': str(path)})},
  )
  workdir = Workdir(tmp_path / 'run')
  workdir.create()
  description = {
    name: run_inputs.describe_examples(f'installed_docs:{name}')
    for name in ('train', 'eval')
  }
  experiment = FinetuneExperiment(
    num_epochs=1, batch_size=8, compute_dtype='float32'
  )
  with workdir.lock():
    run_inputs.RunInputs(workdir, description).write(experiment, 0)
    workdir.results.write_text('{}')
    assert not run_inputs.RunInputs(workdir, description).check(experiment, ())
    path.write_text('"""Two docstrings."""')
    with pytest.raises(InputError, match='content of installed.numpy has chan'):
      run_inputs.RunInputs(workdir, description).check(experiment, ())


@pytest.mark.parametrize('run', ['finished', 'stopped'])
def test_other_parameters_at_init_from(folder, experiment, run, capsys):
  """Figures are of others than it names; a run that goes on has its own."""
  experiment = dataclasses.replace(
    experiment, tokenizer='', init_from=str(folder / 'source')
  )
  shutil.copytree(folder / 'finished', folder / 'source')
  params, _ = load_params(folder / 'source' / 'best')
  path = folder / run / run_inputs.NAME
  record = json.loads(path.read_text())
  digest = finetune_job.open_pretrained(experiment.init_from).describe()
  path.write_text(json.dumps(record | {'init_from': digest}))
  config = folder / run / 'config.json'
  config.write_text(
    json.dumps(
      json.loads(config.read_text())
      | {'init_from': experiment.init_from, 'tokenizer': ''}
    )
  )

  def rerun():
    if run == 'finished':
      return finetune(experiment, folder / run)
    with pytest.raises(AssertionError, match='went on to train'):
      finetune(experiment, folder / run)

  rerun()
  # The same ones, saved again.
  save_params(folder / 'source' / 'best', params)
  rerun()
  assert 'init_from: its content' not in capsys.readouterr().out
  params['encoder']['table'] = params['encoder']['table'] + 1
  save_params(folder / 'source' / 'best', params)
  if run == 'finished':
    with pytest.raises(InputError, match='init_from: its content has changed'):
      rerun()
  else:
    rerun()
    assert 'init_from: its content has changed' in capsys.readouterr().out
    # Another path is another config still.
    (folder / 'source').rename(folder / 'elsewhere')
    experiment.init_from = str(folder / 'elsewhere')
    with pytest.raises(InputError, match='config differs .* init_from'):
      finetune(experiment, folder / run)
