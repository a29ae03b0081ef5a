"""The format of prepared corpora: what is read back, and what is refused."""

import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest

from bert_jax.data import token_rows
from bert_jax.data.token_rows import TokenRows, write_token_rows
from bert_jax.errors import InputError


@pytest.fixture(autouse=True)
def shards_of_ten_rows(monkeypatch):
  monkeypatch.setattr(token_rows, 'SHARD_BYTES', 10 * 8 * 2)


def make_rows(num_rows=25, vocab_size=1000):
  rng = np.random.default_rng(0)
  return rng.integers(0, vocab_size, (num_rows, 8)).astype(np.int32)


def write(folder, blocks, vocab_size=1000):
  return write_token_rows(
    folder,
    blocks,
    num_rows=sum(map(len, blocks)),
    row_length=8,
    vocab_size=vocab_size,
    tokenizer_fingerprint='tokenizer',
    facts={'num_documents': 3},
  )


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / 'rows', [make_rows()])
  return tmp_path / 'rows'


def edit_manifest(folder, edit):
  path = folder / 'manifest.json'
  manifest = json.loads(path.read_text())
  edit(manifest)
  path.write_text(json.dumps(manifest))


def test_rows_are_read_back(folder):
  rows = make_rows()
  corpus = TokenRows(folder)
  assert (corpus.num_rows, corpus.row_length, corpus.vocab_size) == (
    25,
    8,
    1000,
  )
  assert corpus.shard_sizes == (10, 10, 5)
  assert corpus.tokenizer_fingerprint == 'tokenizer'
  assert corpus.manifest['num_documents'] == 3
  indices = np.random.default_rng(1).permutation(25)[:17]
  result = corpus.rows(indices)
  assert result.dtype == np.int32
  np.testing.assert_array_equal(result, rows[indices])
  np.testing.assert_array_equal(corpus.rows([24, 24, 0]), rows[[24, 24, 0]])
  assert corpus.rows([]).shape == (0, 8)
  corpus.verify()


def test_more_shards_than_may_be_open(folder, monkeypatch):
  monkeypatch.setattr(token_rows, '_MAX_OPEN_SHARDS', 1)
  np.testing.assert_array_equal(
    TokenRows(folder).rows(np.arange(24, -1, -1)), make_rows()[::-1]
  )


@pytest.mark.skipif(
  not os.path.exists('/proc/self/smaps'), reason='Linux alone tells advice'
)
@pytest.mark.parametrize('memory,advised', [(10**9, False), (10, True)])
def test_rows_of_a_corpus_beyond_memory(folder, monkeypatch, memory, advised):
  """Its shards are mapped for reading at random: 'rr' in the kernel's list."""
  monkeypatch.setattr(token_rows, '_bytes_of_memory', lambda: memory)
  corpus = TokenRows(folder)
  np.testing.assert_array_equal(corpus.rows(np.arange(25)), make_rows())
  with open('/proc/self/smaps') as file:
    maps = file.read().split(str(folder))[1:]
  flags = [re.search(r'VmFlags: (.*)', text)[1].split() for text in maps]
  assert [('rr' in of_shard) for of_shard in flags] == 3 * [advised]


@pytest.mark.parametrize('index', [-1, 25])
def test_row_numbers_outside(folder, index):
  with pytest.raises(IndexError, match='0 to 24'):
    TokenRows(folder).rows([0, index])


def test_shards_do_not_depend_on_the_blocks(folder, tmp_path):
  blocks = np.split(make_rows(), [1, 1, 4, 22])
  manifest = write(tmp_path / 'other', blocks)
  assert manifest['fingerprint'] == TokenRows(folder).fingerprint
  for path in folder.iterdir():
    assert path.read_bytes() == (tmp_path / 'other' / path.name).read_bytes()


@pytest.mark.parametrize(
  'vocab_size, dtype', [(65_536, 'uint16'), (65_537, 'uint32')]
)
def test_width_follows_the_vocabulary(tmp_path, vocab_size, dtype):
  rows = make_rows(vocab_size=vocab_size)
  rows[0, 0] = vocab_size - 1
  write(tmp_path / 'rows', [rows], vocab_size)
  corpus = TokenRows(tmp_path / 'rows')
  assert np.load(next((tmp_path / 'rows').glob('*.npy'))).dtype == dtype
  np.testing.assert_array_equal(corpus.rows(np.arange(25)), rows)


def test_no_rows_at_all(tmp_path):
  write(tmp_path / 'rows', [])
  assert TokenRows(tmp_path / 'rows').num_rows == 0


def test_no_corpus_there(tmp_path):
  with pytest.raises(InputError, match='nowhere: not a prepared corpus'):
    TokenRows(tmp_path / 'nowhere')


@pytest.mark.parametrize('keep', [0, 5, 100, -1])
def test_truncated_shard(folder, keep):
  path = folder / 'rows-00001-of-00003.npy'
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(InputError, match='rows-00001-of-00003.npy'):
    TokenRows(folder)


def test_shard_with_bytes_too_many(folder):
  with open(folder / 'rows-00001-of-00003.npy', 'ab') as file:
    file.write(b'x')
  with pytest.raises(InputError, match='rows-00001-of-00003.npy'):
    TokenRows(folder)


