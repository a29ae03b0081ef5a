"""JSON Lines: what is read, and what becomes of lines that cannot be."""

import gzip
import json

import pytest
from inputs import read_texts

from bert_jax.data.sources import base, files, open_inputs
from bert_jax.errors import InputError


def write(path, *lines):
  path.write_text(
    '\n'.join(x if isinstance(x, str) else json.dumps(x) for x in lines)
  )
  return path


def test_the_field_is_the_document(tmp_path):
  path = write(tmp_path / 'a.jsonl', {'text': 'one', 'x': 1}, {'text': 'a\nb'})
  assert read_texts(path)[0] == ['one', 'a\nb']
  path = write(tmp_path / 'b.jsonl', {'body': 'one', 'text': 'no'})
  assert read_texts(path, text_field='body')[0] == ['one']


def test_compressed_and_explicit_kind(tmp_path):
  (tmp_path / 'a.jsonl.gz').write_bytes(gzip.compress(b'{"text": "one"}\n'))
  assert read_texts(tmp_path / 'a.jsonl.gz')[0] == ['one']
  write(tmp_path / 'a.data', {'text': 'two'})
  assert read_texts(f'jsonl:{tmp_path / "a.data"}')[0] == ['two']


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
  texts, report = read_texts(path)
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
    read_texts(path)


def test_nothing_parsable_is_an_error(tmp_path):
  path = write(tmp_path / 'a.jsonl', 'no json', 'none either')
  with pytest.raises(InputError, match='2 of 2 records are no JSON objects'):
    read_texts(path)


def test_half_a_surrogate_pair_is_replaced(tmp_path):
  path = write(tmp_path / 'a.jsonl', r'{"text": "a\ud800b \ud83d\ude00"}')
  texts, report = read_texts(path)
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
  texts, report = read_texts(path)
  assert texts == ['one', 'three, in pieces']
  assert report.examples == {
    'unparsable_lines': [f'{path}:2: longer than 50 characters']
  }


def test_a_field_within_an_object(tmp_path):
  path = write(
    tmp_path / 'a.jsonl',
    {'meta': {'text': 'one'}},
    {'meta': 'none'},
    {'meta.text': 'two', 'meta': {'text': 'no'}},
    {'meta': {'text': 'three'}},
  )
  texts, report = read_texts(path, text_field='meta.text')
  assert texts == ['one', 'two', 'three']
  assert report.counts == {'missing_field': 1}


def test_a_field_that_stands_twice_is_ambiguous(tmp_path):
  path = write(
    tmp_path / 'a.jsonl',
    '{"text": "one", "n": {"text": "no"}, "m": "\\"text\\""}',
    '{"text": "two", "text": "other"}',
    '{"n": 1, "n": 2, "text": "three"}',
  )
  texts, report = read_texts(path)
  assert texts == ['one', 'three']
  assert report.examples == {
    'unparsable_lines': [f"{path}:2: the field 'text' stands twice"]
  }


@pytest.mark.parametrize('bad', ['no json', '{"text": 3}', '{"other": "a"}'])
def test_bad_lines_are_counted_until_they_are_the_most(tmp_path, bad):
  good = ['{"text": "good"}'] * 600
  path = write(tmp_path / 'a.jsonl', *good, *[bad] * 600)
  texts, report = read_texts(path)
  assert len(texts) == 600
  assert sum(report.counts.values()) == 600
  write(path, *good, *[bad] * 601)
  with pytest.raises(InputError, match='601 of 1,201 records are no JSON'):
    read_texts(path)
  # Long before the end of the file.
  write(path, *[bad] * 300, *good * 9)
  with pytest.raises(InputError, match='256 of 256 records|no line has'):
    read_texts(path)


def test_one_line_that_is_too_long_is_said(tmp_path, monkeypatch):
  monkeypatch.setattr(files, 'MAX_LINE_CHARACTERS', 50)
  monkeypatch.setattr(files, '_PIECE_BYTES', 16)
  path = write(tmp_path / 'a.json', {'data': [{'text': 'x' * 60}]})
  with pytest.raises(InputError, match='1 of 1 records .*longer than 50 char'):
    read_texts(path)


def test_an_array_has_the_lines_of_its_elements(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text('[\n {"text":\n "one"},\n 3,\n {"text": "two"}\n]\n')
  report = base.ReadReport()
  documents = list(open_inputs(str(path)).documents(report))
  assert [d.origin for d in documents] == [f'{path}:2', f'{path}:5']
  assert report.examples == {
    'unparsable_lines': [f'{path}:4: int, not an object']
  }


def test_an_array_is_not_held_whole(tmp_path):
  import tracemalloc

  path = tmp_path / 'a.json.gz'
  with gzip.open(path, 'wt', compresslevel=1) as file:
    element = json.dumps({'text': 'word ' * 20_000})
    file.write('[' + ','.join([element] * 400) + ']')
  tracemalloc.start()
  source = open_inputs(str(path))
  total = sum(d.text.count('word') for d in source.documents(base.ReadReport()))
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert total == 400 * 20_000
  assert peak < 16e6  # the array has 40 MB


def test_an_element_too_long_to_parse_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(files, 'MAX_LINE_CHARACTERS', 2**17)
  monkeypatch.setattr(files, '_PIECE_BYTES', 2**14)
  path = tmp_path / 'a.json'
  path.write_text('[{"text": "one"},\n{"text": "' + 'x' * 2**19 + '"}]')
  with pytest.raises(InputError, match=':2: is no well-formed .*longer than'):
    read_texts(path)
