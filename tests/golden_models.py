"""Golden files of models that another implementation has computed."""

import pathlib

import numpy as np

from bert_jax.models import functional

_FOLDER = pathlib.Path(__file__).parent / 'models' / 'golden'


def load_golden(family: str) -> dict[str, np.ndarray]:
  with np.load(_FOLDER / f'{family}.npz', allow_pickle=False) as file:
    return dict(file)


def group(golden: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
  """The members of one group of the file, by their names within it."""
  return {
    name.removeprefix(f'{prefix}/'): array
    for name, array in golden.items()
    if name.startswith(f'{prefix}/')
  }


def numbers(golden: dict[str, np.ndarray], prefix: str) -> dict[str, int]:
  """A group of single numbers, such as the sizes of the model."""
  return {name: int(x) for name, x in group(golden, prefix).items()}


def params_of(golden: dict[str, np.ndarray]) -> functional.Params:
  """Their weights as our nested dict."""
  return functional.unflatten(group(golden, 'params'))
