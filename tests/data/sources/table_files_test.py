"""CSV, TSV and .tab: strictly read, every refusal with its line."""

import pytest
from inputs import read_documents

from bert_jax.data.sources import files
from bert_jax.errors import InputError


def write(path, content):
  path.write_bytes(content.encode())
  return path


def test_origins_are_the_first_line_of_a_row(tmp_path):
  path = write(
    tmp_path / 'a.csv', 'text,n\n"a\nb",1\n\nc,2\n"d\n\n",3\n"",4\ne,5\n'
  )
  documents, report = read_documents(path)
  assert [(d.text, d.origin.rpartition(':')[2]) for d in documents] == [
    ('a\nb', '2'),
    ('c', '5'),
    ('d', '6'),
    ('e', '10'),
  ]
  assert report.examples == {'empty_documents': [f'{path}:9']}


def test_a_column_of_an_index_has_no_name(tmp_path):
  """A file of pandas.DataFrame.to_csv."""
  documents, _ = read_documents(
    write(tmp_path / 'a.csv', ',text\n0,a\n1,"b, c"\n')
  )
  assert [d.text for d in documents] == ['a', 'b, c']


@pytest.mark.parametrize(
  ('name', 'content', 'what'),
  [
    (
      'a.csv',
      'id,text\n1,a\n2,b,c\n',
      r':3: the line has 3 columns.*first line 2',
    ),
    ('a.csv', 'id,text\n1,a\n2\n', ':3: the line has 1 column,'),
    ('a.csv', 'text,text\na,b\n', ":1: 2 columns are called 'text'"),
    ('a.csv', 'text,\na,\n', ':1: column 2 .* ends in a delimiter'),
    ('a.csv', 'id|text\n1|a\n', 'separated by another character'),
    ('a.csv', 'id,text\n1,a\nid,text\n', ':3: is the header once more'),
    ('a.csv', 'id,text\n1,a\r2,b\n', ':2: a carriage return alone'),
    ('a.csv', 'a,b\n1,2\n', "has no column 'text'; .*: 'a', 'b'"),
    ('a.csv', 'text\n"a\nb\n', ':2: is not well-formed CSV .*never closed'),
    ('a.csv', 'text\nc\n"a" b\n', ':3: is not well-formed CSV'),
    ('a.csv', 'text\n', 'there is no text in it'),
    ('a.tsv', 'id\ttext\n1\ta\tb\n', ':2: the line has 3 columns'),
    (
      'a.tsv',
      'id\ttext\n1\t"a\nb"\n',
      ':3: the line has 1 column, .*line break',
    ),
    (
      'a.tsv',
      'id\ttext\n1\t"a ""b"""\n',
      ':2: 1 of 2 rows .* quoted as in CSV',
    ),
    ('a.tsv', 'id,text\n1,a\n', 'separated by another character'),
    ('a.tab', 'text\tn\nstring\tc\nno\tflags\n', ':3: the line above names'),
  ],
)
def test_a_table_that_is_not_well_formed(tmp_path, name, content, what):
  path = write(tmp_path / name, content)
  with pytest.raises(InputError, match=what) as error:
    read_documents(path)
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


def test_types_that_are_words_of_a_row(tmp_path):
  """The second line of a plain .tab is a row, though it has short words."""
  content = 'tag\ttext\nd\tthree words here\nc\tmore words\n'
  documents, _ = read_documents(write(tmp_path / 'a.tab', content))
  assert [d.text for d in documents] == ['three words here', 'more words']


@pytest.mark.parametrize(
  ('content', 'delimiter'),
  [
    ('id;text\n1;a, b\n2;"c; d"\n', "';'"),
    ('id\ttext\n1\ta, b\n2\t"c; d"\n', r"'\t'"),
  ],
)
def test_another_delimiter_of_a_csv_is_noted(tmp_path, content, delimiter):
  documents, report = read_documents(write(tmp_path / 'a.csv', content))
  assert [d.text for d in documents] == ['a, b', 'c; d']
  assert any(f'is separated by {delimiter}' in note for note in report.notes)


def test_quotes_of_a_tsv_that_are_its_text(tmp_path):
  """A writer of CSV leaves none outside of a quoted field."""
  content = 'text\n' + '"a ""b"""\n' * 3 + 'he said "c\n' * 3
  documents, _ = read_documents(write(tmp_path / 'a.tsv', content))
  assert documents[0].text == '"a ""b"""'


def test_rows_that_python_wrote_on_windows(tmp_path):
  documents, _ = read_documents(
    write(tmp_path / 'a.csv', 'id,text\r\r\n1,a\r\r\n')
  )
  assert [d.text for d in documents] == ['a']


@pytest.mark.parametrize('name', ['a.csv', 'a.tsv'])
def test_a_row_without_end_does_not_fill_the_memory(
  tmp_path, monkeypatch, name
):
  monkeypatch.setattr(files, 'MAX_LINE_CHARACTERS', 50)
  monkeypatch.setattr(files, '_PIECE_BYTES', 16)
  line = '"' + 'x' * 20 + '\n' * (name == 'a.csv')
  path = write(tmp_path / name, 'text\n' + line + 'y' * 60 + '\n')
  with pytest.raises(InputError, match=':[23]: .*longer .*50 characters'):
    read_documents(path)


def test_undecodable_bytes_are_counted(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(b'text\n"a\xe9"\n' + b'"b"\n' * 5)
  documents, report = read_documents(path)
  assert documents[0].text == 'a\ufffd'
  assert report.examples['undecodable_bytes'] == [
    f'{path}:2: 1 bytes that are not UTF-8'
  ]
