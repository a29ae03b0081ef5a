"""The step: accumulation, meshes, non-finite batches, the optimizer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.models.heads import EncoderWithHeads
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.base import by_info
from bert_jax.optim.schedules import Cosine, Linear, WarmupStableDecay
from bert_jax.parallel.mesh import MeshConfig, check_batch_size
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.train.program import make_program
from bert_jax.train.state import init_state, state_shardings
from bert_jax.train.step import DROPOUT, MASKS, make_train_step

OBJECTIVE = MaskedLMConfig().build(toys.table())
MODEL = toys.model(OBJECTIVE)
OPTIMIZER_CONFIG = AdamWConfig(
  learning_rate=1e-2, schedule=Linear(warmup_steps=2)
)
OPTIMIZER = OPTIMIZER_CONFIG.build(MODEL.infos)
DECAYS = by_info(MODEL.infos, lambda info: info.decays)
KEY = jax.random.key(0)


def new_state(key):
  return init_state(MODEL.init(key), OPTIMIZER, keep_best=False)


def make_step(num_microbatches: int = 1):
  return make_train_step(
    OBJECTIVE,
    MODEL,
    OPTIMIZER,
    OPTIMIZER_CONFIG.build_schedule(10),
    num_microbatches=num_microbatches,
  )


def start(num_microbatches: int, mesh):
  """(the first state, the jitted step) on the mesh that is set."""
  shardings = state_shardings(
    jax.eval_shape(new_state, KEY),
    mesh,
    MODEL.infos,
  )
  state = jax.jit(new_state, out_shardings=shardings)(KEY)
  step = jax.jit(make_step(num_microbatches), out_shardings=(shardings, None))
  return state, step


def run(num_steps: int = 2, num_microbatches: int = 1, mesh=None):
  """(params, metrics of the last step), as host arrays."""
  mesh = mesh or MeshConfig().build(jax.devices()[:1])
  with jax.set_mesh(mesh):
    state, step = start(num_microbatches, mesh)
    for number in range(num_steps):
      batch = jax.device_put(
        toys.batch(32, 32, 32 * number), batch_sharding(mesh)
      )
      state, metrics = step(state, {}, batch, KEY)
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
  'mesh, num_microbatches',
  [(dict(data=8), 4), (dict(data=2, fsdp=2, tensor=2), 8)],
  ids=str,
)
def test_accumulation_over_a_mesh_equals_one_batch(
  reference, mesh, num_microbatches
):
  mesh = MeshConfig(**mesh).build()
  assert_same(run(num_microbatches=num_microbatches, mesh=mesh), reference)


def test_microbatches_stay_on_their_devices():
  """Only sums cross devices: no row of a batch is gathered or moved."""
  mesh = MeshConfig().build()
  with jax.set_mesh(mesh):
    state, step = start(4, mesh)
    batch = jax.device_put(toys.batch(32, 32), batch_sharding(mesh))
    program = step.lower(state, {}, batch, KEY).compile().as_text()
  assert 'all-reduce(' in program
  for movement in ('all-gather(', 'collective-permute(', 'all-to-all('):
    assert movement not in program


def test_batch_microbatches_and_mesh_must_divide_together():
  mesh = MeshConfig(data=4, tensor=2).build()
  check_batch_size(32, mesh, 8)
  with pytest.raises(InputError, match='not a multiple of the 4 devices'):
    check_batch_size(14, mesh)
  with pytest.raises(InputError, match='choose a multiple of 32'):
    check_batch_size(16, mesh, 8)


def test_one_program_for_any_number_of_steps():
  """A longer run, or another rate, must not compile anew."""
  texts = set()
  for shape in (Linear, Cosine, WarmupStableDecay):
    programs = []
    for learning_rate, num_steps in ((1e-2, 10), (3e-4, 100_000)):
      config = AdamWConfig(
        learning_rate=learning_rate, schedule=shape(warmup_share=0.1)
      )
      with jax.set_mesh(MeshConfig().build()):
        program = make_program(
          OBJECTIVE,
          MODEL,
          OPTIMIZER,
          config.build_schedule(num_steps),
          KEY,
          num_microbatches=1,
        )
        programs.append(program.lower(toys.batch(16, 32)).as_text())
    assert programs[0] == programs[1]
    texts.add(programs[0])
  assert len(texts) == 3


def test_the_state_is_donated_whole():
  """The new state takes the place of the old one: no second copy in memory."""
  with jax.set_mesh(MeshConfig().build(jax.devices()[:1])):
    program = make_program(
      OBJECTIVE,
      MODEL,
      OPTIMIZER,
      OPTIMIZER_CONFIG.build_schedule(10),
      KEY,
      num_microbatches=1,
    )
    compiled = program.lower(toys.batch(16, 32)).compile()
  leaves = jax.tree.leaves(program.abstract)
  state = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
  assert compiled.memory_analysis().alias_size_in_bytes >= state


def test_no_two_purposes_draw_from_the_same_key():
  """Initialisers, masks and dropout of a run never see one key twice."""
  drawn = []

  def build(rngs):
    drawn.extend(rngs.params() for _ in range(50))
    return EncoderWithHeads(
      MODEL.config, OBJECTIVE.heads(), dtype=jnp.dtype('float32'), rngs=rngs
    )

  with jax.set_mesh(MeshConfig().build()):
    program = make_program(
      OBJECTIVE,
      functional.make_model(build, MODEL.config),
      OPTIMIZER,
      OPTIMIZER_CONFIG.build_schedule(10),
      KEY,
      num_microbatches=1,
    )
  drawn.clear()
  program.new_params(KEY)
  keys = [*drawn, *(jax.random.fold_in(KEY, use) for use in (MASKS, DROPOUT))]
  data = {tuple(np.asarray(jax.random.key_data(key))) for key in keys}
  assert len(data) == len(keys) == 52


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


def test_the_average_of_the_parameters():
  """Against its formula; a step that is not finite leaves it as it was."""
  step = jax.jit(
    make_train_step(
      OBJECTIVE,
      MODEL,
      optax.scale(-1.0),
      lambda step: 0.1,
      average_decay=0.2,
    ),
    compiler_options={'xla_backend_optimization_level': '0'},
  )
  state = init_state(
    MODEL.init(KEY), optax.scale(-1.0), keep_best=False, keep_average=True
  )
  batch = toys.batch(8, 32)
  expected = functional.flatten(jax.device_get(state.params))
  for decay in (1 / 10, 2 / 11, 0.2):
    state, _ = step(state, {}, batch, KEY)
    params = functional.flatten(jax.device_get(state.params))
    for path, leaf in params.items():
      expected[path] = decay * expected[path] + (1 - decay) * leaf
  judged = functional.flatten(jax.device_get(state.judged))
  for path, leaf in judged.items():
    np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6)
  assert any(np.any(leaf != params[path]) for path, leaf in judged.items())
  broken = dataclasses.replace(
    state, params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
  )
  after, _ = step(broken, {}, batch, KEY)
  assert after.skipped_updates == 1
  jax.tree.map(np.testing.assert_array_equal, after.average, state.average)


def test_moments_are_sharded_as_their_parameters():
  mesh = MeshConfig(data=1, fsdp=8).build()
  shardings = state_shardings(
    jax.eval_shape(new_state, KEY),
    mesh,
    MODEL.infos,
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
      mesh,
      MODEL.infos,
    )


def test_a_non_finite_step_is_skipped_and_counted():
  step = jax.jit(make_step())
  state = new_state(KEY)
  good = toys.batch(16, 32)
  state, _ = step(state, {}, good, KEY)
  broken_params = jax.tree.map(lambda x: x, state.params)
  broken_params['mlm_head']['bias'] = (
    broken_params['mlm_head']['bias'].at[7].set(jnp.inf)
  )
  broken = dataclasses.replace(state, params=broken_params)
  after, metrics = step(broken, {}, good, KEY)
  assert not np.isfinite(metrics['loss'])
  jax.tree.map(np.testing.assert_array_equal, after.params, broken.params)
  jax.tree.map(
    np.testing.assert_array_equal, after.optimizer_state, state.optimizer_state
  )
  after, _ = step(after, {}, good, KEY)
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
  after, _ = step(healed, {}, good, KEY)
  assert jax.device_get((after.nonfinite_count, after.skipped_updates)) == (
    0,
    2,
  )
  assert jax.device_get(after.first_nonfinite_step) == -1


def test_the_update_is_that_of_optax_adamw():
  config = AdamWConfig(learning_rate=1e-2, clip_norm=0.5, weight_decay=0.1)
  schedule = config.build_schedule(10)
  params = MODEL.init(KEY)
  grads = jax.tree.map(jnp.cos, params)
  reference = optax.chain(
    optax.clip_by_global_norm(0.5),
    optax.adamw(schedule, 0.9, 0.999, 1e-6, weight_decay=0.1, mask=DECAYS),
  )
  ours = config.build(MODEL.infos)
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
  mask = functional.flatten(DECAYS(MODEL.init(KEY)))
  decaying = {path.rsplit('/', 1)[1] for path, decays in mask.items() if decays}
  fixed = {
    path.rsplit('/', 1)[1] for path, decays in mask.items() if not decays
  }
  assert decaying == {'kernel', 'embedding'}
  assert fixed == {'bias', 'scale'}
