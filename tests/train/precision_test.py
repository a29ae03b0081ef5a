"""The step in bf16: dtypes of its products, and its error against f32."""

import functools

import jax
import jax.numpy as jnp
import lowered
import numpy as np
import pytest
import toys

from bert_jax.jobs.check_device.precision import rounding_errors
from bert_jax.models import embeddings, encoder
from bert_jax.models.config import (
  albert_base,
  bert_base,
  distilbert_base,
  electra_base,
  modernbert_base,
  roberta_base,
)
from bert_jax.models.execution import LayerExecution
from bert_jax.models.heads import model_with_heads
from bert_jax.models.masks import row_layout
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.peft.lora import ALL_LINEAR, LoRAConfig
from bert_jax.train.state import init_state
from bert_jax.train.step import make_train_step

pytestmark = pytest.mark.accelerator

# Four layers hold both kinds of ModernBERT's; the other sizes are published.
FULL_WIDTH = {
  'bert': bert_base,
  'roberta': roberta_base,
  'distilbert': distilbert_base,
  'albert': albert_base,
  'electra': electra_base,
  'modernbert': modernbert_base,
}
# Products below this size may be in f32: none of the model is so small.
SMALL = 10**6


def abstract_step(config, objective, *, batch_size, length, peft=None):
  """(the step in bf16, its abstract arguments)."""
  model = model_with_heads(config, objective.heads(), 'bfloat16')
  method = peft.build() if peft else None
  model = method.extend(model) if method else model
  config_of_rates = AdamWConfig()
  optimizer = config_of_rates.build(model.infos)
  step = make_train_step(
    objective,
    model,
    optimizer,
    config_of_rates.build_schedule(1000),
    **(dict(join=method.join) if method else {}),
  )
  params = model.abstract_params()
  params, frozen = method.split(params, model.infos) if method else (params, {})
  state = jax.eval_shape(
    functools.partial(init_state, optimizer=optimizer, keep_best=False), params
  )
  batch = {
    'input_ids': jax.ShapeDtypeStruct((batch_size, length), jnp.int32),
    'example_number': jax.ShapeDtypeStruct((batch_size, 2), jnp.uint32),
  }
  return step, (state, frozen, batch, jax.random.key(0))


@pytest.mark.parametrize(
  'family,kind',
  [(family, 'plain') for family in FULL_WIDTH]
  + [('electra', 'replaced tokens'), ('modernbert', 'LoRA')],
)
def test_no_product_of_f32(family, kind, capsys):
  """All products of a step take bf16 and give f32, for TPU and for CUDA."""
  table = toys.table()
  objective = (
    ReplacedTokenConfig() if kind == 'replaced tokens' else MaskedLMConfig()
  ).build(table)
  config = FULL_WIDTH[family](num_layers=4, vocab_size=30_522)
  step, arguments = abstract_step(
    config,
    objective,
    batch_size=8,
    length=512,
    peft=LoRAConfig(targets=(ALL_LINEAR,)) if kind == 'LoRA' else None,
  )
  traced = jax.jit(step).trace(*arguments)
  for platform in ('tpu', 'cuda'):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    flops: dict[tuple, int] = {}
    for product in lowered.products(text):
      if product.flops > SMALL:
        dtypes = product[:3]
        flops[dtypes] = flops.get(dtypes, 0) + product.flops
    with capsys.disabled():
      print(f'\n{family}, {kind}, {platform}: flops by dtypes {flops}')
    assert list(flops) == [('bf16', 'bf16', 'f32')]


# Bounds stated before the first run. A rounding to bf16 errs by about 2^-9;
# ten in a row in each of four layers add up to sqrt(40) of that, 1.2 %, in the
# states, and the backward pass goes through as many again.
LOSS_BOUND, GRADIENT_BOUND = 0.01, 0.05


@pytest.mark.parametrize('family', ['bert', *toys.FAMILIES])
def test_bf16_beside_f32(family):
  """The loss and its gradients, of every family."""
  objective = MaskedLMConfig().build(toys.table())
  config = (
    toys.encoder_config(num_layers=4)
    if family == 'bert'
    else toys.family_config(family, num_layers=4)
  )
  batch = objective.prepare(toys.batch(16, 32), jax.random.key(0))
  loss_error, gradient_error = rounding_errors(config, objective, batch)
  print(f'{family}: loss {loss_error:.4%}, {gradient_error:.3%}')
  assert loss_error < LOSS_BOUND
  assert gradient_error < GRADIENT_BOUND


# A rounding to bf16 errs by 2^-9 / sqrt(3) at most on average. About ten meet
# in a branch, which an f32 stream adds as it is: sqrt(10) of that, 0.36 %.
DEEP_BOUND = 0.0036


def test_f32_stream_of_a_deep_encoder(monkeypatch):
  """22 pre-norm layers add in f32; a sum that bf16 rounds errs by more."""
  config = toys.family_config('modernbert', num_layers=22)
  ids = jnp.asarray(toys.rows(8, 32))
  layout = row_layout(ids, cls_id=toys.CLS, sep_id=toys.SEP, pad_id=toys.PAD)
  scanned = LayerExecution(scan_layers=True)

  def hidden_states(dtype):
    model = model_with_heads(config, {}, dtype, execution=scanned)
    params = model.init(jax.random.key(0))
    encode = jax.jit(lambda params: model.bind(params).encoder(ids, layout))
    return np.asarray(encode(params), np.float64)

  def error(states):
    return np.linalg.norm(states - exact) / np.linalg.norm(exact)

  exact = hidden_states('float32')
  in_f32 = error(hidden_states('bfloat16'))
  for module in (encoder, embeddings):
    monkeypatch.setattr(module, 'residual_dtype', lambda config, dtype: dtype)
  in_bf16 = error(hidden_states('bfloat16'))
  print(f'stream in f32: {in_f32:.3%}, in bf16: {in_bf16:.3%}')
  assert in_f32 < DEEP_BOUND
  assert in_bf16 > 2 * in_f32
