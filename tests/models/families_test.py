"""What holds for every family: packing, padding, saving, training on a mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.models import functional
from bert_jax.models.encoder import Encoder
from bert_jax.models.heads import MaskedLMHead, model_with_heads
from bert_jax.models.masks import row_layout
from bert_jax.objectives.cross_entropy import cross_entropy
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding, parameter_shardings
from bert_jax.train.checkpoint import load_params, save_params
from bert_jax.train.initial import Initial, merge_pretrained
from bert_jax.train.program import make_program
from bert_jax.train.step import MASKS, make_eval_step

# Together longer than three blocks of ModernBERT's window: 48.
FIRST = [toys.CLS, *range(5, 42), toys.SEP]
SECOND = [toys.CLS, *range(20, 45), toys.SEP]
ROWS = {
  'packed': FIRST + SECOND,
  'first': FIRST + [toys.PAD] * len(SECOND),
  'second': SECOND + [toys.PAD] * len(FIRST),
}


def builder(config):
  return functional.make_model(
    functools.partial(Encoder, config, dtype=jnp.dtype('float32')), config
  )


def encode(model, params, ids_BT) -> np.ndarray:
  @jax.jit
  def run(params):
    layout = row_layout(
      ids_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD
    )
    return model.bind(params)(ids_BT, layout)

  return np.asarray(run(params))


@pytest.mark.parametrize('family', toys.FAMILIES)
def test_packed_equals_unpacked_and_padding_is_irrelevant(family):
  model = builder(toys.family_config(family))
  params = model.init(jax.random.key(0))
  packed, first, second = encode(
    model, params, jnp.asarray(list(ROWS.values()), jnp.int32)
  )
  middle = len(FIRST)
  assert np.std(first[:middle]) > 0.1
  np.testing.assert_allclose(packed[:middle], first[:middle], atol=1e-5)
  np.testing.assert_allclose(packed[middle:], second[: len(SECOND)], atol=1e-5)


def test_a_window_as_long_as_the_row_equals_global_attention():
  """For both thetas equal: only the window tells the layers apart."""
  config = toys.family_config('modernbert', rotary_theta=10_000.0)
  ids_BT = jnp.asarray([ROWS['packed']], jnp.int32)
  params = builder(config).init(jax.random.key(0))

  def of(**fields):
    model = builder(dataclasses.replace(config, **fields))
    return encode(model, params, ids_BT)

  everything = of(global_every=1)
  wide = of(local_window=2 * ids_BT.shape[1])
  np.testing.assert_allclose(wide, everything, atol=1e-6)
  assert np.abs(of(local_window=8) - everything).max() > 1e-2


def test_entries_that_fill_up_the_vocabulary_are_never_won():
  """Loss and gradients are those without them, and they have none."""
  hidden_BMD = jax.random.normal(jax.random.key(0), (2, 3, 16))
  # The entries that fill up have large values: they would win if they could.
  embedding_VE = jax.random.normal(jax.random.key(1), (64, 16))
  embedding_VE = embedding_VE.at[toys.VOCAB_SIZE :].set(9.0)
  ids_BM = jnp.asarray([[5, 8, 49], [20, 5, 6]])

  def loss_and_gradients(vocab_multiple):
    config = toys.encoder_config(vocab_multiple=vocab_multiple)
    build = functools.partial(MaskedLMHead, config, dtype=jnp.dtype('float32'))
    model = functional.make_model(build, config)
    params = model.init(jax.random.key(2))
    params['bias'] = params['bias'].at[toys.VOCAB_SIZE :].set(9.0)

    def loss(params, embedding_VE):
      logits_BMV = model.bind(params)(hidden_BMD, embedding_VE)
      nll_BM, hits_BM = cross_entropy(logits_BMV, ids_BM)
      return jnp.sum(nll_BM), hits_BM

    table_VE = embedding_VE[: config.table_size]
    assert len(table_VE) == len(params['bias'])
    found = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(found)(params, table_VE)

  (plain, hits), (params, embedding) = loss_and_gradients(1)
  (filled, filled_hits), (filled_params, filled_embedding) = loss_and_gradients(
    16
  )
  np.testing.assert_allclose(filled, plain, rtol=1e-6)
  np.testing.assert_array_equal(filled_hits, hits)
  for found, expected in (
    (filled_params['bias'], params['bias']),
    (filled_embedding, embedding),
  ):
    assert found.shape[0] == 64
    assert not np.any(found[toys.VOCAB_SIZE :])
    np.testing.assert_allclose(found[: toys.VOCAB_SIZE], expected, atol=1e-6)
  np.testing.assert_allclose(
    filled_params['transform']['kernel'],
    params['transform']['kernel'],
    atol=1e-5,
  )


def test_random_tokens_are_never_entries_that_fill_up_the_vocabulary():
  """They are drawn from the tokenizer's table, which has no such entries."""
  objective = MaskedLMConfig(mask_rate=0.5, mask_share=0.0, random_share=1.0)
  objective = objective.build(toys.table())
  prepare = jax.jit(objective.prepare)
  prepared = prepare(toys.batch(16, 32), jax.random.key(0))
  assert int(jnp.max(prepared['input_ids'])) == toys.VOCAB_SIZE - 1


