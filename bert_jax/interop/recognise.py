"""Recognises the family of a checkpoint, and of one of our own encoders."""

import dataclasses
import difflib
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from bert_jax.errors import InputError, listed, shown
from bert_jax.interop import name_table
from bert_jax.interop.albert import ALBERT
from bert_jax.interop.bert import BERT
from bert_jax.interop.distilbert import DISTILBERT
from bert_jax.interop.electra import ELECTRA
from bert_jax.interop.family import Family, Fields
from bert_jax.interop.family_config import plain, read_config, write_config
from bert_jax.interop.modernbert import MODERNBERT
from bert_jax.interop.roberta import ROBERTA
from bert_jax.models.config import EncoderConfig

FAMILIES = (BERT, ROBERTA, MODERNBERT, ELECTRA, ALBERT, DISTILBERT)
CONFIG = 'config.json'


def family_of(
  model: EncoderConfig, heads: Sequence[str] = (), architecture: str = ''
) -> Family:
  """The family whose config can describe one of our encoders completely.

  Among several, one with the class `architecture` comes first, then the one
  with places for most of the heads, then one that agrees on a pooler that is
  not there. Raises InputError if there is none.
  """
  fitting = []
  # Padding of the table does not count: huggingface.write leaves it out.
  model = dataclasses.replace(plain(model), vocab_multiple=1)
  for family in FAMILIES:
    problems: list[str] = []
    again = read_config(family, write_config(family, model), problems)
    wanted = model
    if 'pooler' not in heads:
      wanted = dataclasses.replace(
        model,
        pooler_activation=again.pooler_activation,
        pooler_norm=again.pooler_norm,
      )
    if again == wanted and not problems:
      chosen = family.architectures[family.architecture(heads)]
      places = len({*chosen.heads, *chosen.optional} & {*heads})
      rank = architecture in family.architectures, places, wanted == model
      fitting.append((rank, family))
  if fitting:
    return max(fitting, key=lambda ranked: ranked[0])[1]
  known = ', '.join(family.model_type for family in FAMILIES)
  raise InputError(
    f'transformers has no class for this encoder among {known}: none has all '
    f'of {shown(repr(model), 600)}'
  )


def recognise(
  folder: pathlib.Path,
  config: dict[str, Any],
  names: Iterable[str],
  notes: list[str],
) -> Family:
  """The family by model_type; without one, by class or parameter names.

  Raises InputError that names the nearest one, and what differs from it.
  """
  by_type = {family.model_type: family for family in FAMILIES}
  model_type = config.get('model_type')
  if isinstance(model_type, str) and model_type in by_type:
    return by_type[model_type]
  nearest = max(FAMILIES, key=lambda family: len(matched(family, names)))
  if model_type is None:
    classes = architectures_of(config)
    for family in FAMILIES:
      if set(classes) & set(family.architectures):
        notes.append(
          f'config.json has no model_type; {classes[0]} is of '
          f'{family.model_type}'
        )
        return family
    if not classes and _is_whole(nearest, names):
      notes.append(
        'config.json has no model_type; the names are those of '
        f'{nearest.model_type}'
      )
      return nearest
  raise _unknown(folder, model_type, architectures_of(config), nearest, names)


def architectures_of(config: Fields) -> list[str]:
  """The classes that a config.json names."""
  classes = config.get('architectures')
  return list(map(str, classes)) if isinstance(classes, list) else []


def matched(family: Family, names: Iterable[str]) -> set[str]:
  """The family's names, with {} for numbers, that are among these."""
  found = {name_table.pattern(family.canonical(name))[0] for name in names}
  return found & family.patterns


def encoder_patterns(family: Family) -> set[str]:
  """The names of the family's encoder, with {} for numbers."""
  return {
    name_table.pattern(rule.theirs)[0]
    for rule in family.table
    if rule.paths[0].startswith('encoder/')
  }


def _is_whole(family: Family, names: Iterable[str]) -> bool:
  return encoder_patterns(family) <= matched(family, names)


def _unknown(
  folder: pathlib.Path,
  model_type: Any,
  classes: Sequence[str],
  nearest: Family,
  names: Iterable[str],
) -> InputError:
  """Names the nearest family and what differs from it."""
  known = [family.model_type for family in FAMILIES]
  what = f'model_type {shown(repr(model_type))}'
  if model_type is None and classes:
    what = f'architectures {listed(classes)}'
  near = difflib.get_close_matches(str(model_type), known, 1)
  # Names of parameters say more than the name of their config.
  if near and not _is_whole(nearest, names):
    nearest = next(f for f in FAMILIES if f.model_type == near[0])
  lacking = sorted(encoder_patterns(nearest) - matched(nearest, names))
  patterns = {name_table.pattern(nearest.canonical(n))[0] for n in names}
  foreign = sorted(patterns - nearest.patterns)
  differences = [
    f'{verb} {len(found)} kinds of parameter such as {shown(found[0])}'
    for verb, found in (('it lacks', lacking), ('it has', foreign))
    if found
  ]
  return InputError(
    f'{folder / CONFIG}: {what} is not known; there are {", ".join(known)}. '
    f'The nearest is {nearest.model_type}, of which '
    f'{", and ".join(differences) or "all names are the same"}'
  )
