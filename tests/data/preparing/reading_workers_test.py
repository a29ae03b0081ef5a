"""Processes that read tasks and work on their pieces, their own and others'."""

import collections
import functools
import os
import pathlib
import signal
import time

import pytest

from bert_jax.data.preparing import reading_workers
from bert_jax.data.preparing.reading_workers import End, ReadingWorkers
from bert_jax.data.preparing.worker_processes import WorkerDied

pytestmark = pytest.mark.hosts


# Imported by the workers, so all arguments are of the standard library.
def read(task):
  """A task (name, number of pieces, seconds before each)."""
  name, num_pieces, seconds = task
  for number in range(num_pieces):
    time.sleep(seconds)
    yield name, number
  return f'end of {name}'


class Worker:
  def __init__(self, seconds, act=''):
    self.seconds = seconds
    self.act = act

  def __call__(self, piece):
    time.sleep(self.seconds)
    if self.act == 'kill':
      os.kill(os.getpid(), signal.SIGKILL)
    if self.act == 'raise':
      raise FloatingPointError('of this worker')
    return *piece, os.getpid()


def collected(workers, tasks, method='map'):
  pieces, ends = collections.defaultdict(list), {}
  for number, event in getattr(workers, method)(read, tasks):
    if isinstance(event, End):
      assert number not in ends
      ends[number] = event
    else:
      name, piece, process = event
      assert tasks[number][0] == name
      pieces[name].append((piece, process))
  assert sorted(ends) == list(range(len(tasks)))
  for number, (name, num_pieces, _) in enumerate(tasks):
    assert ends[number] == End(num_pieces, f'end of {name}')
    assert sorted(piece for piece, _ in pieces[name]) == [*range(num_pieces)]
  return pieces


@pytest.mark.parametrize('num_workers', [1, 2, 4])
@pytest.mark.parametrize('method', ['map', 'map_here'])
def test_every_piece_is_worked_on_once(num_workers, method):
  tasks = [(f'task {i}', 5 * (i % 4), 0.0) for i in range(13)]
  with ReadingWorkers(num_workers, Worker, (0.001,)) as workers:
    # Twice, as a first pass and a second one do.
    collected(workers, tasks, method)
    collected(workers, tasks, method)
    collected(workers, [], method)


def test_one_reader_hands_over_to_all_others():
  with ReadingWorkers(3, Worker, (0.05,)) as workers:
    pieces = collected(workers, [('huge', 60, 0.0)])
  processes = collections.Counter(process for _, process in pieces['huge'])
  assert len(processes) == 3 and min(processes.values()) > 5
  assert os.getpid() not in processes


def test_readers_keep_their_own_pieces_while_all_have_tasks():
  with ReadingWorkers(2, Worker, (0.05,)) as workers:
    pieces = collected(workers, [('a', 20, 0.0), ('b', 20, 0.0)])
  most = [
    collections.Counter(process for _, process in of_task).most_common(1)[0]
    for of_task in pieces.values()
  ]
  assert most[0][0] != most[1][0]
  assert min(count for _, count in most) > 10


def test_a_large_piece_does_not_fill_the_pipe_for_ever():
  with ReadingWorkers(3, functools.partial, (len,)) as workers:
    found = [
      event
      for _, event in workers.map(_large, [0, 1])
      if not isinstance(event, End)
    ]
  assert found == [5_000_000] * 40


def _large(task):
  for _ in range(20):
    yield b'x' * 5_000_000


@pytest.mark.parametrize(
  ('act', 'error'), [('kill', WorkerDied), ('raise', FloatingPointError)]
)
def test_the_end_of_a_worker_is_no_hang(act, error):
  with pytest.raises(error), ReadingWorkers(3, Worker, (0.01, act)) as workers:
    list(workers.map(read, [('a', 1000, 0.0), ('b', 1000, 0.0)]))


def test_a_worker_killed_while_it_sends_is_no_hang():
  with pytest.raises(WorkerDied), ReadingWorkers(2, Worker, (0.01,)) as workers:
    list(workers.map(_read_and_die, [None]))


def _read_and_die(unused_task):
  # The beginning of a message: its length, and less than that.
  os.write(reading_workers._link.results.fileno(), b'\0\0\1\0some')
  time.sleep(0.5)
  os.kill(os.getpid(), signal.SIGKILL)
  yield


def test_an_error_of_reading_reaches_the_caller():
  with (
    pytest.raises(FileNotFoundError),
    ReadingWorkers(2, Worker, (0.01,)) as workers,
  ):
    list(workers.map(_fail, ['there', 'gone']))


def _fail(task):
  if task == 'gone':
    pathlib.Path('/no/such/file').read_bytes()
  for number in range(10**6):
    yield task, number


@pytest.mark.parametrize('num_taken', [0, 1, 50])
def test_left_early_it_ends_soon(num_taken):
  """Whoever leaves waits for the pieces that are worked on, not for all."""
  with ReadingWorkers(3, Worker, (0.01,)) as workers:
    events = workers.map(read, [('a', 10**6, 0.0), ('b', 10**6, 0.0)])
    for _ in range(num_taken):
      next(events)
    left = time.monotonic()
  assert time.monotonic() - left < 20
