"""A process that leads a session of its own, so that all it starts ends too.

Apache Beam starts processes that we cannot end one by one. Ctrl-C on the
terminal does not reach a session, and no process in it outlives the caller.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bert_jax import stopping
from bert_jax.data.preparing import worker_processes


class SessionProcess:
  """Runs `run(connection, *arguments)`; both are pickled.

  Attributes:
    connection: this end of the pipe; closed on the other side, `recv` raises
      EOFError or ConnectionError: the process is gone.
  """

  def __init__(self, run: Callable[..., None], arguments: tuple[Any, ...]):
    # Spawned, not forked: tokenizers and jax may have threads by now.
    context = multiprocessing.get_context('spawn')
    self.connection, theirs = context.Pipe()
    self._process = context.Process(target=_lead, args=(theirs, run, arguments))
    with stopping.ctrl_c_held_back():
      self._process.start()
    theirs.close()

  def stop(self, seconds: float) -> None:
    """Sends SIGTERM; after `seconds`, kills all processes of the session."""
    self._process.terminate()
    self._process.join(seconds)
    try:
      assert self._process.pid is not None  # it was started
      os.killpg(self._process.pid, signal.SIGKILL)
    except ProcessLookupError:
      self._process.kill()  # not yet the leader of a session
    self._process.join()


def _lead(
  connection: Connection, run: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
  os.setsid()
  worker_processes.after_parent(lambda: os.killpg(0, signal.SIGKILL))
  run(connection, *arguments)
