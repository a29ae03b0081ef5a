"""The setting, results and stopwatch that all parts of a check share."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax

from bert_jax.experiment import PretrainExperiment

MIB, GIB = 2**20, 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """Settings of a check.

  recipes: names of the steps to time. own_recipe: a user's experiment to time
    in place of those.
  num_steps: steps of a run of the part `determinism`, an even number.
  ends_at: time.monotonic() from which on nothing new is begun.
  """

  recipes: tuple[str, ...] = ()
  own_recipe: PretrainExperiment | None = None
  num_steps: int = 20
  ends_at: float = float('inf')

  @property
  def is_over(self) -> bool:
    return time.monotonic() > self.ends_at


class Result(Protocol):
  """The result of a part: a dataclass whose fields JSON can hold."""

  def lines(self) -> Iterator[str]:
    """Yields the part's rows of the table."""
    ...

  def failures(self) -> Iterator[str]:
    """Yields a line for each figure that is out of its bounds."""
    ...


def is_accelerator() -> bool:
  return jax.default_backend() != 'cpu'


def seconds_of(call: Callable[[], Any], seconds: float = 1.0) -> list[float]:
  """Times of a call in five rounds, in order of length.

  Args:
    call: returns arrays. It is called twice before, so that it is compiled.
    seconds: how long all rounds take, about.

  Returns:
    The time of a call in each round. A round waits only for its last call, so
    that the device need not wait for the host.
  """
  jax.block_until_ready(call())
  start = time.perf_counter()
  last = jax.block_until_ready(call())
  once = time.perf_counter() - start
  count = min(max(1, round(seconds / 5 / once)), 100)
  times = []
  for _ in range(5):
    start = time.perf_counter()
    for _ in range(count):
      last = call()
    jax.block_until_ready(last)
    times.append((time.perf_counter() - start) / count)
  return sorted(times)


def row(name: str, *cells: str) -> str:
  """A line of the table: a name, then cells of equal width."""
  return f'  {name:30}' + ''.join(f'{cell:>16}' for cell in cells)
