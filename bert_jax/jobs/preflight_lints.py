"""Warnings about an experiment that would run, but hardly as it was meant.

What cannot run at all is refused where the run itself would refuse it. Each
function here yields lines that name a field, its value and a way out.
"""

import dataclasses
import math
from collections.abc import Iterator

from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment
from bert_jax.interop.recognise import family_of
from bert_jax.jobs.preflight_figures import Figures
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.base import Optimizer
from bert_jax.optim.lamb import LambConfig

# Matrix units of TPUs take tiles of 128; those of GPUs like multiples of 64.
_TILE = 128
# Copies of a parameter in f32: itself, and AdamW's two averages.
_COPIES = 3
# A rate so many times the published one, or its reciprocal, is called far.
_FAR = 4
# The share of masked tokens for which most figures are published.
_USUAL_MASK_RATE = 0.15
# A step that recomputes and leaves so much of the memory free may not need to.
_MOSTLY_FREE = 0.75


@dataclasses.dataclass(frozen=True)
class PublishedRate:
  """The peak learning rate of a published run; `family` as in transformers."""

  family: str
  embed_dim: int
  optimizer: type[Optimizer]
  learning_rate: float
  batch_size: int
  source: str


PUBLISHED_RATES = (
  *(
    PublishedRate('bert', dim, AdamWConfig, 1e-4, 256, 'Devlin et al. 2019')
    for dim in (768, 1024)
  ),
  PublishedRate('roberta', 768, AdamWConfig, 6e-4, 8192, 'Liu et al. 2019'),
  PublishedRate('roberta', 1024, AdamWConfig, 4e-4, 8192, 'Liu et al. 2019'),
  PublishedRate('electra', 256, AdamWConfig, 5e-4, 128, 'Clark et al. 2020'),
  PublishedRate('electra', 768, AdamWConfig, 2e-4, 256, 'Clark et al. 2020'),
  PublishedRate('electra', 1024, AdamWConfig, 2e-4, 2048, 'Clark et al. 2020'),
  *(
    PublishedRate('albert', dim, LambConfig, 1.76e-3, 4096, 'Lan et al. 2020')
    for dim in (768, 1024, 2048, 4096)
  ),
  PublishedRate(
    'modernbert', 768, AdamWConfig, 8e-4, 4608, 'Warner et al. 2024'
  ),
  PublishedRate(
    'modernbert', 1024, AdamWConfig, 5e-4, 4928, 'Warner et al. 2024'
  ),
)


def lints(
  experiment: PretrainExperiment, num_entries: int, figures: Figures
) -> Iterator[str]:
  """Yields all warnings.

  Args:
    experiment: with its vocabulary's size filled in.
    num_entries: entries of the tokenizer.
    figures: what preflight found out.
  """
  yield from vocabulary(experiment, num_entries)
  yield from positions(experiment)
  yield from learning_rate(experiment)
  yield from mask_rates(experiment)
  yield from small_products(experiment, figures)
  yield from remat(experiment, figures)


def vocabulary(
  experiment: PretrainExperiment, num_entries: int
) -> Iterator[str]:
  """Rows of the token table that no text has, or that no tile has.

  XLA for CUDA copies a table of 30,522 rows to one of 30,528 in every step.
  """
  model = experiment.model
  if experiment.init_from:
    return  # the table is given
  row_bytes = 4 * _COPIES * model.table_dim
  if unused := model.vocab_size - num_entries:
    yield (
      f'model.vocab_size={model.vocab_size} is {unused:,} more than the '
      f'tokenizer has: {_mib(unused * row_bytes)} of parameters and optimizer '
      "that no text trains; 0 takes the tokenizer's"
    )
  if model.table_size % _TILE:
    size = math.ceil(model.table_size / _TILE) * _TILE
    yield (
      f'a table of {model.table_size:,} tokens is no multiple of {_TILE}, the '
      'tile of a matrix unit; --config.model.vocab_multiple='
      f'{_TILE} makes it {size:,}, for '
      f'{_mib((size - model.table_size) * row_bytes)} of parameters and '
      'optimizer'
    )


