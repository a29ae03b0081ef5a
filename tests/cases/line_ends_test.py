"""A line ends in LF, CR LF or CR, in one file also mixed.

| input | right |
|---|---|
| three lines that end in CR | three documents by line, with their numbers |
| paragraphs between CR CR, or CR LF CR LF | paragraphs |
| JSON lines, CSV and TSV that end in CR | their records |
| a line break within a quoted value | part of the value, LF |
"""

import io
import random

import pytest
from inputs import read_documents

from bert_jax.data.sources import base, files


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lines_and_paragraphs(tmp_path, end):
  path = tmp_path / 'a.txt'
  path.write_bytes(end.join(['one', 'two', '', '', 'three', '']).encode())
  lines = read_documents(path, document='line')[0]
  assert [d.text for d in lines] == ['one', 'two', 'three']
  assert [d.origin.rpartition(':')[2] for d in lines] == ['1', '2', '5']
  paragraphs = read_documents(path, document='paragraph')[0]
  assert [d.text for d in paragraphs] == ['one\ntwo', 'three']
  assert [d.text for d in read_documents(path)[0]] == ['one\ntwo\n\n\nthree']


@pytest.mark.parametrize('piece', [1, 2, 3, 7, 2**20])
def test_mixed_ends_across_pieces(tmp_path, monkeypatch, piece):
  """Python's universal newlines say what the lines are."""
  monkeypatch.setattr(files, '_PIECE_BYTES', piece)
  rng = random.Random(piece)
  path = tmp_path / 'a.txt'
  for _ in range(40):
    content = ''.join(rng.choices(['a', 'é', '\r', '\n', '\r\n'], k=30))
    path.write_bytes(content.encode())
    for keep_ends, newline in ((False, None), (True, '')):
      pieces = list(
        files.read_lines(path, base.ReadReport(), keep_ends=keep_ends)
      )
      expected = list(io.StringIO(content, newline=newline))
      lines = ['' for _ in expected]
      for number, text in pieces:
        lines[number - 1] += text
      assert lines == expected


def test_a_line_break_at_the_end_of_a_long_line(tmp_path):
  path = tmp_path / 'a.txt'
  for size in range(2**20 - 2, 2**20 + 2):
    for end in ('\n', '\r\n', '\r'):
      path.write_bytes(('x' * size + end + 'second').encode())
      found = read_documents(path, document='line')[0]
      assert [d.text[-6:] for d in found][-1] == 'second'
      assert found[-1].origin == f'{path}:2'


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('a.jsonl', '{"text": "one"}\r{"text": "two"}\r'),
    ('a.csv', 'id,text\r1,one\r2,"two"\r'),
    ('a.tsv', 'id\ttext\r1\tone\r2\ttwo'),
    ('wiki_00', '<doc id="1" url="u" title="t">\rone\r</doc>\r' * 2),
  ],
)
def test_records_that_end_in_cr(tmp_path, name, content):
  path = tmp_path / name
  path.write_bytes(content.encode())
  found = [d.text for d in read_documents(path)[0]]
  assert found in (['one', 'two'], ['one', 'one'])


def test_a_line_break_in_a_quoted_value(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(b'text\r\n"a\rb\r\nc\nd"\r\nlast\r\n')
  found = read_documents(path)[0]
  assert [d.text for d in found] == ['a\nb\nc\nd', 'last']
  assert [d.origin for d in found] == [f'{path}:2', f'{path}:6']
