"""JSON Lines: what is read, and what becomes of lines that cannot be."""

import gzip
import json

import pytest

from bert_jax.data.sources import base, files, open_inputs
from bert_jax.errors import InputError


def write(path, *lines):
  path.write_text(
    '\n'.join(x if isinstance(x, str) else json.dumps(x) for x in lines)
  )
  return path


def read(spec, **options):
  report = base.ReadReport()
  documents = list(open_inputs(str(spec), **options).documents(report))
  return [document.text for document in documents], report


def test_the_field_is_the_document(tmp_path):
  path = write(tmp_path / 'a.jsonl', {'text': 'one', 'x': 1}, {'text': 'a\nb'})
  assert read(path)[0] == ['one', 'a\nb']
  path = write(tmp_path / 'b.jsonl', {'body': 'one', 'text': 'no'})
  assert read(path, text_field='body')[0] == ['one']


def test_compressed_and_explicit_kind(tmp_path):
  (tmp_path / 'a.jsonl.gz').write_bytes(gzip.compress(b'{"text": "one"}\n'))
  assert read(tmp_path / 'a.jsonl.gz')[0] == ['one']
  write(tmp_path / 'a.data', {'text': 'two'})
  assert read(f'jsonl:{tmp_path / "a.data"}')[0] == ['two']


def test_bad_lines_are_counted_and_skipped(tmp_path):
  path = write(
    tmp_path / 'a.jsonl',
    {'text': 'good'},
    '{"text": "cut',
    '',
    '[1, 2]',
    '[' * 100_000,
    {'title': 'none'},
    {'text': 3},
    {'text': None},
    {'text': '  '},
    *[{'text': f'line {n}'} for n in range(8)],
  )
  texts, report = read(path)
  assert texts == ['good', *[f'line {n}' for n in range(8)]]
  assert report.counts == {
    'unparsable_lines': 3,
    'missing_field': 3,
    'empty_documents': 1,
  }
  assert report.examples['unparsable_lines'][0].startswith(f'{path}:2: ')
  assert report.examples['missing_field'] == [
    f"{path}:6: no field 'text'",
    f"{path}:7: 'text' is int, not a string",
    f"{path}:8: 'text' is NoneType, not a string",
  ]
  assert report.examples['empty_documents'] == [f'{path}:9']


def test_no_line_with_the_field_names_the_fields_there_are(tmp_path):
  path = write(tmp_path / 'a.jsonl', {'body': 'one'}, {'title': 'two'})
  with pytest.raises(
    InputError, match=r"'text'.*--text_field: 'body', 'title'\."
  ):
    read(path)


def test_nothing_parsable_is_an_error(tmp_path):
  path = write(tmp_path / 'a.jsonl', 'no json', 'none either')
  with pytest.raises(InputError, match='2 of 2 records are no JSON objects'):
    read(path)


def test_half_a_surrogate_pair_is_replaced(tmp_path):
  path = write(tmp_path / 'a.jsonl', r'{"text": "a\ud800b \ud83d\ude00"}')
  texts, report = read(path)
  assert texts == ['a\ufffdb 😀']
  texts[0].encode()
  assert report.counts == {'lone_surrogates': 1}


def test_a_line_too_long_to_parse_is_counted(tmp_path, monkeypatch):
  monkeypatch.setattr(files, 'MAX_LINE_CHARACTERS', 50)
  monkeypatch.setattr(files, '_PIECE_BYTES', 16)
  path = write(
    tmp_path / 'a.jsonl',
    {'text': 'one'},
    {'text': 'x' * 60},
    {'text': 'three, in pieces'},
  )
  texts, report = read(path)
  assert texts == ['one', 'three, in pieces']
  assert report.examples == {
    'unparsable_lines': [f'{path}:2: longer than 50 characters']
  }
