"""Every backend of attention beside the reference, on packed and windowed rows.

The numbers to meet are those of ReferenceAttention in f32, for the same inputs.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.jobs.check_device.base import (
  MIB,
  Setting,
  is_accelerator,
  row,
  seconds_of,
)
from bert_jax.models.attention.choose import BACKENDS
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import Backend, Shapes, View

# The most that a token's vector may be off, (forward, gradients), as a share of
# its length; see `largest_error`. In f32, sums of 500 terms in any order err by
# some 2^-20, and those of TF32, which is no f32, by 2^-11. In bf16 each input,
# weight and score errs by 2^-9: a few of them add up forward, and twice as many
# backward, where they are subtracted. A key out of view would err by some 2^-4.
BOUNDS = {'float32': (1e-5, 1e-4), 'bfloat16': (2**-6, 2**-5)}
# Shares of a row that its texts take; the rest is padding.
TEXTS = ((1.0,), (0.55, 0.4), (0.4, 0.25, 0.15, 0.1, 0.02))
WINDOWS = (0, 128)
HEAD_DIM = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """A backend beside the reference; NaN errors where it is refused.

  refusal: why the backend does not compute this, in its own words.
  """

  backend: str
  dtype: str
  length: int
  window: int
  forward_error: float = float('nan')
  gradient_error: float = float('nan')
  refusal: str = ''

  @property
  def is_equal(self) -> bool:
    forward, gradient = BOUNDS[self.dtype]
    # A comparison with NaN is false.
    return self.forward_error <= forward and self.gradient_error <= gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """Forward and backward pass of a backend, on rows of whole texts.

  temporary_bytes: memory beside the arguments and results.
  """

  backend: str
  dtype: str
  num_rows: int
  length: int
  num_heads: int
  window: int
  seconds: float
  temporary_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
  """All comparisons and costs; num_left_out: those that time was over for."""

  comparisons: tuple[Comparison, ...]
  costs: tuple[Cost, ...]
  num_left_out: int

  def lines(self) -> Iterator[str]:
    yield row('error of attention', 'dtype', 'rows', 'forward', 'gradients')
    for x in self.comparisons:
      sizes = f'{x.length}, {x.window or "whole"}'
      if x.refusal:
        yield row(x.backend, x.dtype, sizes) + f'    refused: {x.refusal}'
      else:
        verdict = '' if x.is_equal else '  OUT OF BOUNDS'
        errors = f'{x.forward_error:.1e}', f'{x.gradient_error:.1e}'
        yield row(x.backend, x.dtype, sizes, *errors) + verdict
    yield row('cost of attention', 'dtype', 'rows', 'ms', 'MiB')
    for cost in self.costs:
      yield row(
        cost.backend,
        cost.dtype,
        f'{cost.num_rows} x {cost.length}, {cost.window or "whole"}',
        f'{cost.seconds * 1e3:.3g}',
        f'{cost.temporary_bytes / MIB:.1f}',
      )
    if self.num_left_out:
      yield f'  {self.num_left_out} left out, as the time was over'

  def failures(self) -> Iterator[str]:
    for x in self.comparisons:
      if not (x.refusal or x.is_equal):
        yield (
          f'{x.backend}, {x.dtype}, rows of {x.length}, window {x.window}: '
          f'errors {x.forward_error:.1e} and {x.gradient_error:.1e} are above '
          f'{BOUNDS[x.dtype]}'
        )


def run(
  setting: Setting, backends: tuple[type[Backend], ...] = BACKENDS
) -> Attention:
  """Compares all backends; rows of two lengths, on a CPU of one."""
  # An odd length; on accelerators also one that kernels like.
  lengths = (301, 512) if is_accelerator() else (301,)
  cases = itertools.product(lengths, WINDOWS, BOUNDS, backends)
  comparisons: list[Comparison] = []
  costs: list[Cost] = []
  num_left_out = 0
  for length, window, dtype, cls in cases:
    if setting.is_over:
      num_left_out += 1
    else:
      comparisons.append(compare(cls, dtype, length, window))
  for cls, window in itertools.product(backends, WINDOWS):
    if setting.is_over:
      num_left_out += 1
    elif cost := _cost(cls, window):
      costs.append(cost)
  return Attention(
    comparisons=tuple(comparisons),
    costs=tuple(costs),
    num_left_out=num_left_out,
  )


def compare(
  cls: type[Backend], dtype: str, length: int, window: int
) -> Comparison:
  """Compares a backend, with its defaults, with the reference."""
  about = dict(backend=cls.__name__, dtype=dtype, length=length, window=window)
  view, inputs = packed_view(length, window), _inputs(len(TEXTS), length, dtype)
  if refusal := _refusal(cls, view, inputs[0]):
    return Comparison(refusal=refusal, **about)
  found = _passes(cls)(*inputs, view)
  forward, *gradients = [
    largest_error(ours, theirs)
    for ours, theirs in zip(found, _exact(dtype, length, window), strict=True)
  ]
  # Python's `max` would pass over NaN.
  gradient = float(np.max(gradients))
  return Comparison(forward_error=forward, gradient_error=gradient, **about)


def packed_view(length: int, window: int) -> View:
  """A view of three rows, of 1, 2 and 5 texts."""
  ids = np.zeros((len(TEXTS), length), np.int32)
  for segment_ids, shares in zip(ids, TEXTS, strict=True):
    start = 0
    for number, share in enumerate(shares, start=1):
      end = start + round(share * length)
      segment_ids[start:end] = number
      start = end
  return View(jnp.asarray(ids), window)


def largest_error(found: Any, exact: Any) -> float:
  """The largest share by which a token's vector [..., H] is off.

  Lengths below the median count as the median: a gradient may be zero.
  """
  found, exact = (np.asarray(x, np.float64) for x in (found, exact))
  sizes = np.linalg.norm(exact, axis=-1)
  off = np.linalg.norm(found - exact, axis=-1)
  return float(np.max(off / np.maximum(sizes, np.median(sizes))))


@functools.cache
def _exact(dtype: str, length: int, window: int) -> tuple[jax.Array, ...]:
  """The numbers to meet: those of the reference in f32, for the same inputs."""
  inputs = _inputs(len(TEXTS), length, dtype)
  in_f32 = [x.astype(jnp.float32) for x in inputs]
  return _passes(ReferenceAttention)(*in_f32, packed_view(length, window))


def _inputs(
  num_rows: int, length: int, dtype: str, num_heads: int = 2
) -> list[jax.Array]:
  """Queries, keys, values, and the cotangent of the output."""
  shape = (num_rows, length, num_heads, HEAD_DIM)
  keys = jax.random.split(jax.random.key(0), 4)
  return [jax.random.normal(key, shape, dtype) for key in keys]


def _refusal(cls: type[Backend], view: View, query_BTNH: jax.Array) -> str:
  num_rows, length, num_heads, head_dim = query_BTNH.shape
  shapes = Shapes(
    num_rows, length, num_heads, head_dim, query_BTNH.dtype, dropout=False
  )
  return cls().supports(view, shapes, jax.default_backend())


@functools.cache
def _passes(cls: type[Backend]) -> Any:
  """A jitted function: the output, and the gradients of the three inputs."""
  backend = cls()

  @jax.jit
  def passes(query, key, value, cotangent, view):
    attended, back = jax.vjp(
      lambda q, k, v: backend.attend(q, k, v, view), query, key, value
    )
    return attended, *back(cotangent)

  return passes


def _cost(cls: type[Backend], window: int) -> Cost | None:
  """The cost at the shape of a model's layer; None where it is refused."""
  if is_accelerator():
    num_rows, length, num_heads, dtype = 16, 1024, 12, 'bfloat16'
  else:
    num_rows, length, num_heads, dtype = 1, 512, 2, 'float32'
  inputs = _inputs(num_rows, length, dtype, num_heads)
  view = View(jnp.ones((num_rows, length), jnp.int32), window)
  if _refusal(cls, view, inputs[0]):
    return None
  passes = _passes(cls).lower(*inputs, view).compile()
  return Cost(
    backend=cls.__name__,
    dtype=dtype,
    num_rows=num_rows,
    length=length,
    num_heads=num_heads,
    window=window,
    seconds=seconds_of(lambda: passes(*inputs, view), 0.5)[0],
    temporary_bytes=passes.memory_analysis().temp_size_in_bytes,
  )
