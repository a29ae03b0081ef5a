"""Choice of an attention backend, made and printed when a program is traced."""

import sys
from typing import Any

import jax

from bert_jax.errors import InputError
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.cudnn import CudnnAttention
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.splash import SplashAttention
from bert_jax.models.attention.view import Backend, Shapes, View
from bert_jax.models.attention.windowed import WindowedAttention

# All backends, the one that defines the numbers first.
BACKENDS: tuple[type[Backend], ...] = (
  ReferenceAttention,
  BlockedAttention,
  WindowedAttention,
  SplashAttention,
  CudnnAttention,
)
# The longest rows for which the automatic choice takes all scores at once. A
# forward and backward pass of 4 heads of 64, one text a row, on two busy cores
# (least of 5) took by the reference and in blocks: 102 and 165 ms at 16 x 256,
# 154 and 136 at 8 x 512, 373 and 210 at 4 x 1024, 766 and 415 at 2 x 2048.
_LONGEST_AT_ONCE = 512
# Choices that this process has printed: (what is in sight, platform, choice).
_printed: set[tuple[str, str, str]] = set()


def choose(
  backends: tuple[Backend, ...],
  view: View,
  shapes: Shapes,
  platform: str | None = None,
) -> Backend:
  """Returns the first backend that supports a call.

  Prints its name and the reasons against the backends before it, once for all
  calls that differ in sizes alone.

  Args:
    backends: Backends in order of preference; empty for the automatic choice:
      kernels on a TPU where they can; blocks of windows where they fit; all
      scores at once in short rows, and in blocks in longer ones.
    view: The keys that each token sees.
    shapes: The sizes of the call.
    platform: 'cpu', 'gpu' or 'tpu'; None takes the platform of the current
      mesh, or else of this process.

  Raises:
    InputError: None of `backends` supports the call.
  """
  platform = platform or _platform()
  sight = f'windows of {view.window}' if view.window else 'whole texts'
  rows = f'in rows of {shapes.length}, {shapes.dtype.name}'
  call = f'{sight} {rows} on {platform}'
  refusals: list[str] = []
  for backend in backends or _automatic(shapes, platform):
    refusal = backend.supports(view, shapes, platform)
    if not refusal:
      how = 'as configured' if backends else 'chosen automatically'
      choice = '; '.join([f'{_name(backend)}, {how}', *refusals])
      _print_once(f'attention to {call}: {choice}', (sight, platform, choice))
      return backend
    refusals.append(f'not {_name(backend)}: {refusal}')
  raise InputError(
    f'attention={[_name(backend) for backend in backends]}: for {call}: '
    f'{"; ".join(refusals)}; add ReferenceAttention(), or leave attention '
    'empty for the automatic choice'
  )


def validate(backends: Any) -> None:
  """Raises InputError unless `backends` is a tuple of valid backends.

  The value comes from the field `attention` of an experiment.
  """
  if not isinstance(backends, tuple):
    raise InputError(
      f'attention is a {_name(backends)}; give a tuple of backends, such as '
      '(ReferenceAttention(),)'
    )
  for number, backend in enumerate(backends):
    if not isinstance(backend, Backend):
      raise InputError(
        f'attention[{number}] is a {_name(backend)}, which is no backend of '
        'attention; give one with the methods of models/attention/view.py'
      )
    backend.validate()


def _automatic(shapes: Shapes, platform: str) -> tuple[Backend, ...]:
  is_short = shapes.length <= _LONGEST_AT_ONCE
  whole = ReferenceAttention() if is_short else BlockedAttention()
  kernels = (SplashAttention(),) if platform == 'tpu' else ()
  return *kernels, WindowedAttention(), whole


def _platform() -> str:
  mesh = jax.sharding.get_abstract_mesh()
  return jax.default_backend() if mesh.empty else mesh.abstract_device.platform


def _name(backend: Any) -> str:
  return type(backend).__name__


def _print_once(line: str, key: tuple[str, str, str]) -> None:
  """Prints a line to stderr, unless one with this key has been printed.

  A process traces training, evaluation and stages of other lengths. Where they
  get the same backend for the same reasons, the first line is enough.
  """
  if key not in _printed:
    _printed.add(key)
    print(line, file=sys.stderr, flush=True)