def test_missing_shard(folder):
  (folder / 'rows-00002-of-00003.npy').unlink()
  with pytest.raises(InputError, match='00002-of-00003.npy: the shard is miss'):
    TokenRows(folder)


def test_flipped_bit_is_found_by_verify(folder):
  path = folder / 'rows-00002-of-00003.npy'
  data = bytearray(path.read_bytes())
  data[-3] ^= 1
  path.write_bytes(data)
  corpus = TokenRows(folder)
  with pytest.raises(InputError, match='rows-00002-of-00003.npy.*has changed'):
    corpus.verify()


def test_ids_beyond_the_vocabulary(folder):
  path = folder / 'rows-00000-of-00003.npy'
  rows = np.load(path)
  rows[4, 2] = 1000
  np.save(path, rows)
  corpus = TokenRows(folder)
  corpus.rows([3, 5])
  with pytest.raises(InputError, match='00000-of.*id 1000.* 1000 entries'):
    corpus.rows([3, 4])


@pytest.mark.parametrize(
  'wrong',
  [
    np.zeros((10, 7), np.uint16),
    np.zeros((10, 8), np.int64),
    np.zeros((9, 8), np.uint16),
    np.asfortranarray(np.zeros((10, 8), np.uint16)),
  ],
)
def test_shard_of_another_shape_or_type(folder, wrong):
  np.save(folder / 'rows-00000-of-00003.npy', wrong)
  with pytest.raises(InputError, match='rows-00000-of-00003.npy'):
    TokenRows(folder)


class Malice:
  """Leaves a file behind when it is unpickled."""

  def __reduce__(self):
    return os.mkdir, ('unpickled',)


@pytest.mark.parametrize('as_npy', [True, False])
def test_pickles_are_refused_unread(folder, tmp_path, monkeypatch, as_npy):
  monkeypatch.chdir(tmp_path)
  path = folder / 'rows-00000-of-00003.npy'
  if as_npy:
    np.save(path, np.array([Malice()], object), allow_pickle=True)
  else:
    path.write_bytes(pickle.dumps(Malice()))
  with pytest.raises(InputError, match='rows-00000-of-00003.npy'):
    TokenRows(folder)
  assert not (tmp_path / 'unpickled').exists()


@pytest.mark.parametrize(
  'name', ['../rows-00000-of-00003.npy', '/etc/passwd', 'a/b.npy', '', '..']
)
def test_names_that_lead_elsewhere(folder, name):
  shutil.copy(folder / 'rows-00000-of-00003.npy', folder.parent)

  def edit(manifest):
    manifest['shards'][0]['name'] = name

  edit_manifest(folder, edit)
  with pytest.raises(InputError, match='is not the name of a shard'):
    TokenRows(folder)


@pytest.mark.parametrize('name', ['rows-00000-of-00003.npy', 'manifest.json'])
def test_links_that_lead_elsewhere(folder, name):
  path = folder / name
  elsewhere = folder.parent / path.name
  path.rename(elsewhere)
  path.symlink_to(elsewhere)
  with pytest.raises(InputError, match='link that leads out'):
    TokenRows(folder)


def test_a_linked_folder_is_fine(folder):
  link = folder.parent / 'link'
  link.symlink_to(folder)
  TokenRows(link).verify()


@pytest.mark.parametrize(
  'text',
  [
    *('', '{', '[]', 'null', '{"shards": []}', '[' * 100_000),
    '{"format_version": "' + 'x' * 5000 + '"}',
  ],
  ids=lambda text: text[:20],
)
def test_manifest_that_is_none(folder, text):
  (folder / 'manifest.json').write_text(text)
  with pytest.raises(InputError, match='manifest.json') as error:
    TokenRows(folder)
  assert len(str(error.value)) < 400


def test_manifest_that_is_a_folder(folder):
  (folder / 'manifest.json').unlink()
  (folder / 'manifest.json').mkdir()
  with pytest.raises(InputError, match='manifest.json: cannot be read'):
    TokenRows(folder)


def test_more_rows_than_can_be_counted(folder):
  """Of a manifest that agrees with itself."""

  def edit(manifest):
    manifest['shards'][0]['rows'] += 10**30
    manifest['num_rows'] += 10**30
    manifest['fingerprint'] = token_rows.manifest_fingerprint(manifest)

  edit_manifest(folder, edit)
  with pytest.raises(InputError, match='not an entry of a shard'):
    TokenRows(folder)


@pytest.mark.parametrize(
  'field, value',
  [
    ('format_version', 2),
    ('row_length', 16),
    ('row_length', '8'),
    ('row_length', True),
    ('num_rows', 24),
    ('vocab_size', 30_000),
    ('vocab_size', 100_000),
    ('dtype', 'object'),
    ('tokenizer_fingerprint', 'another'),
    ('fingerprint', 'another'),
    ('shards', [3]),
    ('shards', [{'name': 'rows-00000-of-00003.npy'}]),
  ],
)
def test_manifest_that_contradicts_itself(folder, field, value):
  edit_manifest(folder, lambda manifest: manifest.update({field: value}))
  with pytest.raises(InputError, match='manifest.json'):
    TokenRows(folder)
