"""Every optimizer: its numbers, groups, shardings and checkpoints."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.lamb import LambConfig
from bert_jax.optim.muon import MuonConfig
from bert_jax.optim.schedules import Linear
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.param_info import ParamInfo
from bert_jax.train.checkpoint import CheckpointConfig, Checkpoints, Position
from bert_jax.train.initial import fresh_state
from bert_jax.train.program import make_program
from bert_jax.train.state import with_shardings

OBJECTIVE = MaskedLMConfig().build(toys.table())
MODEL = toys.model(OBJECTIVE)
KEY = jax.random.key(0)
COMMON = dict(learning_rate=1e-2, schedule=Linear(warmup_steps=2))
CONFIGS = {
  'adamw': AdamWConfig(**COMMON, layer_decay=0.7),
  'lamb': LambConfig(**COMMON),
  'muon': MuonConfig(**COMMON, adam_learning_rate=5e-3),
}
every_optimizer = pytest.mark.parametrize('name', CONFIGS)


def program_of(name: str, mesh, num_seeds: int = 0):
  """(the program on the mesh that is set, its first state)."""
  config = CONFIGS[name]
  key = jax.random.split(KEY, num_seeds) if num_seeds else KEY
  program = make_program(
    OBJECTIVE,
    MODEL,
    config.build(MODEL.infos),
    config.build_schedule(100),
    key,
    num_microbatches=1,
    num_seeds=num_seeds,
  )
  return program, fresh_state(
    program.new_params(program.key), program.new_state, program.shardings
  )


def train(program, state, steps, mesh):
  losses = []
  for number in steps:
    batch = jax.device_put(
      toys.batch(16, 32, 16 * number), batch_sharding(mesh)
    )
    state, metrics = program.step_fn(state, {}, batch)
    losses.append(float(metrics['loss']))
  return state, losses


@every_optimizer
def test_every_leaf_lies_as_its_parameter_and_every_mesh_computes_the_same(
  name,
):
  found = []
  for axes in (dict(data=1), dict(data=2, fsdp=4)):
    devices = jax.devices()[: math.prod(axes.values())]
    mesh = MeshConfig(**axes).build(devices)
    with jax.set_mesh(mesh):
      program, state = program_of(name, mesh)
      state, _ = train(program, state, range(2), mesh)
    found.append(jax.device_get(state.params))
  # Shardings on the last mesh of the loop.
  params = functional.flatten(program.shardings.params)
  sharded = set()
  for path, sharding in functional.flatten(
    program.shardings.optimizer_state
  ).items():
    owners = [other for other in params if path.endswith(other)]
    expected = params[max(owners, key=len)] if owners else None
    assert sharding.is_fully_replicated or sharding == expected, path
    if not sharding.is_fully_replicated:
      sharded.add(max(owners, key=len))
  # Each parameter has at least one moment.
  assert sharded == {
    path for path, one in params.items() if not one.is_fully_replicated
  }
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-4), *found
  )


@every_optimizer
def test_the_loss_falls_and_a_checkpoint_continues_exactly(name, tmp_path):
  mesh = MeshConfig().build(jax.devices()[:1])
  with jax.set_mesh(mesh):
    program, state = program_of(name, mesh)
    state, before = train(program, state, range(20), mesh)
    with_checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    with_checkpoints.save(state, Position(0, {}))
    with_checkpoints.close()
    whole, after = train(program, state, range(20, 23), mesh)
    abstract = with_shardings(program.abstract, program.shardings)
    restored, _ = Checkpoints(tmp_path, CheckpointConfig()).restore(abstract)
    resumed, _ = train(program, restored, range(20, 23), mesh)
  assert np.mean(after) < before[0] - 0.3
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(resumed),
    jax.device_get(whole),
  )


def test_seeds_have_an_update_each():
  """Along the axis of seeds a matrix of Muon is still a matrix."""
  mesh = MeshConfig().build(jax.devices()[:1])
  config = CONFIGS['muon']
  optimizer = config.build(MODEL.infos)

  def update(key):
    params = MODEL.init(key)
    grads = jax.tree.map(jnp.cos, params)
    return optimizer.update(grads, optimizer.init(params), params)[0]

  keys = jax.random.split(KEY, 2)
  with jax.set_mesh(mesh):
    together = jax.vmap(update)(keys)
  for seed in range(2):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
      jax.tree.map(lambda leaf, seed=seed: leaf[seed], together),
      update(keys[seed]),
    )


INFOS = {
  'table': ParamInfo(('vocab', 'embed'), 'embedding', 1, depth=0),
  'first': ParamInfo(('embed', 'heads', None), 'query', 1, depth=1),
  'second': ParamInfo(('heads', None, 'embed'), 'attention_output', 2, depth=2),
  'bias': ParamInfo(('embed',), 'bias', decays=False, depth=2),
  'head': ParamInfo(('embed', None), 'head', 1),
}
SHAPES = {
  'table': (7, 4),
  'first': (4, 2, 3),
  'second': (2, 3, 4),
  'bias': (4,),
  'head': (4, 3),
}


def two_updates(config) -> list[dict[str, np.ndarray]]:
  """Updates of constant parameters, before the learning rate multiplies."""
  rng = np.random.default_rng(0)
  params = draw(rng)
  optimizer = config.build(INFOS)
  state, found = optimizer.init(params), []
  for _ in range(2):
    updates, state = optimizer.update(draw(rng), state, params)
    found.append({name: -np.asarray(one) for name, one in updates.items()})
  return found


def draw(rng) -> dict[str, np.ndarray]:
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in SHAPES.items()
  }


class Reference:
  """Adam and the momentum of Muon in numpy, f64."""

  def __init__(self, b1=0.9, b2=0.999, epsilon=1e-6):
    self.b1, self.b2, self.epsilon = b1, b2, epsilon
    self.step, self.mean, self.square = 0, 0.0, 0.0

  def adam(self, grad):
    self.step += 1
    self.mean = self.b1 * self.mean + (1 - self.b1) * grad
    self.square = self.b2 * self.square + (1 - self.b2) * grad**2
    mean = self.mean / (1 - self.b1**self.step)
    square = self.square / (1 - self.b2**self.step)
    return mean / (np.sqrt(square) + self.epsilon)

  def nesterov(self, grad, momentum):
    self.mean = momentum * self.mean + (1 - momentum) * grad
    return momentum * self.mean + (1 - momentum) * grad


def newton_schulz(matrix, num_steps):
  """The quintic iteration of Jordan et al. 2024, on a matrix [in, out]."""
  x = matrix / np.linalg.norm(matrix)
  for _ in range(num_steps):
    a = x @ x.T
    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
  return x


def expected(rule) -> list[dict[str, np.ndarray]]:
  """`rule(name, grad, param, reference)` of the same draws as two_updates."""
  rng = np.random.default_rng(0)
  params = {name: one.astype(np.float64) for name, one in draw(rng).items()}
  references = {name: Reference() for name in SHAPES}
  return [
    {
      name: rule(name, grad.astype(np.float64), params[name], references[name])
      for name, grad in draw(rng).items()
    }
    for _ in range(2)
  ]


def assert_close(found, wanted):
  for ours, theirs in zip(found, wanted, strict=True):
    for name in SHAPES:
      np.testing.assert_allclose(
        ours[name], theirs[name], rtol=2e-4, atol=2e-5, err_msg=name
      )


def decayed(name, update, param):
  return update + 0.1 * param * INFOS[name].decays


def test_adamw_with_rates_by_depth():
  def rule(name, grad, param, reference):
    depth = {'table': 0, 'first': 1, 'second': 2, 'bias': 2, 'head': 3}[name]
    return 0.5 ** (3 - depth) * decayed(name, reference.adam(grad), param)

  config = AdamWConfig(weight_decay=0.1, clip_norm=0, layer_decay=0.5)
  assert_close(two_updates(config), expected(rule))


def test_lamb_is_as_long_as_the_parameter():
  def rule(name, grad, param, reference):
    update = decayed(name, reference.adam(grad), param)
    if not INFOS[name].decays:
      return update
    return update * np.linalg.norm(param) / np.linalg.norm(update)

  config = LambConfig(weight_decay=0.1, clip_norm=0)
  assert_close(two_updates(config), expected(rule))


@pytest.mark.parametrize('num_steps', [1, 5])
def test_muon_of_matrices_and_adam_of_the_rest(num_steps):
  def rule(name, grad, param, reference):
    if name not in ('first', 'second'):
      return 3 * decayed(name, reference.adam(grad), param)
    shape = (4, 6) if name == 'first' else (6, 4)
    matrix = reference.nesterov(grad, 0.95).reshape(shape)
    update = 0.2 * 6**0.5 * newton_schulz(matrix, num_steps)
    return decayed(name, update.reshape(param.shape), param)

  config = MuonConfig(
    learning_rate=1e-3,
    adam_learning_rate=3e-3,
    newton_schulz_steps=num_steps,
    weight_decay=0.1,
    clip_norm=0,
  )
  assert_close(two_updates(config), expected(rule))


def test_muon_iterates_once_a_shape():
  """All matrices of one shape are one batch of the products."""
  optimizer = MuonConfig().build(MODEL.infos)
  params = MODEL.abstract_params()
  state = jax.eval_shape(optimizer.init, params)
  text = str(jax.make_jaxpr(optimizer.update)(params, state, params))
  # Two layers: [16, 16] eight times, [16, 32] and [32, 16] twice each. An
  # iteration, which is a loop's body, has three products.
  assert text.count('dot_general') == 3 * 3


def test_adamw_keeps_the_state_that_it_had():
  """Checkpoints of earlier versions have this tree."""
  params = MODEL.init(KEY)
  before = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.scale_by_adam(0.9, 0.999, 1e-6),
    optax.add_decayed_weights(
      0.01,
      lambda params: jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key in ('kernel', 'embedding'), params
      ),
    ),
    optax.scale(-1.0),
  )
  grads = jax.tree.map(jnp.cos, params)
  for layer_decay in (1.0, 0.9):
    now = AdamWConfig(layer_decay=layer_decay).build(MODEL.infos)
    found = now.update(grads, now.init(params), params)
    wanted = before.update(grads, before.init(params), params)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    # Numbers are equal too if all depths learn alike.
    part = slice(layer_decay < 1, None)
    jax.tree.map(np.testing.assert_array_equal, found[part], wanted[part])


@pytest.mark.parametrize(
  'config, message',
  [
    (AdamWConfig(layer_decay=0.0), 'layer_decay is 0.0'),
    (AdamWConfig(layer_decay=float('nan')), 'layer_decay is nan'),
    (MuonConfig(momentum=1.0), 'momentum is 1.0'),
    (MuonConfig(newton_schulz_steps=0), 'newton_schulz_steps is 0'),
    (MuonConfig(update_rms=0.0), 'update_rms=0.0'),
    (LambConfig(learning_rate=0.0), 'learning_rate is 0.0'),
  ],
)
def test_what_cannot_be_is_refused(config, message):
  with pytest.raises(InputError, match=f'optimizer.{message}'):
    config.validate()
