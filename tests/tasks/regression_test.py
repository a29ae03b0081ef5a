"""Regression: what is a number, what the figures are, what is refused."""

import json

import numpy as np
import pytest

from bert_jax.data.examples import Examples
from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError
from bert_jax.tasks.regression import Regression, RegressionConfig


def read(path, content):
  path.write_text(content)
  return read_examples(path, RegressionConfig().columns())


@pytest.mark.parametrize(
  ('name', 'content', 'numbers'),
  [
    ('a.tsv', 'text\tlabel\na\t5.000\nb\t-1e-2\nc\t3\n', [5.0, -0.01, 3.0]),
    ('a.jsonl', '{"text": "a", "label": 2}\n', [2.0]),
    ('a.jsonl', '{"text": "a", "label": "2.5"}\n', [2.5]),
  ],
)
def test_numbers(tmp_path, name, content, numbers):
  assert read(tmp_path / name, content).labels == numbers


@pytest.mark.parametrize(
  'cell', ['high', '', 'nan', '1e999', '1_0', '3,5', True, None, [1.0]]
)
def test_what_is_no_number_is_named_by_line(tmp_path, cell):
  lines = [{'text': 'a', 'label': 1}, {'text': 'b', 'label': cell}]
  content = '\n'.join(map(json.dumps, lines))
  with pytest.raises(InputError, match='a.jsonl:2: .* is no number') as caught:
    read(tmp_path / 'a.jsonl', content)
  assert len(str(caught.value).splitlines()) == 1


def test_one_number_alone_is_refused(tmp_path):
  examples = read(tmp_path / 'a.tsv', 'text\tlabel\na\t2\nb\t2.0\n')
  with pytest.raises(InputError, match='every example has the number 2;'):
    RegressionConfig(train_path='a.tsv').fit(examples)


def examples_with(numbers):
  count = len(numbers)
  return Examples(
    columns={'texts': [('a',)] * count, 'labels': numbers},
    origins=[''] * count,
  )


def test_figures():
  """Ranks 1 2 3 4 and 1 3 2 4 differ by 0 1 1 0, computed by hand."""
  task = Regression('cls', None, {})
  results = task.decode(np.array([1.0, 3.0, 2.5, 9.0], np.float32), None)
  figures = task.score(results, examples_with([0.0, 1.0, 2.0, 3.0]))
  assert figures['spearman'] == pytest.approx(1 - 6 * 2 / (4 * 15))
  expected = np.corrcoef([0, 1, 2, 3], [1, 3, 2.5, 9])[0, 1]
  assert figures['pearson'] == pytest.approx(expected)
  assert figures['eval_loss'] == pytest.approx((1 + 4 + 0.25 + 36) / 4)
  json.dumps(results)


@pytest.mark.parametrize('values', [[2.0, 2.0], [0.5]])
def test_without_spread_there_is_no_correlation(values):
  task = Regression('cls', None, {})
  results = task.decode(np.array(values, np.float32), None)
  figures = task.score(results, examples_with([1.0, 2.0][: len(values)]))
  assert figures['pearson'] == figures['spearman'] == 0.0
