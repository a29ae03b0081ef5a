"""Arrow: both forms, all types of strings, and what damage leads to."""

import gzip
import io
import random

import pyarrow as pa
import pytest
from inputs import read_texts

from bert_jax.data.sources import arrow, base, open_inputs
from bert_jax.errors import InputError

MAKERS = {'stream': pa.ipc.new_stream, 'file': pa.ipc.new_file}


def packed(form, columns, *, rows=None, compression=None):
  table = columns if isinstance(columns, pa.Table) else pa.table(columns)
  file = io.BytesIO()
  options = pa.ipc.IpcWriteOptions(compression=compression)
  with MAKERS[form](file, table.schema, options=options) as writer:
    writer.write_table(table, max_chunksize=rows)
  return file.getvalue()


def write(path, *arguments, **options):
  path.write_bytes(packed(*arguments, **options))
  return path


@pytest.mark.parametrize('form', MAKERS)
@pytest.mark.parametrize('compression', [None, 'zstd', 'lz4'])
def test_the_column_is_read_over_batches(
  tmp_path, monkeypatch, form, compression
):
  monkeypatch.setattr(arrow, '_SLICE_ROWS', 4)
  texts = [f'text {n}' for n in range(100)]
  columns = {'n': range(100), 'text': texts}
  options = {'rows': 7, 'compression': compression}
  path = write(tmp_path / 'a.arrow', form, columns, **options)
  assert read_texts(path)[0] == texts
  (tmp_path / 'b.arrow.gz').write_bytes(gzip.compress(path.read_bytes()))
  assert read_texts(tmp_path / 'b.arrow.gz')[0] == texts


@pytest.mark.parametrize(
  'kind',
  [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int16(), pa.string()),
  ],
  ids=str,
)
@pytest.mark.parametrize('form', MAKERS)
def test_all_types_of_strings(tmp_path, form, kind):
  column = pa.array(['zwölf', None, '', 'a text that is longer', ' x\ny'])
  if pa.types.is_dictionary(kind):
    column = column.dictionary_encode()
  path = write(tmp_path / 'a.arrow', form, {'text': column.cast(kind)})
  texts, report = read_texts(path)
  assert texts == ['zwölf', 'a text that is longer', 'x\ny']
  assert report.examples == {
    'missing_field': [f"{path}:row 2: 'text' is null"],
    'empty_documents': [f'{path}:row 3'],
  }


def test_a_field_within_a_struct(tmp_path):
  columns = {'meta': [{'text': 'one'}, None], 'text': ['two', 'three']}
  path = write(tmp_path / 'a.arrow', 'stream', columns)
  assert read_texts(path, text_field='meta.text')[0] == ['one']


def test_bytes_that_are_not_utf8(tmp_path):
  column = pa.array([b'a\xffb', b'good']).view(pa.string())
  texts, report = read_texts(
    write(tmp_path / 'a.arrow', 'stream', {'text': column})
  )
  assert texts == ['a\ufffdb', 'good']
  assert report.counts == {'undecodable_bytes': 1}


def test_its_description_and_size(tmp_path):
  texts = [f'text number {n}' * 50 for n in range(100)]
  columns = {'text': texts, 'x': range(100)}
  path = write(tmp_path / 'a.arrow', 'stream', columns)
  source = open_inputs(str(path))
  assert source.describe() == {
    'kind': 'arrow',
    'text_field': 'text',
    'files': [{'name': 'a.arrow', 'bytes': path.stat().st_size}],
  }
  assert source.size_in_bytes() == pytest.approx(sum(map(len, texts)), rel=0.1)


@pytest.mark.parametrize(
  ('columns', 'what'),
  [
    ({'body': ['a']}, "has no column 'text'; .* --text_field: 'body'"),
    ({'text': [1]}, "'text' is int64, not a string"),
    ({'text': [['a']]}, "'text' is list<.*string>, not a string"),
    (
      pa.table([pa.array(['a']), pa.array(['b'])], names=['text', 'text']),
      "has 2 columns that are called 'text'",
    ),
  ],
)
@pytest.mark.parametrize('form', MAKERS)
def test_columns_that_will_not_do(tmp_path, form, columns, what):
  path = write(tmp_path / 'a.arrow', form, columns)
  with pytest.raises(InputError, match=what):
    read_texts(path)
  with pytest.raises(InputError, match=what):
    open_inputs(str(path)).size_in_bytes()


@pytest.mark.parametrize('form', MAKERS)
def test_a_file_cut_short_is_no_shorter_file(tmp_path, form):
  """A stream that is cut off between two batches looks complete to pyarrow."""
  whole = packed(form, {'text': [f'text {n}' for n in range(40)]}, rows=10)
  path = tmp_path / 'a.arrow'
  for size in (0, 3, 9, 100, *range(len(whole) - 300, len(whole), 8)):
    path.write_bytes(whole[:size])
    with pytest.raises(InputError, match='a.arrow: cannot be read as Arrow'):
      read_texts(path)


def test_a_damaged_file_gives_texts_or_one_line(tmp_path):
  columns = {
    'text': ['one', None, 'zwei\n', 'three' * 9] * 5,
    'd': pa.array(['x', 'y'] * 10).dictionary_encode(),
    'v': pa.array(['longer than twelve bytes', 'b'] * 10, pa.string_view()),
    'm': [{'t': 'a'}] * 20,
  }
  files = [
    packed(form, columns, rows=7, compression=compression)
    for form in MAKERS
    for compression in (None, 'zstd')
  ]
  rng = random.Random(0)
  path = tmp_path / 'a.arrow'
  for _ in range(400):
    content = bytearray(rng.choice(files))
    for _ in range(rng.randint(1, 3)):
      start = rng.randrange(len(content))
      some = rng.choice([b'\0', b'\xff', b'\x7f', rng.randbytes(4)])
      content[start : start + len(some)] = some
    path.write_bytes(content)
    try:
      source = open_inputs(
        str(path), text_field=rng.choice(['text', 'd', 'v', 'm.t'])
      )
      source.size_in_bytes()
      for document in source.documents(base.ReadReport()):
        document.text.encode()
    except InputError as error:
      assert '\n' not in str(error) and len(str(error)) < 1000
