"""Text files: units, compression, long documents, bytes that are not UTF-8."""

import gzip
import lzma
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import read_documents, texts_of

from bert_jax.data.sources import base, files, open_inputs
from bert_jax.errors import InputError


def write(path, content):
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def test_document_units(tmp_path):
  path = write(tmp_path / 'a.txt', 'one\ntwo\n\n \t\nthree\r\nfour')
  assert texts_of(path) == ['one\ntwo\n\n \t\nthree\nfour']
  assert texts_of(path, document='line') == ['one', 'two', 'three', 'four']
  assert texts_of(path, document='paragraph') == ['one\ntwo', 'three\nfour']


def test_origins_name_the_line(tmp_path):
  path = write(tmp_path / 'a.txt', 'one\n\ntwo\nthree\n\n\nfour\n')
  documents, _ = read_documents(path, document='paragraph')
  assert [document.origin for document in documents] == [
    f'{path}:1',
    f'{path}:3',
    f'{path}:7',
  ]


@pytest.mark.parametrize('unit', ['file', 'line', 'paragraph'])
@pytest.mark.parametrize('separator', [' ', '\n', ''])
def test_a_long_document_is_cut_and_loses_nothing(
  tmp_path, monkeypatch, unit, separator
):
  monkeypatch.setattr(base, 'MAX_DOCUMENT_CHARACTERS', 100)
  rng = random.Random(0)
  words = [f'{"é" * rng.randint(1, 9)}{i}' for i in range(200)]
  path = write(tmp_path / 'a.txt', separator.join(words))
  documents, report = read_documents(path, document=unit)
  found = [document.text for document in documents]
  if unit == 'line' and separator == '\n':
    assert found == words
    return
  assert all(len(text) <= 100 for text in found)
  assert ''.join(''.join(found).split()) == ''.join(words)
  if separator:
    assert ' '.join(found).split() == words
    assert min(map(len, found[:-1])) >= 50
  assert report.counts == {'split_documents': 1}


def test_a_cut_document_says_where_each_piece_begins(tmp_path, monkeypatch):
  monkeypatch.setattr(base, 'MAX_DOCUMENT_CHARACTERS', 100)
  lines = [f'{i:03d} {"x" * 15}' for i in range(1, 31)]
  path = write(tmp_path / 'a.txt', '\n'.join(lines))
  for document in read_documents(path)[0]:
    line = int(document.origin.rpartition(':')[2])
    # The cut is at the end of the line before, or within this one.
    assert int(document.text.split()[0].strip('x') or line) in (line, line + 1)


@settings(max_examples=30, deadline=None)
@given(
  st.lists(st.text('aé日😀 \n', max_size=40), max_size=6), st.integers(1, 7)
)
def test_lines_longer_than_a_piece_keep_their_characters(
  tmp_path_factory, parts, piece
):
  from bert_jax.data.sources import files

  path = tmp_path_factory.mktemp('pieces') / 'a.txt'
  content = '|'.join(parts)
  write(path, content)
  report = base.ReadReport()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(files, '_PIECE_BYTES', piece)
    pieces = list(files.read_lines(path, report))
  assert ''.join(text for _, text in pieces) == content
  assert not report.counts
  numbers = [number for number, text in pieces if text.endswith('\n')]
  assert numbers == list(range(1, content.count('\n') + 1))


def test_undecodable_bytes_are_counted_with_their_line(tmp_path):
  path = write(tmp_path / 'a.txt', b'good\nb\xff\xfed\nna\xc3\xafve\n\xe9t\n')
  documents, report = read_documents(path, document='line')
  assert [document.text for document in documents] == [
    'good',
    'b\ufffd\ufffdd',
    'naïve',
    '\ufffdt',
  ]
  assert report.counts == {'undecodable_bytes': 3}
  assert report.examples['undecodable_bytes'] == [
    f'{path}:2: 2 bytes that are not UTF-8',
    f'{path}:4: 1 bytes that are not UTF-8',
  ]


def test_byte_order_mark_is_no_text(tmp_path):
  assert texts_of(write(tmp_path / 'a.txt', b'\xef\xbb\xbfone')) == ['one']


