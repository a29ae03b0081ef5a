"""Injects faults into system calls of this process and its threads, by strace.

They reach the C++ code of Orbax's storage too, which no patch in Python does.
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
  """A context in which the `when`-th of some calls fails in each thread.

  Attributes:
    call: a system call, such as 'fsync'.
    error: the error it fails with, such as 'EIO'.
    when: in strace's form: '2' for the second call, '2+' for it and all later.
    paths: only calls about these files fail; empty: about any file.
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
    """The words to put before a command that is to run with these faults."""
    return ['strace', *self._arguments, '-o', str(log)]

  def __enter__(self) -> 'Faults':
    # Some systems let only ancestors trace a process, so any tracer is allowed.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_long(-1), 0, 0, 0)
    self._log = tempfile.NamedTemporaryFile(suffix='.strace')
    self._messages = tempfile.TemporaryFile()
    self._strace = subprocess.Popen(
      [*self.command(self._log.name), '-p', str(os.getpid())],
      stdout=subprocess.DEVNULL,
      stderr=self._messages,
    )
    # pread is used, since other system calls might be made to fail.
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
  """The lines of strace's log for the calls that it made fail."""
  lines = pathlib.Path(log).read_text(errors='replace').splitlines()
  return [line for line in lines if line.endswith('(INJECTED)')]
