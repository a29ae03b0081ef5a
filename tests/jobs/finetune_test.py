"""Whole fine-tuning runs: seeds, best epoch, exact resume, bad input."""

import json
import pathlib
import types

import numpy as np
import pytest
from tuning import classification, results, stop_at_step_5, tuning

from bert_jax import inference
from bert_jax.data.config import DataConfig
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment, PretrainExperiment
from bert_jax.jobs.finetune import (
  finetune,
  load_examples,
  starting_point,
  with_model,
)
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models.config import EncoderConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.evaluation import EvaluationConfig
from bert_jax.train.initial import Initial
from bert_jax.train.logging import LoggingConfig
from bert_jax.workdir import Workdir

TRAIN = [
  ('this array returns a random number', 'one'),
  ('these arrays return a random number', 'many'),
  ('the function takes every value', 'one'),
  ('the functions take every value', 'many'),
] * 8
EVAL = [
  ('a matrix holds the sum of its values', 'one'),
  ('two matrices hold the sum of its values', 'many'),
  ('this array reshapes every value', 'one'),
  ('these arrays reshape every value', 'many'),
  ('the function takes a random number', 'one'),
]
MODEL = EncoderConfig(
  num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
)
LOGGING = LoggingConfig(every_steps=4, tensorboard=False, peak_tflops=1.0)


@pytest.fixture(scope='module')
def pretrained(small_corpus, tmp_path_factory):
  """On eight devices; the runs below are on one."""
  workdir = tmp_path_factory.mktemp('pretrained') / 'run'
  pretrain(
    PretrainExperiment(
      model=MODEL,
      num_steps=4,
      batch_size=8,
      data=DataConfig(path=str(small_corpus), row_length=32),
      evaluation=EvaluationConfig(every_steps=4, batch_size=16),
      logging=LOGGING,
    ),
    workdir,
  )
  return workdir


@pytest.fixture
def experiment(pretrained, one_device, module_folder) -> FinetuneExperiment:
  """On files that are written anew for each test."""
  task = classification(module_folder, TRAIN, EVAL, 'sentence')
  return tuning(task, init_from=str(pretrained))


@pytest.fixture
def finished(module_folder, experiment) -> pathlib.Path:
  """The workdir of `experiment`, run once; no test changes it."""
  workdir = module_folder / 'finished'
  if not workdir.exists():
    finetune(experiment, workdir)
  return workdir


def eval_records(workdir) -> list[dict]:
  lines = []
  for part in sorted(Workdir(workdir).metrics.glob('part-*.jsonl')):
    lines += map(json.loads, part.read_text().splitlines())
  return [record for record in lines if record['kind'] == 'eval']


def test_every_seed_keeps_its_best_epoch(finished):
  found = results(finished)
  assert found['labels'] == ['many', 'one']
  assert found['label_counts'] == {
    'train': {'many': 16, 'one': 16},
    'eval': {'many': 2, 'one': 3},
  }
  assert found['notes'] == []
  assert [run['seed'] for run in found['runs']] == [0, 1]
  records = eval_records(finished)
  assert len(records) == 6
  for run in found['runs']:
    mine = {
      record['epoch']: record['accuracy']
      for record in records
      if record['seed'] == run['seed']
    }
    assert run['accuracy'] == max(mine.values())
    first_best = min(e for e, v in mine.items() if v == max(mine.values()))
    assert run['best_epoch'] == first_best
    assert np.sum(run['confusion']) == len(EVAL)
    details = run['details']
    assert details['hits'].count('1') / len(EVAL) == run['accuracy']
    assert {one['text'] for one in details['worst']} == {t for t, _ in EVAL}
    true = [one['probability_of_true'] for one in details['worst']]
    assert -np.mean(np.log(true)) == pytest.approx(run['eval_loss'])
  values = [run['accuracy'] for run in found['runs']]
  assert found['summary']['accuracy'] == {
    'mean': pytest.approx(np.mean(values)),
    'std': pytest.approx(np.std(values, ddof=1)),
  }
  losses = {r['seed']: r['eval_loss'] for r in records if r['epoch'] == 1}
  assert losses[0] != losses[1]
  _check_inference(finished, found)


