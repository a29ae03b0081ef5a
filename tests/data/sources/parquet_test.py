"""Parquet: what is read, what is counted, and what damage leads to."""

import fuzzing
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from inputs import read_texts

from bert_jax.data.sources import base, open_inputs, parquet
from bert_jax.errors import InputError


def write(path, columns, **options):
  table = columns if isinstance(columns, pa.Table) else pa.table(columns)
  pq.write_table(table, path, **options)
  return path


def test_the_column_is_read_over_row_groups_and_files(tmp_path):
  numbers = [str(n) for n in range(100)]
  write(tmp_path / 'a.parquet', {'text': numbers, 'n': range(100)})
  write(tmp_path / 'b.parquet', {'body': numbers, 'text': numbers[::-1]})
  options = {'row_group_size': 7, 'compression': 'zstd'}
  write(tmp_path / 'c.parquet', {'text': numbers}, **options)
  assert (
    read_texts(tmp_path / '*.parquet')[0] == numbers + numbers[::-1] + numbers
  )
  assert read_texts(tmp_path / 'b.parquet', text_field='body')[0] == numbers


@pytest.mark.parametrize(
  'kind',
  [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int16(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
  ],
  ids=str,
)
def test_all_types_of_strings(tmp_path, kind):
  cells = ['zwölf', None, '', 'zwölf', ' \n', 'x\ny']
  column = pa.array(cells)
  if pa.types.is_dictionary(kind):
    column = column.dictionary_encode()
  path = write(tmp_path / 'a.parquet', {'text': column.cast(kind)})
  texts, report = read_texts(path)
  assert texts == ['zwölf', 'zwölf', 'x\ny']
  assert report.counts == {'missing_field': 1, 'empty_documents': 2}
  assert report.examples == {
    'missing_field': [f"{path}:row 2: 'text' is null"],
    'empty_documents': [f'{path}:row 3', f'{path}:row 5'],
  }


def test_rows_are_numbered_through_the_file(tmp_path):
  path = tmp_path / 'a.parquet'
  write(path, {'text': ['a', 'b', None, 'd']}, row_group_size=2)
  documents = list(open_inputs(str(path)).documents(base.ReadReport()))
  assert [d.origin for d in documents] == [
    f'{path}:row {row}' for row in (1, 2, 4)
  ]


def test_a_field_within_a_struct(tmp_path):
  inner = [{'title': 'one', 'n': 1}, None, {'title': None, 'n': 2}]
  path = write(
    tmp_path / 'a.parquet',
    {'n': [1, 2, 3], 'meta': [{'deep': x} for x in inner], 'a.b': list('xyz')},
  )
  texts, report = read_texts(path, text_field='meta.deep.title')
  assert texts == ['one']
  assert report.counts == {'missing_field': 2}
  # A name with a dot in it is a name first.
  assert read_texts(path, text_field='a.b')[0] == ['x', 'y', 'z']
  for field in ('meta.deep.gone', 'n.x', 'meta.deep.title.x', '', '.'):
    with pytest.raises(InputError, match='has no column'):
      read_texts(path, text_field=field)


def test_a_name_that_begins_another(tmp_path):
  path = write(tmp_path / 'a.parquet', {'text.b': ['no'], 'text': ['yes']})
  assert read_texts(path)[0] == ['yes']


def test_a_long_cell_is_cut(tmp_path, monkeypatch):
  monkeypatch.setattr(base, 'MAX_DOCUMENT_CHARACTERS', 10)
  path = write(tmp_path / 'a.parquet', {'text': ['a', 'one two\nthree ' * 5]})
  texts, report = read_texts(path)
  assert ' '.join(texts).split() == ['a', *['one', 'two', 'three'] * 5]
  assert all(len(text) <= 10 for text in texts)
  assert report.examples == {'split_documents': [f'{path}:row 2']}


def test_small_batches(tmp_path, monkeypatch):
  monkeypatch.setattr(parquet, '_BATCH_BYTES', 1)
  path = write(tmp_path / 'a.parquet', {'text': ['a', 'b', 'c']})
  assert read_texts(path)[0] == ['a', 'b', 'c']


def test_bytes_that_are_not_utf8(tmp_path):
  column = pa.array([b'a\xffb', b'good']).view(pa.string())
  path = write(tmp_path / 'a.parquet', {'text': column})
  texts, report = read_texts(path)
  assert texts == ['a\ufffdb', 'good']
  assert report.counts == {'undecodable_bytes': 1}
  assert report.examples['undecodable_bytes'][0].startswith(f'{path}:row 1: ')


def test_its_description_and_size(tmp_path):
  texts = [f'text number {n}' * 50 for n in range(100)]
  path = write(tmp_path / 'a.parquet', {'text': texts, 'x': range(100)})
  source = open_inputs(str(path))
  assert source.describe() == {
    'kind': 'parquet',
    'text_field': 'text',
    'files': [{'name': 'a.parquet', 'bytes': path.stat().st_size}],
  }
  num_characters = sum(map(len, texts))
  assert num_characters <= source.size_in_bytes() <= 1.1 * num_characters + 500


def test_by_kind_and_beside_other_files(tmp_path):
  write(tmp_path / 'table', {'text': ['one']})
  assert read_texts(f'parquet:{tmp_path / "table"}')[0] == ['one']
  folder = tmp_path / 'from spark'
  folder.mkdir()
  write(folder / 'part-0.snappy.parquet', {'text': ['two']})
  (folder / '_SUCCESS').write_text('')
  assert read_texts(folder)[0] == ['two']
  (folder / 'README.txt').write_text('three')
  texts, report = read_texts(folder)
  assert texts == ['two']
  assert '  left out: 2 files' in report.notes


@pytest.mark.parametrize(
  ('columns', 'what'),
  [
    (
      {'body': ['a'], 'n': [1]},
      "has no column 'text'; name one of these with --text_field: 'body', 'n'",
    ),
    ({}, "has no column 'text'; .*: none"),
    ({f'c{n}': [n] for n in range(40)}, "'c19' and 20 more"),
    ({'text': [1], 'b': ['x']}, "'text' is int64, not a string; .*'b'"),
    ({'text': [b'a']}, "'text' is binary, not a string"),
    ({'text': [['a']]}, "'text' is list<.*string>, not a string"),
    ({'text': [{'a': 'b'}]}, "'text' is struct<a: string>, not a string"),
    ({'text': pa.array([None])}, 'there is no text in it'),
    ({'text': pa.array([], pa.string())}, 'there is no text in it'),
  ],
)
def test_columns_that_will_not_do(tmp_path, columns, what):
  path = write(tmp_path / 'a.parquet', columns)
  with pytest.raises(InputError, match=what) as error:
    read_texts(path)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)


