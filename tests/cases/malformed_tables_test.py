"""Kind: a malformed table is accepted.

A row wider or narrower than the first, two columns of one name, a column
without a name, a header that comes twice, a blank line: each is refused by its
line, and the widths or the name are told.
"""

import gzip

import pytest

from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError


def read(path, content, columns=('text',), label='label', **options):
  data = content.encode()
  path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)
  return read_examples(path, text_columns(columns, label), **options)


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    # A comma or tab within the text.
    ('a.csv', 'text,label\nred,1\nred, or blue,0\n', ':3: .* 3 columns, .* 2;'),
    ('a.csv', 'label,text\n1,red\n0,red, or blue\n', ':3: .* 3 columns, .* 2;'),
    (
      'a.tsv',
      'id\ttext\tlabel\n1\ta\tb\t0\n',
      ':2: .* 4 columns, .* 3; .*tabs',
    ),
    ('a.tsv.gz', 'text\tlabel\na\t0\nb\t0\t\n', ':3: .* 3 columns, .* 2'),
    ('a.csv', 'text,label\na, "b, c"\n', ':2: .* 3 columns'),
    # A delimiter at the end of each line but the first.
    ('a.csv', 'text,label\nred,1,\n', ':2: .* ends in a comma'),
    # A line that was cut.
    ('a.csv', 'text,label\nred,1\nblue', ':3: .* 1 column, .* 2'),
    ('a.tsv', 'text\tlabel\nred\t1\nblue\n', ':3: .* 1 column, .* 2'),
    # The same in a column that nobody asked for.
    ('a.csv', 'text,label,x\nred,1,2\nblue,0\n', ':3: .* 2 columns, .* 3'),
    # A quoted field in a .tsv, which has none.
    (
      'a.tsv',
      'text\tlabel\n"the old\nkettle"\t0\n',
      ':2: .*line break: a .tsv',
    ),
    (
      'a.tsv',
      'label\ttext\n0\t"the old\nkettle"\n',
      ':3: .*line break: a .tsv',
    ),
    (
      'a.tsv',
      'text\tlabel\n"old\tkettle"\t0\n',
      ':2: .*quoted field with a tab',
    ),
    # A .csv with the name of a .tsv.
    (
      'a.tsv',
      'text\tlabel\n"He said ""no"""\t0\nplain\t1\n',
      ':2: 1 of 3 rows .* quoted as in CSV.*ending .csv',
    ),
    # A quote that is never closed, or stands within a field.
    ('a.csv', 'text,label\na,1\n"open,0\nb,1\n', ':3: .* never closed'),
    ('a.csv', 'text,label\n"a "b" c",0\n', ':2: .* is written twice'),
    # Blank lines between rows of several columns.
    ('a.csv', 'text,label\na,1\n\nb,0\n', ':3: is blank'),
    ('a.tsv', 'text\tlabel\n\n\na\t1\n', ':2: is blank'),
    ('a.jsonl', '{"text": "a", "label": 1}\n \n{}\n', ':2: is blank'),
    ('a.csv', '\ntext,label\na,1\n', ':1: is blank'),
    # Files that were joined.
    (
      'a.csv',
      'text,label\na,1\ntext,label\nb,0\n',
      ':3: is the header once more',
    ),
    # Line ends of two kinds.
    ('a.csv', 'text,label\na,1\rb,0\n', ':2: a carriage return alone'),
    ('a.tsv', 'text\tlabel\na\rb\t0\n', ':2: a carriage return alone'),
  ],
)
def test_a_row_of_another_width(tmp_path, name, content, message):
  with pytest.raises(InputError, match=message):
    read(tmp_path / name, content)


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('a.csv', 'text,label,text\na,1,b\n', "2 columns are called 'text'"),
    ('a.tsv', 'x\ttext\tx\tlabel\n1\ta\t2\t0\n', "2 columns are called 'x'"),
    ('a.csv', 'text,label,label\na,1,b\n', "2 columns are called 'label'"),
    ('a.csv', 'text,,label\n0,a,1\n', r'column 2 .* no name'),
    ('a.csv', ',text,label\n0,a,1\n', r'column 1 .* index=False'),
    ('a.csv', 'text,label,\na,1,\n', r'column 3 .* ends in a delimiter'),
    ('a.tsv', 'text\t \tlabel\na\tb\t1\n', r'column 2 .* no name'),
    (
      'a.jsonl',
      '{"text": "a", "text": "b", "label": 1}\n',
      r":1: .* 'text' .*t",
    ),
    (
      'a.json',
      '[{"text": "a", "label": 0,\n "label": 1}]\n',
      ":1: .* 'label' ",
    ),
  ],
)
def test_names_of_columns(tmp_path, name, content, message):
  with pytest.raises(InputError, match=message):
    read(tmp_path / name, content)


