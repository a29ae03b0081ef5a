"""Tables against independent readers: the same records, or a refusal.

Sound tables are written by the csv module, json and pyarrow, and bytes of them
are put in, doubled or cut out. What is read then is held against the csv
module, a split at tabs, json and pyarrow; that a refusal is not the only answer
is seen where nothing was changed.
"""

import csv
import io
import json
import re

import fuzzing
import hypothesis
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from hypothesis import strategies as st

from bert_jax.data.tables.reading import read_table
from bert_jax.errors import InputError

SETTINGS = fuzzing.settings(150)
SPECIAL = ('"', '""', ',', '\t', '\n', '\r', '\r\n', ';', ' ', '\ufeff', '\\"')
CELLS = st.lists(
  st.sampled_from([*SPECIAL, 'a', 'b', 'é', '\u2028', '\x85']), max_size=4
).map(''.join)
# Quotes within quotes are refused in a TSV.
PLAIN = CELLS.map(lambda cell: re.sub('[\t\r\n]|""', '', cell))
PIECES = st.sampled_from([*(s.encode() for s in SPECIAL), b'\0', b'\xff', b'{'])


@st.composite
def rows(draw, cells):
  """A header with 'text', and rows of its width."""
  width = draw(st.integers(1, 3))
  names = draw(st.permutations(['text', 'label', 'x'][:width]))
  body = st.lists(cells, min_size=width, max_size=width)
  return [list(names), *draw(st.lists(body, min_size=1, max_size=5))]


def changed(data):
  pieces = st.just(b'') | PIECES
  return fuzzing.changed(data, pieces, most=3, longest=12)


def read(path):
  """(texts, lines) of a file; None where it is refused or has no header."""
  try:
    table = read_table(path, {'text': 'text_columns'})
  except InputError as error:
    assert str(path) in str(error) and len(str(error).splitlines()) == 1
    return None
  assert len(table.lines) == len(table.origins) == len(table.columns['text'])
  return (table.columns['text'], table.lines) if table.lines else None


def read_changed(path, sound, table, data):
  """The rows read from a sound file, which holds `table`, after a change."""
  path.write_bytes(sound)
  assert read(path)[0] == column(table)
  path.write_bytes(data.draw(changed(sound)))
  return read(path)


def column(found):
  """The texts of rows that an independent reader has found."""
  header, *body = [row for row in found if row or len(found[0]) == 1]
  assert len(set(header)) == len(header)
  place = header.index('text')
  assert all(len(row or ['']) == len(header) for row in body)
  return [(row or [''])[place] for row in body]


@hypothesis.given(data=st.data(), table=rows(CELLS))
@SETTINGS
def test_csv(tmp_path, data, table):
  path = tmp_path / 'a.csv'
  file = io.StringIO(newline='')
  ends = data.draw(st.sampled_from(['\n', '\r\n', '\r']))
  quoting = data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
  csv.writer(file, lineterminator=ends, quoting=quoting).writerows(table)
  found = read_changed(path, file.getvalue().encode(), table, data)
  if found is None:
    return
  text = path.read_bytes().decode('utf-8-sig')
  header = next(csv.reader(io.StringIO(text, newline='')))
  delimiter = ','
  if 'text' not in header:
    cells = next(csv.reader(io.StringIO(text, newline=''), delimiter=';'))
    delimiter = ';' if 'text' in cells else '\t'
  reader = csv.reader(
    io.StringIO(text, newline=''), delimiter=delimiter, strict=True
  )
  assert found[0] == column(list(reader))
  by_arrow = pa.csv.read_csv(
    path,
    parse_options=pa.csv.ParseOptions(
      delimiter=delimiter,
      newlines_in_values=True,
      ignore_empty_lines=len(header) > 1,
    ),
    convert_options=pa.csv.ConvertOptions(
      include_columns=['text'], column_types={'text': pa.string()}
    ),
  )
  assert found[0] == by_arrow['text'].to_pylist()


@hypothesis.given(data=st.data(), table=rows(PLAIN))
@SETTINGS
def test_tsv(tmp_path, data, table):
  path = tmp_path / 'a.tsv'
  ends = data.draw(st.sampled_from(['\n', '\r\n', '\r']))
  sound = ''.join('\t'.join(row) + ends for row in table).encode()
  found = read_changed(path, sound, table, data)
  if found is None:
    return
  lines = re.split('\r\n|\n|\r', path.read_bytes().decode('utf-8-sig'))
  if not lines[-1]:
    lines.pop()
  assert found[0] == column(
    [line.split('\t') if line else [] for line in lines]
  )
  for text, line in zip(*found, strict=True):
    assert text in lines[line - 1].split('\t')


VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
  lambda inner: (
    st.lists(inner, max_size=2) | st.dictionaries(CELLS, inner, max_size=2)
  ),
  max_leaves=3,
)
RECORDS = st.lists(
  st.fixed_dictionaries({'text': VALUES}, optional={'x': VALUES}),
  min_size=1,
  max_size=4,
)


def same(found, expected):
  # NaN is not equal to itself, and true is to 1.
  return json.dumps(found) == json.dumps(expected)


@hypothesis.given(data=st.data(), records=RECORDS)
@SETTINGS
def test_json_lines(tmp_path, data, records):
  path = tmp_path / 'a.jsonl'
  plain = data.draw(st.booleans())
  lines = [json.dumps(record, ensure_ascii=plain) for record in records]
  sound = ('\n'.join(lines) + '\n').encode()
  path.write_bytes(sound)
  assert same(
    read(path), ([r['text'] for r in records], [*range(1, len(lines) + 1)])
  )
  path.write_bytes(data.draw(changed(sound)))
  found = read(path)
  if found is not None:
    text = path.read_bytes().decode('utf-8-sig')
    lines = [line for line in re.split('\r\n|\n|\r', text) if line.strip()]
    assert same(found[0], [json.loads(line)['text'] for line in lines])


@hypothesis.given(data=st.data(), records=RECORDS)
@SETTINGS
def test_json_arrays(tmp_path, data, records):
  path = tmp_path / 'a.json'
  indent = data.draw(st.sampled_from([None, 0, 2]))
  sound = json.dumps(records, indent=indent).encode()
  path.write_bytes(sound)
  assert same(read(path)[0], [record['text'] for record in records])
  path.write_bytes(data.draw(changed(sound)))
  found = read(path)
  if found is not None and path.read_bytes().strip()[:1] == b'[':
    expected = json.loads(path.read_bytes().decode('utf-8-sig'))
    assert same(found[0], [record['text'] for record in expected])


@hypothesis.given(data=st.data(), texts=st.lists(CELLS, min_size=1, max_size=5))
@SETTINGS
def test_parquet(tmp_path, data, texts):
  path = tmp_path / 'a.parquet'
  pa.parquet.write_table(
    pa.table({'x': list(range(len(texts))), 'text': texts}),
    path,
    write_page_checksum=True,
  )
  assert read_texts(path) == texts
  path.write_bytes(data.draw(changed(path.read_bytes())))
  found = read_texts(path)
  if found is not None:
    assert (
      found == pa.parquet.read_table(path, columns=['text'])['text'].to_pylist()
    )


def read_texts(path):
  try:
    return read_table(path, {'text': 'text_columns'}).columns['text']
  except InputError as error:
    assert str(path) in str(error) and len(str(error).splitlines()) == 1
    return None
