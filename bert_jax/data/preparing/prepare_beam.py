"""Preparing a corpus on Apache Beam: other workers for the same files.

  bert-jax prepare ... --engine=beam -- --runner=DataflowRunner --project=... \\
    --region=... --temp_location=gs://BUCKET/temporary

The pipeline is Create(groups of files) | Map(prepare): a worker reads groups
(groups.py) and works on their blocks, as a worker process of the local engine
does. So the bytes are those of the local engine, and finished blocks are used
again by either engine. The launching process lists the files and looks at what
they hold, for the record, and gathers the blocks into shards. A source that is
not read from files is prepared on this machine.

Workers read the input by the names that it has here: on a shared disk, or in
object storage. Finished blocks go to the folder of unfinished work beside the
output, which is right for workers on this machine and on a shared disk, and
through Beam's --temp_location where it is given, on any file system that Beam
knows. Workers need this package (--setup_file or --sdk_container_image).

Without `--runner`, Beam's workers are processes of this machine, by its
FnApiRunner: DirectRunner first looks for a program that it downloads. Tested
with this one and with a job server of Beam's, of the protocol that Flink's and
Spark's have; not on a cluster, nor with a bucket.

One large file is the work of one worker: cut it, where there are more.
"""

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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bert_jax.data.preparing import (
  beam_exchange,
  beam_flags,
  groups,
  reading_workers,
  session_process,
)
from bert_jax.data.preparing.beam_exchange import Piece
from bert_jax.data.preparing.blocks import BlockDone
from bert_jax.data.preparing.groups import Task
from bert_jax.data.preparing.reading_workers import End, Read
from bert_jax.data.preparing.worker_processes import WorkerDied
from bert_jax.errors import InputError

LOG_NAME = 'beam.log'
_STEP = 'prepare'
_SECONDS_BETWEEN_LOOKS = 1.0
# Time to tell a cluster that the job is cancelled.
_SECONDS_TO_CANCEL = 20.0


class BeamWorkers:
  """Workers of Beam, used as `reading_workers.ReadingWorkers` are.

  Args:
    make_worker: `make_worker(*arguments)` is called once in each process, and
      what it returns for each block; all of it is pickled.
    arguments: likewise.
    flags: Beam's own, which come after the defaults here.
    num_workers: processes on this machine, where the flags name no runner.
    partial: the folder of unfinished work.

  Raises:
    InputError: Beam is not installed, or does not know a flag.
  """

  def __init__(
    self,
    make_worker: Callable[..., Callable[[Piece], BlockDone]],
    arguments: tuple[Any, ...],
    *,
    flags: Sequence[str],
    num_workers: int,
    partial: pathlib.Path,
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
    self._here = reading_workers.ReadingWorkers(
      num_workers, make_worker, arguments
    )
    self._log = partial / LOG_NAME
    self._driver: _Driver | None = None

  def __enter__(self) -> 'BeamWorkers':
    return self

  def __exit__(self, exception_type: Any, *exception) -> None:
    self._here.__exit__(exception_type, *exception)
    if self._driver:
      self._driver.stop()
    self._exchange.remove(finished=exception_type is None)

  def map(self, read: Read, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
    """Yields what ReadingWorkers.map yields, in the order of the tasks.

    Raises:
      WorkerDied: a process of this machine is gone.
      OSError: a worker had one, such as for a full disk.
      InputError: Beam or its runner refuses the job, in its words.
    """
    left = []
    for number, task in enumerate(tasks):
      # Workers on other machines see no records.
      if finished := groups.read_record(task):
        yield number, End(0, finished)
      else:
        left.append(number)
    if not left:
      return
    self._exchange.write_tasks(read, [tasks[number] for number in left])
    work = _WorkOnTask(self._exchange, self._make_worker)
    self._driver = _Driver(self._log, self._flags, work, len(left))
    for place, number in enumerate(left):
      while not self._exchange.is_done(place):
        if not self._driver.is_running(_SECONDS_BETWEEN_LOOKS):
          break
      for event in self._exchange.read_done(place):
        yield number, event
    self._driver.stop()
    self._driver = None

  def map_here(
    self, read: Read, tasks: Sequence[Task]
  ) -> Iterator[tuple[int, Any]]:
    yield from self._here.map_here(read, tasks)


class _WorkOnTask:
  """The function that Beam calls with the number of a task.

  Each process makes its worker, and reads the tasks, once.
  """

  def __init__(
    self,
    exchange: beam_exchange.Exchange,
    make_worker: Callable[[], Callable[[Piece], BlockDone]],
  ):
    self._exchange = exchange
    self._make_worker = make_worker
    self._known: tuple[Any, ...] | None = None

  def __call__(self, number: int) -> None:
    if self._known is None:
      # The processes are the parallelism.
      os.environ['TOKENIZERS_PARALLELISM'] = 'false'
      self._known = *self._exchange.read_tasks(), self._make_worker()
    read, tasks, worker = self._known
    self._exchange.work_on(read, tasks[number], number, worker)


class _Driver:
  """The process that runs Beam, with the processes that Beam starts.

  FnApiRunner waits for ever for a worker that was killed, and ends only once
  its workers have worked off what they were given: here all of it is ended.
  """

  def __init__(
    self,
    log: pathlib.Path,
    flags: list[str],
    work: _WorkOnTask,
    num_tasks: int,
  ):
    print(f'prepare: Beam logs to {log}', file=sys.stderr, flush=True)
    self._process = session_process.SessionProcess(
      _drive, (log, flags, work, num_tasks)
    )
    self._is_over = False
    self._log = log

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
  connection: Any,
  log: pathlib.Path,
  flags: list[str],
  work: _WorkOnTask,
  num_tasks: int,
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


def _pipeline(flags: list[str], num_tasks: int, work: _WorkOnTask) -> Any:
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions

  pipeline = beam.Pipeline(options=PipelineOptions(flags))
  _ = (
    pipeline
    # Tasks are numbered in the workers, since the description of a job,
    # which would hold the numbers, has a limit of size.
    | beam.Create([num_tasks])
    | 'number the tasks' >> beam.FlatMap(_numbers)
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
  at_work = f"[while running '{_STEP}"
  refused = re.search(
    rf'InputError: (.*?)(?: {re.escape(at_work)}|\n)', failure
  )
  if refused:
    return InputError(refused[1])
  if at_work not in failure:
    why = beam_exchange.last_line(failure)
    return InputError(f'--engine=beam: Beam ended with: {why}; see {log}')
  if number := re.search(r'OSError: \[Errno (\d+)\]', failure):
    return OSError(int(number[1]), os.strerror(int(number[1])))
  return RuntimeError(failure)
