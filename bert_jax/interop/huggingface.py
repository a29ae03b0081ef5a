"""A Hugging Face folder: its config and weights in, and out."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.config.json_files import read_object, read_or_none
from bert_jax.errors import InputError, shown
from bert_jax.interop import beside_weights, cross_encoder, weights_files
from bert_jax.interop.export_form import export_form
from bert_jax.interop.family import Family, Found, read_params, write_params
from bert_jax.interop.family_config import read_config, write_config
from bert_jax.interop.labels import read_task_head
from bert_jax.interop.recognise import CONFIG, recognise
from bert_jax.interop.wrapped_names import (
  adapter_problem,
  inner_names,
  prefix_problem,
  unwrap,
)
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import model_with_heads
from bert_jax.models.heads_by_name import heads_of
from bert_jax.models.task_head import CHOICES, TEXTS, TaskHead

# Tokenizer classes of transformers that can hold any kind of tokenizer.
_ANY_KIND = ('PreTrainedTokenizerFast', 'TokenizersBackend')
# Multiple to which others pad a table for speed, and the most rows they add.
_FILLED_TO, _MOST_FILLED = 8, 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """A checkpoint of another library, converted.

  heads: the parts of `params` beside the encoder.
  head: for a task, with the names of its outputs; None without one.
  no_classifier: why one that is in the file was left out.
  left_out: their names that have no place here.
  notes: a sentence for each thing that was untidy.
  no_comparison: why transformers cannot load it as it is; '': it can.
  """

  family: Family
  model: EncoderConfig
  params: functional.Params
  heads: tuple[str, ...]
  head: TaskHead | None
  no_classifier: str = ''
  left_out: tuple[str, ...]
  notes: tuple[str, ...]
  no_comparison: str = ''


def is_folder(folder: pathlib.Path) -> bool:
  """Returns whether a folder is one of Hugging Face and not a workdir."""
  config = read_or_none(folder / CONFIG)
  if config is None:
    return weights_files.find(folder) is not None
  return isinstance(config, dict) and '_type' not in config


def weights(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of `folder` that `read` takes parameters from."""
  path = weights_files.find(folder)
  return weights_files.all_files(path) if path else []


def read(
  folder: pathlib.Path,
  *,
  tokenizer_size: int,
  pad_id: int | None = None,
  problems: Sequence[str] = (),
) -> Checkpoint:
  """Reads config and weights.

  Args:
    folder: a folder that transformers wrote.
    tokenizer_size: entries of its tokenizer; 0: not known.
    pad_id: the id of padding in its tokenizer; None: not known.
    problems: faults that are known already.

  Raises:
    InputError: One line with all that does not fit: nothing is guessed, and no
      parameter stays as it was initialised.
  """
  config = read_json(folder / CONFIG)
  notes: list[str] = []
  weights, is_wrapped = _read_weights(folder, config, problems, notes)
  family = recognise(folder, config, weights, notes)
  problems = [*problems, *_foreign_tokenizer(folder, family, config)]
  in_config: list[str] = []
  model = read_config(family, config, in_config)
  if misnamed := prefix_problem(family, [*weights]):
    in_config.append(misnamed)
  if in_config:
    # A comparison of weights with a wrong config would only mislead.
    raise refused(folder, problems + in_config)
  head, why_none = read_task_head(family, config, weights, problems, notes)
  head = cross_encoder.read_head(folder, config, head, notes)
  found = read_params(
    family,
    model,
    weights,
    problems,
    task_head=head,
    is_untied=config.get('tie_word_embeddings') is False,
  )
  notes += _remarks(family, config, weights, found)
  check_tokenizer_size(tokenizer_size, model, problems, notes)
  if family.positions_follow_padding and pad_id is not None:
    _check_padding(pad_id, model, problems)
  if problems:
    raise refused(folder, problems)
  return Checkpoint(
    family=family,
    model=model,
    params=found.params,
    heads=found.heads,
    head=head,
    no_classifier=why_none,
    left_out=found.left_out,
    notes=tuple(notes),
    no_comparison='transformers does not know wrapped names'
    if is_wrapped
    else '',
  )


