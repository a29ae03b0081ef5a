"""Evaluation: every row once, on any number of devices, fixed masks."""

import jax
import numpy as np
import pytest
import toys

from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding, replicated
from bert_jax.stopping import StopSignal
from bert_jax.train.evaluation import (
  RowsInOrder,
  evaluate_rows,
  with_perplexity,
)
from bert_jax.train.step import make_eval_step

OBJECTIVE = MaskedLMConfig().build(toys.table())
MODEL = toys.model(OBJECTIVE, dropout=0.5)
NUM_ROWS = 21  # neither a multiple of the batch nor of the devices
ROWS = toys.rows(NUM_ROWS, 32)


def evaluate(num_devices: int, batch_size: int) -> dict[str, float]:
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  params = MODEL.init(jax.random.key(0))
  with jax.set_mesh(mesh):
    return evaluate_rows(
      jax.jit(make_eval_step(OBJECTIVE, MODEL)),
      jax.device_put(params, replicated(mesh)),
      {},
      RowsInOrder(lambda rows: {'input_ids': ROWS[rows]}, NUM_ROWS),
      jax.random.key(5),
      batch_sharding(mesh),
      batch_size=batch_size,
      stop=StopSignal('evaluate', ''),
    )


@pytest.fixture(scope='module')
def row_by_row():
  return evaluate(1, 1)


@pytest.mark.parametrize('num_devices, batch_size', [(1, 21), (1, 8), (8, 16)])
def test_each_row_counts_once(row_by_row, num_devices, batch_size):
  found = evaluate(num_devices, batch_size)
  assert found.keys() == {'mlm_loss', 'masked_accuracy'}
  for name, value in row_by_row.items():
    assert found[name] == pytest.approx(value, rel=1e-5)


def test_masks_and_figures_are_the_same_every_time():
  assert evaluate(8, 16) == evaluate(8, 16)


def test_perplexity():
  assert with_perplexity({'mlm_loss': 2.0})['perplexity'] == pytest.approx(
    np.exp(2.0)
  )
  without = {'next_sentence_loss': 0.7}
  assert with_perplexity(without) == without
