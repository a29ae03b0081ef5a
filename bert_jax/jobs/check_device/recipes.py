"""Time, MFU and memory of the training step of each recipe, on one device.

The rows of a step are random, and as many as fit by the compiler's own figure.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.data.tokenizers.base import SPECIAL_TOKENS
from bert_jax.errors import InputError, quoted
from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs.check_device.base import (
  GIB,
  Setting,
  is_accelerator,
  row,
  seconds_of,
)
from bert_jax.jobs.check_device.fitting import (
  DoesNotFit,
  largest_that_fits,
  predicted_bytes,
)
from bert_jax.jobs.check_device.peaks import datasheet_bandwidth, product_flops
from bert_jax.jobs.check_device.synthetic import one_device
from bert_jax.models import config as presets
from bert_jax.models.functional import num_parameters
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.parallel import compiled
from bert_jax.train.throughput import datasheet_flops
from bert_jax.train.xla_options import Options, step_options

# Sizes of the published vocabularies.
_BERT_VOCAB, _MODERNBERT_VOCAB = 30_522, 50_368
# Goals of MFU against the data sheet's peak on an accelerator, and of the
# difference between predicted and measured memory.
MFU_GOALS = {'bert_base': 0.45, 'bert_large': 0.50}
MEMORY_GOAL = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timed:
  """The step of a recipe; figures that this device does not give are 0.

  predicted_bytes: all memory of the step, as the compiler says before it runs.
  measured_bytes: the most that the process had in use, as the device says; 0
    also where an earlier step had more.
  share_of_roofline: the least time that the data sheet allows, by arithmetic or
    memory traffic, as a share of the time of a step.
  mfu: against the data sheet's peak; mfu_of_product: against the product of
    matrices that was measured beside it.
  """

  recipe: str
  compute_dtype: str
  num_rows: int
  row_length: int
  num_parameters: int
  remat: str
  scan_layers: bool
  attention_dropout: float
  xla_options: Options
  compile_seconds: float
  step_seconds: float
  tokens_per_second: float
  flops: float
  mfu: float
  mfu_of_product: float
  predicted_bytes: int
  measured_bytes: int
  share_of_roofline: float

  @property
  def memory_error(self) -> float:
    """Predicted memory beside the measured, as a share of it; 0 if unknown."""
    if not self.measured_bytes:
      return 0.0
    return self.predicted_bytes / self.measured_bytes - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipes:
  """left_out: recipe -> why it was not timed, in one line."""

  timed: tuple[Timed, ...]
  left_out: dict[str, str]

  def lines(self) -> Iterator[str]:
    for x in self.timed:
      layers = 'layers as a loop' if x.scan_layers else 'layers one by one'
      yield (
        f'  {x.recipe}: {x.num_rows} rows of {x.row_length} on one device, '
        f'{x.compute_dtype}, {layers}, remat {x.remat}, attention_dropout '
        f'{x.attention_dropout}, compiled in {x.compile_seconds:.0f} s'
      )
      yield row('  ms a step', f'{x.step_seconds * 1e3:.4g}')
      yield row('  tokens/s', f'{x.tokens_per_second:,.0f}')
      goal = MFU_GOALS.get(x.recipe) if is_accelerator() else None
      yield row('  MFU, data sheet', _share(x.mfu)) + (
        f'  goal {goal:.0%}' if goal else ''
      )
      yield row('  MFU, measured product', _share(x.mfu_of_product))
      yield row('  share of the roofline', _share(x.share_of_roofline))
      yield row('  memory predicted, GiB', f'{x.predicted_bytes / GIB:.2f}')
      if x.measured_bytes:
        yield row('  memory measured, GiB', f'{x.measured_bytes / GIB:.2f}') + (
          f'  predicted is off by {x.memory_error:+.1%}, goal {MEMORY_GOAL:.0%}'
        )
      else:
        yield row('  memory measured, GiB', 'unknown')
    for name, why in self.left_out.items():
      yield f'  {name}: left out, {why}'

  def failures(self) -> Iterator[str]:
    yield from ()


def _bert(config: Callable[..., Any], length: int, **overrides: Any) -> Any:
  return PretrainExperiment(
    num_steps=1_000_000,
    batch_size=1,
    scan_layers=True,
    model=config(vocab_size=_BERT_VOCAB, max_positions=length, **overrides),
  )


def _modernbert(config: Callable[..., Any]) -> PretrainExperiment:
  return PretrainExperiment(
    num_steps=364_500,
    batch_size=1,
    scan_layers=True,
    model=config(
      vocab_size=_MODERNBERT_VOCAB, max_positions=1024, rotary_theta=10_000.0
    ),
    objective=MaskedLMConfig(mask_rate=0.3),
  )


def _electra(config: Callable[..., Any], length: int) -> PretrainExperiment:
  return dataclasses.replace(
    _bert(config, length), objective=ReplacedTokenConfig(generator_width=1 / 3)
  )


# Steps of the models that files of experiments/pretrain train, with the layers
# as a loop, which compiles in seconds. Kernels cannot drop attention weights,
# hence the recipes without.
RECIPES: dict[str, Callable[[], PretrainExperiment]] = {
  'bert_tiny': lambda: _bert(presets.bert_tiny, 64),
  'bert_base': lambda: _bert(presets.bert_base, 512),
  'bert_base_no_attention_dropout': lambda: _bert(
    presets.bert_base, 512, attention_dropout=0.0
  ),
  'bert_large': lambda: _bert(presets.bert_large, 512),
  'bert_large_no_attention_dropout': lambda: _bert(
    presets.bert_large, 512, attention_dropout=0.0
  ),
  'electra_base': lambda: _electra(presets.electra_base, 512),
  'modernbert_base': lambda: _modernbert(presets.modernbert_base),
  'modernbert_large': lambda: _modernbert(presets.modernbert_large),
}
# BERT-base would compile for minutes on a CPU.
CPU_RECIPES = ('bert_tiny',)
# The name of a user's own.
OWN = '--config'


def names_for(platform: str) -> tuple[str, ...]:
  """The recipes that are timed on a platform without a choice."""
  if platform == 'cpu':
    return CPU_RECIPES
  return tuple(name for name in RECIPES if name not in CPU_RECIPES)


def check_names(names: tuple[str, ...]) -> None:
  """Raises InputError if there is no such recipe."""
  for name in names:
    if name not in RECIPES:
      raise InputError(
        f'--recipes: there is no recipe {quoted(name)}; give some of '
        f'{", ".join(RECIPES)}'
      )


def check_own(experiment: Any) -> None:
  """Raises InputError on a config that has no step without a corpus."""
  if not isinstance(experiment, PretrainExperiment):
    raise InputError(
      f'--config: {type(experiment).__name__} has no step on rows of text; '
      'check_device takes a file of experiments/pretrain'
    )
  if experiment.model.vocab_size <= len(SPECIAL_TOKENS):
    raise InputError(
      f'model.vocab_size is {experiment.model.vocab_size}, and there is no '
      'tokenizer here; give the number of entries, such as '
      f'--config.model.vocab_size={_BERT_VOCAB}'
    )


def run(setting: Setting) -> Recipes:
  """Times the recipes of the setting, and the user's own experiment."""
  made = {name: RECIPES[name]() for name in setting.recipes}
  steps = [(name, x, x.model.max_positions) for name, x in made.items()]
  if own := setting.own_recipe:
    lengths = {stage.row_length for stage in own.plan().stages}
    steps += [(OWN, own, length) for length in sorted(lengths)]
  timed: list[Timed] = []
  left_out: dict[str, str] = {}
  for name, experiment, length in steps:
    if setting.is_over:
      left_out[name] = 'as the time was over'
      continue
    try:
      with one_device():
        timed.append(time_recipe(name, experiment, length))
    except DoesNotFit as error:
      left_out[name] = str(error)
  return Recipes(timed=tuple(timed), left_out=left_out)