def test_two_columns_of_one_name(tmp_path):
  table = pa.table([pa.array(['a']), pa.array(['b'])], names=['text', 'text'])
  path = write(tmp_path / 'a.parquet', table)
  with pytest.raises(InputError, match="has 2 columns that are called 'text'"):
    read_texts(path)


@pytest.mark.parametrize('size', [0, 3, 100, 400, -1])
def test_a_file_cut_short(tmp_path, size):
  path = write(tmp_path / 'a.parquet', {'text': ['one'] * 100})
  path.write_bytes(path.read_bytes()[:size])
  for use in (read_texts, lambda p: open_inputs(str(p)).size_in_bytes()):
    with pytest.raises(InputError, match='a.parquet: cannot be read as Parq'):
      use(path)


def test_a_flipped_bit_is_found_by_the_checksum_of_its_page(tmp_path):
  path = tmp_path / 'a.parquet'
  texts = [f'text {n}' for n in range(1000)]
  write(
    path,
    {'text': texts},
    write_page_checksum=True,
    compression='none',
    use_dictionary=False,
  )
  data = bytearray(path.read_bytes())
  data[data.index(b'text 500')] ^= 1
  path.write_bytes(data)
  with pytest.raises(InputError, match='CRC'):
    read_texts(path)


@pytest.fixture(scope='module')
def whole_files(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  columns = {'text': ['one', None, 'zwei\n', 'one'] * 5, 'n': list(range(20))}
  return [
    write(folder / f'{number}.parquet', columns, **options).read_bytes()
    for number, options in enumerate(
      [
        {'row_group_size': 6},
        {'compression': 'none', 'use_dictionary': False},
        {'data_page_version': '2.0', 'compression': 'gzip'},
        {'store_schema': False, 'compression': 'zstd'},
      ]
    )
  ]


@hypothesis.given(data=st.data())
@fuzzing.settings(400)
def test_a_damaged_file_gives_texts_or_one_line(tmp_path, whole_files, data):
  content = bytearray(data.draw(st.sampled_from(whole_files)))
  for _ in range(data.draw(st.integers(1, 4))):
    start = data.draw(st.integers(0, len(content)))
    end = min(len(content), start + data.draw(st.integers(0, 8)))
    content[start:end] = data.draw(
      st.binary(min_size=end - start, max_size=end - start)
      | st.binary(max_size=4)
    )
  path = tmp_path / 'a.parquet'
  path.write_bytes(content)
  report = base.ReadReport()
  try:
    source = open_inputs(str(path))
    source.size_in_bytes()
    documents = list(source.documents(report))
  except InputError as error:
    assert '\n' not in str(error) and len(str(error)) < 1000
  else:
    assert documents
    for document in documents:
      assert document.text.strip()
      document.text.encode()
