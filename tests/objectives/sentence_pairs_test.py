"""Sentence pairs: each pair of a packed row counts as it would alone."""

import jax
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.objectives.sentence_pairs import SentencePairsConfig

OBJECTIVE = SentencePairsConfig().build(toys.table())
MODEL = toys.model(OBJECTIVE)


@jax.jit
def sums(params, batch):
  module = MODEL.bind(params)
  prepared = OBJECTIVE.prepare(batch, jax.random.key(0))
  losses, metrics = OBJECTIVE.losses(
    module, OBJECTIVE.encode(module, prepared, None), None
  )
  return losses | metrics, OBJECTIVE.weights(prepared)


@pytest.fixture(scope='module')
def params():
  return toys.params(MODEL)


def alone(batch):
  """The same pairs, one a row."""
  ids, labels = [], []
  for row, of_row in zip(*map(np.asarray, batch), strict=True):
    starts = np.flatnonzero(row == toys.CLS)
    for number, (start, end) in enumerate(
      zip(starts, [*starts[1:], len(row)], strict=True)
    ):
      text = row[start:end]
      ids.append(np.pad(text, (0, len(row) - len(text))))
      labels.append([of_row[number], -1, -1])
  return np.array(ids), np.array(labels)


def test_packed_pairs_equal_pairs_alone(params):
  batch = toys.pair_batch(8, 32)
  ids, labels = alone((batch['input_ids'], batch['pair_labels']))
  assert len(ids) == 12
  numbers = np.zeros((12, 2), np.uint32)
  packed, weights = sums(params, batch)
  unpacked, _ = sums(
    params,
    {'input_ids': ids, 'pair_labels': labels, 'example_number': numbers},
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), packed, unpacked
  )
  assert weights == {'next_sentence_loss': 12}
  assert packed['next_sentence_loss'][1] == 12
  hits, count = packed['next_sentence_accuracy']
  assert count == 12 and hits == round(float(hits))


def test_rows_of_weight_zero_do_not_count(params):
  batch = toys.pair_batch(8, 32)
  half = {name: array[:4] for name, array in batch.items()}
  weighed = batch | {'row_weights': np.repeat([1.0, 0.0], 4)}
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
    sums(params, weighed),
    sums(params, half),
  )


def test_names_follow_the_kind():
  objective = SentencePairsConfig(kind='sentence_order').build(toys.table())
  assert objective.pairs_kind == 'sentence_order'
  assert objective.coefficients == {'sentence_order_loss': 1.0}
  assert objective.heads().keys() == {'pooler', 'sentence_order_head'}
  with pytest.raises(InputError, match="objective.kind is 'x'; choose one of"):
    SentencePairsConfig(kind='x').validate()
