"""Kind: JSON values of another type are turned into text or classes.

A text is a string, a label a name, a number or a boolean. All else is refused
by its line, with what was found.
"""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError

GOOD = {'text': 'a', 'label': 'x'}


def read(path, label='label'):
  return read_examples(path, text_columns(('text',), label))


REFUSED = [
  ('text', ['the', 'old'], r'the text is a list \(\["the", "old"\]\)'),
  ('text', {'en': 'a'}, r'the text is an object \(\{"en": "a"\}\)'),
  ('text', None, 'the text is null'),
  ('text', 5, 'the text is the number 5'),
  ('text', True, 'the text is true'),
  ('label', [0, 1], r'the label is a list \(\[0, 1\]\).*several labels'),
  ('label', {'id': 1}, r'the label is an object'),
  ('label', None, 'the label is null'),
  ('label', float('nan'), 'the label is the number NaN'),
  ('label', float('inf'), 'the label is the number Infinity'),
  ('label', '', "the label in column 'label' is empty"),
  ('label', ' \t', "the label in column 'label' is empty"),
]


@pytest.mark.parametrize(('key', 'value', 'message'), REFUSED)
@pytest.mark.parametrize(
  'name', ['a.jsonl', 'a.ndjson', 'a.json', 'array.json']
)
def test_json(tmp_path, name, key, value, message):
  path = tmp_path / name
  records = [json.dumps(r) for r in (GOOD, GOOD | {key: value}, GOOD)]
  lines = '\n'.join(records)
  if name == 'array.json':
    lines = '[' + ',\n'.join(records) + ']'
  path.write_text(lines)
  with pytest.raises(InputError, match=f'{name}:2: {message}'):
    read(path)


@pytest.mark.parametrize(
  ('column', 'values', 'message'),
  [
    ('text', [['a'], ['b']], 'row 1: the text is a list'),
    ('text', ['a', None], 'row 2: the text is null'),
    ('label', [{'a': 1}, None], 'row 1: the label is an object'),
    ('label', [0, None], 'row 2: the label is null'),
    ('label', [b'x', b'y'], 'row 1: the label is a value of type bytes'),
  ],
)
def test_parquet(tmp_path, column, values, message):
  path = tmp_path / 'a.parquet'
  columns = {'text': ['a', 'b'], 'label': ['x', 'y'], column: values}
  pa.parquet.write_table(pa.table(columns), path)
  with pytest.raises(InputError, match=message):
    read(path)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    (
      (1, '1'),
      ":2: the label is the string '1', and in .*:1 it is the number 1",
    ),
    (('true', True), ':2: the label is true, and in .*:1 it is the string'),
    (('0.5', 'x', 0.5), ':3: the label is the number 0.5, and in .*:1'),
  ],
)
def test_two_types_of_one_name(tmp_path, values, message):
  path = tmp_path / 'a.jsonl'
  lines = [json.dumps(GOOD | {'label': value}) for value in values]
  path.write_text('\n'.join(lines))
  with pytest.raises(InputError, match=message):
    read(path)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"text": "a", "label": 1}\n{"text": "b"}\n', ":2: .* no column 'label'"),
    ('["a", 1]\n["b", 0]\n', ':1: is no JSON object'),
    ('{"train": [["a", "x"]], "dev": []}\n', ':1: .*hold the whole table'),
    (
      '{"text": {"0": "a"}, "gold": {"0": "x"}}\n',
      ':1: .*hold the whole table',
    ),
  ],
)
def test_lines_that_are_no_records(tmp_path, content, message):
  path = tmp_path / 'a.jsonl'
  path.write_text(content)
  with pytest.raises(InputError, match=message):
    read(path)


@pytest.mark.parametrize(
  'content',
  [
    '[{"text": "a", "label": 1}, {"text": "b", "label": 0}]',
    '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n',
    '{\n "text": "a", "label": 1\n}\r\n{\n"text": "b",\n "label": 0}',
    '\ufeff [ {"label": 1, "x": NaN, "text": "a"}\n'
    ',{"text": "b", "label": 0} ]\n',
  ],
)
@pytest.mark.parametrize('name', ['a.json', 'a.jsonl'])
def test_json_in_lines_or_one_array(tmp_path, name, content):
  # What has a name of lines may be an array, but no object over several.
  if content.startswith('{\n'):
    name = 'a.json'
  path = tmp_path / name
  path.write_text(content, newline='')
  examples = read(path)
  assert examples.texts == [('a',), ('b',)] and examples.labels == ['1', '0']
  ends = content.replace('\r\n', '\n')
  line = ends[: ends.rindex('{')].count('\n') + 1
  number = ' (record 2)' if line == 1 else ''
  assert examples.origins == [f'{path}:1', f'{path}:{line}{number}']


@pytest.mark.parametrize(
  'content',
  [
    '[{"text": "a", "label": 1}',
    '[{"text": "a", "label": 1},]',
    '[{"text": "a", "label": 1}] []',
    '{"text": "a", "label": 1},',
    '',
    '[]',
  ],
)
def test_a_cut_or_empty_document(tmp_path, content):
  path = tmp_path / 'a.json'
  path.write_text(content)
  with pytest.raises(InputError, match='a.json'):
    read(path)


def test_labels_of_parquet_are_named_as_those_of_json(tmp_path):
  path = tmp_path / 'a.parquet'
  columns = {
    'text': pa.array(['a', 'b']).dictionary_encode(),
    'label': [1, 0],
    'flag': [True, False],
    'id': ['p', 'q'],
  }
  pa.parquet.write_table(pa.table(columns), path)
  assert read(path).labels == ['1', '0']
  assert read(path, 'flag').labels == ['true', 'false']
  examples = read_examples(
    path, text_columns(('text',), None), id_columns=('idx', 'id')
  )
  assert examples.ids == ['p', 'q'] and examples.lines == []
  with pytest.raises(InputError, match=r"no column 'gold'; .*label_column"):
    read(path, 'gold')


def test_a_record_of_an_array_in_one_line_has_a_number(tmp_path):
  path = tmp_path / 'a.json'
  good = {'text': 'red', 'label': 'x'}
  path.write_text(json.dumps([good, good, {'text': 'red', 'label': None}]))
  with pytest.raises(InputError, match=r'a.json:1 \(record 3\): .* is null'):
    read(path)


@pytest.mark.parametrize('count', [1, 2])
def test_only_a_record_that_is_alone_may_be_the_table(tmp_path, count):
  path = tmp_path / 'a.json'
  record = {'id': 1, 'data': {'text': 'red'}, 'annotations': [{'result': []}]}
  path.write_text(json.dumps([record] * count))
  with pytest.raises(InputError) as raised:
    read(path)
  assert ('whole table' in str(raised.value)) == (count == 1)
