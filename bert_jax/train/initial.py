"""Parameters that a run starts with: fresh ones, or those of another model.

Fine-tuning takes an encoder with fresh heads, and a method with a frozen base
reads that base at every start.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable

import jax
import numpy as np

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Initial:
  """Parameters of another model to start from.

  origin: the path that `init_from` gives. load: () -> its host arrays; only
  called if they are needed. fresh: paths that are not taken from it.
  """

  origin: str
  load: Callable[[], functional.Params]
  fresh: frozenset[str] = frozenset()


def fresh_state(
  params: functional.Params,
  new_state: Callable[[functional.Params], TrainState],
  shardings: TrainState,
  *,
  initial: Initial | None = None,
  base: functional.Params | None = None,
  num_seeds: int = 0,
) -> TrainState:
  """A new state on its devices, with the `initial` parameters in it.

  With `num_seeds` every leaf has a leading axis of that size, and each seed
  starts from the same loaded parameters. `base` gives the shapes of the frozen
  parameters, which are no part of the state.
  """
  if initial:
    params = _with_pretrained(params, initial, base or {}, num_seeds)
  params = jax.device_put(params, shardings.params)
  return jax.jit(new_state, out_shardings=shardings)(params)


def frozen_params(
  base: functional.Params, initial: Initial
) -> functional.Params:
  """The parts of `initial` that `base` describes, on their devices.

  Raises InputError if `initial` lacks one or has it in another shape.
  """
  loaded = initial.load()
  merge_pretrained(base, loaded, initial)
  flat = functional.flatten(loaded)

  return functional.map_by_path(
    lambda path, leaf: jax.device_put(flat[path], leaf.sharding), base
  )


def _with_pretrained(
  params: functional.Params,
  initial: Initial,
  base: functional.Params,
  num_seeds: int,
) -> functional.Params:
  wanted = params
  if num_seeds:
    wanted = jax.eval_shape(lambda p: jax.tree.map(lambda x: x[0], p), wanted)
  loaded = initial.load()
  everything = functional.flatten(wanted) | functional.flatten(base)
  taken, fresh, left_out = merge_pretrained(everything, loaded, initial)
  print(
    f'{len(taken)} arrays from {initial.origin}; '
    f'new: {_summed_up(fresh, taken)}; left out: {_summed_up(left_out, taken)}',
    flush=True,
  )
  flat = functional.flatten(loaded)

  def choose(path, leaf):
    return np.broadcast_to(flat[path], leaf.shape) if path in taken else leaf

  return functional.map_by_path(choose, params)


def _summed_up(paths: list[str], taken: set[str]) -> str:
  """Lists the paths, with one name for a part of which nothing was taken."""
  partly_taken = {part for path in taken for part in _parts_of(path)}
  found = collections.Counter(
    next(part for part in _parts_of(path) if part not in partly_taken)
    for path in paths
  )
  names = [
    part if part in paths else f'{part} ({count})'
    for part, count in found.items()
  ]
  return ', '.join(names) or 'none'


def _parts_of(path: str) -> list[str]:
  """The parts of a model that hold a parameter: 'a', 'a/b' for 'a/b'."""
  return list(itertools.accumulate(path.split('/'), '{}/{}'.format))


def merge_pretrained(
  wanted: functional.Params, found: functional.Params, initial: Initial
) -> tuple[set[str], list[str], list[str]]:
  """Compares trees of parameters by path; nothing is copied.

  Returns:
    (paths to take from `found`, paths that stay fresh, paths left out).

  Raises:
    InputError: the encoder of `found` lacks a parameter or has another shape.
  """
  wanted_flat = functional.flatten(wanted)
  found_flat = functional.flatten(found)
  taken = set()
  for path, leaf in wanted_flat.items():
    if path in initial.fresh:
      continue
    if path not in found_flat:
      if path.startswith('encoder/'):
        raise InputError(
          f'init_from={initial.origin} has no parameter {path}; its checkpoint '
          'is not of its config, restore it'
        )
      continue
    if found_flat[path].shape == leaf.shape:
      taken.add(path)
    elif path.startswith('encoder/'):
      raise InputError(
        f'init_from={initial.origin}: parameter {path} has shape '
        f'{found_flat[path].shape}, by its config it must be {leaf.shape}; '
        'its checkpoint is not of its config, restore it'
      )
  fresh = [path for path in wanted_flat if path not in taken]
  left_out = [path for path in found_flat if path not in taken]
  return taken, fresh, left_out
