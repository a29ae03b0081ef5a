"""A Hugging Face folder: its config and weights in, and out."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from bert_jax.errors import InputError, listed, quoted, shown
from bert_jax.interop import name_table, weights_files
from bert_jax.interop.export_form import export_form
from bert_jax.interop.family import (
  CLASSIFIER,
  Family,
  read_config,
  read_params,
  write_config,
  write_params,
)
from bert_jax.interop.recognise import (
  CONFIG,
  architectures_of,
  matched,
  recognise,
)
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import CLS, POOLINGS

# Classes of theirs that are whatever tokenizer.json says.
_ANY_KIND = ('PreTrainedTokenizerFast', 'TokenizersBackend')
_TEXT_CLASSIFIER = 'ForSequenceClassification'
_ONE_LABEL = (None, 'single_label_classification')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """What stands in a checkpoint of others, in our terms.

  heads: the parts of `params` beside the encoder. label_names: those of the
  classifier, in the order of its outputs; [] without one. pooling: what the
  classifier sees, of models/heads.py. left_out: their names that have no place
  here. notes: a sentence for each thing that was untidy.
  has_class: whether transformers can load it.
  """

  family: Family
  model: EncoderConfig
  params: functional.Params
  heads: tuple[str, ...]
  label_names: tuple[str, ...]
  pooling: str = CLS
  left_out: tuple[str, ...]
  notes: tuple[str, ...]
  has_class: bool = True


def is_folder(folder: pathlib.Path) -> bool:
  """Whether it looks like one, rather than like a workdir of ours."""
  try:
    config = json.loads((folder / CONFIG).read_text('utf-8'))
  except (OSError, ValueError, RecursionError):
    return weights_files.find(folder) is not None
  return isinstance(config, dict) and '_type' not in config


def read(
  folder: pathlib.Path,
  *,
  tokenizer_size: int,
  pad_id: int | None = None,
  problems: Sequence[str] = (),
) -> Checkpoint:
  """Reads config and weights.

  Args:
    folder: as transformers writes it.
    tokenizer_size: entries of its tokenizer; 0: not known.
    pad_id: of padding in its tokenizer; None: not known.
    problems: what is known to be wrong already.

  Raises:
    InputError: One line with all that does not fit: nothing is guessed, and no
      parameter stays as it was initialised.
  """
  config = read_json(folder / CONFIG)
  path = weights_files.find(folder)
  if path is None:
    raise InputError(
      f'{folder}: it has neither {weights_files.SAFETENSORS} nor '
      f'{weights_files.TORCH}, whole or in shards; fetch the weights too'
    )
  weights = weights_files.read(path)
  notes: list[str] = []
  family = recognise(folder, config, weights, notes)
  problems = [*problems, *_foreign_tokenizer(folder, family, config)]
  in_config: list[str] = []
  model = read_config(family, config, in_config)
  if in_config:
    # Its sizes are those that the weights would be held against.
    raise refused(folder, problems + in_config)
  labels = _labels(family, config, weights, problems, notes)
  found = read_params(family, model, weights, problems, num_classes=len(labels))
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
    label_names=tuple(labels),
    pooling=_pooling(family, config) if labels else CLS,
    left_out=found.left_out,
    notes=tuple(notes),
  )


def write(
  folder: pathlib.Path,
  family: Family,
  architecture: str,
  model: EncoderConfig,
  params: functional.Params,
  *,
  label_names: Sequence[str] = (),
  pooling: str = CLS,
  pad_id: int,
  cls_id: int,
  sep_id: int,
) -> tuple[list[str], int]:
  """Writes config.json and model.safetensors.

  Returns the heads left out, and the number of parameters written.
  `architecture` is a class of the family whose heads are all in `params`, and
  `pooling` one that the family's classifier can have.
  """
  model, params = export_form(family, model, params, pad_id=pad_id)
  chosen = family.architectures[architecture]
  kept = {'encoder', *chosen.heads, *chosen.optional}
  left_out = [name for name in params if name not in kept]
  params = {name: part for name, part in params.items() if name in kept}
  weights = write_params(family, params)
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
  if CLASSIFIER in chosen.heads:
    config['id2label'] = {str(i): name for i, name in enumerate(label_names)}
    config['label2id'] = {name: i for i, name in enumerate(label_names)}
    config['problem_type'] = 'single_label_classification'
    if family.pooling_field:
      config[family.pooling_field] = pooling
  text = json.dumps(config, indent=2, ensure_ascii=False) + '\n'
  (folder / CONFIG).write_text(text, 'utf-8')
  weights_files.write(folder / weights_files.SAFETENSORS, weights)
  return left_out, functional.num_parameters(params)


def bare_architecture(family: Family) -> str:
  """The class of theirs without a head, whose names bear no prefix."""
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
    value = json.loads(path.read_text('utf-8'))
  except FileNotFoundError:
    raise InputError(f'{path}: is missing; fetch it too') from None
  except (ValueError, RecursionError) as error:
    raise InputError(f'{path}: is not JSON ({error}); fetch it again') from None
  if not isinstance(value, dict):
    raise InputError(f'{path}: is no JSON object; fetch it again')
  return value


def refused(folder: pathlib.Path, problems: Sequence[str]) -> InputError:
  """All problems in one line."""
  return InputError(f'{folder} cannot be converted: {"; ".join(problems)}')


def check_tokenizer_size(
  size: int, model: EncoderConfig, problems: list[str], notes: list[str]
) -> None:
  """Holds it (0: not known) against the rows of the embedding."""
  if size > model.vocab_size:
    problems.append(
      f'the tokenizer has {size} entries, the embedding (vocab_size) only '
      f'{model.vocab_size}; they are of different models'
    )
  elif 0 < size < model.vocab_size:
    notes.append(
      f'the tokenizer has {size} entries, the embedding {model.vocab_size}: '
      'the last ones are never used'
    )


def _check_padding(
  pad_id: int, model: EncoderConfig, problems: list[str]
) -> None:
  """Of a family whose positions are counted from the id of padding."""
  theirs = model.position_offset - 1
  if pad_id != theirs:
    problems.append(
      f'pad_token_id is {theirs}, and positions are counted from it; the '
      f'tokenizer has {pad_id} for padding: they are of different models'
    )


def _foreign_tokenizer(
  folder: pathlib.Path, family: Family, config: dict[str, Any]
) -> list[str]:
  """A problem where the tokenizer's class is not one of the family's.

  What else the files of a tokenizer say is the business of its reader.
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


