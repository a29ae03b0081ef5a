"""The first state of a run, taken from the first available source.

The sources, in order, are the workdir's own newest checkpoint, `resume_from`
(all state of another run), `init_from` (the parameters of another model), and
fresh parameters.
"""

import pathlib
from collections.abc import Callable

from bert_jax.data.reading.plan import Plan
from bert_jax.errors import InputError
from bert_jax.local_paths import workdir_path
from bert_jax.parallel import distributed
from bert_jax.train.checkpoint import (
  Checkpoints,
  Position,
  restore_step,
  saved_steps,
)
from bert_jax.train.state import TrainState, host_step


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
    # The other run may be saving just now, and each host may see another step.
    steps = distributed.as_first(
      'steps to resume from', saved_steps(folder / 'checkpoints')
    )
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


def split_workdir(text: str, what: str = '') -> tuple[pathlib.Path, int | None]:
  """Splits 'DIR@120' into (DIR, 120), and 'DIR' into (DIR, None).

  `what` names the flag or field in errors, as in `workdir_path`.
  """
  folder, at, step = text.rpartition('@')
  if not (at and step.isdecimal()):
    folder, step = text, ''
  return workdir_path(folder, what), int(step) if step else None
