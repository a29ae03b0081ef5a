"""Preparing a corpus on Apache Beam: other workers for the same blocks.

  bert-jax prepare ... --engine=beam -- --runner=DataflowRunner --project=... \\
    --region=... --temp_location=gs://BUCKET/temporary

The launching process reads the source, leaves documents out and cuts blocks as
it does without Beam, since all three depend on the order of the documents; it
writes each block as a task for Beam's workers, and gathers what they finish
into shards. So the bytes are those of the local engine, workers need neither
the input nor the output, and finished blocks are used again by either engine.

Tasks and finished blocks go through the folder of unfinished work beside the
output, which is right for workers on this machine and on a shared disk, and
through Beam's --temp_location where it is given, on any file system that Beam
knows. Both must have room for the text (compressed to less than half) until the
end. Workers need this package (--setup_file or --sdk_container_image).

Without `--runner`, Beam's workers are processes of this machine, by its
FnApiRunner: DirectRunner first looks for a program that it downloads. Tested
with this one and with a job server of Beam's, of the protocol that Flink's and
Spark's have; not on a cluster, nor with a bucket.

The limit is the reading, by one process, which is over before Beam begins. It
takes 37 MB a CPU second of the text below, and a worker 6.3: beyond some six
cores of workers most of the time is reading. A corpus of terabytes is better
prepared in parts, each by a command of its own, and mixed in training
(data.corpora).

Seen on 2 cores of an Intel Xeon, shared with others (load about 10); Python
3.13, Beam 2.77; 76.1 MB of English novels, a paragraph a document, 30,522
entries, rows of 128 and 512, 2 workers; whole processes, 3 turns, median
(least-most): local 36.8 s (35.9-42.1), Beam 40.7 s (28.4-42.0); Beam's by
local within a turn 0.77, 0.97 and 1.17.
"""

import contextlib
import functools
import logging
import os
import pathlib
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from bert_jax.data.preparing import beam_exchange, beam_flags, session_process
from bert_jax.data.preparing.beam_exchange import Task
from bert_jax.data.preparing.blocks import BlockDone
from bert_jax.data.preparing.worker_processes import WorkerDied
from bert_jax.data.progress import TextProgress
from bert_jax.errors import InputError

LOG_NAME = 'beam.log'
_STEP = 'work on blocks'
_SECONDS_BETWEEN_LOOKS = 1.0
# Time to tell a cluster that the job is cancelled.
_SECONDS_TO_CANCEL = 20.0


class BeamWorkers:
  """Workers of Beam, used as `worker_processes.WorkerProcesses` are.

  Args:
    make_worker: `make_worker(*arguments)` is called once in each process, and
      what it returns for each task; all of it is pickled.
    arguments: likewise.
    flags: Beam's own, which come after the defaults here.
    num_workers: processes on this machine, where the flags name no runner.
    partial: the folder of the tasks' paths.
    progress: shows the text that was read.

  Raises:
    InputError: Beam is not installed, or does not know a flag.
  """

  def __init__(
    self,
    make_worker: Callable[..., Callable[[Task], BlockDone]],
    arguments: tuple[Any, ...],
    *,
    flags: Sequence[str],
    num_workers: int,
    partial: pathlib.Path,
    progress: TextProgress,
  ):
    self._flags = [
      '--runner=FnApiRunner',
      '--direct_running_mode=multi_processing',
      f'--direct_num_workers={num_workers}',
      *flags,
    ]
    temporary = beam_flags.check(self._flags)
    self._exchange = beam_exchange.Exchange(partial, temporary)
    self._make_worker = functools.partial(make_worker, *arguments)
    self._work = _WorkOnBlock(self._exchange, self._make_worker)
    self._log = partial / LOG_NAME
    self._progress = progress
    self._driver: _Driver | None = None

  def __enter__(self) -> 'BeamWorkers':
    return self

  def __exit__(self, exception_type: Any, *unused_exception) -> None:
    if self._driver:
      self._driver.stop()
    self._exchange.remove(finished=exception_type is None)

  def map(self, tasks: Iterable[Task]) -> Iterator[BlockDone]:
    """Yields the result of each block, in order, once all tasks are drawn.

    Raises:
      WorkerDied: a process of this machine is gone.
      OSError: a worker had one, such as for a full disk.
      InputError: Beam or its runner refuses the job, in its words.
    """
    found: list[BlockDone | tuple[int, pathlib.Path]] = []
    worker = None
    num_sent = 0
    with self._progress as shown:
      for block, path in tasks:
        if path.exists():
          worker = worker or self._make_worker()
          found.append(worker((block, path)))
        else:
          self._driver = self._driver or _Driver(
            self._log, self._flags, self._work
          )
          self._exchange.write_task(num_sent, (block, path))
          found.append((num_sent, path))
          num_sent += 1
        shown.update(block.num_bytes)
    driver = self._driver
    if driver:
      driver.begin(num_sent)
    for there in found:
      if isinstance(there, BlockDone):
        yield there
        continue
      number, path = there
      assert driver is not None  # made for the first task that was sent
      while not self._exchange.is_done(number):
        if not driver.is_running(_SECONDS_BETWEEN_LOOKS):
          break
      yield self._exchange.read_done(number, path)