def _check_inference(workdir, found):
  """The params in best/ give the figures of the best seed."""
  model = inference.load(workdir)
  probabilities = model.predict([(text,) for text, _ in EVAL])
  np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
  labels = [found['labels'].index(label) for _, label in EVAL]
  accuracy = np.mean(np.argmax(probabilities, axis=1) == labels)
  assert accuracy == found['runs'][found['best_seed']]['accuracy']
  lengths = [
    len(ids) + 2 for ids in model.tokenizer.encode_batch([t for t, _ in EVAL])
  ]
  rows = found['rows']
  assert rows['lengths'] == [16]
  assert rows['padding_share']['eval'] == pytest.approx(
    1 - np.mean(np.minimum(lengths, 16)) / 16
  )
  assert rows['cut']['eval'] == {
    'cut to max_length=16 tokens': np.sum(np.array(lengths) > 16)
  }
  with pytest.raises(InputError, match='fill_mask needs a model that predicts'):
    model.fill_mask('a [MASK]')


def test_a_stopped_run_ends_as_if_never_stopped(
  finished, experiment, tmp_path, monkeypatch
):
  stop_at_step_5(experiment, tmp_path / 'stopped', monkeypatch)
  with pytest.raises(InputError, match='not finished'):
    inference.load(tmp_path / 'stopped')
  finetune(experiment, tmp_path / 'stopped')
  assert results(tmp_path / 'stopped') == results(finished)
  before = Workdir(finished).results.stat().st_mtime_ns
  finetune(experiment, finished)
  assert Workdir(finished).results.stat().st_mtime_ns == before


def test_seeds_together_equal_seeds_alone(finished, experiment, tmp_path):
  """The first seed of two does what a run of one seed does."""
  experiment.num_seeds = 1
  finetune(experiment, tmp_path / 'one')
  first = [r for r in eval_records(finished) if r['seed'] == 0]
  alone = eval_records(tmp_path / 'one')
  np.testing.assert_allclose(
    [r['eval_loss'] for r in first],
    [r['eval_loss'] for r in alone],
    rtol=1e-4,
  )


def test_early_stopping(experiment, tmp_path):
  experiment.optimizer.learning_rate = 1e-12
  experiment.num_epochs = 10
  experiment.patience_epochs = 2
  finetune(experiment, tmp_path / 'run')
  # Nothing changes after the first epoch: two more, then it stops.
  assert max(r['epoch'] for r in eval_records(tmp_path / 'run')) == 3
  assert results(tmp_path / 'run')['runs'][0]['best_epoch'] == 1


def test_from_scratch_needs_a_tokenizer_only(
  experiment, small_corpus, tmp_path
):
  experiment.init_from = ''
  with pytest.raises(InputError, match='init_from and tokenizer are both'):
    finetune(experiment, tmp_path / 'run')
  experiment.tokenizer = str(small_corpus / 'tokenizer' / 'vocab.txt')
  experiment.model = MODEL
  experiment.num_epochs = 1
  finetune(experiment, tmp_path / 'run')
  assert results(tmp_path / 'run')['init_from'] == ''


def test_another_tokenizer_than_the_models_is_refused(
  experiment, small_corpus, tmp_path
):
  experiment.tokenizer = str(small_corpus / 'tokenizer')
  with_model(experiment, open_pretrained(experiment.init_from))
  vocab = tmp_path / 'vocab.txt'
  entries = (small_corpus / 'tokenizer/vocab.txt').read_text().splitlines()
  vocab.write_text('\n'.join(entries[:-1]) + '\n')
  experiment.tokenizer = str(vocab)
  with pytest.raises(InputError, match='is not that of init_from='):
    with_model(experiment, open_pretrained(experiment.init_from))


def test_two_text_columns_from_jsonl(experiment, tmp_path):
  for name, rows in (('train', TRAIN), ('eval', EVAL)):
    lines = [
      json.dumps({'a': text, 'b': 'a matrix', 'gold': label == 'one'})
      for text, label in rows
    ]
    (tmp_path / f'{name}.jsonl').write_text('\n'.join(lines))
  experiment.task = ClassificationConfig(
    train_path=str(tmp_path / 'train.jsonl'),
    eval_path=str(tmp_path / 'eval.jsonl'),
    # As a flag gives it.
    text_columns=('a,b',),
    label_column='gold',
    max_train_examples=16,
  )
  experiment.num_epochs = 1
  finetune(experiment, tmp_path / 'run')
  assert results(tmp_path / 'run')['num_train'] == 16
  assert results(tmp_path / 'run')['labels'] == ['false', 'true']