def write(
  folder: pathlib.Path,
  family: Family,
  architecture: str,
  model: EncoderConfig,
  params: functional.Params,
  *,
  head: TaskHead | None = None,
  pad_id: int,
  cls_id: int,
  sep_id: int,
) -> tuple[list[str], int]:
  """Writes config.json and model.safetensors.

  Returns the heads left out, and the number of parameters written.
  `architecture` is a class of the family whose heads are all in `params`, and
  `head` what its head for a task is, if it has one.
  """
  infos = model_with_heads(model, heads_of(model, params), 'float32').infos
  model, params = export_form(family, model, params, infos, pad_id=pad_id)
  chosen = family.architectures[architecture]
  kept = {'encoder', *chosen.heads, *chosen.optional}
  left_out = [name for name in params if name not in kept]
  params = {name: part for name, part in params.items() if name in kept}
  weights = write_params(family.with_heads(kept), params, infos)
  if architecture == bare_architecture(family):
    weights = {
      name.removeprefix(family.prefix): array for name, array in weights.items()
    }
  config = {
    'architectures': [architecture],
    'model_type': family.model_type,
    **write_config(family, model),
    'pad_token_id': pad_id,
    **dict.fromkeys(family.cls_fields, cls_id),
    **dict.fromkeys(family.sep_fields, sep_id),
    'torch_dtype': 'float32',
  }
  if head and head.head in chosen.heads:
    names = head.output_names
    config['id2label'] = {str(i): name for i, name in enumerate(names)}
    config['label2id'] = {name: i for i, name in enumerate(names)}
    if head.problem_type:
      config['problem_type'] = head.problem_type
    if head.activation:
      config |= cross_encoder.marks(head.activation)
    if family.pooling_field and head.kind in (TEXTS, CHOICES):
      config[family.pooling_field] = head.pooling
  text = json.dumps(config, indent=2, ensure_ascii=False) + '\n'
  (folder / CONFIG).write_text(text, 'utf-8')
  weights_files.write(folder / weights_files.SAFETENSORS, weights)
  return left_out, functional.num_parameters(params)


def bare_architecture(family: Family) -> str:
  """The family's class without a head, such as BertModel."""
  return next(
    name for name, value in family.architectures.items() if not value.heads
  )


