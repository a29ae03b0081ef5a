"""Our BERT computes what transformers' BERT computes.

The golden file holds another implementation's weights, inputs, hidden states
and gradients; golden/write_bert_golden.py says how it was made. Only float32 is
compared: it is the one dtype in which both round alike.
"""

import jax
import numpy as np
import pytest
from golden_models import group, load_golden, numbers, params_of

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import MaskedLMHead, Pooler, model_with_heads
from bert_jax.models.masks import row_layout
from bert_jax.objectives.mlm import MaskedLM, MaskedLMConfig

NUM_LAYERS = 3
TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
GRADIENTS = (
  'encoder/embeddings/token/embedding',
  'encoder/embeddings/position/embedding',
  'encoder/embeddings/norm/scale',
  'encoder/layers/0/attention/query/kernel',
  'encoder/layers/1/attention/output/kernel',
  'encoder/layers/2/feed_forward/input/kernel',
  'encoder/layers/2/feed_forward_norm/scale',
  'mlm_head/transform/kernel',
  'mlm_head/bias',
)
# The ids that write_bert_golden.py uses.
TABLE = TokenTable(
  vocab_size=97,
  pad_id=0,
  unk_id=1,
  cls_id=2,
  sep_id=3,
  mask_id=4,
  special_ids=np.arange(5, dtype=np.int32),
  ordinary_ids=np.arange(5, 97, dtype=np.int32),
  word_starts=np.ones(97, bool),
)


@pytest.fixture(scope='module')
def golden() -> dict[str, np.ndarray]:
  return load_golden('bert')


@pytest.fixture(scope='module')
def model(golden) -> functional.Model:
  """Our model of the golden sizes, in f32."""
  config = EncoderConfig(**numbers(golden, 'config'))
  heads = {'pooler': Pooler, 'mlm_head': MaskedLMHead}
  return model_with_heads(config, heads, 'float32')


@pytest.fixture(scope='module')
def params(golden) -> functional.Params:
  return params_of(golden)


@pytest.fixture(scope='module')
def computed(golden, model, params) -> dict[str, np.ndarray]:
  """Our outputs, under the names of the golden file."""

  @jax.jit
  def run(params, input_ids_BT):
    module = model.bind(params)
    states = module.encoder.hidden_states(input_ids_BT, _layout(input_ids_BT))
    embedding_VD = module.encoder.embeddings.token.embedding[...]
    outputs = {f'hidden/{i}': state for i, state in enumerate(states)}
    outputs['pooled'] = module.pooler(states[-1][:, 0])
    outputs['mlm_logits'] = module.mlm_head(states[-1], embedding_VD)
    return outputs

  return jax.device_get(run(params, golden['inputs/input_ids']))


@pytest.fixture(scope='module')
def loss_and_gradients(golden, model, params) -> tuple[float, dict]:
  """The mean loss over the masked positions, as training computes it."""
  objective = MaskedLM(MaskedLMConfig(), TABLE)
  batch = group(golden, 'inputs')
  batch |= _layout(batch['input_ids'])._asdict()

  @jax.jit
  @jax.value_and_grad
  def run(params):
    module = model.bind(params)
    encoded = objective.encode(module, batch, None)
    losses, _ = objective.losses(module, encoded, None)
    total, weight = losses['mlm_loss']
    return total / weight

  loss, gradients = jax.device_get(run(params))
  return loss, functional.flatten(gradients)


def test_parameters_have_the_golden_paths_and_shapes(golden, model):
  ours = functional.flatten(model.abstract_params())
  theirs = group(golden, 'params')
  assert {path: leaf.shape for path, leaf in ours.items()} == {
    path: array.shape for path, array in theirs.items()
  }


def test_layout_is_derived_from_the_ids_alone(golden):
  layout = _layout(golden['inputs/input_ids'])
  np.testing.assert_array_equal(
    layout.segment_ids, golden['inputs/segment_ids']
  )
  np.testing.assert_array_equal(
    layout.token_type_ids, golden['inputs/token_type_ids']
  )


@pytest.mark.parametrize('layer', range(NUM_LAYERS + 1))
def test_hidden_states(golden, computed, layer):
  _assert_close(golden, computed, f'hidden/{layer}')


def test_golden_has_no_further_layer(golden):
  assert f'outputs/hidden/{NUM_LAYERS + 1}' not in golden


def test_mlm_logits(golden, computed):
  _assert_close(golden, computed, 'mlm_logits')


def test_pooled(golden, computed):
  np.testing.assert_allclose(
    computed['pooled'], golden['outputs/pooled'], rtol=0, atol=TOLERANCE
  )


def test_mlm_loss(golden, loss_and_gradients):
  loss, _ = loss_and_gradients
  assert loss == pytest.approx(float(golden['outputs/mlm_loss']), abs=TOLERANCE)


@pytest.mark.parametrize('path', GRADIENTS)
def test_gradients(golden, loss_and_gradients, path):
  _, gradients = loss_and_gradients
  expected = golden[f'gradients/{path}']
  largest = np.abs(expected).max()
  np.testing.assert_allclose(
    gradients[path], expected, rtol=0, atol=GRADIENT_TOLERANCE * largest
  )


def test_no_golden_gradient_is_left_out(golden):
  assert set(group(golden, 'gradients')) == set(GRADIENTS)


def _layout(input_ids_BT):
  return row_layout(
    input_ids_BT,
    cls_id=TABLE.cls_id,
    sep_id=TABLE.sep_id,
    pad_id=TABLE.pad_id,
  )


def _assert_close(golden, computed, name: str) -> None:
  """Compares wherever there is text: at padding, outputs mean nothing."""
  is_text_BT = golden['inputs/segment_ids'] > 0
  np.testing.assert_allclose(
    computed[name][is_text_BT],
    golden[f'outputs/{name}'][is_text_BT],
    rtol=0,
    atol=TOLERANCE,
  )
