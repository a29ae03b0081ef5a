"""Loss and gradients in bf16 beside those in f32, of a step on this device."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from bert_jax.data.reading.stream import example_number_words
from bert_jax.data.tokenizers.base import synthetic_table
from bert_jax.jobs.check_device.base import Setting, is_accelerator, row
from bert_jax.jobs.check_device.synthetic import packed_rows
from bert_jax.models.config import EncoderConfig, bert_base, modernbert_base
from bert_jax.models.functional import flatten
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.base import Batch, PretrainingObjective
from bert_jax.objectives.mlm import MaskedLMConfig

# A rounding to bf16 errs by about 2^-9; ten in a row in each of four layers add
# up to sqrt(40) of that, 1.2 %, in the states, and the backward pass goes
# through as many again.
LOSS_BOUND, GRADIENT_BOUND = 0.01, 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounding:
  """Errors of bf16 in a family, as shares of the loss and of the gradients.

  gradient_error: the length of the difference of all gradients.
  """

  family: str
  num_layers: int
  embed_dim: int
  loss_error: float
  gradient_error: float

  @property
  def is_within(self) -> bool:
    # A comparison with NaN is false.
    return (
      self.loss_error <= LOSS_BOUND and self.gradient_error <= GRADIENT_BOUND
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
  roundings: tuple[Rounding, ...]

  def lines(self) -> Iterator[str]:
    yield row('bf16 beside f32', 'loss', 'gradients')
    for x in self.roundings:
      verdict = '' if x.is_within else '  OUT OF BOUNDS'
      errors = f'{x.loss_error:.2%}', f'{x.gradient_error:.2%}'
      name = f'{x.family}, {x.num_layers} x {x.embed_dim}'
      yield row(name, *errors) + verdict
    yield row('bounds', f'{LOSS_BOUND:.2%}', f'{GRADIENT_BOUND:.2%}')

  def failures(self) -> Iterator[str]:
    for x in self.roundings:
      if not x.is_within:
        yield (
          f'{x.family} in bf16: the loss is off by {x.loss_error:.2%} and '
          f'gradients by {x.gradient_error:.2%}; rounding gives at most '
          f'{LOSS_BOUND:.0%} and {GRADIENT_BOUND:.0%}'
        )


def run(setting: Setting) -> Precision:
  """Compares two families: four layers of BERT-base's width, less on a CPU."""
  num_layers, width = (4, 768) if is_accelerator() else (2, 64)
  sizes: dict[str, Any] = dict(
    num_layers=num_layers,
    embed_dim=width,
    num_heads=width // 64,
    vocab_size=1000,
    max_positions=128,
  )
  bert = bert_base(**sizes, mlp_dim=4 * width)
  modernbert = modernbert_base(**sizes, mlp_dim=3 * width // 2, local_window=32)
  return Precision(
    roundings=(_rounding('bert', bert), _rounding('modernbert', modernbert))
  )


def _rounding(family: str, config: EncoderConfig) -> Rounding:
  objective = MaskedLMConfig().build(synthetic_table(config.vocab_size))
  batch = jax.jit(objective.prepare)(
    {
      'input_ids': packed_rows(8, config.max_positions, config.vocab_size),
      'example_number': example_number_words(np.arange(8)),
    },
    jax.random.key(0),
  )
  loss_error, gradient_error = rounding_errors(config, objective, batch)
  return Rounding(
    family=family,
    num_layers=config.num_layers,
    embed_dim=config.embed_dim,
    loss_error=loss_error,
    gradient_error=gradient_error,
  )


def rounding_errors(
  config: EncoderConfig, objective: PretrainingObjective, batch: Batch
) -> tuple[float, float]:
  """Errors of bf16 in the loss and in all gradients, as shares of both.

  `batch` is prepared by the objective; nothing is dropped.
  """
  weights = objective.weights(batch)
  found = []
  params = None
  for dtype in ('float32', 'bfloat16'):
    model = model_with_heads(config, objective.heads(), dtype)
    params = params or model.init(jax.random.key(1))

    def loss_of(params, model=model):
      bound = model.bind(params)
      losses, _ = objective.losses(
        bound, objective.encode(bound, batch, None), None
      )
      return sum(total / weights[name] for name, (total, _) in losses.items())

    loss, gradients = jax.jit(jax.value_and_grad(loss_of))(params)
    found.append((float(loss), flatten(jax.device_get(gradients))))
  (loss, exact), (rounded_loss, rounded) = found
  error, size = (
    np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in arrays))
    for arrays in ([rounded[k] - exact[k] for k in exact], exact.values())
  )
  return abs(rounded_loss / loss - 1), float(error / size)
