"""Runs tasks in worker processes, which read and work on what they read.

A task is read in pieces, such as blocks of documents. A process reads a task
and works on its pieces, except those that another process, which has no task
left, asks for: so four files keep four processes busy that hand over nothing,
and one large file keeps all of them busy, as long as it is read faster than
they work. Memory is bounded for any number of tasks and pieces: a process holds
three pieces at most.
"""

import collections
import concurrent.futures
import multiprocessing
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from bert_jax import stopping
from bert_jax.data.preparing import worker_processes

# Reads a task: yields its pieces, and returns what is known at its end.
Read = Callable[[Any], Generator[Any, None, Any]]
_SECONDS_BETWEEN_LOOKS = 0.1


class End(NamedTuple):
  """The end of a task: how many pieces it had, and what `read` returned."""

  num_pieces: int
  returned: Any


def events(pieces: Generator[Any, None, Any]) -> Iterator[Any]:
  """Yields the pieces of a task, and its End."""
  num_pieces = 0
  while True:
    try:
      piece = next(pieces)
    except StopIteration as end:
      yield End(num_pieces, end.value)
      return
    num_pieces += 1
    yield piece


class ReadingWorkers:
  """A pool: `with ReadingWorkers(4, make_worker, arguments) as workers:`.

  Each process calls `make_worker(*arguments)` once, and what that returns for
  each piece; all of it is pickled. One worker means no process at all: all is
  done in this one.
  """

  def __init__(
    self,
    num_workers: int,
    make_worker: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
  ):
    self._num_workers = num_workers
    # Starts no process unless tasks are read here.
    self._here = worker_processes.WorkerProcesses(
      num_workers, make_worker, arguments
    )
    if num_workers == 1:
      return
    self._failures: list[BaseException] = []
    self._reading: list[concurrent.futures.Future] = []
    # Spawned, not forked: tokenizers and jax may have threads by now.
    context = multiprocessing.get_context('spawn')
    self._results, sender = context.Pipe(duplex=False)
    self._link = _Link(
      pieces=context.SimpleQueue(),
      wanted=context.Semaphore(0),
      results=sender,
      results_lock=context.Lock(),
      is_stopped=context.Event(),
    )
    self._executor = concurrent.futures.ProcessPoolExecutor(
      num_workers,
      mp_context=context,
      initializer=_start,
      initargs=(make_worker, arguments, self._link),
    )

  def __enter__(self) -> 'ReadingWorkers':
    return self

  def __exit__(self, *exception) -> None:
    self._here.__exit__(*exception)
    if self._num_workers == 1:
      return
    # Waits for the pieces that are worked on now, so that they are kept; their
    # results have nobody to go to.
    self._link.is_stopped.set()
    self._results.close()
    self._send_home(self._num_workers)
    self._executor.shutdown(wait=True, cancel_futures=True)

  def map(self, read: Read, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Reads tasks in any process, and works on their pieces.

    Yields:
      (number of the task, result of a piece) for each piece and (number, End)
      once for each task, in any order.

    Raises:
      WorkerDied: a worker is gone.
    """
    if self._num_workers == 1:
      yield from self.map_here(read, tasks)
      return
    self._reading = [
      self._submit(_read_task, read, number, task)
      for number, task in enumerate(tasks)
    ]
    num_helpers = self._num_workers if tasks else 0
    helping = [self._submit(_help) for _ in range(num_helpers)]
    num_unread = len(tasks)
    num_pieces = 0  # of the tasks that were read, less the results that came
    while num_unread or num_pieces:
      if self._failures:
        raise self._failures[0]
      if self._results.poll(_SECONDS_BETWEEN_LOOKS):
        try:
          number, event = self._results.recv()
        except (EOFError, OSError):  # in the middle of a message, too
          raise worker_processes.WorkerDied from None
        if isinstance(event, End):
          num_unread -= 1
          num_pieces += event.num_pieces
        else:
          num_pieces -= 1
        yield number, event
    self._send_home(num_helpers)
    concurrent.futures.wait(helping)
    while self._link.wanted.acquire(block=False):
      pass  # what helpers waited for as they were sent home

  def map_here(
    self, read: Read, tasks: Sequence[Any]
  ) -> Iterator[tuple[int, Any]]:
    """Reads tasks in this process, and works on their pieces in any.

    Yields what `map` yields, in the order of the tasks, the Ends last.
    """
    numbers: collections.deque[int] = collections.deque()
    ends = []

    def pieces() -> Iterator[Any]:
      for number, task in enumerate(tasks):
        for event in events(read(task)):
          if isinstance(event, End):
            ends.append((number, event))
          else:
            numbers.append(number)
            yield event

    for result in self._here.map(pieces()):
      yield numbers.popleft(), result
    yield from ends

  def _send_home(self, num_helpers: int) -> None:
    """Ends helpers, once nobody has a piece to hand over to them."""
    for future in self._reading:
      future.cancel()

    def send() -> None:
      concurrent.futures.wait(self._reading)
      for _ in range(num_helpers):
        self._link.pieces.put(None)

    # A killed process may have left the queue locked, for ever.
    threading.Thread(target=send, daemon=True).start()

  def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
      # submit() may start a process, which Ctrl-C shall not reach.
      with stopping.ctrl_c_held_back():
        future = self._executor.submit(function, *arguments)
    except BrokenProcessPool:
      raise worker_processes.WorkerDied from None
    future.add_done_callback(self._note_failure)
    return future

  def _note_failure(self, future: concurrent.futures.Future) -> None:
    if not future.cancelled() and (error := future.exception()):
      if isinstance(error, BrokenProcessPool):
        error = worker_processes.WorkerDied()
        # The pool ends the other processes too. Nobody holds the pipe open
        # then, so what a killed process sent in part is not waited for.
        self._link.results.close()
      self._failures.append(error)


class _Link(NamedTuple):
  """Pipes and locks that the processes of a pool share.

  pieces: those that are handed over; None sends a helper home.
  wanted: counts the pieces that helpers wait for.
  results: to the process that asked; guarded by `results_lock`.
  is_stopped: no further piece is to be begun.
  """

  pieces: Any
  wanted: Any
  results: Any
  results_lock: Any
  is_stopped: Any

  def send(self, number: int, event: Any) -> None:
    with self.results_lock:
      self.results.send((number, event))


# The worker of this process: made once, since a tokenizer is slow to make.
_worker: Callable[[Any], Any]
_link: _Link


def _start(
  make_worker: Callable[..., Callable[[Any], Any]],
  arguments: tuple[Any, ...],
  link: _Link,
) -> None:
  global _worker, _link
  worker_processes.begin_worker()
  _worker = make_worker(*arguments)
  _link = link


def _read_task(read: Read, number: int, task: Any) -> None:
  """Reads a task, hands over pieces that are asked for and works on others."""
  if _link.is_stopped.is_set():
    return
  for event in events(read(task)):
    if _link.is_stopped.is_set():
      return
    if isinstance(event, End):
      _link.send(number, event)
    elif _link.wanted.acquire(block=False):
      _link.pieces.put((number, event))
    else:
      _link.send(number, _worker(event))


def _help() -> None:
  """Works on the pieces of others' tasks until it is sent home."""
  # A piece is fetched while another is worked on, by a thread: so whoever hands
  # one over is never kept waiting.
  fetched: queue.Queue[Any] = queue.Queue(maxsize=1)

  def fetch() -> None:
    item = 0
    while item is not None:
      _link.wanted.release()
      item = _link.pieces.get()
      fetched.put(item)

  threading.Thread(target=fetch, daemon=True).start()
  while item := fetched.get():
    number, piece = item
    if not _link.is_stopped.is_set():
      _link.send(number, _worker(piece))
