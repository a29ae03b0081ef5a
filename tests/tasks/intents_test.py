"""Intents and slots: the columns, the threshold, and what is refused."""

import json

import numpy as np
import pytest
from refusals import refusal
from tuning import results, tuning

from bert_jax.data.labelled import read_examples
from bert_jax.jobs.finetune import finetune
from bert_jax.models.config import EncoderConfig
from bert_jax.tasks import commands
from bert_jax.tasks.intents import IntentsConfig

SMALL = EncoderConfig(
  num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
)
ROWS = [
  ('book a room', 'O O B-what', 'book'),
  ('play it', 'O O', 'play'),
]


def config(**fields):
  return IntentsConfig(train_path='train.tsv', eval_path='dev.tsv', **fields)


def read(tmp_path, rows, task):
  path = tmp_path / 'a.tsv'
  lines = ['\t'.join(row) for row in [('text', 'slots', 'intent'), *rows]]
  path.write_text('\n'.join(lines) + '\n')
  return read_examples(path, task.columns())


def test_texts_and_lists_are_one(tmp_path):
  task = config()
  examples = read(tmp_path, ROWS, task)
  path = tmp_path / 'a.jsonl'
  path.write_text(
    '\n'.join(
      json.dumps({'text': a.split(), 'slots': b.split(), 'intent': c})
      for a, b, c in ROWS
    )
  )
  assert read_examples(path, task.columns()).columns == examples.columns
  assert examples.texts[0] == ('book', 'a', 'room')
  assert task.fit(examples) == {
    'intents': ['book', 'play'],
    'slots': ['B-what', 'O'],
    'threshold': 0.0,
  }
  alone = config(slot_column='')
  assert alone.fit(read(tmp_path, ROWS, alone))['slots'] == []


def test_rows(tmp_path, small_tokenizer):
  """A sentence's first row has the intent, a word's first token its label."""
  task = config(out_of_scope='none')
  long = (' '.join(20 * ['array']), ' '.join(20 * ['O']), 'play')
  out = ('this array', 'O B-what', 'none')
  examples = read(tmp_path, [*ROWS, long, out], task)
  facts = {'intents': ['book', 'play'], 'slots': ['B-what', 'O']}
  built = task.build(small_tokenizer.table, facts | {'threshold': 0.0})
  rows = built.featurize(examples, small_tokenizer, 16).rows
  assert rows['intents'].tolist() == [0, 1, 1, -1, -1]
  assert (rows['labels'] >= 0).sum(axis=1).tolist() == [
    *(3, 2),
    *((rows['labels'][2:4] >= 0).sum(axis=1)),
    2,
  ]
  assert (rows['labels'][2:4] >= 0).sum() == 20
  last = rows['labels'][4]
  assert last[last >= 0].tolist() == [1, 0]


def test_unseen_intents_and_labels(tmp_path, small_tokenizer):
  """Refused, or no part of the loss; both sentences count as wrong."""
  examples = read(tmp_path, [*ROWS, ('play it', 'O I-what', 'stop')], config())
  facts = {'intents': ['book', 'play'], 'slots': ['B-what', 'O']}
  facts['threshold'] = 0.0
  build = config().build(small_tokenizer.table, facts)
  message = refusal(build.featurize, examples, small_tokenizer, 16)
  assert "the label 'stop' is not known" in message
  known = [('play it', 'O I-what', 'play')]
  other = read(tmp_path, [*ROWS, *known], config())
  message = refusal(build.featurize, other, small_tokenizer, 16)
  assert "a.tsv:4, word 2: the label 'I-what' is not known" in message
  assert '--config.task.unseen=wrong' in message
  built = config(unseen='wrong').build(small_tokenizer.table, facts)
  rows = built.featurize(examples, small_tokenizer, 16).rows
  assert rows['intents'].tolist() == [0, 1, -1]
  assert (rows['labels'][2] >= 0).sum() == 1
  assert 'stop (1)' in built.about('eval', examples).notes[0]
  guesses = [
    {'intent': intent, 'probability': 0.9, 'slots': [*slots]}
    for intent, slots in zip(
      ['book', 'play', 'play'],
      [('O', 'O', 'B-what'), ('O', 'O'), ('O', 'O')],
      strict=True,
    )
  ]
  found = built.score(guesses, examples)
  assert found['exact'] == found['intent_accuracy'] == pytest.approx(2 / 3)
  assert found['slot_f1'] == pytest.approx(2 / 3)


