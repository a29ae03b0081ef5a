"""The most rows of a step that fit on a device, by the compiler's own figure.

Nothing is run to find it, so that nothing runs out of memory.
"""

import math
import time

import jax

from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs.check_device.base import GIB, is_accelerator
from bert_jax.jobs.check_device.synthetic import SyntheticStep, synthetic_step
from bert_jax.jobs.preflight_figures import Memory
from bert_jax.parallel import compiled
from bert_jax.train.state import state_bytes

# Tokens of a step on one device: more make a step no more efficient.
_FIRST_TOKENS, _MOST_TOKENS = 2**14, 2**16
_CPU_TOKENS = 2**10
# The part of a device's memory that a step may take: the allocator needs some
# for itself, and cannot use all of what lies between arrays.
_USABLE = 0.95


class DoesNotFit(Exception):
  """A single row does not fit; the message says what it would take."""


def largest_that_fits(
  experiment: PretrainExperiment, row_length: int
) -> tuple[SyntheticStep, jax.stages.Compiled, float]:
  """The step for the largest power of two of rows that fits, compiled.

  Memory grows by about the same amount with each row, so that one compilation
  or two tell how many rows will fit.

  Returns:
    (the step, its program, seconds of its compilation).
  """
  limit = _USABLE * _memory_limit()
  first = _FIRST_TOKENS if is_accelerator() else _CPU_TOKENS
  most = _MOST_TOKENS if is_accelerator() else _CPU_TOKENS
  num_rows = _power_of_two(first / row_length)
  found: dict[int, tuple[SyntheticStep, jax.stages.Compiled, float]] = {}
  sizes: dict[int, float] = {}
  while num_rows not in found:
    step = synthetic_step(experiment, num_rows, row_length)
    sizes.setdefault(0, _state_bytes(step))
    start = time.perf_counter()
    if (executable := _compiled(step)) is None:
      sizes[num_rows] = math.inf
    else:
      sizes[num_rows] = predicted_bytes(executable)
      found[num_rows] = step, executable, time.perf_counter() - start
    if not limit:
      break
    if sizes[0] > limit or sizes.get(1, 0.0) > limit:
      raise DoesNotFit(
        f'a row of {row_length} takes more than the {limit / GIB:.1f} GiB of '
        'this device that a step may use'
      )
    num_rows = _next(sizes, limit, _power_of_two(most / row_length))
  return found[num_rows]


def _next(sizes: dict[int, float], limit: float, most: int) -> int:
  """The largest power of two of rows that will fit, by the sizes seen so far.

  Args:
    sizes: bytes of a step by its rows; infinity where the compiler found no
      room for it, and those of the state for 0 rows.
    limit: bytes that a step may take.
    most: the result is a power of two up to this number.
  """
  known = sorted(n for n, size in sizes.items() if size < math.inf)
  fitting = [n for n in known if sizes[n] <= limit]
  too_large = [n for n, size in sizes.items() if size > limit]
  if too_large:
    most = min(most, min(too_large) // 2)
  if len(known) < 2:
    return most
  base = fitting[-1] if fitting[-1] else known[1]
  other = known[known.index(base) - 1]
  per_row = (sizes[base] - sizes[other]) / (base - other)
  rows = base + (limit - sizes[base]) / max(per_row, 1.0)
  return max(_power_of_two(min(most, rows)), fitting[-1])


def _compiled(step: SyntheticStep) -> jax.stages.Compiled | None:
  """The compiled step; None if the compiler finds no room for it."""
  try:
    return step.program.lower(step.placed_batch(0)).compile()
  except jax.errors.JaxRuntimeError as error:
    if compiled.is_out_of_memory(error):
      return None
    raise


def _state_bytes(step: SyntheticStep) -> int:
  return sum(state_bytes(step.program.abstract, step.program.shardings))


def predicted_bytes(executable: jax.stages.Compiled) -> int:
  """All memory of a program: what it takes, gives, holds meanwhile, and is."""
  return Memory.of(executable, of_state=(0, 0)).total


def _memory_limit() -> int:
  """Bytes that this process may use on the device; 0 if it does not say."""
  return (jax.devices()[0].memory_stats() or {}).get('bytes_limit', 0)


def _power_of_two(number: float) -> int:
  """The largest power of two up to a number, 1 at least."""
  return 2 ** math.floor(math.log2(max(1.0, number)))
