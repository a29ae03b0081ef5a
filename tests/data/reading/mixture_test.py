"""Corpora by weights, stages and phases: exact, and in constant time."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_jax.data import token_rows
from bert_jax.data.reading.mixture import (
  CorpusStreams,
  MixedStream,
  MixturePhase,
  count_draws,
  split,
)
from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.data.reading.stream import Stream
from bert_jax.errors import InputError

# Rows of each corpus at each row length.
SIZES = {8: (57, 31, 12), 16: (29, 16, 7)}


@pytest.fixture(scope='module')
def corpora(tmp_path_factory):
  """[{row length: TokenRows}]: a row is its corpus and its number, repeated."""
  folder = tmp_path_factory.mktemp('corpora')
  found = []
  for corpus in range(3):
    rows = {}
    for length, sizes in SIZES.items():
      ids = np.zeros((sizes[corpus], length), int)
      ids[:, 0], ids[:, 1] = corpus, np.arange(sizes[corpus])
      path = folder / f'{corpus}-{length}'
      token_rows.write_token_rows(
        path,
        [ids],
        num_rows=len(ids),
        row_length=length,
        vocab_size=1000,
        tokenizer_fingerprint='none',
        facts={},
      )
      rows[length] = token_rows.TokenRows(path)
    found.append(rows)
  return found


def sources(corpora, count=3, max_epochs=0, seed=0):
  return [
    CorpusStreams(
      f'corpus_{number}',
      {
        length: Stream(
          corpus, seed=seed + (number << 32), max_epochs=max_epochs
        )
        for length, corpus in rows.items()
      },
    )
    for number, rows in enumerate(corpora[:count])
  ]


def one_stage(num_steps=10, batch_size=8):
  return Plan([Stage(num_steps=num_steps, row_length=8, batch_size=batch_size)])


WEIGHTS = st.lists(st.integers(1, 2**20), min_size=1, max_size=5)


@hypothesis.given(WEIGHTS, st.integers(1, 3000))
@hypothesis.settings(max_examples=100, deadline=None)
def test_numbers_are_dealt_out_in_proportion(weights, count):
  corpora, draws = split(np.arange(count, dtype=np.uint64), weights)
  for corpus, weight in enumerate(weights):
    mine = corpora == corpus
    # Each takes its own numbers in order, without a gap.
    np.testing.assert_array_equal(draws[mine], np.arange(mine.sum()))
    expected = count * weight / sum(weights)
    assert abs(mine.sum() - expected) < len(weights)
  assert count_draws(count, weights) == [
    int((corpora == corpus).sum()) for corpus in range(len(weights))
  ]


@hypothesis.given(WEIGHTS, st.integers(0, 2**62))
@hypothesis.settings(max_examples=100, deadline=None)
def test_far_numbers_need_no_walk_and_do_not_overflow(weights, first):
  numbers = np.uint64(first) + np.arange(9, dtype=np.uint64)
  corpora, draws = split(numbers, weights)
  for number, corpus, draw in zip(
    numbers.tolist(), corpora.tolist(), draws.tolist(), strict=True
  ):
    assert draw == count_draws(number, weights)[corpus]
    assert draw + 1 == count_draws(number + 1, weights)[corpus]


def test_one_corpus_is_its_own_stream(corpora):
  alone = Stream(corpora[0][8], seed=7)
  mixed = MixedStream(sources(corpora, 1, seed=7), one_stage())
  numbers = np.arange(80, dtype=np.uint64)
  for name, array in alone.batch(numbers).items():
    np.testing.assert_array_equal(mixed.batch(numbers)[name], array)


def test_each_corpus_has_every_row_once_an_epoch(corpora):
  """By weights that have nothing to do with the sizes."""
  plan = one_stage(num_steps=50)
  phases = [MixturePhase(weights=(1.0, 2.0, 0.5))]
  mixed = MixedStream(sources(corpora), plan, phases)
  numbers = np.arange(400, dtype=np.uint64)
  corpus, epoch, row = mixed.locate(numbers)
  ids = mixed.batch(numbers)['input_ids']
  np.testing.assert_array_equal(ids[:, 0], corpus)
  np.testing.assert_array_equal(ids[:, 1], row)
  for number, size in enumerate(SIZES[8]):
    mine = row[corpus == number]
    for first in range(0, len(mine) - size + 1, size):
      assert sorted(mine[first : first + size]) == list(range(size))
    np.testing.assert_array_equal(
      epoch[corpus == number], np.arange(len(mine)) // size
    )


def test_without_phases_corpora_end_their_epochs_together(corpora):
  total = sum(SIZES[8])
  plan = one_stage(num_steps=total, batch_size=1)
  corpus, epoch, _ = MixedStream(sources(corpora), plan).locate(
    np.arange(total, dtype=np.uint64)
  )
  # The weights are rounded to parts of a million.
  assert np.abs(np.bincount(corpus) - SIZES[8]).max() <= 1
  assert (epoch == 0).mean() > 0.97


STAGES = [
  Stage(num_steps=5, row_length=8, batch_size=4),
  Stage(num_steps=3, row_length=16, batch_size=2),
  Stage(num_steps=4, row_length=8, batch_size=10),
]
PHASES = [
  MixturePhase(first_example=0, weights=(3.0, 1.0, 1.0)),
  MixturePhase(first_example=23, weights=(1.0, 1.0, 1.0)),
  MixturePhase(first_example=40, weights=(1.0, 7.0, 2.0)),
]


def test_a_stage_of_known_length_goes_on_where_that_length_was_left(corpora):
  plan = Plan(STAGES)
  mixed = MixedStream(sources(corpora), plan, PHASES)
  seen: dict = {}
  for step, (first, size) in enumerate(plan.batches(0)):
    numbers = np.arange(first, first + size, dtype=np.uint64)
    length = plan.stage(step).row_length
    assert mixed.batch(numbers)['input_ids'].shape == (size, length)
    corpus, epoch, row = mixed.locate(numbers)
    for one, e, r in zip(corpus, epoch, row, strict=True):
      seen.setdefault((length, one), []).append((e, r))
  for (length, corpus), rows in seen.items():
    size = SIZES[length][corpus]
    # In the order of that corpus's stream, without a gap over the stages.
    stream = sources(corpora)[corpus].streams[length]
    expected = stream.locate(np.arange(len(rows), dtype=np.uint64))
    assert rows == list(zip(*map(list, expected), strict=True)), (length, size)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=40, deadline=None)
def test_any_part_of_the_stream_is_the_same_alone(corpora, data):
  plan = Plan(STAGES)
  mixed = MixedStream(sources(corpora), plan, PHASES)
  step = data.draw(st.integers(0, plan.num_steps - 1))
  ((first, size), *_) = plan.batches(step)
  numbers = np.arange(first, first + size, dtype=np.uint64)
  whole = mixed.batch(numbers)['input_ids']
  chosen = data.draw(st.lists(st.integers(0, size - 1), min_size=1))
  part = mixed.batch(numbers[chosen])['input_ids']
  np.testing.assert_array_equal(part, whole[chosen])


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=30, deadline=None)
def test_what_was_asked_before_makes_no_difference(corpora, data):
  """Backwards, over again, far apart: what was located ahead is not stale."""
  plan = one_stage(num_steps=200)
  mixed = MixedStream(sources(corpora), plan)
  number = st.integers(0, 1599)
  for _ in range(6):
    numbers = data.draw(
      st.lists(number, min_size=1, max_size=5)
      | st.builds(lambda a, n: list(range(a, min(a + n, 1600))), number, number)
    )
    numbers = np.array(numbers or [0], np.uint64)
    corpus, _, row = mixed.locate(numbers)
    ids = mixed.batch(numbers)['input_ids']
    np.testing.assert_array_equal(ids[:, 0], corpus)
    np.testing.assert_array_equal(ids[:, 1], row)


def test_what_is_appended_changes_nothing_before(corpora):
  plan = Plan(STAGES)
  longer = Plan([*STAGES, Stage(num_steps=9, row_length=16, batch_size=6)])
  phases = [*PHASES, MixturePhase(first_example=70, weights=(1.0, 1.0, 9.0))]
  before = MixedStream(sources(corpora), plan, PHASES)
  after = MixedStream(sources(corpora), longer, phases)
  end = plan.first_examples[-1]
  assert before.read_before(end) == after.read_before(end)
  for first, size in plan.batches(0):
    numbers = np.arange(first, first + size, dtype=np.uint64)
    np.testing.assert_array_equal(
      before.batch(numbers)['input_ids'], after.batch(numbers)['input_ids']
    )


def test_what_has_been_read_is_counted_by_corpus_and_row_length(corpora):
  plan = Plan(STAGES)
  mixed = MixedStream(sources(corpora), plan, PHASES)
  counts = {}
  for example in range(plan.first_examples[-1]):
    read = mixed.read_before(example)
    assert counts == {name: int(text.split()[0]) for name, text in read.items()}
    ((corpus,), _, _) = mixed.locate(np.array([example]))
    length = plan.stage(plan.step_of(example)).row_length
    for other in range(3):
      counts.setdefault(f'corpus {other}, row length {length}', 0)
    counts[f'corpus {corpus}, row length {length}'] += 1


def test_what_has_been_read_tells_corpora_apart(corpora):
  read = {
    str(
      MixedStream(sources(corpora, count, seed=seed), one_stage()).read_before(
        9
      )
    )
    for count in (1, 2, 3)
    for seed in (0, 1)
  }
  assert len(read) == 6


@pytest.mark.parametrize(
  'phases, message',
  [
    ([(0, (1, 0, 1))], r'weights=\(1, 0, 1\): each must be a number above 0'),
    ([(0, (1, -1, 1))], 'above 0'),
    ([(0, (1, float('nan'), 1))], 'above 0'),
    ([(0, (1, float('inf'), 1))], 'above 0'),
    ([(0, (1, 1))], 'give one for each of 3 corpora'),
    ([(5, (1, 1, 1))], 'the first must begin at 0'),
    ([(0, (1, 1, 1)), (9, (1, 1, 1)), (9, (1, 1, 1))], 'later than the one'),
  ],
)
def test_phases_that_cannot_be(corpora, phases, message):
  phases = [MixturePhase(first_example=f, weights=w) for f, w in phases]
  with pytest.raises(InputError, match=message):
    MixedStream(sources(corpora), one_stage(), phases)


def test_a_corpus_smaller_than_its_part_of_a_batch(corpora):
  with pytest.raises(InputError, match='corpus_2: its 12 rows of 8 tokens'):
    MixedStream(
      sources(corpora),
      one_stage(batch_size=64),
      [MixturePhase(weights=(1.0, 1.0, 1.0))],
    )


def test_a_cap_on_epochs_is_checked_before_the_first_step(corpora):
  def mixed(num_steps):
    return MixedStream(
      sources(corpora, max_epochs=2),
      one_stage(num_steps, batch_size=3),
      [MixturePhase(weights=(1.0, 1.0, 1.0))],
    )

  mixed(24)
  with pytest.raises(InputError, match='corpus_2: max_epochs=2.*2.08 times'):
    mixed(25)


def test_the_plan_of_stages():
  plan = Plan(STAGES)
  assert plan.num_steps == 12
  assert list(plan.batches(4))[:3] == [(16, 4), (20, 2), (22, 2)]
  firsts = [plan.examples_before(step) for step in range(13)]
  assert firsts == [0, 4, 8, 12, 16, 20, 22, 24, 26, 36, 46, 56, 66]
  assert [step for step in range(12) if plan.starts_stage(step)] == [5, 8]
  for step, (first, size) in enumerate(plan.batches(0)):
    for example in range(first, first + size):
      assert plan.step_of(example) == step
