"""Arrays beside the rows: what is read back with them, and what is refused."""

import hashlib
import json

import numpy as np
import pytest

from bert_jax.data import side_files, token_rows
from bert_jax.data.reading.corpora import OpenCorpus, _check_side_files
from bert_jax.data.reading.mixture import CorpusStreams, MixedStream
from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.data.reading.stream import Stream
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError

NUM_ROWS, LENGTH = 25, 12
IDS = np.arange(NUM_ROWS * LENGTH).reshape(NUM_ROWS, LENGTH)
STARTS = np.random.default_rng(0).random((NUM_ROWS, LENGTH)) < 0.5
LABELS = np.random.default_rng(1).integers(-1, 2, (NUM_ROWS, 3))


@pytest.fixture(autouse=True)
def shards_of_ten_rows(monkeypatch):
  monkeypatch.setattr(token_rows, 'SHARD_BYTES', 10 * LENGTH * 2)


def write(folder, starts=None, labels=None, ids=IDS, cuts=()):
  """The rows and what is given beside them, in blocks that end at `cuts`."""
  beside = {}
  if starts is not None:
    packed = np.packbits(starts, axis=1)
    beside[side_files.word_starts(LENGTH)] = np.split(packed, cuts)
  if labels is not None:
    file = side_files.pair_labels(labels.shape[1])
    beside[file] = np.split(labels, cuts)
  return token_rows.write_token_rows(
    folder,
    np.split(ids, cuts),
    num_rows=len(ids),
    row_length=LENGTH,
    vocab_size=1000,
    tokenizer_fingerprint='tokenizer',
    facts={},
    beside=beside,
  )


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / 'rows', STARTS, LABELS)
  return tmp_path / 'rows'


def test_they_are_read_back_with_the_rows(folder):
  corpus = TokenRows(folder)
  chosen = np.random.default_rng(2).permutation(NUM_ROWS)[:17]
  arrays = corpus.arrays(chosen)
  assert list(arrays) == ['input_ids', 'pair_labels', 'word_starts']
  assert {name: array.dtype for name, array in arrays.items()} == {
    'input_ids': np.int32,
    'pair_labels': np.int32,
    'word_starts': bool,
  }
  np.testing.assert_array_equal(arrays['input_ids'], IDS[chosen])
  np.testing.assert_array_equal(arrays['word_starts'], STARTS[chosen])
  np.testing.assert_array_equal(arrays['pair_labels'], LABELS[chosen])
  wider = corpus.arrays(chosen, max_segments=5)['pair_labels']
  np.testing.assert_array_equal(wider[:, :3], LABELS[chosen])
  assert (wider[:, 3:] == -1).all()
  corpus.verify()


def test_files_have_the_sharding_of_the_rows(folder, tmp_path):
  names = sorted(path.name for path in folder.glob('*.npy'))
  assert names == [
    f'{array}-{shard:05d}-of-00003.npy'
    for array in ('pair_labels', 'rows', 'word_starts')
    for shard in range(3)
  ]
  sizes = TokenRows(folder).shard_sizes
  for name in names:
    stored = np.load(folder / name)
    assert len(stored) == sizes[int(name.split('-')[1])]
  write(tmp_path / 'other', STARTS, LABELS, cuts=(3, 3, 14, 22))
  for path in folder.iterdir():
    assert path.read_bytes() == (tmp_path / 'other' / path.name).read_bytes()


def test_corpora_without_them_are_as_they_were(tmp_path):
  """The fingerprint is that of the format's first version, computed here."""
  manifest = write(tmp_path / 'rows')
  content = [1, 'tokenizer', 1000, LENGTH, 'uint16']
  content.append([[s['rows'], s['sha256']] for s in manifest['shards']])
  digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
  assert manifest['fingerprint'] == digest
  assert 'side_files' not in manifest
  corpus = TokenRows(tmp_path / 'rows')
  assert list(corpus.arrays(np.arange(3))) == ['input_ids']
  assert corpus.max_segments == 0


def test_the_fingerprint_depends_on_them(tmp_path):
  other_starts, other_labels = STARTS.copy(), LABELS.copy()
  other_starts[7, 3] ^= True
  other_labels[7, 2] = -1 if LABELS[7, 2] else 1
  variants = [
    (None, None),
    (STARTS, None),
    (None, LABELS),
    (STARTS, LABELS),
    (other_starts, LABELS),
    (STARTS, other_labels),
  ]
  found = {
    write(tmp_path / str(number), *variant)['fingerprint']
    for number, variant in enumerate(variants)
  }
  assert len(found) == len(variants)