def positions(experiment: PretrainExperiment) -> Iterator[str]:
  """Learned positions that no row reaches."""
  model = experiment.model
  longest = max(stage.row_length for stage in experiment.plan().stages)
  if (
    model.positions == 'learned'
    and longest < model.max_positions
    and not experiment.init_from
  ):
    yield (
      f'no row has more than {longest} tokens: positions from {longest} on of '
      f'model.max_positions={model.max_positions} are never trained; add a '
      'stage of longer rows, or never give the model longer texts'
    )


def learning_rate(experiment: PretrainExperiment) -> Iterator[str]:
  """A rate far from the published one of this family, width and optimizer.

  Rates grow with the square root of the batch, as Malladi et al. 2022 derive it
  for Adam (https://arxiv.org/abs/2205.10782).
  """
  try:
    family = family_of(experiment.model).model_type
  except InputError:
    return  # no family is known for it, so nothing is published
  optimizer = experiment.optimizer
  for known in PUBLISHED_RATES:
    if (
      (known.family, known.embed_dim) != (family, experiment.model.embed_dim)
      or type(optimizer) is not known.optimizer
      or experiment.init_from
    ):
      continue
    batches = experiment.batch_size / known.batch_size
    wanted = known.learning_rate * math.sqrt(batches)
    if not 1 / _FAR <= optimizer.learning_rate / wanted <= _FAR:
      yield (
        f'optimizer.learning_rate={optimizer.learning_rate:g} is '
        f'{optimizer.learning_rate / wanted:.2g} times the published rate of '
        f'{family} at this width: {known.learning_rate:g} in batches of '
        f'{known.batch_size} ({known.source}), which is {wanted:.2g} in '
        f'batches of {experiment.batch_size} by the square root'
      )


def mask_rates(experiment: PretrainExperiment) -> Iterator[str]:
  """A share of masked tokens in evaluation that no other figure is for."""
  for config in _masks(experiment.objective):
    trained = config.mask_rates[-1].rate if config.mask_rates else None
    if trained is not None and config.mask_rate not in (
      trained,
      _USUAL_MASK_RATE,
    ):
      yield (
        f'evaluation masks mask_rate={config.mask_rate:g} of the tokens, '
        f'training {trained:g} in the end; held-out losses compare with those '
        f'of other runs at {_USUAL_MASK_RATE:g}, or at the rate of training'
      )


def small_products(
  experiment: PretrainExperiment, figures: Figures
) -> Iterator[str]:
  """Microbatches so small that products wait for their matrices.

  A product of N tokens with a bf16 matrix does N FLOPs for each byte of it;
  below FLOP/s per byte/s of the chip, reading the matrix takes longer.
  """
  mesh = experiment.mesh
  devices = figures.num_devices // mesh.tensor
  needed = figures.peak_flops / figures.bandwidth
  for stage in figures.stages:
    rows = stage.batch_size // (devices * experiment.num_microbatches)
    if rows * stage.row_length < needed:
      yield (
        f'batch_size={stage.batch_size} leaves {rows} rows of '
        f'{stage.row_length} tokens for a device at once; below '
        f'{needed:.0f} tokens, products wait for their matrices: take fewer '
        'microbatches or devices, or larger batches'
      )


def remat(experiment: PretrainExperiment, figures: Figures) -> Iterator[str]:
  """Recomputation where most of the memory stays free."""
  used = [stage.memory.total for stage in figures.stages if stage.memory]
  if experiment.remat == 'none' or len(used) < len(figures.stages):
    return
  free = 1 - max(used) / figures.device_memory
  if free > _MOSTLY_FREE:
    yield (
      f'remat={experiment.remat} computes again what would fit: {free:.0%} of '
      'the memory stays free; try --config.remat=none, or larger batches'
    )


def _masks(objective: object) -> Iterator[MaskedLMConfig]:
  if isinstance(objective, MaskedLMConfig):
    yield objective
  elif isinstance(objective, ReplacedTokenConfig):
    yield objective.mlm
  elif isinstance(objective, WeightedSumConfig):
    for part in objective.objectives:
      yield from _masks(part)


def _mib(num_bytes: int) -> str:
  return f'{num_bytes / 2**20:.1f} MiB'
