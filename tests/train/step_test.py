"""The step: accumulation, meshes, non-finite batches, the optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig, decay_mask
from bert_jax.optim.schedules import Linear
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.train.state import init_state, state_shardings
from bert_jax.train.step import make_train_step

OBJECTIVE = MaskedLMConfig().build(toys.table())
BUILD = toys.builder(OBJECTIVE)
OPTIMIZER_CONFIG = AdamWConfig(
  learning_rate=1e-2, schedule=Linear(warmup_steps=2)
)
OPTIMIZER = OPTIMIZER_CONFIG.build()
KEY = jax.random.key(0)


def new_state(key):
  return init_state(functional.init(BUILD, key), OPTIMIZER, keep_best=False)


def make_step(num_microbatches: int = 1):
  return make_train_step(
    OBJECTIVE,
    BUILD,
    OPTIMIZER,
    OPTIMIZER_CONFIG.build_schedule(10),
    num_microbatches=num_microbatches,
  )


def run(num_steps: int = 2, num_microbatches: int = 1, mesh=None):
  """(params, metrics of the last step), as host arrays."""
  mesh = mesh or MeshConfig().build(jax.devices()[:1])
  with jax.set_mesh(mesh):
    shardings = state_shardings(
      jax.eval_shape(new_state, KEY),
      OPTIMIZER,
      mesh,
      functional.logical_axes(BUILD),
    )
    state = jax.jit(new_state, out_shardings=shardings)(KEY)
    step = jax.jit(make_step(num_microbatches), out_shardings=(shardings, None))
    for number in range(num_steps):
      batch = jax.device_put(
        toys.batch(16, 32, 16 * number), batch_sharding(mesh)
      )
      state, metrics = step(state, batch, KEY)
  return jax.device_get((state.params, metrics))


@pytest.fixture(scope='module')
def reference():
  return run()


def assert_same(found, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5),
    found,
    expected,
  )


@pytest.mark.parametrize('num_microbatches', [2, 4])
def test_accumulation_equals_one_batch(reference, num_microbatches):
  assert_same(run(num_microbatches=num_microbatches), reference)


@pytest.mark.parametrize(
  'mesh',
  [
    dict(data=8),
    dict(data=1, fsdp=8),
    dict(data=4, tensor=2),
    dict(data=2, fsdp=2, tensor=2),
  ],
  ids=str,
)
def test_every_mesh_computes_the_same(reference, mesh):
  assert_same(run(mesh=MeshConfig(**mesh).build()), reference)


def test_moments_are_sharded_as_their_parameters():
  mesh = MeshConfig(data=1, fsdp=8).build()
  shardings = state_shardings(
    jax.eval_shape(new_state, KEY),
    OPTIMIZER,
    mesh,
    functional.logical_axes(BUILD),
  )
  flat = functional.flatten(shardings.optimizer_state)
  path = 'encoder/layers/0/feed_forward/input/kernel'
  of_params = functional.flatten(shardings.params)[path]
  moments = [value for name, value in flat.items() if name.endswith(path)]
  assert len(moments) == 2
  assert all(sharding == of_params for sharding in moments)
  assert of_params.spec[0] == 'fsdp'


def test_a_size_that_does_not_divide_names_the_parameter():
  mesh = MeshConfig(data=1, fsdp=1, tensor=8).build()
  with pytest.raises(InputError, match='parameter encoder/.* has size'):
    state_shardings(
      jax.eval_shape(new_state, KEY),
      OPTIMIZER,
      mesh,
      functional.logical_axes(BUILD),
    )


def test_a_non_finite_step_is_skipped_and_counted():
  step = jax.jit(make_step())
  state = new_state(KEY)
  good = toys.batch(16, 32)
  state, _ = step(state, good, KEY)
  broken_params = jax.tree.map(lambda x: x, state.params)
  broken_params['mlm_head']['bias'] = (
    broken_params['mlm_head']['bias'].at[7].set(jnp.inf)
  )
  import dataclasses

  broken = dataclasses.replace(state, params=broken_params)
  after, metrics = step(broken, good, KEY)
  assert not np.isfinite(metrics['loss'])
  jax.tree.map(np.testing.assert_array_equal, after.params, broken.params)
  jax.tree.map(
    np.testing.assert_array_equal, after.optimizer_state, state.optimizer_state
  )
  after, _ = step(after, good, KEY)
  counters = jax.device_get(
    (
      after.step,
      after.nonfinite_count,
      after.first_nonfinite_step,
      after.skipped_updates,
    )
  )
  assert counters == (3, 2, 1, 2)
  healed = dataclasses.replace(after, params=state.params)
  after, _ = step(healed, good, KEY)
  assert jax.device_get((after.nonfinite_count, after.skipped_updates)) == (
    0,
    2,
  )
  assert jax.device_get(after.first_nonfinite_step) == -1


def test_the_update_is_that_of_optax_adamw():
  config = AdamWConfig(learning_rate=1e-2, clip_norm=0.5, weight_decay=0.1)
  schedule = config.build_schedule(10)
  params = functional.init(BUILD, KEY)
  grads = jax.tree.map(jnp.cos, params)
  reference = optax.chain(
    optax.clip_by_global_norm(0.5),
    optax.adamw(schedule, 0.9, 0.999, 1e-6, weight_decay=0.1, mask=decay_mask),
  )
  ours = config.build()
  our_state, their_state = ours.init(params), reference.init(params)
  mine = theirs = params
  for step in range(3):
    updates, our_state = ours.update(grads, our_state, mine)
    rate = schedule(step)
    updates = jax.tree.map(lambda u, rate=rate: rate * u, updates)
    mine = optax.apply_updates(mine, updates)
    updates, their_state = reference.update(grads, their_state, theirs)
    theirs = optax.apply_updates(theirs, updates)
  assert_same(mine, theirs)


def test_biases_and_norms_do_not_decay():
  mask = functional.flatten(decay_mask(functional.init(BUILD, KEY)))
  decaying = {path.rsplit('/', 1)[1] for path, decays in mask.items() if decays}
  fixed = {
    path.rsplit('/', 1)[1] for path, decays in mask.items() if not decays
  }
  assert decaying == {'kernel', 'embedding'}
  assert fixed == {'bias', 'scale'}
