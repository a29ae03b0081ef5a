"""Makes a larger model from a checkpoint, with its tokenizer: the job `grow`.

surgery/growing.py has the functions. Here they are applied in the order
vocabulary, positions, layers, width, which keeps the copies small, and the
result is written as a workdir that every verb takes.
"""

import dataclasses
import functools
import os
from collections.abc import Callable

import jax

from bert_jax import durable_files
from bert_jax.config.codec import differences
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.data.tokenizers.extension import never_drawn, pieces_of_new
from bert_jax.errors import InputError, listed
from bert_jax.experiment import ConvertedModel
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.pretrained import Pretrained, open_pretrained, save_model
from bert_jax.surgery import growing
from bert_jax.surgery.growing import Grown

_RECORD = 'growth.json'
SAME = 'computes the same function, exactly'
ROUNDED = 'computes the same function, up to rounding'
OTHER = 'computes another function, so train it further'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growth:
  """The sizes to grow to; None, '' and 0.0 leave a size as it is.

  num_layers, max_positions: the new sizes. width_factor: multiplies width,
  heads and feed-forward width. rotary_theta: the new theta of rotary positions,
  with max_positions; 0.0 takes the default of extend_positions. tokenizer: the
  folder of a tokenizer that has all old entries and more.
  """

  num_layers: int | None = None
  width_factor: int | None = None
  max_positions: int | None = None
  rotary_theta: float = 0.0
  tokenizer: str = ''

  def validate(self) -> None:
    sizes = (self.num_layers, self.width_factor, self.max_positions)
    if not self.tokenizer and sizes == (None, None, None):
      raise InputError(
        'no size to grow to is given; give --num_layers, --width_factor, '
        '--max_positions or --tokenizer'
      )
    if self.rotary_theta and self.max_positions is None:
      raise InputError(
        f'--rotary_theta={self.rotary_theta} has an effect '
        'only with --max_positions; give both or neither'
      )
    # The comparison is false for nan, so nan is refused too.
    if self.rotary_theta and not 0 < self.rotary_theta < float('inf'):
      raise InputError(
        f'--rotary_theta={self.rotary_theta}: give a number above 0'
      )


def grow(
  source: str, output: str | os.PathLike, growth: Growth, *, seed: int = 0
) -> list[str]:
  """Writes a larger model of `source` as the workdir `output`.

  Args:
    source: a path for open_pretrained. A fine-tuning run gives its best seed's
      model.
    output: the folder; it must not be there yet.
    growth: the sizes to grow to.
    seed: draws the shares that the copies of a unit get when the width grows.

  Returns:
    Lines that say what grew and whether the model computes the same.

  Raises:
    InputError: the source cannot be used, or cannot grow so, or the output is
      there already. Nothing is left half-written.
  """
  growth.validate()
  with durable_files.new_folder(output) as folder:
    small = open_pretrained(source)
    tokenizer = small.tokenizer
    if growth.tokenizer:
      tokenizer = load_tokenizer(growth.tokenizer)
    steps = _steps(small, growth, tokenizer, seed)
    params, model = small.load_params(), small.model
    sizes = [functional.num_parameters(params)]
    lines = []
    for function, kept in steps:
      before = model
      params, model = function(params, model)
      changes = ', '.join(
        f'{name} {old} -> {new}'
        for name, old, new in differences(before, model)
      )
      lines.append(f'{changes or "the same sizes"}: {kept}')
    model.validate()
    sizes.append(functional.num_parameters(params))
    experiment = _experiment(small, params, model)
    save_model(folder, experiment, tokenizer, jax.device_get(params))
    record = {'input': source, 'seed': seed, 'num_parameters': sizes}
    durable_files.write_json(folder / _RECORD, record | {'steps': lines})
  return [
    f'{output}: {sizes[0]:,} -> {sizes[1]:,} parameters',
    *_notes(small, tokenizer),
    *lines,
    *_how_to_go_on(output, small, model, tokenizer),
  ]


