"""Orbax's log lines, and the threads that it leaves behind after a failure.

Orbax logs pages about a failure and then raises it, and our one line reports
it. Only Orbax's log lines are held back, only during our own calls, and every
logger is left as it was.
"""

import contextlib
import gc
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

from orbax.checkpoint._src.futures import future

_LOGGERS = ('absl', 'asyncio')
_PACKAGES = ('orbax', 'tensorstore')
# Messages of tasks left behind by a failure, from a thread or when collected.
_ECHOES = ('Event loop is closed', 'Encountered error while reading array')


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Holds back Orbax's logs, and Python's warnings of abandoned coroutines.

  Use it around calls that wait for their result.
  """
  with quiet_threads(), warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited')
    warnings.filterwarnings('ignore', module=r'orbax\.')
    yield


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
  """Holds back Orbax's logs while it works in its own threads."""
  loggers = [logging.getLogger(name) for name in _LOGGERS]
  own = _Filter()  # one filter for each use, since uses overlap
  before = sys.unraisablehook

  def report(unraisable: Any) -> None:
    if not str(unraisable.exc_value).startswith(_ECHOES):
      before(unraisable)

  for logger in loggers:
    logger.addFilter(own)
  sys.unraisablehook = report
  try:
    yield
  finally:
    # A hook that another has set meanwhile calls this one, so it is left.
    if sys.unraisablehook is report:
      sys.unraisablehook = before
    for logger in loggers:
      logger.removeFilter(own)


def collect() -> None:
  """Frees what a failure left behind, so that its messages come now.

  Call it within `quiet` or `quiet_threads`, once nothing refers to the error,
  which keeps the tasks alive. Reads that were under way end within a moment,
  and find their event loop closed.
  """
  time.sleep(0.1)
  gc.collect()


def end_threads(others: set[threading.Thread]) -> None:
  """Ends the threads of a failed save; `others` were there before it.

  Such threads wait for minutes for something that never comes, such as a folder
  that could not be made, and then log a traceback each.
  """
  waiting = [
    thread
    for thread in set(threading.enumerate()) - others
    if isinstance(thread, future._SignalingThread)
  ]
  for thread in waiting:
    thread.cancel()
    future.set_signals(
      thread._receive_signals, operation_id=thread._operation_id
    )
  for thread in waiting:
    threading.Thread.join(thread, timeout=10)


def held_back() -> BaseException | None:
  """The error of this process's save, before Orbax raises it.

  Its thread waits with the error for all other processes, which may take
  minutes or, where they wait for this one, has no end.
  """
  errors: Any = sys._current_exceptions()
  for thread in threading.enumerate():
    if thread.name == 'save_finalize' and (error := errors.get(thread.ident)):
      # Python 3.11 gives a tuple of type, error and traceback.
      return error[1] if isinstance(error, tuple) else error
  return None


class _Filter(logging.Filter):
  def filter(self, record: logging.LogRecord) -> bool:
    if record.name == 'asyncio':
      # Logged by asyncio of a task whose code is named in the message.
      return not any(name in record.getMessage() for name in _PACKAGES)
    return not any(f'/{name}/' in record.pathname for name in _PACKAGES)
