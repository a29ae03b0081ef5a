"""Spans: as a plain loop draws them, of geometric lengths, within the text."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.objectives import corruption
from bert_jax.objectives.mlm import MaskedLMConfig

LENGTH = 64
MAX_MASKED = 16


@functools.partial(jax.jit, static_argnames=('max_masked', 'max_words'))
def select(keys, eligible, starts, budget, *, max_masked, max_words=10):
  return jax.vmap(
    lambda *row: corruption.select_spans(
      *row, max_masked, end_probability=0.2, max_words=max_words
    )
  )(keys, eligible, starts, budget)


@pytest.fixture(scope='module')
def rows():
  """(eligible, word starts) of rows of two texts, bool [200, LENGTH] each."""
  ids = toys.rows(200, LENGTH)
  eligible = ids >= 5
  after_special = np.pad(~eligible, ((0, 0), (1, 0)), constant_values=True)
  return eligible, (ids % 2 == 0) | after_special[:, :-1]


def drawn(key, num_places, max_words):
  """(the order of the places, words of a span from each), as drawn there."""
  start_key, length_key = jax.random.split(key)
  share = 0.8 ** np.arange(max_words)
  below = np.cumsum(share / share.sum())[:-1].astype(np.float32)
  uniform = np.asarray(jax.random.uniform(length_key, (num_places,)))
  order = np.argsort(jax.random.uniform(start_key, (num_places,)))
  return order, 1 + np.searchsorted(below, uniform, side='right')


def spans_by_loop(key, eligible, starts, budget):
  """Token sets of the spans of a row, one after the other."""
  order, num_words = drawn(key, len(eligible), 10)
  masked, spans = set(), []

  def word(place):
    end = place + 1
    while end < len(eligible) and eligible[end] and not starts[end]:
      end += 1
    return range(place, end)

  while True:
    fitting = [
      place
      for place in order
      if eligible[place]
      and starts[place]
      and place not in masked
      and len(word(place)) <= budget - len(masked)
    ]
    if not fitting:
      return spans
    place, span = fitting[0], set()
    for _ in range(num_words[fitting[0]]):
      if place == len(eligible) or not eligible[place]:
        break
      new = set(word(place)) - masked
      if len(span | new) > budget - len(masked):
        break
      span |= new
      place = word(place).stop
    masked |= span
    spans.append(span)


def test_equal_to_a_plain_loop(rows):
  eligible, starts = rows
  budget = np.arange(200) % (MAX_MASKED + 1)
  keys = jax.random.split(jax.random.key(0), 200)
  found = select(keys, eligible, starts, budget, max_masked=MAX_MASKED)
  positions, used, spans = jax.device_get(found)
  assert np.all(used.sum(axis=1) <= budget)
  for row in range(0, 200, 3):
    expected = spans_by_loop(keys[row], eligible[row], starts[row], budget[row])
    mine = [set() for _ in expected]
    for place, number in zip(
      positions[row][used[row]], spans[row][used[row]], strict=True
    ):
      mine[number].add(int(place))
    assert mine == expected


def test_lengths_are_geometric_and_starts_uniform():
  """Of the first span of 4,000 rows of 100 words of two tokens."""
  count, length = 4000, 200
  keys = jax.random.split(jax.random.key(1), count)
  starts = np.tile(np.arange(length) % 2 == 0, (count, 1))
  positions, used, spans = jax.device_get(
    select(
      keys,
      np.ones((count, length), bool),
      starts,
      np.full(count, 20),
      max_masked=20,
    )
  )
  first = used & (spans == 0)
  start = np.min(np.where(first, positions, length), axis=1) // 2
  num_words = first.sum(axis=1) // 2
  assert np.all(first.sum(axis=1) % 2 == 0)
  # Those that the end of the row may have cut say nothing of lengths.
  counts = np.bincount(num_words[start <= 90], minlength=11)[1:]
  share = 0.8 ** np.arange(10)
  expected = counts.sum() * share / share.sum()
  # Chi-square with 9 degrees of freedom: above 34 once in 10,000 draws.
  assert np.sum((counts - expected) ** 2 / expected) < 34
  # The mean that the paper gives.
  assert abs(np.mean(num_words[start <= 90]) - 3.8) < 0.15
  by_start = np.bincount(start // 10, minlength=10)
  assert np.sum((by_start - count / 10) ** 2 / (count / 10)) < 34


def prepare(config, batch):
  objective = config.build(toys.table())
  return jax.device_get(jax.jit(objective.prepare)(batch, jax.random.key(0)))


def test_masks_of_spans(rows):
  eligible, starts = rows
  batch = toys.batch(200, LENGTH)
  config = MaskedLMConfig(selection='span', mask_rate=0.2)
  found = prepare(config, batch)
  used = found['masked_weights'] > 0
  row, place = np.nonzero(used)
  masked = np.zeros_like(eligible)
  masked[row, found['masked_positions'][row, place]] = True
  assert masked.sum() == used.sum()  # none twice
  assert not np.any(masked & ~eligible)
  before = np.pad(masked, ((0, 0), (1, 0)))[:, :-1]
  inside = eligible & ~starts
  np.testing.assert_array_equal(masked[inside], before[inside])
  budget = np.round(0.2 * eligible.sum(axis=1))
  assert np.all(used.sum(axis=1) <= budget)
  assert used.sum() > 0.97 * budget.sum()


def test_a_span_is_treated_alike():
  spans = jnp.array([0, 0, 0, 1, 1, 2, 2, 2])
  keys = jax.random.split(jax.random.key(2), 500)
  shown = jax.vmap(
    lambda key: corruption.replace(
      key,
      jnp.full(8, 7),
      mask_id=toys.MASK,
      ordinary_ids=np.arange(8, toys.VOCAB_SIZE),
      mask_share=0.5,
      random_share=0.25,
      spans_M=spans,
    )
  )(keys)
  kind = np.where(shown == toys.MASK, 0, np.where(shown == 7, 2, 1))
  np.testing.assert_array_equal(kind, kind[:, [0, 0, 0, 3, 3, 5, 5, 5]])
  # Four standard deviations of 1,500 draws.
  assert abs(np.mean(kind[:, [0, 3, 5]] == 0) - 0.5) < 0.052
  random = shown[:, 0:3][kind[:, 0] == 1]
  assert len(np.unique(random)) > 20


@pytest.mark.parametrize(
  'field, value',
  [
    ('span_end_probability', 0.0),
    ('span_end_probability', float('nan')),
    ('max_span_words', 0),
    ('max_span_words', 2**40),
  ],
)
def test_bad_config_names_the_field(field, value):
  with pytest.raises(InputError, match=rf'objective.{field} is'):
    MaskedLMConfig(selection='span', **{field: value}).validate()