def _steps(
  small: Pretrained, growth: Growth, tokenizer: Tokenizer, seed: int
) -> list[tuple[Callable[[functional.Params, EncoderConfig], Grown], str]]:
  """Returns (function that grows params and config, what it keeps) in order."""
  config = small.model
  steps = []
  if growth.tokenizer:
    steps.append(_vocabulary_step(small, growth, tokenizer))
  if growth.max_positions is not None:
    theta = growth.rotary_theta
    if theta and config.positions != 'rotary':
      raise InputError(
        f'--rotary_theta={theta}: the positions of {small.origin} are '
        f'{config.positions}, without a theta; leave the flag out'
      )
    is_limit_alone = bool(theta) and theta == config.rotary_theta
    extend = _positions_step(small, growth.max_positions, theta)
    steps.append((extend, SAME if is_limit_alone else OTHER))
  if growth.num_layers is not None:
    add = functools.partial(growing.add_layers, num_layers=growth.num_layers)
    adds_nothing = config.norm_placement == 'pre' and not config.share_layers
    steps.append((add, SAME if adds_nothing else OTHER))
  if growth.width_factor is not None:
    steps.append((_width_step(small, growth.width_factor, seed), ROUNDED))
  return steps


def _positions_step(
  small: Pretrained, max_positions: int, theta: float
) -> Callable[[functional.Params, EncoderConfig], Grown]:
  def extend(params: functional.Params, config: EncoderConfig) -> Grown:
    infos = small.infos(params, config)
    return growing.extend_positions(
      params, config, max_positions, infos, rotary_theta=theta
    )

  return extend


def _width_step(
  small: Pretrained, factor: int, seed: int
) -> Callable[[functional.Params, EncoderConfig], Grown]:
  def widen(params: functional.Params, config: EncoderConfig) -> Grown:
    infos, key = small.infos(params, config), jax.random.key(seed)
    return growing.widen(params, config, factor, key, infos)

  return widen


def _vocabulary_step(
  small: Pretrained, growth: Growth, tokenizer: Tokenizer
) -> tuple[Callable[[functional.Params, EncoderConfig], Grown], str]:
  old_size, size = small.tokenizer.table.vocab_size, tokenizer.table.vocab_size
  pieces = pieces_of_new(
    small.tokenizer, tokenizer, f'--tokenizer={growth.tokenizer}'
  )

  def extend(params: functional.Params, config: EncoderConfig) -> Grown:
    # The table may have rows for which the old tokenizer had no entry; new
    # entries replace them.
    return growing.extend_vocabulary(
      params,
      dataclasses.replace(config, vocab_size=old_size),
      max(size, config.vocab_size),
      small.infos(params, config),
      pieces=pieces,
    )

  kept = (
    f'{size - old_size:,} new entries, each the mean of the pieces that the '
    'old tokenizer cuts it into'
  )
  if num_alone := sum(not len(ids) for ids in pieces):
    kept += f' ({num_alone:,} have no pieces and are the mean of all entries)'
  kept += '; scores of the old entries are the same, up to rounding'
  if unused := never_drawn(tokenizer, old_size):
    kept += (
      f'; {len(unused):,} of the new entries will never be used, because the '
      f'tokenizer cuts their text into others, such as {listed(unused[:3])}'
    )
  return extend, kept


def _experiment(
  small: Pretrained, params: functional.Params, model: EncoderConfig
) -> ConvertedModel:
  config = ConvertedModel(
    model=model,
    family=getattr(small.experiment, 'family', ''),
    heads=tuple(sorted(params.keys() - {'encoder'})),
    no_classifier=getattr(small.experiment, 'no_classifier', ''),
    facts=small.facts,
  )
  if small.facts is not None:
    config.task = dataclasses.replace(
      small.experiment.task, train_path='', eval_path=''
    )
  return config


def _notes(small: Pretrained, tokenizer: Tokenizer) -> list[str]:
  lines = [*dict.fromkeys((*small.tokenizer.notes, *tokenizer.notes))]
  if small.which_seed:
    lines.append(f'seed: {small.which_seed}')
  if small.checkpoint:
    if small.checkpoint.left_out:
      lines.append(f'left_out: {", ".join(small.checkpoint.left_out)}')
    lines += small.checkpoint.notes
  return lines


def _how_to_go_on(
  output: str | os.PathLike,
  small: Pretrained,
  model: EncoderConfig,
  tokenizer: Tokenizer,
) -> list[str]:
  if small.facts is not None:
    return [f'tune it with: bert-jax finetune --config.init_from={output}']
  flags = [f'--config.init_from={output}'] + [
    f'--config.model.{name}={value}'
    for name, _, value in differences(small.model, model)
    # An experiment takes vocab_size from its corpus.
    if name != 'vocab_size'
  ]
  lines = [f'train it further with: bert-jax pretrain {" ".join(flags)}']
  if tokenizer is not small.tokenizer:
    lines.append(f'its corpus needs: prepare --tokenizer={output}/tokenizer')
  return lines
