"""Faults at the system call, for this process and its threads, by strace.

So they reach the C++ of Orbax's storage too, which no patch in Python does.
"""

import ctypes
import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Sequence

_PR_SET_PTRACER = 0x59616D61


class Faults:
  """Within, the `when`-th of these calls fails in each thread that makes it.

  Attributes:
    call: a system call, such as 'fsync'.
    error: what it fails with, such as 'EIO'.
    when: as strace has it: '2' the second one, '2+' each from there on.
    paths: only calls about one of these; none: about whichever file.
    made: after the end, the injected calls as strace shows them.
  """

  def __init__(
    self,
    call: str,
    error: str,
    when: str = '1+',
    paths: Sequence[pathlib.Path] = (),
  ):
    self._arguments = [
      '-f',
      '-y',
      f'--trace={call}',
      f'--inject={call}:error={error}:when={when}',
      *(f'--trace-path={path}' for path in paths),
    ]
    self.made: list[str] = []

  def command(self, log: str | os.PathLike[str]) -> list[str]:
    """What stands before a command to run it with these faults."""
    return ['strace', *self._arguments, '-o', str(log)]

  def __enter__(self) -> 'Faults':
    # Where a process may be traced by its descendants alone.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_long(-1), 0, 0, 0)
    self._log = tempfile.NamedTemporaryFile(suffix='.strace')
    self._messages = tempfile.TemporaryFile()
    self._strace = subprocess.Popen(
      [*self.command(self._log.name), '-p', str(os.getpid())],
      stdout=subprocess.DEVNULL,
      stderr=self._messages,
    )
    # Without another system call that could be made to fail.
    while b'attached' not in os.pread(self._messages.fileno(), 1000, 0):
      if self._strace.poll() is not None:
        raise RuntimeError(os.pread(self._messages.fileno(), 1000, 0))
      time.sleep(0.01)
    return self

  def __exit__(self, *_) -> None:
    self._strace.terminate()
    self._strace.wait()
    self._messages.close()
    with self._log:
      self.made = injected_calls(self._log.name)


def injected_calls(log: str | os.PathLike[str]) -> list[str]:
  """The lines of what strace made to fail."""
  lines = pathlib.Path(log).read_text(errors='replace').splitlines()
  return [line for line in lines if line.endswith('(INJECTED)')]
