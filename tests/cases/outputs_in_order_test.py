"""Kind: an example is dropped from an ordered output.

There are as many results as records, and each says which one it is of.
"""

import json
import os

import numpy as np
import pytest

from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import ID_COLUMNS, read_examples
from bert_jax.errors import InputError
from bert_jax.jobs import predict as predict_job
from bert_jax.tasks import metrics
from bert_jax.tasks.classification import Classification


class LengthModel:
  """Tells texts of even and odd length apart."""

  def __init__(self, labels=('even', 'odd')):
    self.task = Classification('cls', None, {'labels': list(labels)})

  def require_task(self, method):
    return self.task

  def results(self, examples, cut):
    odd = np.array([len(text) % 2 for (text,) in examples.texts])
    probabilities = np.stack([1 - odd, odd], axis=1).astype(np.float32)
    with np.errstate(divide='ignore'):
      return self.task.decode(np.log(probabilities), None)


def predict(tmp_path, name, content):
  path = tmp_path / name
  path.write_text(content, newline='')
  examples = read_examples(
    path, text_columns(('text',), None), id_columns=ID_COLUMNS
  )
  output = tmp_path / 'out.jsonl'
  predict_job.write_predictions(LengthModel(), examples, output)
  assert {p.name for p in tmp_path.iterdir()} == {name, 'out.jsonl'}
  return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.parametrize(
  ('name', 'content', 'lines', 'labels'),
  [
    ('a.csv', 'text\na\n\nbc\n', [2, 3, 4], 'odd even even'),
    ('a.csv', 'text\r\na\r\n""\r\nbc', [2, 3, 4], 'odd even even'),
    ('a.csv', 'text\n\n\na\n\n', [2, 3, 4, 5], 'even even odd even'),
    ('a.tsv', 'text\n\na\n', [2, 3], 'even odd'),
    ('a.csv', 'text\n"a\nb"\nbc\n', [2, 4], 'odd even'),
    ('a.jsonl', '{"text": ""}\n{"text": "a"}\n\n', [1, 2], 'even odd'),
    ('a.json', '[{"text": ""},\n{"text": "a"}]', [1, 2], 'even odd'),
  ],
)
def test_as_many_results_as_records(tmp_path, name, content, lines, labels):
  found = predict(tmp_path, name, content)
  assert [result['line'] for result in found] == lines
  assert [result['label'] for result in found] == labels.split()
  assert [result['record'] for result in found] == [*range(1, len(lines) + 1)]
  assert found[0]['probabilities'].keys() == {'even', 'odd'}
  assert 'id' not in found[0]


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('a.csv', 'id,text\n1,a\n\n2,b\n'),
    ('a.tsv', 'id\ttext\n1\ta\n\n2\tb\n'),
    ('a.jsonl', '{"text": "a"}\n\n{"text": "b"}\n'),
  ],
)
def test_a_blank_line_that_is_no_record_is_named(tmp_path, name, content):
  line = content.split('\n').index('') + 1
  with pytest.raises(InputError, match=f'{name}:{line}: is blank'):
    predict(tmp_path, name, content)


@pytest.mark.parametrize(
  ('output', 'message'),
  [
    ('a.csv', 'is the table that is read'),
    ('link.csv', 'is the table that is read'),
    ('.', 'is a folder'),
    ('gone/out.jsonl', 'there is no folder .*gone'),
    ('-', 'results go to a file'),
    ('/dev/stdout', 'results go to a file'),
    ('pipe', 'results go to a file'),
  ],
)
def test_an_output_that_would_replace_something_else(tmp_path, output, message):
  source = tmp_path / 'a.csv'
  source.write_text('text\na\n')
  (tmp_path / 'link.csv').symlink_to(source)
  os.mkfifo(tmp_path / 'pipe')
  with pytest.raises(InputError, match=message):
    predict_job.check_output(tmp_path / output, str(source))
  source_of_others = tmp_path / 'b.csv'
  predict_job.check_output(source, str(source_of_others))


@pytest.mark.parametrize(
  ('name', 'content', 'ids'),
  [
    ('a.csv', 'id,text\nx7,a\n,b\n', ['x7', '']),
    ('a.tsv', 'index\ttext\n0\ta\n5\tb\n', ['0', '5']),
    ('a.jsonl', '{"idx": 3, "text": "a"}\n{"text": "b"}\n', [3, None]),
    ('a.jsonl', '{"text": "a"}\n{"text": "b", "guid": [1]}\n', [None, [1]]),
    (
      'a.jsonl',
      '{"id": NaN, "text": "a"}\n{"id": "\\ud800", "text": "b"}',
      None,
    ),
  ],
)
def test_ids_are_carried_over(tmp_path, name, content, ids):
  found = predict(tmp_path, name, content)
  assert [result['id'] for result in found] == (ids or [None, '\ud800'])


def test_labels_that_a_model_does_not_have(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('text,label\na,odd\nb,Odd\nc,1\nd,1\n')
  examples = read_examples(path, text_columns(('text',), 'label'))
  message = (
    r"a.csv:3: the label 'Odd' is not known; known are 'even', 'odd'. "
    r"3 of 4 examples have unknown labels \('Odd', '1'\)"
  )
  with pytest.raises(InputError, match=message):
    predict_job.evaluation_table(LengthModel(), examples)


def test_a_model_without_names_wants_numbers(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('text,label\na,entailment\nb,0\n')
  examples = read_examples(path, text_columns(('text',), 'label'))
  model = LengthModel(['LABEL_0', 'LABEL_1'])
  with pytest.raises(InputError, match=r"'entailment', .*numbers, 0 to 1"):
    predict_job.evaluation_table(model, examples)


def test_numbers_are_the_outputs_of_a_model_without_names(
  tmp_path, capsys, monkeypatch
):
  path = tmp_path / 'a.csv'
  path.write_text('text,label\na,1\nbb,0\nccc,1\n')
  examples = read_examples(path, text_columns(('text',), 'label'))
  model = LengthModel(['LABEL_0', 'LABEL_1'])
  seen = []
  figures = _figures()
  monkeypatch.setattr(
    metrics,
    'classification_report',
    lambda labels, *_: seen.extend(labels) or figures,
  )
  predict_job.evaluation_table(model, examples)
  assert seen == [1, 0, 1]
  assert 'labels 0 to 1 are taken for the outputs' in capsys.readouterr().out


def _figures():
  report = metrics.classification_report(
    np.zeros(1, int), np.zeros(1, int), ['a', 'b']
  )
  return report | {'eval_loss': 0.0}
