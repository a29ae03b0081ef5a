"""Marks of a reranker of sentence-transformers, which it calls a CrossEncoder.

Its folder is one of transformers for a text class with one output. The function
that makes a score of the output is named in config.json, by versions 4 and 5 in
"sentence_transformers" and by earlier ones in a field of its own; version 6
names it in config_sentence_transformers.json. Source: sentence-transformers
6.2, `cross_encoder/model.py`.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from bert_jax.config.json_files import read_or_none
from bert_jax.errors import shown
from bert_jax.interop.sentence_transformers import MODULES, kind_of
from bert_jax.models.task_head import IDENTITY, SIGMOID, TEXTS, TaskHead

_CONFIG = 'config_sentence_transformers.json'
_ACTIVATION, _BEFORE_4 = 'activation_fn', 'sbert_ce_default_activation_function'
_CLASSES = {
  SIGMOID: 'torch.nn.modules.activation.Sigmoid',
  IDENTITY: 'torch.nn.modules.linear.Identity',
}


def marks(activation: str) -> dict[str, Any]:
  """The fields of config.json by which a CrossEncoder finds its activation."""
  return {'sentence_transformers': {_ACTIVATION: _CLASSES[activation]}}


def is_class_alone(folder: pathlib.Path, config: Mapping[str, Any]) -> bool:
  """True for a CrossEncoder that is a class of transformers and nothing more.

  Others have modules that are not read, such as a Pooling and a Dense.
  """
  modules = read_or_none(folder / MODULES)
  kinds = [kind_of(one) for one in modules] if isinstance(modules, list) else []
  return _stated(folder, config) is not None and kinds in ([], ['Transformer'])


def read_head(
  folder: pathlib.Path,
  config: Mapping[str, Any],
  head: TaskHead | None,
  notes: list[str],
) -> TaskHead | None:
  """The head as that of a reranker, if it has one output and is marked so.

  Without a mark it stays a regression, as transformers takes it. `notes`
  receives a sentence on an activation or a prompt that is not computed here.
  """
  stated = _stated(folder, config)
  if head is None or stated is None:
    return head
  if head.kind != TEXTS or len(head.output_names) != 1:
    return head
  if _cross_encoder(folder).get('default_prompt_name') is not None:
    notes.append(
      f'{_CONFIG} has a default prompt; here none is put before a query'
    )
  # Torch gives some classes two paths.
  name = stated.rpartition('.')[2].lower()
  if name not in _CLASSES:
    notes.append(
      f'the activation {shown(repr(stated))} of its scores is not computed '
      'here; they are the outputs of the classifier as they are'
    )
    name = IDENTITY
  return dataclasses.replace(head, problem_type='', activation=name)


def _stated(folder: pathlib.Path, config: Mapping[str, Any]) -> str | None:
  """The activation's class as the folder has it; None without any."""
  marked = config.get('sentence_transformers')
  marked = marked if isinstance(marked, dict) else {}
  for value in (
    _cross_encoder(folder).get(_ACTIVATION),
    marked.get(_ACTIVATION),
    config.get(_BEFORE_4),
  ):
    if isinstance(value, str):
      return value
  return None


def _cross_encoder(folder: pathlib.Path) -> dict[str, Any]:
  """The file of a CrossEncoder of version 6; {} for what is none."""
  config = read_or_none(folder / _CONFIG)
  if isinstance(config, dict) and config.get('model_type') == 'CrossEncoder':
    return config
  return {}