def choose_architecture(
  family: Family, heads: Sequence[str], wanted: str = ''
) -> str:
  """The class to export as: the one that is wanted, or the first that fits.

  Raises InputError if there is no such class, or a head of it is missing.
  """
  if not wanted:
    return family.architecture(heads)
  if wanted not in family.architectures:
    raise InputError(
      f'--architecture={shown(wanted)}: for {family.model_type} there are '
      f'{", ".join(family.architectures)}'
    )
  lacking = set(family.architectures[wanted].heads) - set(heads)
  if lacking:
    raise InputError(
      f'--architecture={wanted} needs {", ".join(sorted(lacking))}, which this '
      f'checkpoint does not have; it can be {family.architecture(heads)}'
    )
  return wanted


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Raises InputError naming the file if it is no JSON object."""
  try:
    return read_object(path, 'fetch it again')
  except FileNotFoundError:
    raise InputError(f'{path}: is missing; fetch it too') from None


def refused(folder: pathlib.Path, problems: Sequence[str]) -> InputError:
  """An error that names all problems in one line."""
  return InputError(f'{folder} cannot be converted: {"; ".join(problems)}')


def check_tokenizer_size(
  size: int, model: EncoderConfig, problems: list[str], notes: list[str]
) -> None:
  """Compares the tokenizer's size (0: unknown) with the rows of the table.

  Fewer entries than rows are usual where the table is filled up to a round
  number; half of them are a tokenizer of another model.
  """
  rows = model.vocab_size
  if size > rows:
    problems.append(
      f'the tokenizer has {size} entries, the embedding (vocab_size) only '
      f'{rows}; they are of different models'
    )
  elif 0 < size < rows / 2:
    problems.append(
      f'the tokenizer has {size} entries, the embedding (vocab_size) {rows}, '
      'more than twice as many; they are of different models'
    )
  elif 0 < size < rows:
    said = (
      f'the tokenizer has {size} entries, the embedding {rows}: the last ones '
      'are never used'
    )
    if rows % _FILLED_TO or rows - size >= _MOST_FILLED:
      said = (
        f'WARNING: {said}. {rows} is no round number to which a table is '
        'filled up: look whether the tokenizer is that of the model, and whole '
        '(added tokens)'
      )
    notes.append(said)


def _read_weights(
  folder: pathlib.Path,
  config: Mapping[str, Any],
  problems: Sequence[str],
  notes: list[str],
) -> tuple[dict[str, np.ndarray], bool]:
  """Returns (arrays by name, whether a wrapper was taken off the names).

  Raises InputError if there are no weights, or their form is not known.
  """
  path = weights_files.find(folder)
  if path is None:
    raise InputError(
      f'{folder}: it has neither {weights_files.SAFETENSORS} nor '
      f'{weights_files.TORCH}, whole or in shards; '
      f'{beside_weights.why_no_weights(folder)}'
    )
  found: list[str] = []
  beside_weights.check_side_files(folder, config, found, notes)
  if found:
    raise refused(folder, [*problems, *found])
  weights = weights_files.read(path)
  bare = unwrap(weights, found, notes)
  if problem := adapter_problem(bare):
    found.append(problem)
  beside_weights.hold_against_others(path, weights, found, notes)
  if found:
    raise refused(folder, [*problems, *found])
  return bare, bare.keys() != weights.keys()


def _remarks(
  family: Family,
  config: Mapping[str, Any],
  weights: Mapping[str, np.ndarray],
  found: Found,
) -> list[str]:
  """Sentences on values that were assumed, converted or left out."""
  remarks = []
  heads = family.fields['num_heads']
  if heads.name not in family.read_fields(config, []):
    # Shapes of the weights reveal the other fields that matter here.
    remarks.append(
      f'{heads.name} is missing in config.json: {heads.default} was taken, as '
      'transformers does'
    )
  narrow = {
    array.dtype.name
    for array in weights.values()
    if array.dtype.name in ('float16', 'bfloat16')
  }
  if narrow:
    remarks.append(
      f'its weights are of {" and ".join(sorted(narrow))}; they are kept as '
      'float32'
    )
  is_untied = config.get('tie_word_embeddings') is False
  copies = {family.canonical(name) for name in weights} & {*family.tied}
  if is_untied and 'mlm_head' in found.heads and not copies:
    remarks.append(
      'tie_word_embeddings is false, but the weights have no decoder of its '
      'own: the embedding was taken'
    )
  if inner := inner_names(family, found.left_out):
    remarks.append(
      f'{len(inner)} of those left out lie within the encoder, such as '
      f'{shown(inner[0])}: the weights have them, by config.json the model has '
      'not'
    )
  return [*remarks, *found.notes]


def _check_padding(
  pad_id: int, model: EncoderConfig, problems: list[str]
) -> None:
  """Checks a family whose positions are counted from the id of padding."""
  theirs = model.position_offset - 1
  if pad_id != theirs:
    problems.append(
      f'pad_token_id is {theirs}, and positions are counted from it; the '
      f'tokenizer has {pad_id} for padding: they are of different models'
    )


def _foreign_tokenizer(
  folder: pathlib.Path, family: Family, config: dict[str, Any]
) -> list[str]:
  """A problem, in a list, if the tokenizer's class is not one of the family's.

  Other settings of a tokenizer are the business of its reader.
  """
  path = folder / 'tokenizer_config.json'
  configs = [config, read_json(path)] if path.is_file() else [config]
  for one in configs:
    name = one.get('tokenizer_class')
    if name is not None and name not in (*family.tokenizer_classes, *_ANY_KIND):
      return [
        f'tokenizer_class is {shown(repr(name))}, a tokenizer of another kind '
        f'than {family.tokenizer_classes[0]}'
      ]
  return []