def test_classes_are_printed_before_training(experiment, module_folder, capsys):
  """Numbers by size, of the examples that are drawn; what is odd is noted."""
  for name in ('train', 'eval'):
    rows = [('a number', str(10 - row % 3)) for row in range(29)]
    rows.insert(0, ('a matrix', '-1'))
    lines = ['\t'.join(row) for row in rows]
    (module_folder / f'{name}.tsv').write_text('\n'.join(lines) + '\n')
  task = experiment.task
  task.text_columns, task.label_column = ('0',), '1'
  tokenizer = open_pretrained(experiment.init_from).tokenizer
  with pytest.raises(InputError, match="train.tsv:1: .*'-1' is in no other"):
    load_examples(experiment, tokenizer)
  task.header = 'no'
  task.max_train_examples = 25
  loaded, examples = load_examples(experiment, tokenizer)
  label_names = loaded.facts['labels']
  assert label_names == ['-1', '8', '9', '10']
  counts = np.bincount(examples.train.rows['labels'], minlength=4)
  assert (
    list(examples.about['label_counts']['train'].values()) == counts.tolist()
  )
  printed = capsys.readouterr().out
  listing = ', '.join(
    f'{name} ({count})' for name, count in zip(label_names, counts, strict=True)
  )
  assert f'train: 4 classes: {listing}\n' in printed
  assert 'eval: 4 classes: -1 (1), 8 (9), 9 (10), 10 (10)\n' in printed
  (note,) = examples.notes
  assert note in printed and note.startswith('warning: 1 class of two ')


def test_pretrained_parameters_are_where_the_run_starts(
  experiment, pretrained, tmp_path, capsys
):
  from bert_jax.train.checkpoint import load_params

  experiment.optimizer.learning_rate = 1e-12
  experiment.num_epochs = 1
  finetune(experiment, tmp_path / 'run')
  line = 'new: classifier (2), pooler (2); left out: mlm_head (5)\n'
  assert line in capsys.readouterr().out
  before, _ = load_params(Workdir(pretrained).checkpoints)
  after, _ = load_params(Workdir(tmp_path / 'run').best)
  np.testing.assert_allclose(
    after['encoder']['embeddings']['token']['embedding'],
    before['encoder']['embeddings']['token']['embedding'],
    atol=1e-7,
  )


@pytest.mark.parametrize(
  'labels, heads',
  [
    (['many', 'one'], {'encoder', 'pooler', 'classifier'}),
    (['one', 'many'], {'encoder', 'pooler'}),
    (['good', 'bad'], {'encoder', 'pooler'}),
  ],
)
def test_a_head_of_other_answers_is_no_start(
  experiment, small_tokenizer, capsys, labels, heads
):
  config = experiment.task
  task = config.build(small_tokenizer.table, {'labels': ['many', 'one']})
  source = types.SimpleNamespace(
    origin='tuned',
    experiment=experiment,
    facts={'labels': labels},
    load_params=lambda: dict.fromkeys(('encoder', 'pooler', 'classifier'), {}),
  )
  source.initial = lambda: Initial(source.origin, source.load_params)
  assert starting_point(experiment, source, task).load().keys() == heads
  line = (
    "is a classifier of 2 classes with other answers; left out: 'classifier'"
  )
  assert (line in capsys.readouterr().out) == ('classifier' not in heads)


@pytest.mark.parametrize(
  'change, message',
  [
    (dict(max_length=64), 'max_length is 64'),
    (dict(num_seeds=0), 'num_seeds is 0'),
    (dict(init_from='/nowhere'), 'is not a workdir'),
    (dict(dropout=1.0), 'dropout is 1.0'),
    (dict(mesh=MeshConfig(data=3)), 'is 3 devices, but there are 1'),
  ],
)
def test_bad_config_names_the_field(experiment, tmp_path, change, message):
  for name, value in change.items():
    setattr(experiment, name, value)
  with pytest.raises(InputError, match=message):
    finetune(experiment, tmp_path / 'run')


def test_bad_data_names_file_and_line(experiment, module_folder, tmp_path):
  path = module_folder / 'eval.tsv'
  path.write_text('sentence\tlabel\na matrix\tseveral\n')
  with pytest.raises(InputError, match='eval.tsv:2.*several'):
    finetune(experiment, tmp_path / 'run')
  experiment.task.label_column = 'gold'
  with pytest.raises(InputError, match="'gold'"):
    finetune(experiment, tmp_path / 'run')
