"""Training states of a small model, for tests of checkpoints."""

import dataclasses

import jax
import jax.numpy as jnp
import toys

from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.train.state import (
  TrainState,
  init_state,
  state_shardings,
  with_shardings,
)

MODEL = toys.model(MaskedLMConfig().build(toys.table()))
OPTIMIZER = AdamWConfig().build(MODEL.infos)


def new_state(key: jax.Array) -> TrainState:
  return init_state(MODEL.init(key), OPTIMIZER, keep_best=False)


def at_step(step: int) -> TrainState:
  """A state of that step, with parameters of its own."""
  state = new_state(jax.random.key(step))
  return dataclasses.replace(state, step=jnp.array(step, jnp.int32))


def abstract_on(mesh: jax.sharding.Mesh) -> TrainState:
  """Shapes, dtypes and shardings of the states on a mesh."""
  abstract = jax.eval_shape(new_state, jax.random.key(0))
  return with_shardings(abstract, state_shardings(abstract, mesh, MODEL.infos))
