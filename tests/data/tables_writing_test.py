"""Columns of Python as a file of examples: read back, or refused."""

import numpy as np
import pytest
from refusals import refusal

import bert_jax
from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import read_examples
from bert_jax.data.tables import values


def test_read_back(tmp_path):
  path = tmp_path / 'a.jsonl'
  texts = np.array(['a "b"\n', 'ü \u2028', ''])
  bert_jax.write_examples(path, text=texts, score=np.array([1, 0.5, -2], 'f4'))
  columns = text_columns(['text'], 'score', values.numbers)
  examples = read_examples(path, columns)
  assert examples.texts == [(text,) for text in texts]
  assert examples.labels == [1, 0.5, -2]
  bert_jax.write_examples(path, text=('x',), label=[True])
  assert read_examples(path, text_columns(['text'], 'label')).labels == ['true']


@pytest.mark.parametrize(
  'name,columns,message',
  [
    ('a.tsv', {'text': ['a']}, 'end its name in .jsonl'),
    ('a.jsonl', {}, 'there are none'),
    ('a.jsonl', {'text': []}, 'text has 0'),
    ('a.jsonl', {'text': ['a'], 'label': [1, 2]}, 'text has 1, label has 2'),
    ('a.jsonl', {'text': 'abc'}, 'text is a str; give a list'),
    ('a.jsonl', {'text': ['a', None]}, 'text[1] is missing (None)'),
    ('a.jsonl', {'score': np.array([np.nan])}, 'score[0] is missing (nan)'),
    ('a.jsonl', {'text': [{1}]}, 'example 0 '),
    ('a.jsonl', {'text': ['\ud800']}, 'example 0 '),
    ('a.jsonl', {'score': [float('inf')]}, 'example 0 '),
  ],
)
def test_refused(tmp_path, name, columns, message):
  path = tmp_path / name
  assert message in refusal(lambda: bert_jax.write_examples(path, **columns))
  assert not [*tmp_path.iterdir()]
