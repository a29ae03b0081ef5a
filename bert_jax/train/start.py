"""The start of a run: its first state, and the program that goes on from it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from bert_jax.data.reading.plan import Plan
from bert_jax.models import functional
from bert_jax.stopping import StopSignal
from bert_jax.train.checkpoint import Checkpoints, Position
from bert_jax.train.initial import Initial, frozen_params
from bert_jax.train.program import Program
from bert_jax.train.restore import check_data, starting_state
from bert_jax.train.saving import kept_and_goes_on
from bert_jax.train.state import TrainState, host_step, with_shardings
from bert_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Started:
  """A run with its arrays on their devices; `frozen` is {} in plain training.

  step_fn: the step of the run's Program.
  """

  state: TrainState
  frozen: functional.Params
  position: Position
  step_fn: Callable[..., tuple[TrainState, dict[str, Any]]]
  plan: Plan
  checkpoints: Checkpoints


def start(
  program: Program,
  workdir: Workdir,
  checkpoints: Checkpoints,
  stop: StopSignal,
  *,
  plan: Plan,
  read_before: Callable[[int], dict[str, str]],
  initial: Initial | None = None,
  resume_from: str = '',
) -> Started:
  """Puts the first state, chosen by train/restore.py, on its devices.

  Frozen parameters are loaded from `initial` at every start.
  """
  frozen: functional.Params = {}
  if program.base:
    assert initial is not None  # the experiment has been validated
    # Read once: a first start also takes its heads from there.
    initial = dataclasses.replace(initial, load=functools.cache(initial.load))
    frozen = frozen_params(program.base, initial)
  state, position, origin = starting_state(
    checkpoints,
    lambda: program.fresh_state(initial),
    with_shardings(program.abstract, program.shardings),
    noted_step=workdir.noted_checkpoint(),
    resume_from=resume_from,
  )
  check_data(host_step(state), position, plan, read_before)
  print(origin, flush=True)
  stop.kept = kept_and_goes_on(checkpoints.last_saved)
  return Started(
    state=state,
    frozen=frozen,
    position=position,
    step_fn=program.step_fn,
    plan=plan,
    checkpoints=checkpoints,
  )