@pytest.mark.parametrize('family', toys.FAMILIES)
def test_a_mesh_of_data_fsdp_and_tensor_divides_every_parameter(family):
  objective = MaskedLMConfig().build(toys.table())
  model = model_with_heads(
    toys.family_config(family), objective.heads(), 'float32'
  )
  shapes = {
    path: leaf.shape
    for path, leaf in functional.flatten(model.abstract_params()).items()
  }
  shardings = parameter_shardings(
    MeshConfig(data=2, fsdp=2, tensor=2).build(),
    shapes,
    {path: info.axes for path, info in model.infos.items()},
  )
  whole = [path for path, s in shardings.items() if s.is_fully_replicated]
  # What nothing names an axis for: no kernel and no table is among it.
  assert not [path for path in whole if path.endswith(('kernel', 'embedding'))]


# These two have all that the others have, and more.
@pytest.mark.parametrize(
  'family, layers',
  [('albert', {}), ('modernbert', dict(num_layers=2, global_every=2))],
)
def test_training_on_a_mesh_of_data_fsdp_and_tensor(family, layers):
  """The first loss is that of one device; the first step lowers it."""
  objective = MaskedLMConfig().build(toys.table())
  model = model_with_heads(
    toys.family_config(family, **layers), objective.heads(), 'float32'
  )
  key, batch = jax.random.key(1), toys.batch(8, 64)
  params = model.init(key)
  mask_key = jax.random.fold_in(key, MASKS)
  on_one, weight = jax.jit(make_eval_step(objective, model))(
    params, {}, batch, mask_key
  )['mlm_loss']
  mesh = MeshConfig(data=2, fsdp=2, tensor=2).build()
  with jax.set_mesh(mesh):
    program = make_program(
      objective,
      model,
      AdamWConfig().build(model.infos),
      lambda step: 1e-2,
      key,
      num_microbatches=1,
    )
    state = jax.jit(program.new_state, out_shardings=program.shardings)(
      jax.device_put(params, program.shardings.params)
    )
    batch = jax.device_put(batch, batch_sharding(mesh))
    losses = []
    for _ in range(2):
      state, metrics = program.step_fn(state, {}, batch)
      losses.append(float(metrics['loss']))
  np.testing.assert_allclose(losses[0], on_one / weight, rtol=1e-5)
  assert losses[1] < losses[0] - 0.05


@pytest.mark.parametrize('family', toys.FAMILIES)
def test_a_checkpoint_holds_all_parameters_of_a_family(family, tmp_path):
  objective = MaskedLMConfig().build(toys.table())
  model = model_with_heads(
    toys.family_config(family), objective.heads(), 'float32'
  )
  params = jax.tree.map(
    lambda leaf: np.random.default_rng(0).normal(size=leaf.shape),
    model.abstract_params(),
  )
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
  save_params(tmp_path / 'params', params)
  loaded, _ = load_params(tmp_path / 'params')
  jax.tree.map(np.testing.assert_array_equal, params, loaded)
  origin = Initial('params', lambda: loaded)
  taken, fresh, left_out = merge_pretrained(params, loaded, origin)
  assert len(taken) == len(jax.tree.leaves(params))
  assert not fresh and not left_out
