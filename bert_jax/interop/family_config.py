"""The config of a family: theirs to an encoder of ours, and back."""

import dataclasses
from typing import Any

from bert_jax.errors import InputError, shown
from bert_jax.interop.family import Family, Field, Fields
from bert_jax.models.config import EncoderConfig


def read_config(
  family: Family, config: Fields, problems: list[str]
) -> EncoderConfig:
  """Turns their config into ours; what ours lacks is added to `problems`."""
  config = family.read_fields(config, problems)
  values = {
    ours: _read_field(field, config, problems)
    for ours, field in family.fields.items()
  }
  for name, allowed in family.fixed.items():
    if name in config and config[name] not in allowed:
      problems.append(
        f'{name} is {shown(repr(config[name]))}, ours can only be '
        f'{allowed[0]!r}'
      )
  found = plain(EncoderConfig(**family.constants, **values))
  if not problems:
    try:
      found.validate()
    except InputError as error:
      problems.append(str(error))
  return found


def write_config(family: Family, config: EncoderConfig) -> dict[str, Any]:
  """Returns the fields of a config.json that are equivalent to our config."""
  written = {}
  for ours, field in family.fields.items():
    # embedding_size 0 means the width of the layers, which config.json names.
    value = getattr(config, 'table_dim' if ours == 'embedding_size' else ours)
    by_ours = {mine: theirs for theirs, mine in reversed(field.words.items())}
    written[field.name] = by_ours.get(value, value)
  written |= {
    name: value for name, (value, *_) in family.fixed.items() if value
  }
  return dict(family.write_fields(written))


def plain(config: EncoderConfig) -> EncoderConfig:
  """Writes a config in one way where two would say the same."""
  plainer = {'vocab_size': config.vocab_size}
  if config.table_dim == config.embed_dim:
    plainer['embedding_size'] = 0
  if config.vocab_size == config.table_size:
    plainer['vocab_multiple'] = 1
  return dataclasses.replace(config, **plainer)


def _read_field(field: Field, config: Fields, problems: list[str]) -> Any:
  value = config.get(field.name, field.default)
  if field.words:
    if not isinstance(value, str) or value not in field.words:
      problems.append(
        f'{field.name} is {shown(repr(value))}, ours can only be '
        f'{" or ".join(field.words)}'
      )
      value = field.default
    return field.words[str(value)]
  # isinstance would accept a bool as an int.
  is_number = type(value) in (int, type(field.default))
  if not is_number or not 0 <= value < float('inf'):
    problems.append(f'{field.name} is {shown(repr(value))}, which is no size')
    return field.default
  # A rate may be written as 0 for 0.0.
  return type(field.default)(value) if type(value) is int else value
