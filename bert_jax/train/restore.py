"""The first state of a run, taken from the first available source.

The sources, in order, are the workdir's own newest checkpoint, `resume_from`
(all state of another run), `init_from` (the parameters of another model), and
fresh parameters.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from bert_jax.data.reading.plan import Plan
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path
from bert_jax.models import functional
from bert_jax.train.checkpoint import (
  Checkpoints,
  Position,
  restore_step,
  saved_steps,
)
from bert_jax.train.state import TrainState, host_step


@dataclasses.dataclass(frozen=True)
class Initial:
  """Parameters of another model to start from.

  origin: the path that `init_from` gives. load: () -> its host arrays; only
  called if they are needed.
  """

  origin: str
  load: Callable[[], functional.Params]


def starting_state(
  checkpoints: Checkpoints,
  fresh: Callable[[], TrainState],
  abstract: TrainState,
  *,
  noted_step: int = -1,
  resume_from: str = '',
) -> tuple[TrainState, Position, str]:
  """Returns (the state, its position, a sentence that says where it is from).

  Args:
    checkpoints: the checkpoints of the workdir.
    fresh: () -> a new state on the devices; only called when nothing is there.
    abstract: shapes, dtypes and shardings of the state.
    noted_step: step of the newest checkpoint that the workdir's metrics record,
      -1 without one. If it is recorded and no checkpoint is left, starting
      anew is refused.
    resume_from: WORKDIR or WORKDIR@STEP.
  """
  restored = checkpoints.restore(abstract)
  origin = f'continuing {checkpoints.folder}'
  if restored is None and noted_step >= 0:
    raise InputError(
      f'{checkpoints.folder} is empty, but the metrics beside it tell of a '
      f'checkpoint of step {noted_step}; put it back, or start anew with '
      'another --workdir'
    )
  if restored is None and resume_from:
    folder, step = split_workdir(resume_from, 'resume_from')
    steps = saved_steps(folder / 'checkpoints')
    if not steps:
      raise InputError(f'resume_from={resume_from}: it has no checkpoint')
    restored = restore_step(
      folder / 'checkpoints', steps[0] if step is None else step, abstract
    )
    origin = f'continuing {resume_from} in a new workdir'
  if restored is None:
    return fresh(), Position(0, {}), 'starting at step 0'
  state, position = restored
  step = host_step(state)
  origin = f'{origin} at step {step}, example {position.next_example}'
  if step < noted_step and not resume_from:
    origin += f' (the checkpoint of step {noted_step} is not there any more)'
  return state, position, origin


def check_data(
  step: int,
  position: Position,
  plan: Plan,
  read_before: Callable[[int], dict[str, str]],
) -> None:
  """Raises InputError if the data read before `step` is not the same any more.

  The data ahead of `step` may differ: stages and phases can be appended.
  """
  next_example = plan.examples_before(step)
  if next_example != position.next_example:
    raise InputError(
      f'step {step} of the run came after {position.next_example} examples, by '
      f'the batch sizes given now after {next_example}; leave those until '
      f'step {step} as they were, and change later ones by data.stages'
    )
  now = read_before(next_example)
  for name in sorted({*position.read, *now}):
    old, new = (side.get(name, 'no rows') for side in (position.read, now))
    if old != new:
      raise InputError(
        f'the data is not what the run has read: of {name}, it read {old} '
        f'until example {next_example}, by the data given now {new}; give the '
        'corpora, seed, shuffle, stages and mixture that it had until there, '
        'or start anew with init_from'
      )


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


def split_workdir(text: str, what: str = '') -> tuple[pathlib.Path, int | None]:
  """Splits 'DIR@120' into (DIR, 120), and 'DIR' into (DIR, None).

  `what` names the flag or field in errors, as in `local_path`.
  """
  folder, at, step = text.rpartition('@')
  if not (at and step.isdecimal()):
    folder, step = text, ''
  return local_path(folder, what), int(step) if step else None


def _summed_up(paths: list[str], taken: set[str]) -> str:
  """Lists the paths, with one name for a head that was not taken at all."""
  partly_taken = {path.split('/')[0] for path in taken}
  heads = collections.Counter(path.split('/')[0] for path in paths)
  names = [
    f'{head} ({count})'
    for head, count in heads.items()
    if head not in partly_taken
  ]
  names += [path for path in paths if path.split('/')[0] in partly_taken]
  return ', '.join(names) or 'none'


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
