"""Rewrites an encoder, or a generator, so that a family's config describes it.

The result computes the same function. A generator, which shares the encoder's
embeddings here, becomes a model of its own.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bert_jax.interop.family import Family
from bert_jax.interop.family_config import plain
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig, electra_generator
from bert_jax.models.generator import generator_width
from bert_jax.param_info import ParamInfo

_POSITIONS = 'encoder/embeddings/position/embedding'


def export_form(
  family: Family,
  config: EncoderConfig,
  params: functional.Params,
  infos: Mapping[str, ParamInfo],
  *,
  pad_id: int,
) -> tuple[EncoderConfig, functional.Params]:
  """Removes or adds rows of tables that no output depends on.

  Removed are the entries that pad the vocabulary, which transformers would
  predict. If the family counts positions from the id of padding, the rows
  before the first position are added or removed.
  """
  flat = {
    path: np.asarray(leaf) for path, leaf in functional.flatten(params).items()
  }
  for path in flat.keys() & infos.keys():
    if infos[path].sizes[0] == 'vocab':
      flat[path] = flat[path][: config.vocab_size]
  changed = {'vocab_multiple': 1}
  if family.positions_follow_padding:
    changed['position_offset'] = pad_id + 1
    rows = flat[_POSITIONS][config.position_offset :]
    before = flat[_POSITIONS][: config.position_offset]
    if config.position_offset != pad_id + 1:
      before = np.zeros((pad_id + 1, rows.shape[1]), rows.dtype)
    flat[_POSITIONS] = np.concatenate([before, rows])
  params = functional.unflatten(flat)
  return dataclasses.replace(plain(config), **changed), params


def generator_form(
  config: EncoderConfig, params: functional.Params
) -> tuple[EncoderConfig, functional.Params]:
  """The `generator` of these parameters as an encoder with an MLM head."""
  generator = dict(params['generator'])
  mlm_head = generator.pop('mlm_head')
  embeddings = dict(params['encoder']['embeddings'])
  # The encoder's projection does not fit the generator's width.
  embeddings.pop('projection', None)
  if 'projection' in generator:
    embeddings['projection'] = generator.pop('projection')
  return (
    plain(electra_generator(config, generator_width(config, params))),
    {'encoder': generator | {'embeddings': embeddings}, 'mlm_head': mlm_head},
  )