def time_recipe(
  name: str, experiment: PretrainExperiment, row_length: int
) -> Timed:
  """Compiles the step for as many rows as fit, and runs it for two seconds."""
  step, executable, compile_seconds = largest_that_fits(experiment, row_length)
  program, experiment = step.program, step.experiment
  device = jax.devices()[0]
  state = program.fresh_state()
  batch = step.placed_batch(0)
  before = _peak_bytes(device)

  def one_more() -> Any:
    nonlocal state
    state, metrics = executable(state, {}, batch, program.key, program.schedule)
    return metrics

  times = seconds_of(one_more, 2.0)
  # Read now: the product below would raise the peak of the process.
  after = _peak_bytes(device)
  seconds, num_rows = times[len(times) // 2], experiment.batch_size
  flops = (
    num_rows
    * experiment.gradients.num_passes
    * step.objective.flops_per_row(experiment.model, row_length)
  )
  peak = datasheet_flops(device.device_kind)
  return Timed(
    recipe=name,
    compute_dtype=experiment.compute_dtype,
    num_rows=num_rows,
    row_length=row_length,
    num_parameters=num_parameters(state.params),
    remat=experiment.remat,
    scan_layers=experiment.scan_layers,
    attention_dropout=experiment.model.attention_dropout,
    xla_options=step_options(experiment, device.platform),
    compile_seconds=compile_seconds,
    step_seconds=seconds,
    tokens_per_second=num_rows * row_length / seconds,
    flops=flops,
    mfu=flops / seconds / peak if peak else 0.0,
    mfu_of_product=flops
    / seconds
    / product_flops(jnp.dtype(experiment.compute_dtype)),
    predicted_bytes=predicted_bytes(executable),
    measured_bytes=after if after > before else 0,
    share_of_roofline=_roofline_seconds(executable, flops, device) / seconds,
  )


def _peak_bytes(device: jax.Device) -> int:
  """The most bytes in use so far; 0 if the device does not say."""
  return (device.memory_stats() or {}).get('peak_bytes_in_use', 0)


def _roofline_seconds(
  executable: jax.stages.Compiled, flops: float, device: jax.Device
) -> float:
  """The least time of a step by the device's data sheet; 0 without one."""
  peak = datasheet_flops(device.device_kind)
  bandwidth = datasheet_bandwidth(device.device_kind)
  if not (peak and bandwidth):
    return 0.0
  traffic = compiled.Program(executable.as_text() or '').memory_traffic()
  return max(flops / peak, traffic / bandwidth)


def _share(share: float) -> str:
  return f'{share:.1%}' if share else 'unknown'
