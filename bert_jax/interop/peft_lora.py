"""LoRA in the folder layout of the `peft` package, written and read.

A folder holds adapter_config.json and adapter_model.safetensors: for each
corrected torch.nn.Linear lora_A [rank, in] and lora_B [out, rank], and the
heads as they are. The base is another folder, which the config names.

Where their Linear is several matrices of ours (ModernBERT's Wqkv and Wi), n
corrections of rank r are written as one of rank n r: all A stacked, each B in
the rows of its own outputs and the columns of its own A, and n times the alpha,
which leaves alpha / rank as it is. Read, every matrix of ours takes all of A
and its own rows of B.
"""

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.config.json_files import read_or_none
from bert_jax.errors import InputError, listed, shown
from bert_jax.interop import name_table, weights_files
from bert_jax.interop.family import Family, build, write_params
from bert_jax.interop.name_table import Entry
from bert_jax.local_paths import local_path
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.functional import Model, Params
from bert_jax.models.heads_by_name import CLASSIFIER
from bert_jax.param_info import ENCODER_MATRICES

CONFIG, WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
_PREFIX, _WEIGHT = 'base_model.model.', '.weight'
_A, _B = '.lora_A.weight', '.lora_B.weight'
# Fields with the same value in every config that is written.
_WRITTEN: Mapping[str, Any] = {
  'peft_type': 'LORA',
  'task_type': 'SEQ_CLS',
  'inference_mode': True,
  'bias': 'none',
  'fan_in_fan_out': False,
  'use_rslora': False,
  'use_dora': False,
  'init_lora_weights': True,
}
# Fields of a config that restrict what can be read, and the accepted values.
_FIXED: Mapping[str, tuple[Any, ...]] = {
  'peft_type': ('LORA',),
  'task_type': ('SEQ_CLS',),
  'bias': ('none',),
  'fan_in_fan_out': (False, None),
  'use_dora': (False, None),
  'use_qalora': (False, None),
  'lora_bias': (False, None),
  'layer_replication': (None, []),
  'trainable_token_indices': (None, [], {}),
  'target_parameters': (None, []),
  'alora_invocation_tokens': (None, []),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapter:
  """A converted adapter: its corrections by matrix, and its heads.

  params: `lora` as peft/lora.py has it, with alpha / rank multiplied into B;
    and the heads.
  base: where its config says that the base is.
  """

  params: Params
  num_classes: int
  base: str


def write(
  folder: pathlib.Path,
  family: Family,
  model: Model,
  params: Params,
  *,
  rank: int,
  alpha: float,
  dropout: float,
  base: str,
) -> None:
  """Writes both files.

  Args:
    model: the plain model, its encoder and the heads that are in `params`.
    params: `lora`, and heads.
    rank, alpha, dropout: of every correction.
    base: the folder of the base.
  """
  heads = {name: part for name, part in params.items() if name != 'lora'}
  tensors = write_params(family, heads, model.infos)
  saved = sorted(
    {name.removeprefix(family.prefix).split('.')[0] for name in tensors}
  )
  shapes = _shapes(model)
  factors = {
    path: np.asarray(leaf)
    for path, leaf in functional.flatten(params['lora']).items()
  }
  kernels = [f'{path[:-2]}/kernel' for path in factors if path.endswith('/a')]
  modules, ranks = [], {}
  for entry in name_table.entries(family.table, kernels):
    module = entry.name.removesuffix(_WEIGHT)
    a, b = _to_theirs(entry, factors, shapes, model)
    tensors[module + _A], tensors[module + _B] = a, b
    modules.append(module)
    if len(a) != rank:
      ranks[module.rpartition('.')[2]] = len(a)
  config = {
    **_WRITTEN,
    'base_model_name_or_path': base,
    'r': rank,
    'lora_alpha': alpha,
    'lora_dropout': dropout,
    'rank_pattern': ranks,
    'alpha_pattern': {name: alpha * n / rank for name, n in ranks.items()},
    'target_modules': modules,
    'modules_to_save': saved,
  }
  text = json.dumps(config, indent=2, ensure_ascii=False) + '\n'
  (folder / CONFIG).write_text(text, 'utf-8')
  weights_files.write(
    folder / WEIGHTS, {_PREFIX + name: x for name, x in tensors.items()}
  )


def _to_theirs(
  entry: Entry,
  factors: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  model: Model,
) -> tuple[np.ndarray, np.ndarray]:
  """Joins our corrections of the parts of one Linear to its (A, B)."""
  parts = [
    (path.removesuffix('/kernel'), model.infos[path].matrix_shape(shapes[path]))
    for path in entry.paths
  ]
  stacked = [
    np.moveaxis(factors[f'{owner}/a'], -1, 0)
    for owner, _ in parts
    if f'{owner}/a' in factors
  ]
  a = np.concatenate([one.reshape(len(one), -1) for one in stacked])
  b = np.zeros((sum(shape[1] for _, shape in parts), len(a)), np.float32)
  row = column = 0
  for owner, (_, num_outputs) in parts:
    if (own := factors.get(f'{owner}/b')) is not None:
      block = own.reshape(len(own), -1).T
      b[row : row + num_outputs, column : column + len(own)] = block
      column += len(own)
    row += num_outputs
  return a, b


def read_config(folder: pathlib.Path) -> dict[str, Any] | None:
  """The config of a LoRA in this layout; None if its base is no folder here."""
  config = read_or_none(folder / CONFIG)
  if not isinstance(config, dict) or config.get('peft_type') != 'LORA':
    return None
  base = config.get('base_model_name_or_path')
  is_here = isinstance(base, str) and base and local_path(base).is_dir()
  return config if is_here and (folder / WEIGHTS).is_file() else None


def read(
  folder: pathlib.Path,
  config: Mapping[str, Any],
  family: Family,
  encoder: EncoderConfig,
  base_heads: Params,
) -> Adapter:
  """Reads an adapter for a base of this family and these sizes.

  Args:
    config: what `read_config` found.
    base_heads: parameters of the base beside its encoder; heads that are not
      in the adapter are taken from there.

  Raises:
    InputError: One line with all that ours cannot hold, by name.
  """
  problems = [
    f'{name} is {shown(repr(config[name]))}, and a LoRA here can only have '
    f'{allowed[0]!r}'
    for name, allowed in _FIXED.items()
    if name in config and config[name] not in allowed
  ]
  tensors = {}
  for name, array in weights_files.read(folder / WEIGHTS).items():
    # Some wrapped models lack the prefix of the family.
    bare = name.removeprefix(_PREFIX)
    tensors[family.canonical(bare)] = array.astype(np.float32)
  heads, num_classes = _heads(family, encoder, tensors, base_heads, problems)
  model = build(encoder, tuple(heads), num_classes)
  lora = _corrections(family, model, config, tensors, problems)
  if tensors:
    problems.append(
      f'{listed(sorted(tensors))} {"has" if len(tensors) == 1 else "have"} no '
      f'place in a LoRA on the encoder of {family.model_type}'
    )
  if problems:
    raise InputError(f'{folder}: {"; ".join(problems)}')
  return Adapter(
    params={'lora': lora} | heads,
    num_classes=num_classes,
    base=str(config['base_model_name_or_path']),
  )


def _heads(
  family: Family,
  encoder: EncoderConfig,
  tensors: dict[str, np.ndarray],
  base_heads: Params,
  problems: list[str],
) -> tuple[Params, int]:
  """Takes the classifier, with the pooler if any, out of `tensors`."""
  chosen = next(
    one for one in family.architectures.values() if CLASSIFIER in one.heads
  )
  rule = next(
    rule for rule in family.table if rule.ours == 'classifier/output/kernel'
  )
  if rule.theirs not in tensors:
    problems.append(f'it has no {rule.theirs}, and so no classifier')
    return {}, 0
  num_classes = len(tensors[rule.theirs])
  model = build(encoder, chosen.heads, num_classes)
  shapes = _shapes(model)
  found: dict[str, np.ndarray] = {}
  paths = [path for path in shapes if not path.startswith('encoder/')]
  for entry in name_table.entries(family.table, paths):
    head = entry.paths[0].split('/')[0]
    if entry.name in tensors:
      array = tensors.pop(entry.name)
      expected = name_table.their_shape(entry, shapes, model.infos)
      if array.shape != expected:
        problems.append(
          f'{entry.name} has shape {array.shape}, by the base it must be '
          f'{expected}'
        )
        continue
      found |= name_table.to_ours(entry, array, shapes, model.infos)
    elif head in base_heads and head != CLASSIFIER:
      own = functional.flatten(base_heads)
      found |= {path: own[path] for path in entry.paths}
    else:
      problems.append(f'neither it nor its base has {entry.name}')
  return functional.unflatten(found), num_classes


def _corrections(
  family: Family,
  model: Model,
  config: Mapping[str, Any],
  tensors: dict[str, np.ndarray],
  problems: list[str],
) -> Params:
  """Takes the corrections out of `tensors`, as the tree below `lora`."""
  shapes = _shapes(model)
  found: dict[str, np.ndarray] = {}
  kernels = [
    path
    for path, info in model.infos.items()
    if path.startswith('encoder/') and info.kind in ENCODER_MATRICES
  ]
  for entry in name_table.entries(family.table, kernels):
    module = entry.name.removesuffix(_WEIGHT)
    if module + _A not in tensors or module + _B not in tensors:
      continue
    a, b = tensors.pop(module + _A), tensors.pop(module + _B)
    num_outputs, num_inputs = name_table.their_shape(entry, shapes, model.infos)
    if a.shape != (len(a), num_inputs) or b.shape != (num_outputs, len(a)):
      problems.append(
        f'{module}: lora_A is {a.shape} and lora_B {b.shape}, by the base they '
        f'must be (rank, {num_inputs}) and ({num_outputs}, rank)'
      )
      continue
    b = _scale(config, module, len(a)) * b
    row = 0
    for path in entry.paths:
      inner = model.infos[path].num_in
      outputs = shapes[path][inner:]
      owner, size = path.removesuffix('/kernel'), math.prod(outputs)
      found[f'{owner}/a'] = a.T.reshape(*shapes[path][:inner], len(a))
      found[f'{owner}/b'] = b[row : row + size].T.reshape(len(a), *outputs)
      row += size
  return functional.unflatten(found)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
  """The factor of B · A in a module, by its own alpha or the shared one."""
  patterns = config.get('alpha_pattern') or {}
  # The first pattern that fits counts, as in peft.utils.get_pattern_key.
  own: Sequence[float] = [
    value
    for key, value in patterns.items()
    if re.match(rf'(.*\.)?({key})$', module)
  ]
  alpha = own[0] if own else config['lora_alpha']
  return alpha / (math.sqrt(rank) if config.get('use_rslora') else rank)


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
  abstract = functional.flatten(model.abstract_params())
  return {path: leaf.shape for path, leaf in abstract.items()}
