"""Masks: their statistics, what they never touch, and what they depend on."""

import jax
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding

LENGTH = 64


def prepare(config: MaskedLMConfig, batch: dict, seed: int = 0) -> dict:
  objective = config.build(toys.table())
  return jax.device_get(jax.jit(objective.prepare)(batch, jax.random.key(seed)))


@pytest.fixture(scope='module')
def clean() -> dict:
  return toys.batch(2000, LENGTH)


@pytest.fixture(scope='module')
def prepared(clean) -> dict:
  return prepare(MaskedLMConfig(), clean)


def masked_entries(prepared: dict) -> tuple[np.ndarray, ...]:
  """(row, position, shown id, true id) of every masked position."""
  row, place = np.nonzero(prepared['masked_weights'])
  position = prepared['masked_positions'][row, place]
  shown = prepared['input_ids'][row, position]
  return row, position, shown, prepared['masked_ids'][row, place]


def test_share_of_masked_tokens_is_the_rate(clean, prepared):
  ordinary = np.sum(np.asarray(clean['input_ids']) >= 5, axis=1)
  counts = prepared['masked_weights'].sum(axis=1)
  np.testing.assert_array_equal(counts, np.round(0.15 * ordinary))


def test_special_tokens_are_never_masked(clean, prepared):
  row, position, _, true = masked_entries(prepared)
  assert true.min() >= 5
  ids = np.asarray(clean['input_ids'])
  np.testing.assert_array_equal(true, ids[row, position])
  untouched = np.ones_like(ids, bool)
  untouched[row, position] = False
  np.testing.assert_array_equal(
    prepared['input_ids'][untouched], ids[untouched]
  )


def test_no_position_is_masked_twice(prepared):
  row, position, _, _ = masked_entries(prepared)
  assert len(set(zip(row, position, strict=True))) == len(row)


def test_shares_of_80_10_10(prepared):
  _, _, shown, true = masked_entries(prepared)
  count = len(true)
  # Four standard deviations of a binomial; a random token is the true one once
  # in 45 draws.
  bound = 4 * np.sqrt(0.8 * 0.2 / count)
  assert abs(np.mean(shown == toys.MASK) - 0.8) < bound
  kept = np.mean(shown == true)
  assert abs(kept - (0.1 + 0.1 / 45)) < bound


def test_replacements_are_drawn_from_the_whole_ordinary_vocabulary(clean):
  config = MaskedLMConfig(mask_rate=0.5, mask_share=0.0, random_share=1.0)
  _, _, shown, _ = masked_entries(prepare(config, clean))
  counts = np.bincount(shown, minlength=toys.VOCAB_SIZE)
  assert counts[:5].sum() == 0
  expected = len(shown) / 45
  # Chi-square with 44 degrees of freedom: above 90 once in 50,000 draws.
  assert np.sum((counts[5:] - expected) ** 2 / expected) < 90


def test_every_ordinary_position_is_masked_as_often(clean):
  totals = np.zeros(LENGTH)
  ordinary = np.sum(np.asarray(clean['input_ids']) >= 5, axis=0)
  for seed in range(4):
    _, position, _, _ = masked_entries(prepare(MaskedLMConfig(), clean, seed))
    totals += np.bincount(position, minlength=LENGTH)
  often = ordinary > 1000
  share = totals[often] / (4 * ordinary[often])
  assert np.all(np.abs(share - 0.15) < 0.025)


def test_whole_words_are_masked_whole(clean):
  config = MaskedLMConfig(selection='whole_word', mask_rate=0.2)
  prepared = prepare(config, clean)
  ids = np.asarray(clean['input_ids'])
  row, position, _, _ = masked_entries(prepared)
  masked = np.zeros_like(ids, bool)
  masked[row, position] = True
  ordinary = ids >= 5
  previous_special = np.pad(~ordinary, ((0, 0), (1, 0)))[:, :-1]
  starts = ordinary & ((ids % 2 == 0) | previous_special)
  inside = ordinary & ~starts
  before = np.pad(masked, ((0, 0), (1, 0)))[:, :-1]
  np.testing.assert_array_equal(masked[inside], before[inside])
  # Below the budget by less than a word on average, never above it.
  budget = np.round(0.2 * ordinary.sum(axis=1))
  used = masked.sum(axis=1)
  assert np.all(used <= budget)
  assert used.mean() > budget.mean() - 2


def test_word_starts_of_the_corpus_come_before_those_of_the_table(clean):
  config = MaskedLMConfig(selection='whole_word', mask_rate=0.2)
  ids = np.asarray(clean['input_ids'])
  ordinary = ids >= 5
  # Other words than the table's.
  starts = np.random.default_rng(0).random(ids.shape) < 0.4
  found = prepare(config, clean | {'word_starts': starts})
  row, position, _, _ = masked_entries(found)
  masked = np.zeros_like(ids, bool)
  masked[row, position] = True
  previous_special = np.pad(~ordinary, ((0, 0), (1, 0)))[:, :-1]
  inside = ordinary & ~starts & ~previous_special
  before = np.pad(masked, ((0, 0), (1, 0)))[:, :-1]
  np.testing.assert_array_equal(masked[inside], before[inside])
  assert 0.1 < masked.sum() / ordinary.sum() <= 0.21
  # Those of the table, written out, change nothing.
  by_table = prepare(config, clean)
  written_out = prepare(
    config, clean | {'word_starts': toys.table().word_starts[ids]}
  )
  assert by_table.keys() == written_out.keys() == found.keys()
  for name, array in by_table.items():
    np.testing.assert_array_equal(written_out[name], array)
  assert np.any(by_table['masked_positions'] != found['masked_positions'])


def test_masks_depend_on_key_and_example_number_alone(clean):
  alone = {name: array[7:8] for name, array in clean.items()}
  of_batch = prepare(MaskedLMConfig(), clean)
  of_one = prepare(MaskedLMConfig(), alone)
  for name, array in of_one.items():
    np.testing.assert_array_equal(array[0], of_batch[name][7])
  other_key = prepare(MaskedLMConfig(), alone, seed=1)
  assert np.any(other_key['masked_positions'] != of_one['masked_positions'])


def test_both_words_of_the_example_number_count(clean):
  low = {name: array[:1] for name, array in clean.items()}
  high = low | {'example_number': low['example_number'].at[0, 0].set(1)}
  config = MaskedLMConfig()
  assert np.any(
    prepare(config, low)['masked_positions']
    != prepare(config, high)['masked_positions']
  )


@pytest.mark.parametrize('num_devices', [1, 2, 4, 8])
def test_masks_are_equal_on_any_number_of_devices(num_devices):
  batch = toys.batch(16, LENGTH)
  expected = prepare(MaskedLMConfig(), batch)
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  with jax.set_mesh(mesh):
    placed = jax.device_put(batch, batch_sharding(mesh))
    found = prepare(MaskedLMConfig(), placed)
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array)


def test_a_row_without_text_has_no_weight():
  batch = toys.batch(1, LENGTH)
  ids = np.zeros((1, LENGTH), np.int32)
  ids[0, :2] = toys.CLS, toys.SEP
  found = prepare(MaskedLMConfig(), batch | {'input_ids': ids})
  assert found['masked_weights'].sum() == 0
  np.testing.assert_array_equal(found['input_ids'], ids)


@pytest.mark.parametrize(
  'field, value', [('mask_rate', 0.0), ('mask_share', 0.95), ('selection', 'x')]
)
def test_bad_config_names_the_field(field, value):
  with pytest.raises(InputError, match=f'objective.{field}'):
    MaskedLMConfig(**{field: value}).validate()
