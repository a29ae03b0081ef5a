"""The example numbers that each step takes, stage by stage.

Examples are numbered through all stages, so a larger batch or longer rows never
start anything anew.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Iterator


@dataclasses.dataclass(kw_only=True, slots=True)
class Stage:
  """`num_steps` steps of one shape.

  row_length and batch_size 0: those of the experiment.
  """

  num_steps: int
  row_length: int = 0
  batch_size: int = 0


class Plan:
  """The stages of a run, one after the other.

  Attributes:
    stages: with their row lengths and batch sizes filled in.
    num_steps: the steps of all stages.
    first_steps: the first step of each stage, and that after the last.
    first_examples: likewise.
  """

  def __init__(self, stages: Iterable[Stage]):
    self.stages = tuple(stages)
    self.first_steps = _starts(stage.num_steps for stage in self.stages)
    self.first_examples = _starts(
      stage.num_steps * stage.batch_size for stage in self.stages
    )
    self.num_steps = self.first_steps[-1]

  def stage(self, step: int) -> Stage:
    """The stage of a step in range(num_steps)."""
    return self.stages[self._index(step)]

  def starts_stage(self, step: int) -> bool:
    """Returns whether a step's shapes may differ from those of the last one."""
    return step in self.first_steps[1:-1]

  def examples_before(self, step: int) -> int:
    """The number of examples in the steps before this one: its first number."""
    index = self._index(min(step, self.num_steps - 1))
    steps = step - self.first_steps[index]
    return self.first_examples[index] + steps * self.stages[index].batch_size

  def step_of(self, example: int) -> int:
    """The step that takes an example number."""
    index = bisect.bisect_right(self.first_examples, example) - 1
    index = min(index, len(self.stages) - 1)
    within = example - self.first_examples[index]
    return self.first_steps[index] + within // self.stages[index].batch_size

  def batches(self, first_step: int) -> Iterator[tuple[int, int]]:
    """(first example, batch size) of each step from `first_step` on."""
    for step in range(first_step, self.num_steps):
      yield self.examples_before(step), self.stage(step).batch_size

  def _index(self, step: int) -> int:
    return bisect.bisect_right(self.first_steps, step, hi=len(self.stages)) - 1


def _starts(sizes: Iterator[int]) -> tuple[int, ...]:
  return tuple(itertools.accumulate(sizes, initial=0))
