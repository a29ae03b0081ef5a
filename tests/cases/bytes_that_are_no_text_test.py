"""Bytes that are no UTF-8 text are refused; a stray one is counted.

| bytes | right |
|---|---|
| French, German, English in Latin-1 or Windows-1252 | refused: iconv |
| the same behind 400 KB of ASCII | refused |
| UTF-16 with and without its mark, ISO-2022-JP, Shift JIS, GBK | refused |
| a NUL, wherever it is | refused, with its line |
| one stray byte in UTF-8, texts cut within a character | counted, U+FFFD |
"""

import pytest
from inputs import read_texts

from bert_jax.errors import InputError

FRENCH = 'Les élèves étaient très contents de leur journée passée à la forêt.\n'
GERMAN = 'Die Straße führt von hier über die Brücke bis an das andere Ufer.\n'
ENGLISH = (
  'He said \u201cnothing\u201d \u2014 and left the old house by the river to '
  'walk home alone, as he had done on each evening of that long summer.\n'
)
ASCII = b'nothing but the letters of English here\n'


def refused(tmp_path, name, content, what):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(InputError, match=what) as error:
    read_texts(path)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('text', 'encoding'),
  [
    (FRENCH, 'latin1'),
    (GERMAN, 'latin1'),
    (GERMAN, 'cp1252'),
    (ENGLISH, 'cp1252'),
  ],
)
def test_single_bytes_of_the_west(tmp_path, text, encoding):
  one = text.encode(encoding)
  what = 'is not UTF-8 text.*iconv -f latin1 -t UTF-8'
  refused(tmp_path, 'small.txt', one * 3, what)
  refused(tmp_path, 'large.txt', one * 2000, what)
  refused(tmp_path, 'late.txt', ASCII * 10_000 + one * 3000, what)
  line = b'{"text": "' + one.strip() + b'"}\n'
  refused(tmp_path, 'a.jsonl', line * 50, what)
  refused(
    tmp_path, 'a.csv', b'text\n' + (b'"' + one.strip() + b'"\n') * 3, what
  )


@pytest.mark.parametrize(
  ('encoding', 'what'),
  [
    ('utf-16', 'is UTF-16, not UTF-8; .*iconv -f UTF-16'),
    ('utf-32', 'is UTF-32, not UTF-8'),
    ('utf-16-le', 'NUL bytes, which no text has'),
    ('iso2022_jp', 'ISO-2022'),
    ('shift-jis', 'is not UTF-8 text.*iconv -f ENCODING'),
    ('gb18030', 'is not UTF-8 text'),
  ],
)
def test_encodings_of_several_bytes(tmp_path, encoding, what):
  text = 'これは A です。漢字も一つ。\n' * 9
  refused(tmp_path, 'a.txt', text.encode(encoding), what)
  refused(tmp_path, 'a.jsonl', text.encode(encoding), what)


def test_a_nul_is_named_with_its_line(tmp_path):
  refused(tmp_path, 'a.txt', b'a\0b', r'a\.txt: holds NUL bytes')
  refused(tmp_path, 'b.txt', ASCII * 60_000 + b'\0', r'b\.txt:60001: holds NUL')
  refused(tmp_path, 'c.txt', ASCII * 60_000 + b'a\ra\r\nb\0', r'txt:60003: h')
  refused(tmp_path, 'a.jsonl', b'{"text": "a"}\n' + b'\0' * 512, 'holds NUL')
  refused(tmp_path, 'a.csv', b'text\na\0\n', 'holds NUL')


def test_control_characters_are_no_text(tmp_path):
  refused(tmp_path, 'a.txt', b'a\x01b\x02c\x03d\x04' * 9, 'control characters')
  coloured = tmp_path / 'log.txt'
  coloured.write_bytes(b'\x1b[31mred\x1b[0m\x0c\n' * 20)
  assert len(read_texts(coloured, document='line')[0]) == 20


def test_a_stray_byte_is_counted(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_bytes(FRENCH.encode() * 50 + b'a \xe9\n' + FRENCH.encode() * 50)
  texts, report = read_texts(path, document='line')
  assert len(texts) == 101 and texts[50] == 'a \ufffd'
  assert report.counts == {'undecodable_bytes': 1}
  assert report.examples['undecodable_bytes'][0].startswith(f'{path}:51: ')


def test_a_stray_that_is_no_letter_is_counted(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_bytes(b'nothing but\xff the letters of English here ' * 9)
  assert read_texts(path)[1].counts == {'undecodable_bytes': 9}


def test_texts_that_were_cut_within_a_character_are_counted(tmp_path):
  path = tmp_path / 'a.txt'
  line = ('Привет мир ' * 9).encode()[:151]
  path.write_bytes((line + b'\n') * 300)
  texts, report = read_texts(path, document='line')
  assert len(texts) == 300
  assert report.counts == {'undecodable_bytes': 300}


@pytest.mark.parametrize('size', range(1, 9))
def test_a_character_across_two_pieces_is_whole(tmp_path, monkeypatch, size):
  from bert_jax.data.sources import files

  monkeypatch.setattr(files, '_PIECE_BYTES', size)
  path = tmp_path / 'a.txt'
  path.write_bytes('\xe9'.encode('latin1') + 'é日😀é'.encode() * 9)
  texts, report = read_texts(path)
  assert texts == ['\ufffd' + 'é日😀é' * 9]
  assert report.counts == {'undecodable_bytes': 1}