def test_the_way_out_is_columns_by_number(tmp_path):
  """Nobody has to edit a file whose header is wrong."""
  content = 'text,label,text\na,1,b\nc,0,d\n'
  examples = read(tmp_path / 'a.csv', content, ('2',), '1', header='yes')
  assert examples.texts == [('b',), ('d',)]
  content = ',text,label\n0,a,1\n1,b,0\n'
  examples = read(tmp_path / 'b.csv', content, ('1',), '2', header='yes')
  assert examples.texts == [('a',), ('b',)]


@pytest.mark.parametrize(
  ('name', 'content', 'texts'),
  [
    # GLUE has quotes that begin a field and are not closed.
    ('a.tsv', 'text\tlabel\n"the old\t0\nsaid "\t1\n', ['"the old', 'said "']),
    ('a.tsv', 'text\tlabel\r\na\t0\r\nb\t1\r\n\r\n', ['a', 'b']),
    ('a.tsv', 'text\tlabel\ra\t0\rb\t1\r', ['a', 'b']),
    (
      'a.tsv',
      '\ufefftext\tlabel\na\t0\nb\x85c\u2028\t1',
      ['a', 'b\x85c\u2028'],
    ),
    ('a.csv', '\ufefftext,label\na,0\n"b, ""c""\n\nd",1\n\n\n', None),
    ('a.csv', 'text,label\ra,0\r"b\rc",1\r', ['a', 'b\rc']),
    # Excel where the comma is the decimal mark.
    ('a.csv', 'text;label\na, b;0\n"c; d";1\n', ['a, b', 'c; d']),
    ('a.csv', '"text";"label"\n"a, b";"0"\n"c";"1"\n', ['a, b', 'c']),
    ('a.csv', 'text\tlabel\n"a ""b"""\t0\nc,\t1\n', ['a "b"', 'c,']),
    ('a.tab', 'label\ttext\n0 1\tstring\nclass\t\n0\ta\n1\tb\n', ['a', 'b']),
    ('a.tab', 'label\ttext\nd\tstring\nclass\t\n\n0\ta\n1\tb\n', ['a', 'b']),
  ],
)
def test_a_sound_table_is_read_as_it_is(tmp_path, name, content, texts):
  texts = texts or ['a', 'b, "c"\n\nd']
  examples = read(tmp_path / name, content)
  assert examples.texts == [(text,) for text in texts]
  assert examples.labels == ['0', '1']


def test_what_a_tsv_keeps_as_text_is_noted(tmp_path):
  content = 'text\tlabel\n"He said ""no"""\t0\nplain\t1\n"\t0\n'
  examples = read(tmp_path / 'a.tsv', content)
  assert examples.texts == [('"He said ""no"""',), ('plain',), ('"',)]
  (note,) = examples.notes
  assert "1 of 3 values of column 'text' stand in quotes" in note
  content = 'text\n"the old\nkettle"\n'
  examples = read(tmp_path / 'b.tsv', content, label=None)
  assert len(examples.texts) == 2
  assert '1 lines begin with a quote that is not closed' in examples.notes[0]


POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n'


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('a.csv', POINTER, 'git lfs pull'),
    ('a.jsonl', POINTER, 'git lfs pull'),
    ('a.parquet', POINTER, 'git lfs pull'),
    ('a.csv', 'PK\x03\x04', 'an office file'),
    ('a.tsv', '%PDF-1.4', 'a PDF file'),
    ('a.json', 'PAR1', 'is Parquet, .*name it .parquet'),
  ],
)
def test_what_is_no_table_is_named(tmp_path, name, content, message):
  with pytest.raises(InputError, match=message):
    read(tmp_path / name, content)


def test_a_packed_file_that_was_not_fetched(tmp_path):
  path = tmp_path / 'a.csv.gz'
  path.write_text(POINTER)
  with pytest.raises(InputError, match='git lfs pull'):
    read_examples(path, text_columns(('text',), 'label'))


@pytest.mark.parametrize('name', ['-', '/dev/null'])
def test_a_stream_is_no_table(name):
  with pytest.raises(InputError, match='is a stream and no file'):
    read_examples(name, text_columns(('text',), 'label'))
