"""Groups of shards that come and go while they are read."""

import threading

import numpy as np
import pytest
import storage as storages
import toys

from bert_jax import stopping
from bert_jax.data import side_files, token_rows
from bert_jax.data.reading.stream import Stream
from bert_jax.data.remote.groups import GroupCopies
from bert_jax.data.remote.shards import RemotePart, shard_files
from bert_jax.data.token_rows import TokenRows, parse_manifest
from bert_jax.errors import InputError

URL = 'gs://bucket/wiki/16'
NUM_SHARDS = 9


def remote_part(tmp_path, monkeypatch, **options) -> RemotePart:
  """Nine shards of four rows at URL; of its folder there is the manifest."""
  monkeypatch.setattr(token_rows, 'SHARD_BYTES', 4 * 16 * 2)
  there, here = tmp_path / 'there', tmp_path / 'here'
  token_rows.write_token_rows(
    there,
    [toys.rows(34, 16)],
    num_rows=34,
    row_length=16,
    vocab_size=toys.VOCAB_SIZE,
    tokenizer_fingerprint='toys',
    facts={},
    **options,
  )
  storages.upload(there, URL)
  data = (there / 'manifest.json').read_bytes()
  here.mkdir()
  (here / 'manifest.json').write_bytes(data)
  part = RemotePart(URL, here, shard_files(parse_manifest(data, URL)))
  for files in part.files:
    sizes = [(there / file.name).stat().st_size for file in files]
    assert [file.num_bytes for file in files] == sizes
  return part


@pytest.fixture
def part(tmp_path, monkeypatch, storage) -> RemotePart:
  part = remote_part(tmp_path, monkeypatch)
  assert all(len(files) == 1 for files in part.files)
  return part


@pytest.fixture
def rows(part) -> TokenRows:
  return TokenRows(part.folder, lazy=True)


@pytest.fixture
def groups(part, rows):
  groups = GroupCopies(part, rows)
  yield groups
  groups.close()


def here(part) -> list[int]:
  return sorted(set(range(NUM_SHARDS)) - set(part.missing()))


def test_the_next_group_is_fetched_while_one_is_read(part, rows, groups):
  groups.move_to([4, 2], [0, 7])
  np.testing.assert_array_equal(
    rows.rows(np.arange(8, 12)), toys.rows(34, 16)[8:12]
  )
  storages.join_ahead()
  assert here(part) == [0, 2, 4, 7]
  storages.FakeStorage.opened.clear()
  groups.move_to([0, 7], [])
  assert here(part) == [0, 7]
  assert not storages.opened_shards()


def test_a_shard_of_both_groups_stays(part, rows, groups):
  """The last group of an epoch and the first of the next may share some."""
  groups.move_to([0, 1], [2, 3])
  storages.join_ahead()
  groups.move_to([2, 3], [3, 0])
  storages.join_ahead()
  assert here(part) == [0, 2, 3]
  opened = [path.rpartition('/')[2] for path in storages.FakeStorage.opened]
  assert sorted(opened) == [file.name for (file,) in part.files[:4]]


def test_what_is_removed_takes_no_place_on_the_disk(part, rows, groups):
  groups.move_to([0], [1])
  rows.rows([0])
  mapped = str(part.folder / part.files[0][0].name)
  with open('/proc/self/maps') as maps:
    assert mapped in maps.read()
  groups.move_to([1], [2])
  with open('/proc/self/maps') as maps:
    assert mapped not in maps.read()


def test_a_jump_leaves_what_was_fetched_ahead(part, groups, monkeypatch):
  entered, leave = threading.Event(), threading.Event()
  open_file = storages.FakeStorage._open

  def slow(storage, path, *arguments, **options):
    if 'rows-00005' in path:
      entered.set()
      assert leave.wait(20)
    return open_file(storage, path, *arguments, **options)

  monkeypatch.setattr(storages.FakeStorage, '_open', slow)
  groups.move_to([0], [5])
  assert entered.wait(20)
  threading.Thread(target=leave.set).start()
  groups.move_to([7], [8])
  storages.join_ahead()
  assert here(part) == [7, 8]


def test_an_error_ahead_is_told_and_raised_when_it_counts(
  part, rows, groups, monkeypatch, capsys
):
  with monkeypatch.context() as patch:
    patch.setattr(storages.FakeStorage, 'error', RuntimeError('503'))
    patch.setattr(storages.FakeStorage, 'failing', 'rows-00003')
    groups.move_to([0, 1], [2, 3])
    storages.join_ahead()
    (line,) = capsys.readouterr().err.splitlines()
    assert f'{URL}/{part.files[3][0].name}: cannot be read (503)' in line
    # The group that is there is read to its end.
    groups.move_to([0, 1], [2, 3])
    rows.rows([0, 7])
    with pytest.raises(InputError, match=r'rows-00003.*\(503\)'):
      groups.move_to([2, 3], [4])
    # It is not taken for there now.
    with pytest.raises(InputError, match=r'rows-00003.*\(503\)'):
      groups.move_to([2, 3], [4])
  groups.move_to([2, 3], [4])
  rows.rows(np.arange(8, 16))


def test_a_stop_ends_the_waiting(part, rows, monkeypatch):
  stop = threading.Event()
  groups = GroupCopies(part, rows, stop.is_set)
  groups.move_to([0], [1])
  storages.join_ahead()
  stop.set()
  groups.move_to([1], [2])  # it is here: nothing to wait for
  storages.join_ahead()
  assert here(part) == [1]
  with pytest.raises(stopping.WaitStopped):
    groups.move_to([2], [3])
  assert not list(part.folder.glob('.*'))
  groups.close()


def test_the_first_error_ends_the_copying(part, monkeypatch):
  monkeypatch.setattr(storages.FakeStorage, 'error', RuntimeError('403'))
  monkeypatch.setattr(storages.FakeStorage, 'failing', 'rows-00000')
  with pytest.raises(InputError, match=r'rows-00000.*\(403\)'):
    part.fetch(range(NUM_SHARDS))
  assert not list(part.folder.glob('.*'))


def test_bytes_are_counted_as_they_come(part, monkeypatch):
  monkeypatch.setattr('bert_jax.data.remote.shards._CHUNK_BYTES', 100)
  counts = []
  part.fetch([0, 8], counts.append)
  assert sum(counts) == part.num_bytes([0, 8])
  assert max(counts) <= 100


def test_side_files_come_and_go_with_their_rows(tmp_path, monkeypatch, storage):
  beside = {
    side_files.pair_labels(2): [np.arange(68).reshape(34, 2) % 3 - 1],
    side_files.word_starts(16): [np.arange(68, dtype='u1').reshape(34, 2)],
  }
  part = remote_part(tmp_path, monkeypatch, beside=beside)
  there, here_path = tmp_path / 'there', tmp_path / 'here'
  rows = TokenRows(here_path, lazy=True)
  groups = GroupCopies(part, rows)
  staged = Stream(rows, seed=1, shards_per_group=2, window=groups)
  expected = Stream(TokenRows(there), seed=1, shards_per_group=2)
  for first in range(0, 102, 17):
    numbers = np.arange(first, first + 17, dtype=np.uint64)
    mine, theirs = staged.batch(numbers), expected.batch(numbers)
    assert mine.keys() == theirs.keys() > {'pair_labels', 'word_starts'}
    for name in theirs:
      np.testing.assert_array_equal(mine[name], theirs[name])
    names = [path.name for path in here_path.glob('*.npy')]
    assert len([n for n in names if n.startswith('rows-')]) <= 4
    assert len(names) <= 12
  groups.close()
