"""The arrays that a program keeps for its backward pass.

Reverse-mode differentiation asks for more arrays than a compiler keeps: XLA
computes an array again where it is used, if that takes only operations that its
fusion calls cheap, such as a conversion, a mask or a sum of two arrays. What it
keeps are then the fewest bytes from which cheap operations give all the rest: a
minimal cut between the results of expensive operations (products, reductions,
exponentials, loops) and what the backward pass asks for. Dropout masks, which
are hashes of their places, cost nothing, and so does an f32 copy of bf16.

Source of the operations: InstructionFusion::IsExpensive in XLA
(xla/service/instruction_fusion.cc), as of November 2026. Division is expensive
there. libtpu computes it again all the same: of a layer's scores its programs
keep one array in f32, what the softmax has before it divides by the sum. Not
among them here is concatenation, such as that of parameters for a loop over
layers, since a loop takes only what lies in memory.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import Jaxpr, Literal
from scipy import sparse
from scipy.sparse import csgraph

_CHEAP = frozenset(
  'abs add and bitcast_convert_type broadcast_in_dim ceil clamp '
  'convert_element_type copy eq expand_dims floor ge gt integer_pow iota '
  'is_finite le lt max min mul name ne neg not or pad reduce_precision reshape '
  'rev round select_n sharding_constraint shift_left shift_right_arithmetic '
  'shift_right_logical sign slice square squeeze stop_gradient sub transpose '
  'xor'.split()
)
_CHEAP_ON_TPU = _CHEAP | {'div'}
# Calls whose body is part of the program; older versions of JAX say pjit.
_CALLS = ('jit', 'pjit', 'closed_call')
# Capacities are counted in units of so many bytes, for they are 32 bits.
_UNIT = 256
_UNBOUNDED = 2**31 - 1
# Nodes of the graph; each array has one for its making and one for its use.
_SOURCE, _SINK, _FIRST = 0, 1, 2


def kept(jaxpr: Jaxpr, platform: str) -> list[Any]:
  """Shapes and dtypes of what is kept for the outputs of a program.

  Its inputs and constants are there in any case and count nothing. `platform`
  is that of the compiler.
  """
  graph = _Graph(jaxpr, _CHEAP_ON_TPU if platform == 'tpu' else _CHEAP)
  capacities = graph.capacities()
  left = capacities - csgraph.maximum_flow(capacities, _SOURCE, _SINK).flow
  left.data = np.maximum(left.data, 0)
  left.eliminate_zeros()
  reached = set(
    csgraph.breadth_first_order(left, _SOURCE, return_predecessors=False)
  )
  return [
    array
    for number, array in enumerate(graph.arrays)
    if _made(number) in reached and _used(number) not in reached
  ]


def asked_for(jaxpr: Jaxpr) -> list[Any]:
  """Shapes and dtypes of the outputs of a program, without its inputs."""
  given = {*jaxpr.invars, *jaxpr.constvars}
  found = dict.fromkeys(x for x in jaxpr.outvars if not isinstance(x, Literal))
  return [x.aval for x in found if x not in given]


def _made(number: int) -> int:
  return _FIRST + 2 * number


def _used(number: int) -> int:
  return _made(number) + 1


class _Graph:
  """Arrays of a program, and the cheap operations that make one of others."""

  def __init__(self, jaxpr: Jaxpr, cheap: frozenset[str]):
    self.arrays: list[Any] = []
    self._cheap = cheap
    self._edges: dict[tuple[int, int], int] = {}
    # None stands for what is there in any case.
    numbers: dict[Any, int | None] = dict.fromkeys(jaxpr.invars)
    for number in self._outputs(jaxpr, numbers):
      if number is not None:
        self._edges[_used(number), _SINK] = _UNBOUNDED

  def capacities(self) -> sparse.csr_array:
    ends = np.array(list(self._edges), np.int32).reshape(-1, 2)
    values = np.array(list(self._edges.values()), np.int32)
    size = _made(len(self.arrays))
    return sparse.csr_array((values, tuple(ends.T)), shape=(size, size))

  def _outputs(
    self, jaxpr: Jaxpr, numbers: dict[Any, int | None]
  ) -> list[int | None]:
    """Adds a program, whose inputs have these numbers; those of its outputs."""
    numbers.update(dict.fromkeys(jaxpr.constvars))

    def of(values: Sequence[Any]) -> list[int | None]:
      return [None if isinstance(x, Literal) else numbers[x] for x in values]

    for operation in jaxpr.eqns:
      operands, name = of(operation.invars), operation.primitive.name
      if name in _CALLS:
        inner = operation.params['jaxpr'].jaxpr
        results = self._outputs(
          inner, dict(zip(inner.invars, operands, strict=True))
        )
      else:
        known = [x for x in operands if x is not None]
        before = list(map(_used, known)) if name in self._cheap else [_SOURCE]
        results = [self._add(x.aval, before) for x in operation.outvars]
      numbers.update(zip(operation.outvars, results, strict=True))
    return of(jaxpr.outvars)

  def _add(self, array: Any, before: list[int]) -> int:
    number = len(self.arrays)
    self.arrays.append(array)
    size = math.prod(array.shape) * array.dtype.itemsize
    self._edges[_made(number), _used(number)] = math.ceil(size / _UNIT)
    for node in before:
      self._edges[node, _made(number)] = _UNBOUNDED
    return number
