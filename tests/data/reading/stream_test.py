"""The stream: every row once an epoch, as a pure function of the number."""

import types

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_jax.data.reading.stream import Stream, example_number_words
from bert_jax.errors import InputError


def make_corpus(*shard_sizes, fingerprint='corpus'):
  num_rows = sum(shard_sizes)
  ids = np.arange(num_rows, dtype=np.int32)[:, None] * np.ones(4, np.int32)
  return types.SimpleNamespace(
    folder='corpus',
    num_rows=num_rows,
    shard_sizes=shard_sizes,
    fingerprint=fingerprint,
    arrays=lambda indices, max_segments: {'input_ids': ids[indices]},
  )


@hypothesis.given(
  st.lists(st.integers(1, 40), min_size=1, max_size=8),
  st.integers(0, 10),
  st.integers(0, 2**40),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_every_epoch_has_every_row_once(shard_sizes, shards_per_group, epoch):
  corpus = make_corpus(*shard_sizes)
  stream = Stream(corpus, seed=3, shards_per_group=shards_per_group)
  numbers = np.arange(corpus.num_rows) + epoch * corpus.num_rows
  epochs, rows = stream.locate(numbers)
  assert (epochs == epoch).all()
  np.testing.assert_array_equal(np.sort(rows), np.arange(corpus.num_rows))


@pytest.mark.parametrize('shards_per_group', [0, 2])
def test_a_number_has_its_row_whatever_is_asked_with_it(shards_per_group):
  corpus = make_corpus(7, 7, 7, 5)
  make = lambda: Stream(corpus, seed=1, shards_per_group=shards_per_group)  # noqa: E731
  whole = make().batch(np.arange(100))
  # A start at any step, any slice, any order, any batch size.
  for start, stop, step in [(0, 8, 1), (60, 100, 1), (3, 99, 4), (99, 0, -7)]:
    part = make().batch(np.arange(start, stop, step))
    for name, values in part.items():
      np.testing.assert_array_equal(values, whole[name][start:stop:step])
  assert whole['input_ids'].dtype == np.int32
  assert make().batch(np.arange(0))['input_ids'].shape == (0, 4)


def test_epochs_and_seeds_have_orders_of_their_own():
  corpus = make_corpus(500)
  orders = [
    Stream(corpus, seed=seed).locate(np.arange(500) + epoch * 500)[1]
    for seed in (0, 1)
    for epoch in (0, 1)
  ]
  for i in range(4):
    for j in range(i):
      assert (orders[i] == orders[j]).mean() < 0.05


def test_shards_of_a_group_are_used_up_before_the_next():
  corpus = make_corpus(*[10] * 9)
  stream = Stream(corpus, seed=0, shards_per_group=3)
  seen = []
  for epoch in range(3):
    _, rows = stream.locate(np.arange(90) + 90 * epoch)
    groups = [set((rows[i : i + 30] // 10).tolist()) for i in (0, 30, 60)]
    assert [len(group) for group in groups] == [3, 3, 3]
    assert set.union(*groups) == set(range(9))
    # Rows of the three are mixed, not one shard after the other.
    assert len(set((rows[:10] // 10).tolist())) > 1
    seen.append(groups)
  assert seen[0] != seen[1] or seen[1] != seen[2]


def test_without_shuffle_rows_come_in_order():
  stream = Stream(make_corpus(3, 4), seed=0, shuffle=False)
  epochs, rows = stream.locate(np.arange(5, 16))
  assert rows.tolist() == [5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1]
  assert epochs.tolist() == [0] * 2 + [1] * 7 + [2] * 2


def test_numbers_beyond_32_bits():
  start = 2**32 - 2
  batch = Stream(make_corpus(50), seed=0).batch(
    np.arange(start, start + 4, dtype=np.uint64)
  )
  assert batch['example_number'].dtype == np.uint32
  assert batch['example_number'].tolist() == [
    [0, 2**32 - 2],
    [0, 2**32 - 1],
    [1, 0],
    [1, 1],
  ]
  assert len(set(batch['input_ids'][:, 0].tolist())) > 1
  # 2**32 is another number than 0, and not only in what it is called.
  stream = Stream(make_corpus(1000), seed=0)
  low, high = (stream.locate(np.arange(100) + n)[1] for n in (0, 2**32))
  assert (low == high).mean() < 0.1


def test_the_largest_numbers():
  number = np.array([2**63 - 1], np.uint64)
  epochs, rows = Stream(make_corpus(10), seed=0).locate(number)
  assert epochs[0] == (2**63 - 1) // 10
  assert 0 <= rows[0] < 10
  assert example_number_words(number).tolist() == [[2**31 - 1, 2**32 - 1]]


def test_max_epochs_is_an_error_with_the_fix():
  stream = Stream(make_corpus(10), seed=0, max_epochs=2)
  stream.locate(np.arange(20))
  with pytest.raises(InputError, match='max_epochs=2.*at most 20'):
    stream.locate(np.arange(19, 21))


def test_an_empty_corpus_is_refused():
  with pytest.raises(InputError, match='no row'):
    Stream(make_corpus(), seed=0)


@pytest.mark.parametrize('field', ['shards_per_group', 'max_epochs'])
def test_negative_options_are_refused(field):
  with pytest.raises(InputError, match=f'data.{field}=-1'):
    Stream(make_corpus(3), seed=0, **{field: -1})


def test_fingerprint_tells_streams_apart():
  corpus = make_corpus(3, 3, 3)
  streams = [
    Stream(corpus, seed=0),
    Stream(corpus, seed=1),
    Stream(corpus, seed=0, shuffle=False),
    Stream(corpus, seed=0, shards_per_group=1),
    Stream(make_corpus(3, 3, 3, fingerprint='other'), seed=0),
  ]
  assert len({stream.fingerprint for stream in streams}) == len(streams)
  # The same order of rows, so the same stream.
  assert (
    Stream(corpus, seed=0, shards_per_group=3).fingerprint
    == Stream(corpus, seed=0, max_epochs=5).fingerprint
    == streams[0].fingerprint
  )
