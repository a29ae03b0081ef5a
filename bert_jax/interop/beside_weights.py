"""Files beside the weights of a folder, or in their place.

Transformers and sentence-transformers read some of them too, and compute
something else then: they are told of or refused.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_jax.config.json_files import read_or_none
from bert_jax.errors import InputError, listed, quoted, shown
from bert_jax.interop import weights_files
from bert_jax.interop.cross_encoder import is_class_alone
from bert_jax.interop.sentence_transformers import (
  MODULES,
  SENTENCES,
  kind_of,
  stated_modes,
)
from bert_jax.interop.wrapped_names import MERGE_PEFT

_ADAPTER = 'adapter_config.json'
_FOREIGN_FILES = {'tf_model.h5': 'tf', 'flax_model.msgpack': 'flax'}
# Endings of weights files, and the name under which each kind is read.
_ENDINGS = {
  '.safetensors': weights_files.SAFETENSORS,
  '.bin': weights_files.TORCH,
  '.pt': weights_files.TORCH,
  '.pth': weights_files.TORCH,
  '.ckpt': weights_files.TORCH,
}
# Names of other files that a trainer writes beside the weights.
_NO_WEIGHTS = ('training_args', 'optimizer', 'scheduler', 'scaler', 'rng_state')
_SHOWN = 3


def why_no_weights(folder: pathlib.Path) -> str:
  """Describes a folder without weights, and how to mend that."""
  if adapter := _adapter(folder):
    return adapter
  inner = [
    str(path.relative_to(folder))
    for pattern in ('*', 'snapshots/*')
    for path in sorted(folder.glob(pattern))
    if path.is_dir() and weights_files.find(path)
  ]
  if inner:
    return f'they lie in {listed(inner[:_SHOWN])}; give that folder'
  for name, made_by in _FOREIGN_FILES.items():
    if (folder / name).is_file():
      return f'there is {name}; {weights_files.FROM_FOREIGN.format(made_by)}'
  for path in sorted(folder.glob('*')):
    ours = _ENDINGS.get(path.suffix)
    if not ours or not path.is_file() or path.name.startswith(_NO_WEIGHTS):
      continue
    if '-of-' in path.name:
      return (
        f'there are shards such as {shown(path.name)}, but no '
        f'{ours}.index.json; fetch it too'
      )
    return f'there is {shown(path.name)}; if it holds them, name it {ours}'
  if list(folder.glob('*.ckpt*.index')):
    return (
      'there is a checkpoint of TensorFlow; with bert_config.json beside it, '
      'it is read as one of google-research/bert'
    )
  return 'fetch the weights too'


def hold_against_others(
  chosen: pathlib.Path,
  weights: Mapping[str, np.ndarray],
  problems: list[str],
  notes: list[str],
) -> None:
  """Compares the chosen weights with all others in the folder.

  One of two that differ is an old one, and only its owner knows which.
  """
  for other in weights_files.find_all(chosen.parent):
    if other == chosen:
      continue
    try:
      theirs = weights_files.read(other)
    except InputError as error:
      reason = str(error).removeprefix(f'{other}: ')
      notes.append(f'{other.name} was not compared with the weights: {reason}')
      continue
    common = sorted(weights.keys() & theirs.keys())
    different = [n for n in common if not _same(weights[n], theirs[n])]
    if not common:
      notes.append(f'{other.name} has none of the names of {chosen.name}')
    if different:
      problems.append(
        f'{chosen.name} and {other.name} differ in {len(different)} of '
        f'{len(common)} parameters, such as {shown(different[0])}; remove the '
        'one that is not meant'
      )


def check_side_files(
  folder: pathlib.Path,
  config: Mapping[str, Any],
  problems: list[str],
  notes: list[str],
) -> None:
  """Finds adapters, quantisation, own code and modules beside the weights."""
  if adapter := _adapter(folder):
    problems.append(
      f'{adapter}; if the weights have it already, remove {_ADAPTER}'
    )
  if config.get('quantization_config'):
    problems.append(
      'its weights are quantised (quantization_config), which ours are not; '
      'fetch or save them in float32, float16 or bfloat16'
    )
  if config.get('auto_map'):
    notes.append(
      'config.json names code of its own (auto_map), which is not run: what it '
      'computes otherwise than the family is lost'
    )
  if (folder / MODULES).is_file() and not is_class_alone(folder, config):
    notes.append(_modules(folder))
  sentences = read_or_none(folder / SENTENCES)
  if isinstance(sentences, dict):
    if length := sentences.get('max_seq_length'):
      notes.append(
        f'max_seq_length {shown(repr(length))} of {SENTENCES} is not kept '
        '(but by embed): texts are cut where the positions end'
      )
    if sentences.get('do_lower_case'):
      notes.append(
        f'{SENTENCES} makes every text lowercase (do_lower_case); here the '
        'tokenizer alone decides'
      )


def _adapter(folder: pathlib.Path) -> str:
  """A sentence on the adapter that a folder holds; '' without one."""
  path = folder / _ADAPTER
  if not path.is_file():
    return ''
  config = read_or_none(path)
  config = config if isinstance(config, dict) else {}
  kind = config.get('peft_type')
  if kind is None:
    return (
      f'there is {_ADAPTER}, of an adapter (of the library adapters), which '
      'our encoder has no place for; give the folder of a whole model'
    )
  base = config.get('base_model_name_or_path')
  of = f' of {quoted(base)}' if isinstance(base, str) else ''
  return (
    f'there is {_ADAPTER}, of a PEFT adapter ({shown(str(kind))}){of}: '
    f'{MERGE_PEFT}'
  )


def _modules(folder: pathlib.Path) -> str:
  """A sentence on the modules of sentence-transformers that are not read."""
  modules = read_or_none(folder / MODULES)
  said = (
    f'{MODULES}: of this folder of sentence-transformers the encoder alone is '
    'read (but by embed)'
  )
  if not isinstance(modules, list):
    return said
  left_out = []
  for module in modules:
    kind = kind_of(module)
    if kind == 'Transformer':
      continue
    is_pooling = kind == 'Pooling' and isinstance(module, dict)
    modes = stated_modes(folder, module) if is_pooling else []
    left_out.append(f'{kind} ({", ".join(modes)})' if modes else kind)
  return f'{said}, without {listed(left_out)}' if left_out else said


def _same(one: np.ndarray, other: np.ndarray) -> bool:
  """Returns whether two arrays are equal, in the narrower of their types."""
  if one.shape != other.shape:
    return False
  if one.dtype != other.dtype:
    narrow = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    one, other = one.astype(narrow), other.astype(narrow)
  return np.array_equal(one, other)
