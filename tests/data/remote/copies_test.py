"""Corpora at gs:// are read as if they lay here, whole or group by group."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import threading

import numpy as np
import pytest
import storage as storages
import toys
from small_texts import contents

from bert_jax import durable_files
from bert_jax.data import token_rows
from bert_jax.data.preparing.inspect_corpus import describe_corpus
from bert_jax.data.preparing.verify import verify_corpus
from bert_jax.data.reading.mixture import CorpusStreams, MixedStream
from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.data.reading.stream import Stream
from bert_jax.data.remote.copies import on_this_machine
from bert_jax.data.remote.corpus import CopyOptions, local_folder
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError

URL = 'gs://bucket/texts/wiki'
ROWS_PER_SHARD = 8
# The header of a shard, and its rows of 16 ids of two bytes.
SHARD = 128 + ROWS_PER_SHARD * 32
PER_GROUP = 3


def write_corpus(folder: pathlib.Path, seed: int = 0, num_rows: int = 100):
  """13 shards of 16 tokens, as many of 32, one of what is held out."""
  (folder / 'eval').mkdir(parents=True)
  for name, length in {'16': 16, '32': 32, 'eval/16': 16}.items():
    rows = toys.rows(5 if 'eval' in name else num_rows, length, seed)
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(token_rows, 'SHARD_BYTES', ROWS_PER_SHARD * length * 2)
      token_rows.write_token_rows(
        folder / name,
        [rows],
        num_rows=len(rows),
        row_length=length,
        vocab_size=toys.VOCAB_SIZE,
        tokenizer_fingerprint='toys',
        facts={},
      )
  (folder / 'tokenizer').mkdir()
  (folder / 'tokenizer' / 'vocab.txt').write_text('[PAD]\n')
  (folder / 'prepare.json').write_text('{}')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp('staging') / 'corpus'
  write_corpus(folder)
  return folder


@pytest.fixture
def corpus(folder, storage) -> pathlib.Path:
  """A folder whose copy lies at URL."""
  storages.upload(folder, URL)
  return folder


@pytest.fixture
def options(tmp_path) -> dict:
  return {'path': str(tmp_path / 'staged')}


@pytest.fixture
def in_groups(options) -> dict:
  """Two groups of three shards, and what is held out: fewer than 13."""
  limit = 2 * PER_GROUP * SHARD + 1000
  return options | {'max_bytes': limit, 'shards_per_group': PER_GROUP}


def staged(options, paths=(URL,), lengths=(16,)):
  return on_this_machine(paths, lengths, 16, CopyOptions(**options))


def on_disk(folder: pathlib.Path) -> set[str]:
  return {path.name for path in folder.iterdir() if path.suffix == '.npy'}


def open_stream(local, **options) -> Stream:
  window = local.windows.get(16)
  return Stream(local.open_part('16'), seed=3, window=window, **options)


def test_a_whole_copy_is_the_needed_parts(corpus, options):
  with staged(options) as (local,):
    copied = contents(local.folder)
    origin = json.loads(copied.pop('staged_from.json'))
    assert origin == {'urls': [URL]}
    expected = contents(corpus)
    assert copied == {
      name: data for name, data in expected.items() if name[:3] != '32/'
    }
    local.open_part('16').verify()
    assert local.open_part('eval/16').num_rows == 5
  assert local_folder(URL, options['path']) == local.folder
  assert local_folder(f'{URL}/', options['path']) == local.folder
  assert local_folder('gs://bucket/other', options['path']) is None


def test_a_second_start_copies_nothing(corpus, options, capsys):
  with staged(options):
    assert f'{URL}: ' in capsys.readouterr().err
  storages.FakeStorage.opened.clear()
  with staged(options):
    pass
  with staged(options | {'browse': True}) as (local,):
    local.open_part('16').verify()
  assert not storages.opened_shards()
  assert not capsys.readouterr().err
  assert os.listdir(options['path']) == [local.folder.name]


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('mode', ['whole', 'groups', 'browse'])
def test_batches_are_those_of_the_corpus(
  corpus, options, in_groups, mode, shuffle
):
  """From the start, across the end of epochs, from any example."""
  order = {'shuffle': shuffle, 'shards_per_group': PER_GROUP}
  expected = Stream(TokenRows(corpus / '16'), seed=3, **order)
  options = in_groups if mode == 'groups' else options
  with staged(options | {'browse': mode == 'browse'}) as (local,):
    stream = open_stream(local, **order)
    assert stream.fingerprint == expected.fingerprint
    starts = [*range(0, 260, 7), 90, 31, 1000, 998]
    for start in starts:
      numbers = np.arange(start, start + 7, dtype=np.uint64)
      mine, theirs = stream.batch(numbers), expected.batch(numbers)
      for name in theirs:
        np.testing.assert_array_equal(mine[name], theirs[name])
      if mode == 'groups':
        allowed = two_groups(expected, start + 6)
        assert on_disk(local.folder / '16') <= allowed
        assert len(allowed) <= 2 * PER_GROUP
  assert local.folder.exists() == (mode != 'browse')


def group(stream, turn) -> set[str]:
  """The shards of a group; 13 shards are 5 groups in each epoch."""
  first = turn // 5 * 100
  _, rows = stream.locate(np.arange(first, first + 100, dtype=np.uint64))
  # Those of a group are used up before the next begins.
  order = list(dict.fromkeys((rows // ROWS_PER_SHARD).tolist()))
  shards = stream.corpus.manifest['shards']
  begin = turn % 5 * PER_GROUP
  return {shards[s]['name'] for s in order[begin : begin + PER_GROUP]}


def two_groups(stream, number) -> set[str]:
  """The shards of the group of an example, and of the one after it."""
  (epoch,), (row,) = stream.locate(np.array([number], np.uint64))
  name = stream.corpus.manifest['shards'][row // ROWS_PER_SHARD]['name']
  for turn in range(int(epoch) * 5, int(epoch) * 5 + 5):
    if name in group(stream, turn):
      return group(stream, turn) | group(stream, turn + 1)
  raise AssertionError(number)


def test_one_batch_of_more_than_two_groups(corpus, in_groups):
  expected = Stream(TokenRows(corpus / '16'), seed=3, shards_per_group=3)
  numbers = np.arange(50, 250, dtype=np.uint64)[::-1]
  with staged(in_groups) as (local,):
    mine = open_stream(local, shards_per_group=3).batch(numbers)
    assert len(on_disk(local.folder / '16')) <= 2 * PER_GROUP
  np.testing.assert_array_equal(
    mine['input_ids'], expected.batch(numbers)['input_ids']
  )


def test_the_last_group_has_none_after_it(corpus, in_groups):
  with staged(in_groups) as (local,):
    stream = open_stream(local, shards_per_group=3, max_epochs=1)
    stream.batch(np.arange(99, 100, dtype=np.uint64))
    storages.join_ahead()
    assert on_disk(local.folder / '16') == group(stream, 4)


def test_two_corpora_and_two_row_lengths(corpus, in_groups, tmp_path):
  """Each has groups of its own, and the limit is of all of them together."""
  write_corpus(tmp_path / 'law', seed=1, num_rows=60)
  storages.upload(tmp_path / 'law', 'gs://bucket/law')
  plan = Plan(
    Stage(num_steps=30, row_length=length, batch_size=8) for length in (16, 32)
  )

  def make(locals_):
    return MixedStream(
      [
        CorpusStreams(
          str(number),
          {
            length: Stream(
              local.open_part(str(length)),
              seed=number,
              shards_per_group=PER_GROUP,
              window=local.windows.get(length),
            )
            for length in (16, 32)
          },
        )
        for number, local in enumerate(locals_)
      ],
      plan,
    )

  folders = [str(corpus), str(tmp_path / 'law')]
  urls = [URL, 'gs://bucket/law']
  sizes = 2 * 2 * PER_GROUP * (SHARD + 128 + ROWS_PER_SHARD * 64) + 2 * 288
  with pytest.raises(InputError, match='data.shards_per_group=2, the largest'):
    with staged(in_groups | {'max_bytes': sizes - 1}, urls, (16, 32)):
      pass
  in_groups['max_bytes'] = sizes
  with (
    staged(in_groups, folders, (16, 32)) as there,
    staged(in_groups, urls, (16, 32)) as here,
  ):
    expected, mine = make(there), make(here)
    assert mine.read_before(480) == expected.read_before(480)
    for first, size in plan.batches(0):
      numbers = np.arange(first, first + size, dtype=np.uint64)
      np.testing.assert_array_equal(
        mine.batch(numbers)['input_ids'], expected.batch(numbers)['input_ids']
      )
      for local in here:
        for part in ('16', '32'):
          assert len(on_disk(local.folder / part)) <= 2 * PER_GROUP
      used = pathlib.Path(in_groups['path']).rglob('*.npy')
      assert sum(path.stat().st_size for path in used) <= sizes


def test_a_copy_that_failed_goes_on_with_what_is_missing(
  corpus, options, monkeypatch
):
  bad = 'rows-00007-of-00013.npy'
  with monkeypatch.context() as patch:
    patch.setattr(storages.FakeStorage, 'error', RuntimeError('503'))
    patch.setattr(storages.FakeStorage, 'failing', bad)
    with pytest.raises(InputError, match=rf'{bad}: cannot be read \(503\)'):
      with staged(options):
        pass
  (folder,) = pathlib.Path(options['path']).iterdir()
  there = on_disk(folder / '16')
  assert bad not in there
  # What a process that was killed leaves.
  (folder / '16' / '.rows-00008-of-00013.npy.1.tmp').write_bytes(b'half')
  storages.FakeStorage.opened.clear()
  with staged(options) as (local,):
    assert local.folder == folder
    local.open_part('16').verify()
  assert not there & storages.opened_shards()
  assert not list(folder.rglob('*.tmp'))


def test_a_shard_that_was_cut_off_is_copied_again(corpus, options):
  with staged(options) as (local,):
    path = local.folder / '16' / 'rows-00002-of-00013.npy'
  path.write_bytes(path.read_bytes()[:-1])
  storages.FakeStorage.opened.clear()
  with staged(options) as (local,):
    local.open_part('16').verify()
  assert storages.opened_shards() == {path.name}


@pytest.mark.parametrize(
  'change', [lambda b: b[:-1] + b'\xff', lambda b: b[:-1], lambda b: b + b'+']
)
def test_a_file_that_differs_from_its_checksum(
  corpus, options, storage, change
):
  url = f'{URL}/16/rows-00012-of-00013.npy'
  storage.pipe(url, change(storage.cat(url)))
  with pytest.raises(InputError, match=f'{url}: its content.*copy the file'):
    with staged(options):
      pass
  (folder,) = pathlib.Path(options['path']).iterdir()
  assert 'rows-00012-of-00013.npy' not in os.listdir(folder / '16')
  assert not list(folder.rglob('*.tmp'))


def test_another_corpus_at_the_same_url(corpus, options, storage, tmp_path):
  with staged(options) as (before,):
    pass
  storage.rm(URL, recursive=True)
  write_corpus(tmp_path / 'other', seed=5)
  storages.upload(tmp_path / 'other', URL)
  with staged(options) as (after,):
    np.testing.assert_array_equal(
      after.open_part('16').rows(np.arange(100)), toys.rows(100, 16, 5)
    )
  assert after.folder != before.folder
  before.open_part('16').verify()
  assert local_folder(URL, options['path']) == after.folder


def test_a_disk_that_is_too_small_is_told_before(
  corpus, options, in_groups, monkeypatch
):
  usage = shutil.disk_usage(corpus)
  needed = 12 * SHARD + 128 + 4 * 32 + 128 + 5 * 32
  for free in (needed - 1, needed):
    monkeypatch.setattr(
      shutil, 'disk_usage', lambda _, f=free: usage._replace(free=f)
    )
    if free == needed:
      with staged(options):
        break
    with pytest.raises(InputError) as error:
      with staged(options):
        pass
    assert str(error.value).startswith(
      f'data.staging_path={options["path"]}: {needed:,} bytes of the corpus '
      f'have to be copied there, and {free:,} bytes are free; make room'
    )
    assert 'data.staging_gigabytes' in str(error.value)
    assert not os.listdir(options['path'])
  free = 2 * PER_GROUP * SHARD
  with pytest.raises(InputError, match='lower data.shards_per_group'):
    monkeypatch.setattr(
      shutil, 'disk_usage', lambda _: usage._replace(free=free)
    )
    with staged(in_groups):
      pass


def test_a_disk_that_fills_up(corpus, options, monkeypatch):
  def full(unused_handle):
    raise OSError(errno.ENOSPC, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(durable_files.os, 'fsync', full)
    with pytest.raises(InputError, match='no space left.*staging_path') as info:
      with staged(options):
        pass
  assert '\n' not in str(info.value)
  with staged(options) as (local,):
    local.open_part('16').verify()


@pytest.mark.parametrize('per_group', [0, 4, 6])
def test_a_limit_says_which_groups_fit(corpus, in_groups, per_group):
  with pytest.raises(InputError) as error:
    with staged(in_groups | {'shards_per_group': per_group}):
      pass
  assert f'set data.shards_per_group={PER_GROUP}, the largest' in str(
    error.value
  )
  assert not pathlib.Path(in_groups['path']).exists()


def test_a_limit_below_two_shards(corpus, options):
  least = 2 * SHARD + 288
  with pytest.raises(InputError, match=f'staging_gigabytes to {least / 1e9} '):
    with staged(options | {'max_bytes': least - 1, 'shards_per_group': 1}):
      pass
  with staged(options | {'max_bytes': least, 'shards_per_group': 1}) as (
    local,
  ):
    assert local.windows


def test_within_the_limit_all_is_copied(corpus, options):
  limit = 13 * SHARD + 1000
  with staged(options | {'max_bytes': limit}) as (local,):
    assert not local.windows
    local.open_part('16').verify()


def test_a_process_waits_for_one_that_copies(corpus, options, capsys):
  with staged(options) as (local,):
    pass
  lock = local.folder.with_name(f'{local.folder.name}.lock')
  owner = contextlib.ExitStack()
  owner.enter_context(durable_files.exclusive_lock(lock, 'DIR'))
  done = threading.Event()

  def open_it():
    with staged(options):
      done.set()

  thread = threading.Thread(target=open_it)
  # It waits where it has said so; only then is the lock given back.
  said = threading.Event()
  write = storages.Watched(said.set)
  with contextlib.redirect_stderr(write):
    thread.start()
    assert said.wait(20)
    assert not done.is_set()
    owner.close()
    thread.join()
  assert done.is_set()
  assert f'process {os.getpid()} on' in write.text


def test_groups_are_of_one_run_at_a_time(corpus, in_groups):
  with staged(in_groups):
    with pytest.raises(InputError, match=f'in use by process {os.getpid()}'):
      with staged(in_groups):
        pass
    # Not what looks at a few rows of the run meanwhile.
    with staged(in_groups | {'browse': True}) as (local,):
      assert local.open_part('16').rows([99]).shape == (1, 16)
      assert len(on_disk(local.folder / '16')) == 1
  with staged(in_groups):
    pass


def test_a_corpus_in_groups_is_named_once(corpus, in_groups):
  for paths, size in (([URL, URL], 1), ([URL, f'{URL}/'], 2)):
    limit = size * in_groups['max_bytes']
    with pytest.raises(InputError, match='has this corpus twice'):
      with staged(in_groups | {'max_bytes': limit}, paths):
        pass


def test_whole_copies_of_a_corpus_named_twice_are_one(corpus, options):
  with staged(options, [URL, URL, str(corpus)]) as (first, second, third):
    assert first.folder == second.folder
    assert third.folder == corpus


@pytest.mark.parametrize(
  ('name', 'data', 'message'),
  [
    ('16/manifest.json', b'{', f'{URL}/16/manifest.json: cannot be read as'),
    ('16/manifest.json', None, f'data.row_length=16: {URL} has rows of .* 32;'),
    ('', None, 'there is no such file; check the name'),
  ],
)
def test_what_is_no_corpus(corpus, options, storage, name, data, message):
  storage.rm(f'{URL}/{name}', recursive=True)
  if data:
    storage.pipe(f'{URL}/{name}', data)
  with pytest.raises(InputError, match=message):
    with staged(options):
      pass
  assert not pathlib.Path(options['path']).exists()


def test_a_folder_of_other_files(options, storage):
  storage.pipe(f'{URL}/a.txt', b'text')
  with pytest.raises(InputError, match='not a prepared corpus.*prepare'):
    with staged(options):
      pass


def test_no_name_leads_out_of_the_copy(corpus, options, storage, tmp_path):
  for name in ('tokenizer/../../../evil', 'tokenizer/.evil', 'evil', '../evil'):
    storage.store[f'/bucket/texts/wiki/{name}'] = storage.open(
      f'{URL}/prepare.json'
    )
  with staged(options) as (local,):
    assert 'tokenizer/vocab.txt' in contents(local.folder)
  assert not [name for name in contents(tmp_path) if 'evil' in name]


def test_verbs_that_read_a_disk_alone_say_so():
  with pytest.raises(InputError, match=f'--verify={URL}: this reads what lies'):
    list(verify_corpus(URL, progress=False))
  with pytest.raises(InputError, match=f'--corpus={URL}: this reads what lies'):
    list(describe_corpus(URL))


def test_a_damaged_origin_is_named(corpus, options):
  with staged(options) as (local,):
    path = local.folder / 'staged_from.json'
  path.write_text('[')
  with pytest.raises(
    InputError, match=f'{path}: is damaged; remove the folder'
  ):
    local_folder(URL, options['path'])
