"""Ctrl-C and SIGTERM: what is under way is finished or left so that it goes on.

Cloud hosts announce a preemption by SIGTERM and kill half a minute later. In
every phase the first signal leads to an orderly end, with a sentence that says
what is kept; a second one ends the process at once. What has its final name on
the disk is complete by then (durable_files.py), so that loses nothing either.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Stopped(KeyboardInterrupt):
  """The message says what is kept; `exit_code` is that of the signal."""

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
  """Within, the first signal raises `Stopped` where the program stands.

  For work that can be left anywhere. `kept` ends the sentence
  'stopped by ...;'.
  """
  received: list[int] = []

  def stop(number: int, unused_frame: Any) -> None:
    if received:
      end_at_once(number, kept)
    received.append(number)
    raise KeyboardInterrupt

  with handled(stop):
    try:
      yield
    except Stopped:
      raise
    except BaseException as error:
      # Errors after a signal are consequences of it.
      if not (received or isinstance(error, KeyboardInterrupt)):
        raise
      number = (received or [signal.SIGINT])[0]
      raise Stopped(number, kept) from None


class StopSignal:
  """Within, the first signal is noted in `name`, for a loop that asks for it.

  Until `begun` is called nothing new has been computed, and a signal ends the
  process at once, also out of a compilation of minutes: the signal is noticed
  by a thread, since the main one does not run Python there. Likewise after
  `all_kept`.

  Attributes:
    name: 'SIGTERM' or 'SIGINT', '' without a signal.
    kept: ends the sentence 'stopped by ...;'. Kept up to date by its user.
  """

  def __init__(self, what: str, kept: str):
    self.what = what
    self.kept = kept
    self.name = ''
    self._may_be_left = True
    self._received: list[int] = []

  @property
  def requested(self) -> bool:
    return bool(self.name)

  def begun(self) -> None:
    """Notes that something has been computed that is not kept."""
    self._may_be_left = False

  def all_kept(self) -> None:
    """Until the next `begun`, a signal ends the process at once."""
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
        end_at_once(number, self.kept, self.what)
      self._received.append(number)
      self._note(number, None)
      say(f'{describe(number)}: saving first; once more ends at once')
    os.close(reader)


@contextlib.contextmanager
def handled(handler: Any) -> Iterator[None]:
  """Sends both signals to `handler`; Python allows it in the main thread."""
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
  """Ctrl-C waits until the end; a process started within never gets it.

  For worker processes: it reaches the whole group, and their parent decides
  what then happens to them.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_once(number: int, kept: str, what: str = '') -> None:
  """Says so and leaves without another instruction of the program."""
  say(f'{what}{": " if what else ""}stopped by {describe(number)}; {kept}')
  os._exit(128 + number)


def say(sentence: str) -> None:
  """Writes to stderr past Python's buffers, which a signal may find in use."""
  start = '\n' if sys.stderr is not None and sys.stderr.isatty() else ''
  with contextlib.suppress(OSError):
    os.write(2, f'{start}{sentence}\n'.encode())
