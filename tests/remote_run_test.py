"""A whole run on a corpus at gs:// equals that on a disk, bit for bit.

The corpus is read in groups. The run is stopped while it waits for a group, and
continued from a whole copy.
"""

import os
import pathlib
import signal
import threading

import pytest
import storage as storages
from runs import assert_same_run, prepared_lines

from bert_jax import inference, stopping
from bert_jax.data import token_rows
from bert_jax.jobs.inspect import describe_examples, read_experiment
from bert_jax.jobs.pretrain import pretrain
from bert_jax.report.page import write_report
from bert_jax.train import loop

PER_GROUP = 2  # shards of 8 rows each: two steps use up a group
SHARDS_BEFORE = 6  # shards that arrive before one does not
WAITS_AT = 6


@pytest.fixture
def corpus(small_text, small_tokenizer, tmp_path, monkeypatch, storage):
  """A folder of many small shards, and gs://bucket/corpus."""
  with monkeypatch.context() as patch:
    patch.setattr(token_rows, 'SHARD_BYTES', 8 * 32 * 2)
    prepared_lines(small_text, small_tokenizer, tmp_path / 'corpus')
  storages.upload(tmp_path / 'corpus', 'gs://bucket/corpus')
  return tmp_path / 'corpus'


def stop_in_a_wait(patch) -> None:
  """Sends SIGTERM once a step waits for a group whose shards do not come."""
  waits, noted = threading.Event(), threading.Event()
  open_file, next_batch = storages.FakeStorage._open, loop._next_batch
  steps, opened = [], []

  def slow(storage, path, mode='rb', **options):
    if mode == 'rb' and '/corpus/32/rows-' in path:
      opened.append(path)
      if len(opened) > SHARDS_BEFORE:
        assert waits.wait(60)
        if path == opened[SHARDS_BEFORE]:
          os.kill(os.getpid(), signal.SIGTERM)
        assert noted.wait(60)
    return open_file(storage, path, mode, **options)

  def counted(run, feed):
    steps.append(1)
    if len(steps) > WAITS_AT:
      waits.set()
    return next_batch(run, feed)

  patch.setattr(storages.FakeStorage, '_open', slow)
  patch.setattr(loop, '_next_batch', counted)
  patch.setattr(stopping, 'say', lambda sentence: noted.set())


def test_a_run_from_object_storage(
  corpus, small_experiment, tmp_path, monkeypatch
):
  data = small_experiment.data
  data.path, data.shards_per_group = str(corpus), PER_GROUP
  pretrain(small_experiment, tmp_path / 'expected')
  data.path, data.staging_path = 'gs://bucket/corpus', str(tmp_path / 'staged')
  shard = max(path.stat().st_size for path in corpus.glob('32/*.npy'))
  held_out = sum(p.stat().st_size for p in corpus.glob('eval/32/*.npy'))
  data.staging_gigabytes = (2 * PER_GROUP * shard + held_out) / 1e9
  with monkeypatch.context() as patch:
    stop_in_a_wait(patch)
    outcome = pretrain(small_experiment, tmp_path / 'run')
  assert outcome.stopped_by == 'SIGTERM'
  assert outcome.saved_step == WAITS_AT
  assert len(list((tmp_path / 'staged').glob('*.groups/32/*.npy'))) <= 4
  # Inspecting needs no copy: it fetches only the shards of the shown rows.
  shown, expected = (
    list(describe_examples(read_experiment(tmp_path / name), example=3))
    for name in ('run', 'expected')
  )
  assert shown == expected
  assert len(list((tmp_path / 'staged').iterdir())) == 1
  data.staging_gigabytes = 0.0
  pretrain(small_experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', tmp_path / 'expected')
  assert len(inference.load(tmp_path / 'run').samples(count=1)) == 1
  page, expected = (
    pathlib.Path(write_report(tmp_path / name, [])).read_text()
    for name in ('run', 'expected')
  )
  assert packing(page) == packing(expected)
  assert 'Nothing was truncated' in packing(page)


def packing(page: str) -> str:
  return page.partition('>Packing<')[2].partition('</section>')[0]
