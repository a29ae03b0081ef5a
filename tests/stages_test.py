"""Runs over several corpora and stages: exact resume, stops, refusals."""

import dataclasses
import shutil

import pytest
from runs import assert_same_run, prepared_lines, records, stop_after

from bert_jax import inference
from bert_jax.data.config import Corpus
from bert_jax.data.preparing.prepare import prepare
from bert_jax.data.reading.mixture import MixturePhase
from bert_jax.data.reading.plan import Stage
from bert_jax.data.sources import open_inputs
from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.train.checkpoint import saved_steps
from bert_jax.workdir import Workdir


@pytest.fixture(scope='module')
def two_corpora(small_text, small_tokenizer, tmp_path_factory):
  """The two halves of `small_text`, in rows of 16 and of 32."""
  folder = tmp_path_factory.mktemp('two')
  lines = small_text.read_text().splitlines(keepends=True)
  for name, half in (('first', lines[::2]), ('second', lines[1::2])):
    (folder / f'{name}.txt').write_text(''.join(half))
    prepared_lines(
      folder / f'{name}.txt',
      small_tokenizer,
      folder / name,
      row_lengths=(16, 32),
    )
  return folder


@pytest.fixture
def experiment(small_experiment, two_corpora):
  """Ten steps: six of 16 x 16, then four of 8 x 32; new weights within each."""
  data = dataclasses.replace(
    small_experiment.data,
    path='',
    corpora=(
      Corpus(path=str(two_corpora / 'first')),
      Corpus(path=str(two_corpora / 'second'), max_epochs=3),
    ),
    stages=(
      Stage(num_steps=6, row_length=16, batch_size=16),
      Stage(num_steps=4),
    ),
    mixture=(
      MixturePhase(weights=(3.0, 1.0)),
      MixturePhase(first_example=40, weights=(1.0, 1.0)),
      MixturePhase(first_example=112, weights=(1.0, 2.0)),
    ),
  )
  return dataclasses.replace(small_experiment, data=data)


@pytest.fixture
def untouched(module_folder, experiment):
  workdir = module_folder / 'untouched'
  if not workdir.exists():
    pretrain(experiment, workdir)
  return workdir


def test_both_corpora_are_read_and_evaluated(untouched, capsys):
  train = records(untouched, 'train')
  assert [train[step]['examples'] for step in sorted(train)] == [
    32,
    64,
    96,
    112,
    128,
  ]
  evals = []
  for part in Workdir(untouched).metrics.iterdir():
    evals += [
      line for line in part.read_text().splitlines() if '"eval"' in line
    ]
  for corpus in ('first', 'second'):
    assert sum(f'"corpus": "{corpus}"' in line for line in evals) == 2


def test_samples_are_of_the_corpora(untouched, two_corpora):
  """Samples come from one of the corpora if data.path names none."""
  (sample, *_) = inference.load(untouched).samples()
  words = (two_corpora / 'first.txt').read_text().lower()
  assert sample['answer'] in words


def test_samples_that_do_not_fit_are_left_out(untouched):
  """Text cut within a word may have more tokens than the row it came from."""
  model = inference.load(untouched)
  samples = model.samples()
  model.experiment.model.max_positions = 16
  assert 0 < len(model.samples()) < len(samples)


