"""The weights of a Hugging Face folder: safetensors or .bin, also sharded."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from bert_jax.errors import InputError, quoted
from bert_jax.interop import torch_pickle

SAFETENSORS = 'model.safetensors'
TORCH = 'pytorch_model.bin'
_INDEX = '.index.json'
# Formats named in a safetensors file, and the library with that layout.
FOREIGN_FORMATS = {'tf': 'TensorFlow', 'flax': 'Flax'}
# Message with a place for one of these formats.
FROM_FOREIGN = (
  'convert it with transformers 4: AutoModel.from_pretrained(FOLDER, '
  'from_{}=True).save_pretrained(NEW_FOLDER), with the class of its heads'
)
# First bytes of the pointer that Git LFS leaves for a file not yet fetched.
_POINTER = b'version https://git-lfs'


def find(folder: pathlib.Path) -> pathlib.Path | None:
  """The file with the weights, or the index of their shards; None if missing.

  The choice is that of transformers: safetensors, then one file before shards.
  """
  return next(iter(find_all(folder)), None)


def find_all(folder: pathlib.Path) -> list[pathlib.Path]:
  """Finds all files and indices of shards that hold weights, the best first."""
  return [
    path
    for name in (SAFETENSORS, TORCH)
    for path in (folder / name, folder / f'{name}{_INDEX}')
    if path.is_file()
  ]


def all_files(path: pathlib.Path) -> list[pathlib.Path]:
  """The files that `read` reads, the index of shards among them."""
  if not path.name.endswith(_INDEX):
    return [path]
  return [path, *dict.fromkeys(_shards(path).values())]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads all arrays of what `find` found, by their names.

  Raises InputError on a file that is missing, cut short, or holds anything but
  tensors.
  """
  if not path.name.endswith(_INDEX):
    return _read_file(path)
  weights: dict[str, np.ndarray] = {}
  shards = _shards(path)
  for shard in dict.fromkeys(shards.values()):
    if not shard.is_file():
      raise InputError(f'{path}: its shard {shard.name} is missing; fetch it')
    weights |= _read_file(shard)
  missing = [name for name in shards if name not in weights]
  if missing:
    raise InputError(
      f'{path}: {missing[0]} is not in {shards[missing[0]].name}, nor are '
      f'{len(missing) - 1} others where it says; fetch the folder again'
    )
  return weights


def write(path: pathlib.Path, weights: Mapping[str, np.ndarray]) -> None:
  """Writes a safetensors file as transformers does."""
  # safetensors writes the bytes of an array as they lie in memory.
  rows_first = {n: np.asarray(x, order='C') for n, x in weights.items()}
  safetensors.numpy.save_file(rows_first, path, metadata={'format': 'pt'})


def _shards(index: pathlib.Path) -> dict[str, pathlib.Path]:
  """The shard of each array, by the array's name."""
  try:
    names = dict(json.loads(index.read_text('utf-8'))['weight_map'])
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise InputError(
      f'{index}: it has no weight_map ({type(error).__name__}); fetch it again'
    ) from None
  for shard in names.values():
    if not isinstance(shard, str) or pathlib.PurePath(shard).name != shard:
      raise InputError(
        f'{index}: it names {quoted(str(shard))}, which is no file of the '
        'folder; refused'
      )
  return {name: index.with_name(shard) for name, shard in names.items()}


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  with open(path, 'rb') as file:
    if file.read(len(_POINTER)) == _POINTER:
      raise InputError(
        f'{path}: is a pointer of Git LFS, not the weights; run git lfs pull '
        'in its folder'
      )
  if path.name.endswith('.bin'):
    return torch_pickle.read(path)
  return _read_safetensors(path)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with safetensors.safe_open(path, framework='np') as file:
      made_by = (file.metadata() or {}).get('format')
      if made_by in FOREIGN_FORMATS:
        raise InputError(
          f'{path}: its parameters are laid out as {FOREIGN_FORMATS[made_by]} '
          f'has them (format {made_by!r}); {FROM_FOREIGN.format(made_by)}'
        )
      return file.get_tensors()
  except safetensors.SafetensorError as error:
    raise InputError(
      f'{path}: is cut short or damaged ({error}); fetch it again'
    ) from None
  except AttributeError as error:
    # numpy lacks some types of numbers, such as those of eight bits.
    raise InputError(
      f'{path}: holds numbers of a type that cannot be read ({error}); save it '
      'as float32'
    ) from None