def test_intents_alone(tmp_path, one_device, small_corpus):
  """Rows of two lengths are tuned together, though words have no labels."""
  rows = [(a, c) for a, _, c in ROWS] + [(20 * 'array ', 'play')]
  path = tmp_path / 'a.tsv'
  lines = ['text\tintent', *['\t'.join(row) for row in rows * 8]]
  path.write_text('\n'.join(lines) + '\n')
  task = IntentsConfig(
    train_path=str(path), eval_path=str(path), slot_column=''
  )
  experiment = tuning(
    task,
    num_epochs=1,
    length_buckets=2,
    max_length=32,
    model=SMALL,
    tokenizer=str(small_corpus / 'tokenizer'),
  )
  finetune(experiment, tmp_path / 'run')
  found = results(tmp_path / 'run')
  assert found['metric'] == 'intent_accuracy' and found['slots'] == []
  assert {*found['runs'][0]['per_class']} == {'book', 'play'}


@pytest.mark.parametrize(
  'is_right,is_out,expected',
  [
    # Rejecting the lowest two gains two and loses none.
    ([0, 0, 1, 1], [1, 1, 0, 0], (1.0, 0.5)),
    # Nothing is out of scope.
    ([0, 1, 1, 1], [0, 0, 0, 0], (0.75, 0.0)),
    # All are: above the highest probability there is a threshold too.
    ([0, 0, 0, 0], [1, 1, 1, 1], (1.0, 0.95)),
    # Two thresholds are equally good: the one that rejects fewer is taken.
    ([0, 1, 0, 1], [1, 0, 1, 0], (0.75, 0.25)),
  ],
)
def test_best_threshold(is_right, is_out, expected):
  probability = np.array([0.2, 0.3, 0.7, 0.9])
  found = commands.best_threshold(
    probability, np.array(is_right, bool), np.array(is_out, bool)
  )
  assert found == pytest.approx(expected)
  # The accuracy is what the threshold gives.
  rejected = probability < found[1]
  right = np.where(rejected, is_out, is_right)
  assert right.mean() == found[0]


def test_equal_probabilities_are_not_parted():
  probability = np.array([0.5, 0.5, 1.0, 1.0])
  is_right, is_out = np.array([[0, 1, 1, 0], [1, 0, 0, 1]], bool)
  found = commands.best_threshold(probability, is_right, is_out)
  assert found == (0.5, 0.0)


def test_figures():
  labels = ['a', 'b', 'none', 'b']
  slots = [['O', 'B-x'], ['O'], ['O'], ['B-x', 'I-x']]
  guesses = [
    {'intent': intent, '_likeliest': likeliest, 'probability': p, 'slots': s}
    for intent, likeliest, p, s in zip(
      ['a', 'none', 'none', 'a'],
      ['a', 'b', 'a', 'a'],
      [0.9, 0.4, 0.3, 0.8],
      [['O', 'B-x'], ['O'], ['O'], ['B-x', 'O']],
      strict=True,
    )
  ]
  found = commands.of_intents(guesses, labels, ['a', 'b'], 'none')
  assert found['intent_accuracy'] == 0.5
  assert found['best_intent_accuracy'] == 0.75 and found['auroc'] == 1
  assert found['per_class']['b']['recall'] == 0
  found = commands.of_slots(guesses, labels, slots)
  # Right as a whole are the first and the third; of two slots each, one.
  assert (found['exact'], found['slot_f1']) == (0.5, 0.5)


@pytest.mark.parametrize(
  'rows,fields,message',
  [
    (
      [*ROWS, ('stop', 'O O', 'play')],
      {},
      "a.tsv:4: has 1 words ('stop') and 2 labels of slots;",
    ),
    ([*ROWS, ('stop', 'NN', 'play')], {}, "has the labels 'NN'; give O"),
    (ROWS[1:] * 2, {'slot_column': ''}, "every sentence has the intent 'play'"),
    ([('a', 'O', 'x'), ('b', 'O', 'y')], {}, "has the labels 'O'; give O"),
    (ROWS, {'out_of_scope': 'play'}, 'has 1 examples of it; leave them out'),
  ],
)
def test_refused_examples(tmp_path, rows, fields, message):
  task = config(**fields)
  assert message in refusal(task.fit, read(tmp_path, rows, task))


@pytest.mark.parametrize(
  'fields,message',
  [
    ({'metric': 'auroc'}, 'task.metric=auroc needs task.out_of_scope'),
    ({'metric': 'exact', 'slot_column': ''}, 'needs task.slot_column'),
    ({'text_columns': ('a', 'b')}, 'task.text_columns names 2 columns'),
  ],
)
def test_refused_configs(fields, message):
  assert message in refusal(config(**fields).validate)


def test_the_usual_metric():
  for fields, expected in (
    ({}, 'exact'),
    ({'slot_column': ''}, 'intent_accuracy'),
    ({'slot_column': '', 'out_of_scope': 'x'}, 'best_intent_accuracy'),
  ):
    task = config(**fields)
    task.validate()
    assert task.metric == expected
