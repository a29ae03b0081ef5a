"""The feed: equal batches on any number of devices and from any start."""

import threading
import types

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_jax.data import token_rows
from bert_jax.data.reading.device_feed import DeviceFeed
from bert_jax.data.reading.stream import Stream
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding


@pytest.fixture(scope='module')
def stream(small_corpus) -> Stream:
  return Stream(TokenRows(small_corpus / '32'), seed=3)


@pytest.fixture(scope='module')
def many_shards(tmp_path_factory) -> TokenRows:
  """57 rows in shards of 10, each with its number in it."""
  folder = tmp_path_factory.mktemp('many_shards') / 'rows'
  rows = np.arange(57 * 8).reshape(57, 8)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(token_rows, 'SHARD_BYTES', 10 * 8 * 2)
    token_rows.write_token_rows(
      folder,
      [rows],
      num_rows=57,
      row_length=8,
      vocab_size=1000,
      tokenizer_fingerprint='none',
      facts={},
    )
  assert len(TokenRows(folder).shard_sizes) == 6
  return TokenRows(folder)


def take(stream, num_devices, first_example, num_batches, batch_size=8):
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  feed = DeviceFeed(
    stream,
    batch_sharding(mesh),
    [(first_example + n * batch_size, batch_size) for n in range(num_batches)],
  )
  with feed:
    return [jax.device_get(batch) for batch in feed]


def assert_equal(found, expected):
  assert len(found) == len(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize('num_devices', [1, 2, 4, 8])
def test_batches_are_those_of_the_stream(stream, num_devices):
  expected = [
    stream.batch(np.arange(first, first + 8, dtype=np.uint64))
    for first in range(0, 48, 8)
  ]
  assert_equal(take(stream, num_devices, 0, 6), expected)


@hypothesis.given(
  num_devices=st.sampled_from([1, 2, 4, 8]),
  rows_a_device=st.integers(1, 5),
  first=st.integers(0, 2**62),
  seed=st.integers(0, 2**32),
  shuffle=st.booleans(),
  shards_per_group=st.integers(0, 3),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_any_stream_on_any_number_of_devices(
  many_shards,
  num_devices,
  rows_a_device,
  first,
  seed,
  shuffle,
  shards_per_group,
):
  stream = Stream(
    many_shards, seed=seed, shuffle=shuffle, shards_per_group=shards_per_group
  )
  size = num_devices * rows_a_device
  batches = take(stream, num_devices, first, 3, size)
  numbers = first + np.arange(3 * size, dtype=np.uint64)
  _, rows = stream.locate(numbers)
  found = np.concatenate([batch['input_ids'] for batch in batches])
  np.testing.assert_array_equal(found, many_shards.rows(rows))


@hypothesis.given(
  shard_sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
  num_devices=st.sampled_from([1, 2, 4, 8]),
  rows_a_device=st.integers(1, 4),
  first_step=st.integers(0, 2**50),
  shuffle=st.booleans(),
  shards_per_group=st.integers(0, 4),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_any_shards_from_any_step(
  shard_sizes,
  num_devices,
  rows_a_device,
  first_step,
  shuffle,
  shards_per_group,
):
  """Batches are the stream's, and an epoch of them has each row once."""
  num_rows = sum(shard_sizes)
  stream = Stream(
    types.SimpleNamespace(
      folder='corpus',
      num_rows=num_rows,
      shard_sizes=shard_sizes,
      fingerprint='corpus',
      arrays=lambda rows, max_segments: {
        'input_ids': np.repeat(rows[:, None], 3, 1).astype(np.int32)
      },
    ),
    seed=5,
    shuffle=shuffle,
    shards_per_group=shards_per_group,
  )
  size = num_devices * rows_a_device
  first = first_step * size
  # One whole epoch at least, wherever its beginning lies.
  num_batches = -(-2 * num_rows // size)
  batches = take(stream, num_devices, first, num_batches, size)
  numbers = np.uint64(first) + np.arange(num_batches * size, dtype=np.uint64)
  assert_equal(
    batches, [stream.batch(part) for part in np.split(numbers, num_batches)]
  )
  skipped = -first % num_rows
  rows = np.concatenate([batch['input_ids'][:, 0] for batch in batches])
  epoch = np.sort(rows[skipped : skipped + num_rows])
  np.testing.assert_array_equal(epoch, np.arange(num_rows))


@pytest.mark.parametrize('step', [1, 3, 5])
def test_a_start_at_any_step_goes_on_with_the_same_batches(stream, step):
  whole = take(stream, 4, 0, 6)
  assert_equal(take(stream, 8, 8 * step, 6 - step), whole[step:])


def test_numbers_beyond_32_bits(stream):
  first = 2**40 + 5
  (batch,) = take(stream, 8, first, 1)
  expected = stream.batch(np.arange(first, first + 8, dtype=np.uint64))
  assert_equal([batch], [expected])
  words = batch['example_number'].astype(np.uint64)
  np.testing.assert_array_equal(
    (words[:, 0] << np.uint64(32)) | words[:, 1], first + np.arange(8)
  )


def test_a_device_gets_the_rows_of_its_own_only(stream):
  asked = []

  class Watched:
    def batch(self, numbers):
      asked.append(list(numbers))
      return stream.batch(numbers)

  take(Watched(), 4, 0, 1)
  assert sorted(asked) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_an_error_of_the_stream_reaches_the_loop(small_corpus):
  limited = Stream(TokenRows(small_corpus / '32'), seed=0, max_epochs=1)
  with pytest.raises(InputError, match='max_epochs'):
    take(limited, 1, 0, 10_000)


def test_leaving_early_ends_the_thread(stream):
  before = threading.active_count()
  mesh = MeshConfig().build(jax.devices()[:1])
  feed = DeviceFeed(
    stream,
    batch_sharding(mesh),
    [(8 * n, 8) for n in range(100)],
  )
  with feed:
    next(feed)
  assert threading.active_count() == before
