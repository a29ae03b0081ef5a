"""A grown model computes what the smaller one did, where it can."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional, heads
from bert_jax.models.heads import model_with_heads
from bert_jax.models.masks import row_layout
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.surgery import growing

CONFIGS = {
  'bert': toys.encoder_config(max_positions=128),
  'albert': toys.family_config('albert'),
  'electra': toys.family_config('electra'),
  # A global and a local layer.
  'modernbert': toys.family_config('modernbert', num_layers=2, global_every=2),
}
HEADS = {
  'mlm_head': heads.MaskedLMHead,
  'pooler': heads.Pooler,
  'classifier': functools.partial(heads.Classifier, num_classes=3),
  'replaced_token_head': heads.ReplacedTokenHead,
  'next_sentence_head': heads.NextSentenceHead,
}
IDS_BT = jnp.asarray(toys.rows(2, 56, seed=1))


def builder(config):
  return model_with_heads(config, HEADS, 'float32')


def widen(params, config, factor: int = 2, model=None):
  infos = (model or builder(config)).infos
  return growing.widen(params, config, factor, jax.random.key(0), infos)


def extend_vocabulary(params, config, vocab_size, model=None, **options):
  infos = (model or builder(config)).infos
  return growing.extend_vocabulary(params, config, vocab_size, infos, **options)


def extend_positions(params, config, max_positions, **options):
  infos = builder(config).infos
  return growing.extend_positions(
    params, config, max_positions, infos, **options
  )


def random_params(config) -> functional.Params:
  """No parameter is 0 or 1: none is preserved by accident."""
  rng = np.random.default_rng(0)
  flat = jax.tree_util.tree_map_with_path(
    lambda path, leaf: jnp.asarray(
      rng.normal(path[-1].key == 'scale', 0.2, leaf.shape), jnp.float32
    ),
    builder(config).abstract_params(),
  )
  return flat


def outputs(params, config, ids_BT=IDS_BT) -> list[np.ndarray]:
  """Of all heads; the scores of the vocabulary first."""

  @jax.jit
  def run(params):
    layout = row_layout(
      ids_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD
    )
    module = builder(config).bind(params)
    hidden_BTD = module.encoder(ids_BT, layout)
    embedding_VE = module.encoder.embeddings.token.embedding[...]
    pooled_BD = module.pooler(hidden_BTD[:, 0])
    return (
      module.mlm_head(hidden_BTD, embedding_VE)[..., : toys.VOCAB_SIZE],
      module.classifier(pooled_BD),
      module.next_sentence_head(pooled_BD),
      module.replaced_token_head(hidden_BTD),
    )

  return jax.device_get(run(params))


@functools.cache
def small(family: str):
  params = random_params(CONFIGS[family])
  return params, outputs(params, CONFIGS[family])


def assert_grown(family, params, config, *, preserved: bool) -> None:
  """A valid model of its config that does, or does not, compute the same."""
  config.validate()
  expected = builder(config).abstract_params()
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, expected)
  before, after = small(family)[1], outputs(params, config)
  closest = [
    np.allclose(new, old, atol=2e-5)
    for new, old in zip(after, before, strict=True)
  ]
  assert all(closest) if preserved else not any(closest)


# RoBERTa and DistilBERT have no parameter that BERT lacks.
@pytest.mark.parametrize('family', ['bert', 'albert', 'electra', 'modernbert'])
def test_widening_preserves_the_function(family):
  params, config = widen(small(family)[0], CONFIGS[family])
  assert (config.embed_dim, config.num_heads, config.mlp_dim) == (32, 4, 64)
  assert config.head_dim == CONFIGS[family].head_dim
  assert_grown(family, params, config, preserved=True)


def test_copies_of_a_unit_have_gradients_of_their_own():
  params, config = widen(small('bert')[0], CONFIGS['bert'])

  def loss(params):
    layout = row_layout(
      IDS_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD
    )
    module = builder(config).bind(params)
    hidden_BTD = module.encoder(IDS_BT, layout)
    return jnp.sum(jnp.sin(module.replaced_token_head(hidden_BTD)))

  layer = jax.jit(jax.grad(loss))(params)['encoder']['layers']['0']
  for path, axis in (('attention', 1), ('feed_forward', 1)):
    name = 'query' if path == 'attention' else 'input'
    one, other = jnp.split(layer[path][name]['kernel'], 2, axis=axis)
    assert np.abs(one - other).max() > 0.05 * np.abs(one).max()


@pytest.mark.parametrize('family', ['modernbert', 'bert'])
def test_layers_without_effect_are_added_before_a_final_norm_alone(family):
  params, config = growing.add_layers(small(family)[0], CONFIGS[family], 4)
  assert config.num_layers == 4
  preserved = config.norm_placement == 'pre'
  assert_grown(family, params, config, preserved=preserved)


def test_added_layers_learn_from_the_first_step_on():
  params, config = growing.add_layers(
    small('modernbert')[0], CONFIGS['modernbert'], 3
  )

  def loss(params):
    layout = row_layout(
      IDS_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD
    )
    encoder = builder(config).bind(params).encoder
    return jnp.sum(jnp.sin(encoder(IDS_BT, layout)))

  layer = jax.jit(jax.grad(loss))(params)['encoder']['layers']['2']
  for block in ('attention', 'feed_forward'):
    assert np.all(np.any(layer[block]['output']['kernel'] != 0, axis=0))


def test_a_shared_layer_is_applied_more_often():
  params, config = growing.add_layers(small('albert')[0], CONFIGS['albert'], 3)
  assert params is small('albert')[0]
  assert_grown('albert', params, config, preserved=False)


@pytest.mark.parametrize('family', ['modernbert', 'bert'])
def test_new_entries_leave_the_scores_of_the_old_as_they_were(family):
  params, config = extend_vocabulary(
    small(family)[0], CONFIGS[family], 60, pieces=[[7, 9], []]
  )
  assert_grown(family, params, config, preserved=True)
  old = small(family)[0]['encoder']['embeddings']['token']['embedding'][:50]
  new = params['encoder']['embeddings']['token']['embedding'][50:]
  np.testing.assert_allclose(new[0], (old[7] + old[9]) / 2, rtol=1e-6)
  mean = np.mean(np.asarray(old), axis=0, dtype=np.float64).astype(np.float32)
  np.testing.assert_array_equal(new[1:], np.tile(mean, (len(new) - 1, 1)))
  bias = small(family)[0]['mlm_head']['bias']
  np.testing.assert_allclose(
    params['mlm_head']['bias'][50], (bias[7] + bias[9]) / 2, rtol=1e-6
  )


def test_learned_positions_are_stretched_between_the_old_ones():
  config = toys.family_config('roberta', max_positions=5)
  params = random_params(config)
  grown, larger = extend_positions(params, config, 9)
  assert larger.max_positions == 9
  old = params['encoder']['embeddings']['position']['embedding']
  new = grown['encoder']['embeddings']['position']['embedding']
  np.testing.assert_array_equal(new[:2], old[:2])  # the offset's
  np.testing.assert_allclose(new[2::2], old[2:], rtol=1e-5)
  np.testing.assert_allclose(new[3], (old[2] + old[3]) / 2, rtol=1e-5)
  assert new.shape == (11, 16)


def test_rotary_positions_go_on_with_the_same_theta():
  params, config = small('modernbert')[0], CONFIGS['modernbert']
  same, longer = extend_positions(
    params, config, 256, rotary_theta=config.rotary_theta
  )
  assert same is params and longer.max_positions == 256
  assert_grown('modernbert', same, longer, preserved=True)


def test_rotary_positions_turn_as_far_over_the_new_length_as_over_the_old():
  config = CONFIGS['modernbert']
  _, longer = extend_positions({}, config, 512)
  slowest = (config.head_dim - 2) / config.head_dim
  turn = config.rotary_theta**-slowest * 128
  assert longer.rotary_theta**-slowest * 512 == pytest.approx(turn)
  assert longer.local_rotary_theta == config.local_rotary_theta


@pytest.mark.parametrize(
  'grow, message',
  [
    (lambda p, c: growing.add_layers(p, c, 2), 'num_layers is 2; to grow'),
    (lambda p, c: extend_positions(p, c, 128), 'max_positions is 128'),
    (lambda p, c: extend_vocabulary(p, c, 50), 'vocab_size is 50'),
    (
      lambda p, c: widen(p, c, 1),
      'width_factor is 1',
    ),
    (
      lambda p, c: extend_vocabulary(p, c, 51, pieces=[[1], [2]]),
      'pieces has 2 entries',
    ),
    (
      lambda p, c: extend_vocabulary(p, c, 51, pieces=[[50]]),
      'between 0 and the old vocab_size=50',
    ),
    (
      lambda p, c: widen(p | {'tagger': {'weights': jnp.zeros(2)}}, c),
      'tagger/weights has no ParamInfo',
    ),
  ],
)
def test_what_would_not_grow_is_refused(grow, message):
  with pytest.raises(InputError, match=message):
    grow(small('bert')[0], CONFIGS['bert'])


OBJECTIVE = ReplacedTokenConfig(generator_width=1.0).build(toys.table())


def with_generator(**overrides):
  """(config, its parameters) of a generator whose heads can double in number.

  One of norms before the blocks, so that layers can be added without effect.
  """
  config = toys.encoder_config(
    num_layers=1, embed_dim=64, norm_placement='pre', **overrides
  )
  return config, toys.params(generator_model(config))


def generator_model(config):
  return model_with_heads(config, OBJECTIVE.heads(), 'float32')


def scores_of_generator(params, config) -> np.ndarray:
  ids_BT = IDS_BT[:, :32]
  layout = row_layout(ids_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD)
  model = generator_model(config)
  shapes = jax.tree.map(jnp.shape, model.abstract_params())
  assert jax.tree.map(jnp.shape, params) == shapes

  @jax.jit
  def run(params):
    module = model.bind(params)
    everywhere_BT = jnp.broadcast_to(jnp.arange(32), ids_BT.shape)
    scores_BTV = OBJECTIVE.token_logits(module, ids_BT, layout, everywhere_BT)
    return scores_BTV[..., : toys.VOCAB_SIZE]

  return jax.device_get(run(params))


# Tables as wide as the layers, and narrower ones with a projection each.
@pytest.mark.parametrize('embedding_size', [0, 16])
def test_a_generator_grows_with_its_encoder(embedding_size):
  config, params = with_generator(embedding_size=embedding_size)
  before = scores_of_generator(params, config)
  params, config = extend_vocabulary(
    params, config, 60, model=generator_model(config)
  )
  params, config = growing.add_layers(params, config, 2)
  params, config = widen(params, config, model=generator_model(config))
  assert len(params['generator']['layers']) == 2
  after = scores_of_generator(params, config)
  assert np.std(before) > 0.1
  np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())


@pytest.mark.parametrize(
  'embed_dim, embedding_size, share, found',
  [
    # 64 wide it has one head too.
    (32, 0, 1.0, 'generator of width 32, which would have num_heads=1, not 2'),
    (
      256,
      128,
      0.25,
      'width 64, which would be as wide as the embeddings and lack',
    ),
    (
      128,
      64,
      0.5,
      'width 64, which is as wide as the embeddings and would need',
    ),
  ],
)
def test_a_generator_that_cannot_be_widened_alike_is_named(
  embed_dim, embedding_size, share, found
):
  config = toys.encoder_config(
    num_layers=1, embed_dim=embed_dim, embedding_size=embedding_size
  )
  objective = ReplacedTokenConfig(generator_width=share).build(toys.table())
  model = model_with_heads(config, objective.heads(), 'float32')
  params = model.abstract_params()
  with pytest.raises(InputError, match=found):
    widen(params, config, model=model)
