"""Runs tasks in worker processes: results in order, few tasks in flight.

Unlike `concurrent.futures` alone, memory stays bounded for any number of tasks,
and no worker outlives its parent.
"""

import collections
import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from bert_jax import stopping
from bert_jax.errors import InputError


class WorkerDied(Exception):
  """A worker process was ended from outside, such as for lack of memory."""


class WorkerProcesses:
  """A pool: `with WorkerProcesses(4, make_worker, arguments) as workers:`.

  Each process calls `make_worker(*arguments)` once, and what that returns for
  each task; all of it is pickled. One worker means no process at all: the tasks
  then run in this one.
  """

  def __init__(
    self,
    num_workers: int,
    make_worker: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
  ):
    self._num_workers = num_workers
    if num_workers == 1:
      self._worker = make_worker(*arguments)
      self._executor = None
    else:
      # Spawned, not forked: tokenizers and jax may have threads by now.
      self._executor = concurrent.futures.ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_start,
        initargs=(make_worker, arguments),
      )

  def __enter__(self) -> 'WorkerProcesses':
    return self

  def __exit__(self, *unused_exception) -> None:
    if self._executor:
      # Waits for the tasks that run now, so that what they finish is kept.
      self._executor.shutdown(wait=True, cancel_futures=True)

  def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
    """Results in the order of the tasks, which are drawn as they are needed.

    At most two tasks for each worker are drawn and not yet given back.

    Raises:
      WorkerDied: a worker is gone.
    """
    if not self._executor:
      yield from map(self._worker, tasks)
      return
    running: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
      for task in tasks:
        if len(running) >= 2 * self._num_workers:
          yield running.popleft().result()
        # submit() may start a process, which Ctrl-C shall not reach.
        with stopping.ctrl_c_held_back():
          running.append(self._executor.submit(_run, task))
      while running:
        yield running.popleft().result()
    except BrokenProcessPool:
      raise WorkerDied from None


def number_of_cores() -> int:
  """The CPU cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def number_of_workers(asked: int) -> int:
  """The number of workers that `--workers` asks for; 0 is all cores."""
  if asked < 0:
    raise InputError(f'--workers={asked}: give 0 (all cores) or more')
  return asked or number_of_cores()


# The worker of this process: made once, since a tokenizer is slow to make.
_worker: Callable[[Any], Any]


def _start(
  make_worker: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]
) -> None:
  global _worker
  begin_worker()
  _worker = make_worker(*arguments)


def begin_worker() -> None:
  """Prepares a process that multiprocessing started to be one of many."""
  # A worker waits for tasks on a pipe that it holds open itself, so without
  # this it would wait for ever once its parent is killed.
  after_parent(lambda: os._exit(1))
  # The processes are the parallelism; threads within each would be too many.
  os.environ['TOKENIZERS_PARALLELISM'] = 'false'


def _run(task: Any) -> Any:
  return _worker(task)


def after_parent(end: Callable[[], None]) -> None:
  """Calls `end` in a thread once the parent of this process is gone."""
  parent = multiprocessing.parent_process()
  assert parent is not None  # multiprocessing started this one

  def wait() -> None:
    parent.join()
    end()

  threading.Thread(target=wait, daemon=True).start()