class _WorkOnBlock:
  """The function that Beam calls with the number of a task.

  Each process makes its worker once.
  """

  def __init__(
    self,
    exchange: beam_exchange.Exchange,
    make_worker: Callable[[], Callable[[Task], BlockDone]],
  ):
    self._exchange = exchange
    self._make_worker = make_worker
    self._worker: Callable[[Task], BlockDone] | None = None

  def __call__(self, number: int) -> None:
    if self._worker is None:
      # The processes are the parallelism.
      os.environ['TOKENIZERS_PARALLELISM'] = 'false'
      self._worker = self._make_worker()
    self._exchange.work_on(number, self._worker)


class _Driver:
  """The process that runs Beam, with the processes that Beam starts.

  FnApiRunner waits for ever for a worker that was killed, and ends only once
  its workers have worked off what they were given: here all of it is ended.
  """

  def __init__(self, log: pathlib.Path, flags: list[str], work: _WorkOnBlock):
    self._process = session_process.SessionProcess(_drive, (log, flags, work))
    self._is_over = False
    self._log = log

  def begin(self, num_tasks: int) -> None:
    print(f'prepare: Beam logs to {self._log}', file=sys.stderr, flush=True)
    with contextlib.suppress(ConnectionError):  # is_running says it better
      self._process.connection.send(num_tasks)

  def is_running(self, seconds: float) -> bool:
    """Waits `seconds`; returns False if the job ended well, raises if badly."""
    if self._is_over:
      return False
    try:
      if not self._process.connection.poll(seconds):
        return True
      failure = self._process.connection.recv()
    except (EOFError, ConnectionError):
      raise WorkerDied from None
    if failure:
      raise _as_exception(failure, self._log)
    self._is_over = True
    return False

  def stop(self) -> None:
    self._process.stop(_SECONDS_TO_CANCEL)


def _drive(
  connection: Any, log: pathlib.Path, flags: list[str], work: _WorkOnBlock
) -> None:
  """Runs the pipeline, then sends '' or the traceback of its failure."""
  jobs: list[Any] = []
  signal.signal(signal.SIGTERM, lambda *_: _cancel(jobs))
  threading.excepthook = _notice_death
  with open(log, 'ab') as file:
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
  logging.basicConfig(level=logging.INFO)
  # FnApiRunner starts its workers by a line for the shell.
  sys.executable = shlex.quote(sys.executable)
  os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)
  num_tasks = connection.recv()
  try:
    job = _pipeline(flags, num_tasks, work).run()
    jobs.append(job)
    job.wait_until_finish()
    jobs.clear()
  # Every runner raises exceptions of its own.
  except Exception:
    traceback.print_exc()
    connection.send(traceback.format_exc())
  else:
    connection.send('')


def _pipeline(flags: list[str], num_tasks: int, work: _WorkOnBlock) -> Any:
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions

  pipeline = beam.Pipeline(options=PipelineOptions(flags))
  _ = (
    pipeline
    # Blocks are numbered in the workers, since the description of a job,
    # which would hold the numbers, has a limit of size.
    | beam.Create([num_tasks])
    | 'number the blocks' >> beam.FlatMap(_numbers)
    | beam.Reshuffle()
    | _STEP >> beam.Map(work)
  )
  return pipeline


def _numbers(count: int) -> Iterator[int]:
  yield from range(count)


def _cancel(jobs: list[Any]) -> None:
  """Ends this process; a job that runs elsewhere is cancelled before."""
  for job in jobs:
    job.cancel()
  os._exit(1)


def _notice_death(thrown: threading.ExceptHookArgs) -> None:
  """Ends this process when one that FnApiRunner started has died.

  The runner has a thread `run_worker` for each of them.
  """
  threading.__excepthook__(thrown)
  if thrown.thread and thrown.thread.name == 'run_worker':
    # The launching process then finds the connection closed.
    os._exit(1)


def _as_exception(failure: str, log: pathlib.Path) -> Exception:
  """The exception that the traceback of a failed pipeline stands for."""
  if f"[while running '{_STEP}" not in failure:
    why = beam_exchange.last_line(failure)
    return InputError(f'--engine=beam: Beam ended with: {why}; see {log}')
  if number := re.search(r'OSError: \[Errno (\d+)\]', failure):
    return OSError(int(number[1]), os.strerror(int(number[1])))
  return RuntimeError(failure)
