"""Ctrl-C and SIGTERM: a stopped process leaves its work ready to be continued.

Cloud hosts announce a preemption by SIGTERM and kill half a minute later. In
every phase the first signal leads to an orderly end, with a sentence that says
what is kept; a second one ends the process at once. Files with their final
names are complete by then (durable_files.py), so they are not lost either.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Stopped(KeyboardInterrupt):
  """A stop by a signal: the message says what is kept.

  `exit_code` is 128 plus the signal's number.
  """

  def __init__(self, number: int, kept: str):
    super().__init__(f'stopped by {describe(number)}; {kept}')
    self.exit_code = 128 + number


class WaitStopped(Exception):
  """A wait that ended because a stop was asked for meanwhile."""


def describe(number: int) -> str:
  name = signal.Signals(number).name
  return 'Ctrl-C' if name == 'SIGINT' else name


@contextlib.contextmanager
def stoppable(kept: str) -> Iterator[None]:
  """A context in which the first signal raises `Stopped` at once.

  Use it for work that can be left anywhere. `kept` ends the sentence
  'stopped by ...;'.
  """
  received: list[int] = []

  def stop(number: int, unused_frame: Any) -> None:
    if received:
      end_at_once(number, kept)
    received.append(number)
    raise KeyboardInterrupt(number)

  with handled(stop):
    try:
      yield
    except Stopped:
      raise
    except BaseException as error:
      # An error after a signal is a consequence of it.
      if not (received or isinstance(error, KeyboardInterrupt)):
        raise
      number = (received or [signal.SIGINT])[0]
      raise Stopped(number, kept) from None


class StopSignal:
  """A context that notes the first signal in `name`, for a loop to look at.

  Until `begun` is called, and after `all_kept`, nothing can be lost, and a
  signal ends the process at once, even in a compilation of minutes. A thread
  notices the signal, since the main one runs no Python then.

  `agreed` makes one answer of those of several processes: it takes the name of
  this one's signal, and returns that of the signal at which all of them stop.
  `announce(why, exit_code)` tells the others of an end at once.

  Attributes:
    name: 'SIGTERM' or 'SIGINT', '' without a signal.
    kept: ends the sentence 'stopped by ...;'. The caller keeps it up to date.
  """

  def __init__(
    self,
    what: str,
    kept: str,
    agreed: Callable[[str], str] = str,
    announce: Callable[[str, int], None] = lambda why, exit_code: None,
  ):
    self.what = what
    self.kept = kept
    self._agreed = agreed
    self._announce = announce
    self.name = ''
    self._may_be_left = True
    self._received: list[int] = []

  @property
  def requested(self) -> bool:
    """True if the work ends here; several processes look at the same places."""
    if name := self._agreed(self.name):
      self.name = name
    return bool(name)

  def begun(self) -> None:
    """Notes that something has been computed that is not kept."""
    self._may_be_left = False

  def all_kept(self) -> None:
    """Notes that all is kept: until `begun`, a signal ends the process."""
    self._may_be_left = True

  def __enter__(self) -> 'StopSignal':
    self._stack = contextlib.ExitStack()
    # A Python handler has to exist for the number to be written to the pipe.
    self._stack.enter_context(handled(self._note))
    if threading.current_thread() is threading.main_thread():
      reader, writer = os.pipe()
      os.set_blocking(writer, False)
      previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
      thread = threading.Thread(
        target=self._watch, args=(reader,), name='stop-signal', daemon=True
      )
      thread.start()
      self._stack.callback(thread.join)
      self._stack.callback(os.close, writer)
      self._stack.callback(signal.set_wakeup_fd, previous)
    return self

  def __exit__(self, *_) -> None:
    self._stack.close()

  def _note(self, number: int, unused_frame: Any) -> None:
    self.name = self.name or signal.Signals(number).name

  def _watch(self, reader: int) -> None:
    while data := os.read(reader, 1):
      number = data[0]
      if number not in NUMBERS:
        continue
      if self._received or self._may_be_left:
        self._announce('stopped by a signal', 128 + number)
        end_at_once(number, self.kept, self.what)
      self._received.append(number)
      self._note(number, None)
      say(f'{describe(number)}: saving first; once more ends at once')
    os.close(reader)


@contextlib.contextmanager
def handled(handler: Any) -> Iterator[None]:
  """Sends both signals to `handler`; does nothing outside the main thread."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.signal(number, handler) for number in NUMBERS}
  try:
    yield
  finally:
    for number, previous in before.items():
      signal.signal(number, previous)


@contextlib.contextmanager
def ctrl_c_held_back() -> Iterator[None]:
  """Delays Ctrl-C until the end; a process started within never gets it.

  Use it to start worker processes: Ctrl-C reaches the whole process group, and
  the parent decides what happens to its workers.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_once(number: int, kept: str, what: str = '') -> None:
  """Says what is kept, and exits without running anything else."""
  say(f'{what}{": " if what else ""}stopped by {describe(number)}; {kept}')
  os._exit(128 + number)


def say(sentence: str) -> None:
  """Writes to stderr without Python's buffers, which may be in use."""
  start = '\n' if sys.stderr is not None and sys.stderr.isatty() else ''
  with contextlib.suppress(OSError):
    os.write(2, f'{start}{sentence}\n'.encode())
