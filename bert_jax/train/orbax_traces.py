"""Orbax's log lines, and the threads that it leaves behind after a failure.

Orbax logs pages about a failure and then raises it; what it raises becomes one
line of ours. Nothing is held back outside our own calls, nothing that anybody
else says, and nothing is left changed.
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
# What tasks left behind by a failure say, from a thread or when collected.
_ECHOES = ('Event loop is closed', 'Encountered error while reading array')


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """For calls that wait: also what Python says of coroutines left behind."""
  with quiet_threads(), warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited')
    warnings.filterwarnings('ignore', module=r'orbax\.')
    yield


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
  """For as long as Orbax works in threads of its own."""
  loggers = [logging.getLogger(name) for name in _LOGGERS]
  own = _Filter()  # for this use alone, since uses overlap
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
    # Another may have set one meanwhile, which calls this one; leave it then.
    if sys.unraisablehook is report:
      sys.unraisablehook = before
    for logger in loggers:
      logger.removeFilter(own)


def collect() -> None:
  """Lets what a failure has left behind speak now, within one of the above.

  The error, which keeps it alive, must have been let go of. Reads that were
  under way end within a moment, and find their event loop closed.
  """
  time.sleep(0.1)
  gc.collect()


def end_threads(others: set[threading.Thread]) -> None:
  """Ends the threads of a failed save; `others` were there before it.

  They wait for minutes for what will not come, such as a folder that could not
  be made, and then log a traceback each.
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


class _Filter(logging.Filter):
  def filter(self, record: logging.LogRecord) -> bool:
    if record.name == 'asyncio':
      # Logged by asyncio of a task whose code is named in the message.
      return not any(name in record.getMessage() for name in _PACKAGES)
    return not any(f'/{name}/' in record.pathname for name in _PACKAGES)