def _labels(
  family: Family,
  config: dict[str, Any],
  names: Iterable[str],
  problems: list[str],
  notes: list[str],
) -> list[str]:
  """The labels of a classifier of texts, [] where it is none.

  Classifiers of tokens and of choices have the same names in the file: only the
  class tells them apart.
  """
  classifier = [
    name_table.pattern(rule.theirs)[0]
    for rule in family.table
    if rule.paths[0].startswith(f'{CLASSIFIER}/')
  ]
  if not set(classifier) & matched(family, names):
    return []
  classes = architectures_of(config)
  if not any(name.endswith(_TEXT_CLASSIFIER) for name in classes):
    notes.append(
      f'its classifier is left out: by architectures {listed(classes)} it is '
      'not one of whole texts'
    )
    return []
  kind = config.get('problem_type')
  if kind not in _ONE_LABEL:
    notes.append(
      f'its classifier is left out: problem_type {quoted(str(kind))} is not '
      'one label a text'
    )
    return []
  pooling = _pooling(family, config)
  if pooling not in POOLINGS:
    notes.append(
      f'its classifier is left out: {family.pooling_field} is '
      f'{shown(repr(pooling))}, ours can only be {" or ".join(POOLINGS)}'
    )
    return []
  labels = _label_names(config, problems, notes)
  if len(labels) == 1:
    notes.append(
      'its classifier is left out: with one label it is a regression'
    )
    return []
  return labels


def _pooling(family: Family, config: dict[str, Any]) -> Any:
  return config.get(family.pooling_field, CLS) if family.pooling_field else CLS


def _label_names(
  config: dict[str, Any], problems: list[str], notes: list[str]
) -> list[str]:
  by_id = config.get('id2label')
  # Two are what transformers takes where a config says nothing.
  count = config.get('num_labels', 2)
  if by_id is None and isinstance(count, int) and count > 0:
    by_id = {str(number): f'LABEL_{number}' for number in range(count)}
    notes.append(
      f'id2label is missing; the labels are {listed([*by_id.values()])}'
    )
  if not isinstance(by_id, dict) or not all(
    isinstance(label, str) for label in by_id.values()
  ):
    problems.append(f'id2label is {shown(repr(by_id))}, which names no labels')
    return []
  labels = [by_id.get(str(number), '') for number in range(len(by_id))]
  if '' in labels or len(set(labels)) < len(labels):
    problems.append(
      f'id2label is {shown(repr(by_id))}; it must name labels 0 to '
      f'{len(labels) - 1}, each once'
    )
    return []
  if 'num_labels' in config and count != len(labels):
    notes.append(
      f'num_labels is {shown(repr(count))}, id2label names {len(labels)} '
      'labels; these are taken'
    )
  return labels
