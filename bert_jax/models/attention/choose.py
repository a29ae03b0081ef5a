"""The choice of a backend, made while a program is traced, and printed."""

import functools
import sys
from typing import Any

import jax

from bert_jax.errors import InputError
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import Backend, Shapes, View

# The automatic choice: the first that can.
AUTOMATIC: tuple[Backend, ...] = (BlockedAttention(), ReferenceAttention())


def choose(
  backends: tuple[Backend, ...],
  view: View,
  shapes: Shapes,
  platform: str | None = None,
) -> Backend:
  """Returns the first backend that can; prints which, and why no other.

  Args:
    backends: in order of preference; empty: the automatic choice.
    view: what a token may see.
    shapes: of the call.
    platform: 'cpu', 'gpu' or 'tpu'; None: that of the mesh which is set, or of
      this process.

  Raises:
    InputError: none of `backends` can.
  """
  platform = platform or _platform()
  call = (
    f'{_sight(view)} in rows of {shapes.length}, {shapes.dtype.name} on '
    f'{platform}'
  )
  refusals: list[str] = []
  for backend in backends or AUTOMATIC:
    refusal = backend.supports(view, shapes, platform)
    if not refusal:
      how = 'as configured' if backends else 'chosen automatically'
      _print_once('; '.join([f'{call}: {_name(backend)}, {how}', *refusals]))
      return backend
    refusals.append(f'not {_name(backend)}: {refusal}')
  raise InputError(
    f'attention={[_name(backend) for backend in backends]}: for {call}: '
    f'{"; ".join(refusals)}; add ReferenceAttention(), or leave attention '
    'empty for the automatic choice'
  )


def validate(backends: Any) -> None:
  """Raises InputError unless this is a tuple of backends, each of them valid.

  `backends` is the field `attention` of an experiment.
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


def _sight(view: View) -> str:
  return f'windows of {view.window}' if view.window else 'whole texts'


def _platform() -> str:
  mesh = jax.sharding.get_abstract_mesh()
  return jax.default_backend() if mesh.empty else mesh.abstract_device.platform


def _name(backend: Any) -> str:
  return type(backend).__name__


@functools.cache
def _print_once(line: str) -> None:
  """Prints a line to stderr the first time that this process has it."""
  print(f'attention to {line}', file=sys.stderr, flush=True)