@pytest.mark.parametrize('encoding', ['utf-16', 'cp1251', 'koi8-r'])
def test_a_file_in_another_encoding_is_an_error(tmp_path, encoding):
  path = write(tmp_path / 'a.txt', ('Привет мир ' * 200).encode(encoding))
  with pytest.raises(InputError, match=r'a\.txt: is .*not UTF-8.*iconv'):
    read_documents(path)


def two_zstandard_frames(data):
  compress = zstandard.ZstdCompressor().compress
  return compress(data[: len(data) // 2]) + compress(data[len(data) // 2 :])


PACKERS = {
  '.gz': gzip.compress,
  '.xz': lzma.compress,
  '.zst': two_zstandard_frames,
}
LINES = [f'{i} {random.Random(i).random()}' for i in range(5000)]


@pytest.mark.parametrize('ending', PACKERS)
def test_compressed_files(tmp_path, ending):
  content = '\n'.join(LINES).encode()
  path = write(tmp_path / f'a.txt{ending}', PACKERS[ending](content))
  assert texts_of(path, document='line') == LINES
  # A small file is unpacked whole to know its size.
  assert open_inputs(str(path)).size_in_bytes() == len(content)


@pytest.mark.parametrize('ending', PACKERS)
def test_the_size_of_compressed_files_is_estimated(
  tmp_path, ending, monkeypatch
):
  monkeypatch.setattr(files, '_PACKED_SAMPLE_BYTES', 2**14)
  monkeypatch.setattr(files, '_FILES_SAMPLED', 2)
  content = '\n'.join(LINES).encode()
  for number in range(5):
    write(tmp_path / f'{number}.txt{ending}', PACKERS[ending](content))
  write(tmp_path / 'plain.txt', content)
  size = open_inputs(str(tmp_path)).size_in_bytes()
  assert size == pytest.approx(6 * len(content), rel=0.1)


@pytest.mark.parametrize('ending', PACKERS)
@pytest.mark.parametrize('damage', ['cut', 'garbage'])
def test_damaged_compressed_files_are_named(tmp_path, ending, damage):
  packed = PACKERS[ending]('\n'.join(LINES).encode())
  if damage == 'cut':
    packed = packed[: len(packed) * 2 // 3]
  else:
    packed = b'no such format' * 100
  path = write(tmp_path / f'a.txt{ending}', packed)
  size = open_inputs(str(path)).size_in_bytes()
  assert size == 0 if damage == 'garbage' else size > 0
  with pytest.raises(InputError, match='cannot be read'):
    read_documents(path, document='line')


def test_no_text_at_all_is_an_error(tmp_path):
  path = write(tmp_path / 'a.txt', b' \n\n')
  for unit in ('file', 'line', 'paragraph'):
    with pytest.raises(InputError, match='there is no text in it'):
      read_documents(path, document=unit)


def test_empty_files_are_counted(tmp_path):
  write(tmp_path / 'a.txt', b'')
  write(tmp_path / 'b.txt', b'text')
  documents, report = read_documents(tmp_path)
  assert [document.text for document in documents] == ['text']
  assert report.examples['empty_documents'] == [f'{tmp_path / "a.txt"}:1']


def test_memory_is_bounded_for_one_endless_line(tmp_path):
  import tracemalloc

  path = tmp_path / 'a.txt.gz'
  with gzip.open(path, 'wb', compresslevel=1) as file:
    for _ in range(64):
      file.write(b'word ' * 200_000)
  tracemalloc.start()
  total = 0
  for document in open_inputs(str(path), document='line').documents(
    base.ReadReport()
  ):
    total += document.text.count('word')
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert total == 64 * 200_000
  assert peak < 16e6  # the line has 64 MB


def test_describe_has_names_and_sizes_but_no_folder(tmp_path):
  path = write(tmp_path / 'a.txt', b'text')
  source = open_inputs(str(path), document='line')
  assert source.describe() == {
    'kind': 'text_files',
    'document': 'line',
    'files': [{'name': 'a.txt', 'bytes': 4}],
  }
  assert source.size_in_bytes() == 4