@pytest.mark.parametrize('name', ['word_starts', 'pair_labels'])
def test_damage_is_found(folder, name):
  path = folder / f'{name}-00001-of-00003.npy'
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  with pytest.raises(InputError, match=f'{name}-00001-of-00003.npy: .*cut off'):
    TokenRows(folder)
  np.save(path, np.zeros((9, 3), np.int64))
  with pytest.raises(InputError, match=f'{name}-00001.*holds int64'):
    TokenRows(folder)
  path.unlink()
  with pytest.raises(InputError, match=f'{name}-00001.*shard is missing'):
    TokenRows(folder)
  (folder.parent / 'elsewhere').write_bytes(whole)
  path.symlink_to(folder.parent / 'elsewhere')
  with pytest.raises(InputError, match=f'{name}-00001.*link that leads out'):
    TokenRows(folder)
  path.unlink()
  path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  corpus = TokenRows(folder)
  with pytest.raises(InputError, match=f'{name}-00001.*has changed'):
    corpus.verify()


def test_labels_that_are_none(tmp_path):
  labels = LABELS.copy()
  labels[11, 1] = 2
  write(tmp_path / 'rows', labels=labels)
  corpus = TokenRows(tmp_path / 'rows')
  corpus.arrays([10, 12])
  with pytest.raises(InputError, match='pair_labels-00001.*the label 2'):
    corpus.arrays([10, 11])


@pytest.mark.parametrize(
  'edit',
  [
    lambda files: files.update(colours=files['word_starts']),
    lambda files: files.update(word_starts=3),
    lambda files: files['word_starts'].update(dtype='int8'),
    lambda files: files['word_starts'].update(row_shape=[3]),
    lambda files: files['pair_labels'].update(row_shape=[10**30]),
    lambda files: files['pair_labels'].update(row_shape=[0]),
    lambda files: files['pair_labels'].update(row_shape=[True]),
    lambda files: files['pair_labels'].update(shards=None),
    lambda files: files['pair_labels']['shards'].pop(),
    lambda files: files['pair_labels']['shards'][0].update(name='../x.npy'),
    lambda files: files['pair_labels']['shards'][0].update(sha256=3),
    lambda files: files['pair_labels']['shards'][0].update(sha256='0'),
    lambda files: files.pop('pair_labels'),
  ],
)
def test_manifests_that_cannot_be(folder, edit):
  path = folder / 'manifest.json'
  manifest = json.loads(path.read_text())
  edit(manifest['side_files'])
  path.write_text(json.dumps(manifest))
  with pytest.raises(InputError, match='manifest.json: ') as error:
    TokenRows(folder)
  assert len(str(error.value)) < 500


def streams(*corpora):
  """A run's stream over corpora, in equal shares."""
  sources = [
    CorpusStreams(str(number), {LENGTH: Stream(corpus, seed=number)})
    for number, corpus in enumerate(corpora)
  ]
  return MixedStream(
    sources, Plan([Stage(num_steps=5, row_length=LENGTH, batch_size=8)])
  )


def test_a_mixture_has_one_shape_of_labels(tmp_path):
  write(tmp_path / 'few', STARTS, LABELS)
  more = np.random.default_rng(3).integers(-1, 2, (NUM_ROWS, 4))
  write(tmp_path / 'more', ~STARTS, more)
  few, many = TokenRows(tmp_path / 'few'), TokenRows(tmp_path / 'more')
  stream = streams(few, many)
  numbers = np.arange(40, dtype=np.uint64)
  batch = stream.batch(numbers)
  assert batch['pair_labels'].shape == (40, 4)
  corpora, _, rows = stream.locate(numbers)
  assert set(corpora) == {0, 1}
  for place, (corpus, row) in enumerate(zip(corpora, rows, strict=True)):
    labels, starts = ((LABELS, STARTS), (more, ~STARTS))[corpus]
    expected = [*labels[row], -1][:4]
    np.testing.assert_array_equal(batch['pair_labels'][place], expected)
    np.testing.assert_array_equal(batch['word_starts'][place], starts[row])
    # A process may ask for rows of one corpus alone.
    alone = stream.batch(numbers[place : place + 1])
    for name, array in alone.items():
      np.testing.assert_array_equal(array[0], batch[name][place])


def test_corpora_of_a_run_have_the_same(tmp_path):
  write(tmp_path / 'plain')
  write(tmp_path / 'pairs', labels=LABELS)
  plain, pairs = TokenRows(tmp_path / 'plain'), TokenRows(tmp_path / 'pairs')
  _check_side_files([OpenCorpus('a', {LENGTH: pairs}, pairs)] * 2)
  message = 'plain has the side files none, .*pairs has pair_labels; prepare'
  for corpora in (
    [
      OpenCorpus('a', {LENGTH: pairs}, None),
      OpenCorpus('b', {LENGTH: plain}, None),
    ],
    [OpenCorpus('a', {LENGTH: pairs}, plain)],
  ):
    with pytest.raises(InputError, match=message):
      _check_side_files(corpora)
