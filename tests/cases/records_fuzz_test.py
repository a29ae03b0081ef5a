"""Whatever bytes a file of records has: its records, or a refusal.

The records are those that an independent reader sees: `json` line by line or
as one array, the `csv` module, and str.split for TSV. What is counted as bad is
what that reader calls bad.
"""

import csv
import io
import json
import re

import fuzzing
import hypothesis
import pytest
from hypothesis import strategies as st

from bert_jax.data.sources import base, json_records, open_inputs
from bert_jax.errors import InputError

SETTINGS = fuzzing.settings(150)
PIECES = st.sampled_from(
  [
    *fuzzing.PIECES,
    *(b'""', b'\\"', b'[', b']', b'{', b'}', b':', b'"text": "x", '),
    '\u2028\x85é'.encode(),
  ]
) | st.binary(max_size=3)
LINE = b'{"n": 1, "text": "a \\"b\\" \\u00e9"}\n'
STARTS = {
  '.jsonl': (LINE * 6, b'{"text": 1}\n' + LINE * 3, b'[1]\n' + LINE),
  '.json': (
    b'[{"text": "a"}, {"text": "b\\n", "text": "c"},\n {"text": "d"}]',
    b'[ ]',
    b'[{"text": "' + b'long ' * 40 + b'"}, 3, {"m": {"text": [1, 2]}}]\n',
  ),
  '.csv': (b'id,text\r\n1,"a ""b"",\nc"\r\n2,d\r\n', b'text\na\n\nb\n'),
  '.tsv': (b'id\ttext\n1\ta "b"\n2\t"c"\n', b'text\na\n\nb\n'),
}


@st.composite
def contents(draw, ending):
  """A file of records with parts cut out, doubled and put in."""
  data = draw(st.sampled_from(STARTS[ending]))
  return draw(fuzzing.changed(data, PIECES, most=3, longest=9))


def read(path):
  """(texts, report), or None where the file is refused in one line."""
  report = base.ReadReport()
  try:
    documents = list(open_inputs(str(path)).documents(report))
  except InputError as error:
    assert '\n' not in str(error) and len(str(error)) < 700
    return None
  return [document.text for document in documents], report


def decoded(data):
  text = data.removeprefix(b'\xef\xbb\xbf').decode('utf-8', 'surrogateescape')
  return re.sub('[\udc80-\udcff]', '\ufffd', text)


class Pairs(list):
  """The keys and values of a JSON object, repeated ones too."""


def text_of(value):
  """The text of a JSON value, None where it is no record with one."""
  if not isinstance(value, Pairs):
    return None
  found = [item for key, item in value if key == 'text']
  if len(found) != 1 or not isinstance(found[0], str):
    return None
  return re.sub('[\ud800-\udfff]', '\ufffd', found[0])


def texts_of_lines(data):
  """The text of each line that is not blank, None for a bad one."""
  texts = []
  for line in io.StringIO(decoded(data), newline=None):
    if line.isspace():
      continue
    try:
      line = line.removeprefix('\ufeff')
      texts.append(text_of(json.loads(line, object_pairs_hook=Pairs)))
    except (ValueError, RecursionError):
      texts.append(None)
  return texts


def assert_read(found, texts):
  """Reading gave these texts, and counted as many records as are None."""
  good = [text for text in texts if text is not None]
  assert found[0] == [text.strip() for text in good if text.strip()]
  counts = found[1].counts
  num_bad = counts.get('unparsable_lines', 0) + counts.get('missing_field', 0)
  assert num_bad == len(texts) - len(good) <= len(good)


@hypothesis.given(data=contents('.jsonl'))
@SETTINGS
def test_json_lines(tmp_path, data):
  hypothesis.assume(not data.lstrip().startswith(b'['))
  path = tmp_path / 'a.jsonl'
  path.write_bytes(data)
  if found := read(path):
    assert_read(found, texts_of_lines(data))


@pytest.mark.parametrize('step', [1, 2**16])
@hypothesis.given(data=contents('.json'))
@SETTINGS
def test_json_arrays(tmp_path, monkeypatch, step, data):
  hypothesis.assume(data.lstrip().startswith(b'['))
  monkeypatch.setattr(json_records, '_STEP_CHARACTERS', step)
  path = tmp_path / 'a.json'
  path.write_bytes(data)
  if found := read(path):
    whole = io.StringIO(decoded(data), newline=None).read()
    values = json.loads(whole, object_pairs_hook=Pairs)
    assert_read(found, [text_of(value) for value in values])


@hypothesis.given(data=contents('.csv'))
@SETTINGS
def test_csv(tmp_path, data):
  path = tmp_path / 'a.csv'
  path.write_bytes(data)
  found = read(path)
  try:
    text = io.StringIO(decoded(data), newline='')
    rows = [row for row in csv.reader(text, strict=True) if row]
  except csv.Error:
    assert found is None
    return
  if found:
    header, *rest = rows
    assert all(len(row) == len(header) for row in rest)
    assert header.count('text') == 1
    values = [row[header.index('text')] for row in rest]
    unix = [value.replace('\r\n', '\n').replace('\r', '\n') for value in values]
    assert found[0] == [value.strip() for value in unix if value.strip()]


@hypothesis.given(data=contents('.tsv'))
@SETTINGS
def test_tsv(tmp_path, data):
  path = tmp_path / 'a.tsv'
  path.write_bytes(data)
  if found := read(path):
    lines = io.StringIO(decoded(data), newline=None).read().split('\n')
    header, *rest = [line.split('\t') for line in lines if line]
    assert all(len(row) == len(header) for row in rest)
    values = [row[header.index('text')] for row in rest]
    assert found[0] == [value.strip() for value in values if value.strip()]


def test_well_formed_records_are_not_refused(tmp_path):
  for ending, starts in STARTS.items():
    path = tmp_path / f'a{ending}'
    path.write_bytes(starts[0])
    assert read(path) is not None