@pytest.mark.parametrize('num_steps', [2, 5, 6, 7, 9])
def test_resumed_inside_and_between_stages(
  experiment, untouched, tmp_path, monkeypatch, num_steps
):
  with monkeypatch.context() as patch:
    stop_after(patch, num_steps)
    assert pretrain(experiment, tmp_path / 'run').saved_step == num_steps
  pretrain(experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', untouched)


def test_all_is_saved_before_a_stage_is_compiled(
  experiment, tmp_path, monkeypatch
):
  """A signal during the compilation ends the process and loses nothing."""
  experiment.checkpoint.every_steps = 100
  kept = []
  from bert_jax.stopping import StopSignal

  all_kept = StopSignal.all_kept

  def note(stop):
    kept.append(saved_steps(Workdir(tmp_path / 'run').checkpoints))
    all_kept(stop)

  monkeypatch.setattr(StopSignal, 'all_kept', note)
  pretrain(experiment, tmp_path / 'run')
  assert kept == [[6]]


def test_other_weights_are_refused_unless_allowed(
  experiment, untouched, tmp_path
):
  shutil.copytree(untouched, tmp_path / 'run')
  experiment.num_steps = 12
  experiment.data.stages = (*experiment.data.stages, Stage(num_steps=2))
  with pytest.raises(InputError, match='num_steps: 10 -> 12'):
    pretrain(experiment, tmp_path / 'run')
  with pytest.raises(InputError, match='data.stages'):
    pretrain(experiment, tmp_path / 'run', allow_change=('num_steps',))
  outcome = pretrain(
    experiment, tmp_path / 'run', allow_change=('num_steps', 'data.stages')
  )
  assert outcome.saved_step == 12


def test_a_stage_of_another_row_length_may_be_appended(experiment, tmp_path):
  stages = experiment.data.stages
  experiment.num_steps, experiment.data.stages = 6, stages[:1]
  assert pretrain(experiment, tmp_path / 'run').saved_step == 6
  experiment.num_steps, experiment.data.stages = 10, stages
  outcome = pretrain(
    experiment, tmp_path / 'run', allow_change=('num_steps', 'data.stages')
  )
  assert outcome.saved_step == 10


def test_what_has_been_read_cannot_be_changed(
  experiment, untouched, tmp_path, monkeypatch
):
  """--allow_change does not help; a refusal leaves the run as it was."""
  with monkeypatch.context() as patch:
    stop_after(patch, 5)
    pretrain(experiment, tmp_path / 'run')
  original = experiment.data
  mixture, stages = original.mixture, original.stages
  other = dataclasses.replace(mixture[1], weights=(1.0, 3.0))
  longer = dataclasses.replace(stages[0], batch_size=24)
  for change, message in (
    (
      dict(mixture=(mixture[0], other, mixture[2])),
      r'of corpus 0, row length 16, it read 50 rows of .* given now 40 rows',
    ),
    (
      dict(stages=(longer, stages[1])),
      'step 5 of the run came after 80 examples, by the batch sizes .* 120',
    ),
  ):
    experiment.data = dataclasses.replace(original, **change)
    with pytest.raises(InputError, match=message):
      pretrain(experiment, tmp_path / 'run', allow_change=('data',))
  experiment.data = original
  pretrain(experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', untouched)


def test_a_cap_on_epochs_is_refused_before_the_first_step(experiment, tmp_path):
  experiment.data.corpora[1].max_epochs = 1
  experiment.num_steps = 104
  experiment.data.stages[1].num_steps = 98
  with pytest.raises(InputError, match='second: max_epochs=1, but this run'):
    pretrain(experiment, tmp_path / 'run')
  assert not Workdir(tmp_path / 'run').checkpoints.exists()


@pytest.mark.parametrize(
  'change, message',
  [
    (dict(path='somewhere'), 'data.path and data.corpora are both set'),
    (
      dict(stages=(Stage(num_steps=9),)),
      r'\[9\], which must be .* num_steps=10',
    ),
    (
      dict(stages=(Stage(num_steps=10, row_length=64),)),
      r'data.stages\[0\].row_length is 64',
    ),
    (dict(stages=(Stage(num_steps=10, batch_size=-8),)), 'batch_size=-8'),
    (dict(corpora=(Corpus(),)), 'data.path is empty'),
    (dict(corpora=(Corpus(path='/nowhere'),)), '/nowhere does not exist'),
    (
      dict(mixture=(MixturePhase(weights=(1.0,)),)),
      'one for each of 2 corpora',
    ),
  ],
)
def test_bad_data_configs(experiment, tmp_path, change, message):
  experiment.data = dataclasses.replace(experiment.data, **change)
  with pytest.raises(InputError, match=message):
    pretrain(experiment, tmp_path / 'run')


def test_corpora_of_two_tokenizers(
  experiment, two_corpora, tmp_path, small_text
):
  from bert_jax.data.sources.base import ReadReport
  from bert_jax.data.tokenizers.training import train_wordpiece

  source = open_inputs(str(small_text), document='line')
  tokenizer = train_wordpiece(
    source.documents(ReadReport()), vocab_size=120, lowercase=True
  )
  prepare(
    source,
    tokenizer,
    output=tmp_path / 'other',
    row_lengths=(16, 32),
    eval_fraction=0.0,
    num_workers=1,
    progress=False,
  )
  experiment.data.corpora[1].path = str(tmp_path / 'other')
  with pytest.raises(InputError, match='other: .*another tokenizer than'):
    pretrain(experiment, tmp_path / 'run')
