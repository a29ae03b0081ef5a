"""Each family computes what transformers computes.

The golden files hold another implementation's weights, inputs, hidden states
and gradients; golden/write_family_golden.py says how they were made. BERT's own
is in bert_parity_test.py. Float32 is compared alone: both round alike in it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_models import group, load_golden, numbers, params_of

from bert_jax.models import config as presets
from bert_jax.models import functional, heads
from bert_jax.models.masks import row_layout
from bert_jax.objectives.cross_entropy import cross_entropy

PRESETS = {
  'roberta': presets.roberta_base,
  'distilbert': presets.distilbert_base,
  'albert': presets.albert_base,
  'electra': presets.electra_base,
  'modernbert': presets.modernbert_base,
}
TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3


@dataclasses.dataclass
class Case:
  """A golden file, our model of its sizes, and what that computes."""

  golden: dict[str, np.ndarray]
  model: functional.Model
  outputs: dict[str, np.ndarray]
  gradients: dict[str, np.ndarray]


@pytest.fixture(scope='module', params=PRESETS)
def case(request) -> Case:
  golden = load_golden(request.param)
  config = PRESETS[request.param](**numbers(golden, 'sizes'))
  model = heads.model_with_heads(
    config,
    {
      'mlm_head': heads.MaskedLMHead,
      'pooler': heads.Pooler,
      'classifier': functools.partial(heads.Classifier, num_classes=3),
      **(
        {'replaced_token_head': heads.ReplacedTokenHead}
        if request.param == 'electra'
        else {}
      ),
    },
    'float32',
  )
  outputs, gradients = compute(golden, model)
  return Case(golden, model, outputs, gradients)


def compute(golden, model):
  ids = numbers(golden, 'ids')
  layout = row_layout(
    golden['inputs/input_ids'],
    cls_id=ids['cls'],
    sep_id=ids['sep'],
    pad_id=ids['pad'],
  )
  inputs = group(golden, 'inputs')
  rows_B1 = np.arange(len(inputs['input_ids']))[:, None]

  def run(params):
    module = model.bind(params)
    states = module.encoder.hidden_states(inputs['input_ids'], layout)
    outputs = {f'hidden/{i}': state for i, state in enumerate(states)}
    embedding_VE = module.encoder.embeddings.token.embedding[...]
    outputs['mlm_logits'] = module.mlm_head(states[-1], embedding_VE)
    outputs['class_logits'] = module.classifier(module.pooler(states[-1][:, 0]))
    if hasattr(module, 'replaced_token_head'):
      outputs['replaced_logits'] = module.replaced_token_head(states[-1])
    logits_BMV = outputs['mlm_logits'][rows_B1, inputs['masked_positions']]
    nll_BM, _ = cross_entropy(logits_BMV, inputs['masked_ids'])
    weights_BM = inputs['masked_weights']
    loss = jnp.sum(nll_BM * weights_BM) / jnp.sum(weights_BM)
    return loss, outputs | {'mlm_loss': loss}

  gradients, outputs = jax.device_get(
    jax.jit(jax.grad(run, has_aux=True))(params_of(golden))
  )
  return outputs, functional.flatten(gradients)


def test_parameters_have_the_golden_paths_and_shapes(case):
  ours = functional.flatten(case.model.abstract_params())
  assert {path: leaf.shape for path, leaf in ours.items()} == {
    path: array.shape for path, array in group(case.golden, 'params').items()
  }


def test_outputs(case):
  """Wherever there is text: at padding, outputs mean nothing."""
  is_text_BT = case.golden['inputs/segment_ids'] > 0
  golden = group(case.golden, 'outputs')
  assert golden.keys() == case.outputs.keys()
  for name, expected in golden.items():
    found = case.outputs[name]
    if expected.shape[:2] == is_text_BT.shape:
      found, expected = found[is_text_BT], expected[is_text_BT]
    np.testing.assert_allclose(
      found, expected, rtol=0, atol=TOLERANCE, err_msg=name
    )


def test_gradients(case):
  golden = group(case.golden, 'gradients')
  assert len(golden) >= 8
  for path, expected in golden.items():
    largest = np.abs(expected).max()
    np.testing.assert_allclose(
      case.gradients[path],
      expected,
      rtol=0,
      atol=GRADIENT_TOLERANCE * largest,
      err_msg=path,
    )
