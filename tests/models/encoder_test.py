"""Invariances: packing and padding change nothing, documents never meet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import config as model_config
from bert_jax.models import functional
from bert_jax.models.encoder import Encoder
from bert_jax.models.heads import MaskedLMHead, Pooler, model_with_heads
from bert_jax.models.masks import row_layout

CONFIG = toys.encoder_config()
MODEL = functional.make_model(
  functools.partial(Encoder, CONFIG, dtype=jnp.dtype('float32')), CONFIG
)
FIRST = [toys.CLS, 7, 8, 9, toys.SEP]
SECOND = [toys.CLS, 20, 21, toys.SEP]


@pytest.fixture(scope='module')
def params():
  return MODEL.init(jax.random.key(0))


def encode(params, ids: list[int]) -> np.ndarray:
  ids_BT = jnp.asarray([ids], jnp.int32)
  layout = row_layout(ids_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD)
  return MODEL.bind(params)(ids_BT, layout)[0]


def test_packed_equals_unpacked(params):
  packed = encode(params, FIRST + SECOND)
  np.testing.assert_allclose(packed[:5], encode(params, FIRST), atol=1e-5)
  np.testing.assert_allclose(packed[5:], encode(params, SECOND), atol=1e-5)


def test_padding_is_irrelevant(params):
  padded = encode(params, FIRST + [toys.PAD] * 6)
  np.testing.assert_allclose(padded[:5], encode(params, FIRST), atol=1e-5)


def test_documents_never_attend_to_each_other(params):
  """The gradient of one text's output by the other's embeddings is zero."""
  ids_BT = jnp.asarray([FIRST + SECOND], jnp.int32)
  layout = row_layout(ids_BT, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD)

  def second_text_output(table):
    changed = jax.tree.map(lambda x: x, params)
    changed['embeddings']['token']['embedding'] = table
    hidden_BTD = MODEL.bind(changed)(ids_BT, layout)
    return jnp.sum(jnp.sin(hidden_BTD[0, 5:]))

  table = params['embeddings']['token']['embedding']
  by_entry = jnp.abs(jax.grad(second_text_output)(table)).sum(axis=-1)
  assert np.all(by_entry[jnp.asarray([7, 8, 9])] == 0)
  assert np.all(by_entry[jnp.asarray([20, 21])] > 0)


def test_layout_of_a_pair_and_of_packed_rows():
  pair = [toys.CLS, 5, toys.SEP, 6, 7, toys.SEP, toys.PAD]
  layout = row_layout(
    jnp.asarray([pair]), cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD
  )
  assert layout.segment_ids.tolist() == [[1, 1, 1, 1, 1, 1, 0]]
  assert layout.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 0]]
  assert layout.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 1, 0]]
  packed = jnp.asarray([FIRST + SECOND + [toys.PAD]])
  layout = row_layout(packed, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD)
  assert layout.segment_ids.tolist() == [[1] * 5 + [2] * 4 + [0]]
  assert layout.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0]]
  assert layout.token_type_ids.tolist() == [[0] * 10]


@pytest.mark.parametrize(
  'preset, millions',
  # Table 1 of Turc et al. 2019 and Devlin et al. 2019 give 4.4, 11.3, 29.1,
  # 41.7, 110.1 and 340 with the 30,522 entries of the uncased vocabulary and
  # the pooler; here without the pooler.
  [
    ('bert_tiny', 4.4),
    ('bert_mini', 11.1),
    ('bert_small', 28.5),
    ('bert_medium', 41.1),
    ('bert_base', 108.9),
    ('bert_large', 334.1),
  ],
)
def test_published_sizes(preset, millions):
  config = getattr(model_config, preset)(vocab_size=30522)
  model = model_with_heads(config, {}, 'float32')
  count = functional.num_parameters(model.abstract_params())
  assert round(count / 1e6, 1) == millions


def test_heads_must_divide_the_width():
  with pytest.raises(InputError, match='num_heads=3 does not divide'):
    toys.encoder_config(num_heads=3).validate()


def test_initial_parameters_do_not_depend_on_the_heads_beside_them():
  def encoder_of(heads):
    model = model_with_heads(toys.encoder_config(), heads, 'float32')
    return model.init(jax.random.key(1))['encoder']

  one = encoder_of({'mlm_head': MaskedLMHead})
  other = encoder_of({'pooler': Pooler})
  jax.tree.map(np.testing.assert_array_equal, one, other)
