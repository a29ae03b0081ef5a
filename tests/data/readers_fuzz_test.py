"""Whatever is in a file, its reader gives texts or one clear line."""

import csv
import io
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from bert_jax.data.labelled import read_examples
from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.errors import InputError

SETTINGS = hypothesis.settings(
  max_examples=150,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)

# Where readers go wrong, beside whatever hypothesis finds.
NASTY = (
  b'"',
  b'""',
  b'\t',
  b',',
  b'\r',
  b'\r\n',
  b'\n\n',
  b'\0',
  b'\xef\xbb\xbf',
  b'\xff',
  b'\\ud800',
  b'NaN',
  b'1e999',
  b'[' * 3000,
  b'{"text":' * 600,
  b'9' * 5000,
  b'null',
  '\u2028\x85\u00a0'.encode(),
)
VALID = {
  '.jsonl': b'{"text": "one", "label": "a"}\n{"text": "two", "label": 1}\n',
  '.csv': b'text,label\n"one, two",a\n"line\nbreak",b\n',
  '.tsv': b'text\tlabel\none "two"\ta\nthree\tb\n',
  '.txt': b'one\n\ntwo\nthree\n',
}


@st.composite
def mutated(draw, ending):
  """A valid file with parts cut out, doubled and put in."""
  data = VALID[ending]
  for _ in range(draw(st.integers(0, 4))):
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    piece = draw(st.sampled_from(NASTY) | st.binary(max_size=9))
    kept = draw(st.sampled_from([b'', data[start:end], data[start:end] * 2]))
    data = data[:start] + kept + piece + data[end:]
  return data


def contents(ending):
  return mutated(ending) | st.binary(max_size=200)


COLUMNS = st.sampled_from(['text', 'label', '0', '1', '7', 'gone', '', 'é'])


def assert_one_line(error) -> None:
  message = str(error)
  assert message and '\n' not in message and '\r' not in message, message
  assert len(message) < 1000, message


@pytest.mark.parametrize('ending', ['.jsonl', '.csv', '.tsv'])
@hypothesis.given(data=st.data())
@SETTINGS
def test_labelled_examples(tmp_path, ending, data):
  path = tmp_path / f'file{ending}'
  path.write_bytes(data.draw(contents(ending)))
  columns = data.draw(st.lists(COLUMNS, min_size=1, max_size=2))
  label = data.draw(st.none() | COLUMNS)
  try:
    examples = read_examples(path, text_columns=columns, label_column=label)
  except InputError as error:
    assert_one_line(error)
  else:
    assert examples.texts
    assert len(examples.labels) == (0 if label is None else len(examples.texts))
    for texts in examples.texts:
      assert len(texts) == len(columns)
      ''.join(texts).encode()  # no half of a surrogate pair


@pytest.mark.parametrize('ending', ['.jsonl', '.txt'])
@pytest.mark.parametrize('unit', ['file', 'line', 'paragraph'])
@hypothesis.given(data=st.data())
@SETTINGS
def test_documents(tmp_path, ending, unit, data):
  path = tmp_path / f'file{ending}'
  path.write_bytes(data.draw(contents(ending)))
  report = ReadReport()
  field = data.draw(st.sampled_from(['text', 'label', 'gone', '']))
  try:
    source = open_inputs(str(path), document=unit, text_field=field)
    documents = list(source.documents(report))
  except InputError as error:
    assert_one_line(error)
  else:
    assert documents
    for document in documents:
      assert document.text.strip()
      document.text.encode()
  for line in report.lines():
    assert_one_line(line)


TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=30)
LABELS = st.text(
  st.characters(exclude_categories=['Cs', 'Cc']), min_size=1, max_size=9
)


@hypothesis.given(
  rows=st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=5)
)
@SETTINGS
def test_jsonl_is_read_back(tmp_path, rows):
  path = tmp_path / 'file.jsonl'
  lines = [json.dumps({'text': text, 'label': label}) for text, label in rows]
  path.write_text('\n'.join(lines) + '\n')
  examples = read_examples(path, text_columns=['text'], label_column='label')
  assert examples.texts == [(text,) for text, _ in rows]
  assert examples.labels == [label for _, label in rows]


@hypothesis.given(
  rows=st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=5)
)
@SETTINGS
def test_csv_is_read_back(tmp_path, rows):
  """As the standard library writes it; a line break is one to the reader."""
  path = tmp_path / 'file.csv'
  file = io.StringIO()
  csv.writer(file).writerows([('text', 'label'), *rows])
  path.write_bytes(file.getvalue().encode())
  examples = read_examples(path, text_columns=['text'], label_column='label')
  assert examples.texts == [(text.replace('\r\n', '\n'),) for text, _ in rows]
  assert examples.labels == [label for _, label in rows]


@hypothesis.given(
  rows=st.lists(
    st.tuples(
      st.text(st.characters(exclude_categories=['Cs', 'Cc']), min_size=1),
      LABELS,
    ),
    min_size=1,
    max_size=5,
  )
)
@SETTINGS
def test_tsv_is_read_back(tmp_path, rows):
  path = tmp_path / 'file.tsv'
  lines = ['\t'.join(row) for row in [('text', 'label'), *rows]]
  path.write_bytes(('\n'.join(lines) + '\n').encode())
  examples = read_examples(path, text_columns=['text'], label_column='label')
  assert examples.texts == [(text,) for text, _ in rows]
  assert examples.labels == [label for _, label in rows]
