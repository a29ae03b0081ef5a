"""Events that end `prepare` early, each with a line on how to go on.

A second process at the same output, Ctrl-C, a full disk, a killed worker: the
finished blocks are kept, and the same command goes on from them.
"""

import contextlib
import pathlib
from collections.abc import Iterator

from bert_jax import durable_files, stopping
from bert_jax.data.preparing import worker_processes
from bert_jax.errors import InputError


@contextlib.contextmanager
def guarded(
  output: pathlib.Path, partial: pathlib.Path
) -> Iterator[pathlib.Path]:
  """Runs a body that works on `output`, with its blocks in `partial`.

  Yields:
    The lock file, which was just written.

  Raises:
    InputError: another process works on it, the disk is full, or a worker was
      killed.
    stopping.Stopped: on Ctrl-C and SIGTERM.
  """
  with (
    stopping.stoppable(
      f'{_kept(partial)}. The same command goes on from there.'
    ),
    _explained(output, partial),
    durable_files.output_lock(output) as lock,
  ):
    yield lock


def _kept(partial: pathlib.Path) -> str:
  return f'finished blocks are kept in {partial}'


@contextlib.contextmanager
def _explained(output: pathlib.Path, partial: pathlib.Path) -> Iterator[None]:
  """Turns a dead worker or a full disk into an InputError with a fix."""
  try:
    yield
  except worker_processes.WorkerDied:
    raise InputError(
      'a worker process was killed, most often for lack of memory; '
      f'{_kept(partial)}: run again, with fewer --workers'
    ) from None
  except OSError as error:
    if error.errno in durable_files.NO_SPACE:
      raise InputError(
        f'--output={output}: no space left on the disk; {_kept(partial)}: '
        'make room and run again'
      ) from None
    raise
