"""The same steps twice and once resumed: are the bits equal, and at what cost?

A process sees its own compiled programs alone. The digest is in the table and
the JSON, so that two calls of the verb can be compared too.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator

import jax
import numpy as np

from bert_jax.jobs.check_device.base import Setting, is_accelerator, row
from bert_jax.jobs.check_device.recipes import RECIPES
from bert_jax.jobs.check_device.synthetic import (
  SyntheticStep,
  one_device,
  synthetic_step,
)
from bert_jax.train.digests import array_digests
from bert_jax.train.state import TrainState
from bert_jax.train.xla_options import deterministic_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
  """Three runs of the same steps under one value of `deterministic`.

  first, again, resumed: digests of all of the state at the end. The last run
  goes through the host's memory midway, as a checkpoint would.
  """

  deterministic: bool
  first: str
  again: str
  resumed: str
  step_seconds: float

  @property
  def are_equal(self) -> bool:
    return self.first == self.again == self.resumed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Determinism:
  """runs: with the field on and off; one where it sets nothing, as on a CPU."""

  recipe: str
  num_rows: int
  row_length: int
  num_steps: int
  runs: tuple[Runs, ...]

  def lines(self) -> Iterator[str]:
    yield (
      f'  {self.num_steps} steps of {self.recipe}, {self.num_rows} rows of '
      f'{self.row_length}: digests of a run, of the same again, and resumed'
    )
    for x in self.runs:
      verdict = 'equal' if x.are_equal else 'DIFFERENT'
      yield row(f'deterministic {x.deterministic}', *self._digests(x)) + (
        f'  {verdict}, {x.step_seconds * 1e3:.4g} ms a step'
      )
    if len(self.runs) == 1:
      yield '  deterministic sets nothing on this platform and costs nothing'
    else:
      on, off = (x.step_seconds for x in self.runs)
      yield f'  deterministic takes {on / off - 1:+.1%} of the time of a step'

  def failures(self) -> Iterator[str]:
    for x in self.runs:
      must_be_equal = x.deterministic or len(self.runs) == 1
      if must_be_equal and not x.are_equal:
        yield (
          f'deterministic {x.deterministic}: runs of the same {self.num_steps} '
          f'steps end in {", ".join(self._digests(x))}'
        )

  def _digests(self, runs: Runs) -> tuple[str, str, str]:
    return runs.first[:12], runs.again[:12], runs.resumed[:12]


def run(setting: Setting) -> Determinism:
  """Runs BERT-base on an accelerator, and a small model on a CPU."""
  platform = jax.default_backend()
  name, num_rows = ('bert_base', 32) if is_accelerator() else ('bert_tiny', 16)
  experiment = RECIPES[name]()
  length = experiment.model.max_positions
  settings = (True, False) if deterministic_options(True, platform) else (True,)
  runs = []
  with one_device():
    for on in settings:
      step = synthetic_step(
        dataclasses.replace(experiment, deterministic=on), num_rows, length
      )
      runs.append(_three_runs(step, on, setting.num_steps))
  return Determinism(
    recipe=name,
    num_rows=num_rows,
    row_length=length,
    num_steps=setting.num_steps,
    runs=tuple(runs),
  )


def _three_runs(step: SyntheticStep, on: bool, num_steps: int) -> Runs:
  first = _digest(_steps(step, step.program.fresh_state(), range(num_steps)))
  state = jax.block_until_ready(step.program.fresh_state())
  start = time.perf_counter()
  state = _steps(step, state, range(num_steps))
  jax.block_until_ready(state)
  seconds = (time.perf_counter() - start) / num_steps
  again = _digest(state)
  middle = num_steps // 2
  state = _steps(step, step.program.fresh_state(), range(middle))
  on_host = jax.tree.map(np.array, jax.device_get(state))
  del state
  state = jax.device_put(on_host, step.program.shardings)
  state = _steps(step, state, range(middle, num_steps))
  return Runs(
    deterministic=on,
    first=first,
    again=again,
    resumed=_digest(state),
    step_seconds=seconds,
  )


def _steps(
  step: SyntheticStep, state: TrainState, numbers: range
) -> TrainState:
  for number in numbers:
    state, _ = step.program.step_fn(state, {}, step.placed_batch(number))
  return state


def _digest(state: TrainState) -> str:
  """A digest of every array of the state, in hexadecimal digits."""
  leaves = {str(i): x for i, x in enumerate(jax.tree.leaves(state))}
  text = json.dumps(array_digests(leaves), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
