"""Worker processes: in order, few at a time, and none left behind."""

import functools
import operator
import os
import signal
import subprocess

import pytest
from other_process import start_python
from process_ends import assert_ended

from bert_jax.data.preparing.worker_processes import (
  WorkerDied,
  WorkerProcesses,
  number_of_cores,
)


def pool(num_workers, function, *arguments):
  """What runs in a worker is imported there, so it is of the library."""
  return WorkerProcesses(num_workers, functools.partial, (function, *arguments))


@pytest.mark.parametrize('num_workers', [1, 2])
def test_results_come_in_the_order_of_the_tasks(num_workers):
  with pool(num_workers, operator.mul, 3) as workers:
    assert list(workers.map(range(20))) == [3 * i for i in range(20)]
    assert list(workers.map([])) == []


@pytest.mark.parametrize('num_workers', [1, 2])
def test_tasks_are_drawn_only_as_results_are_taken(num_workers):
  drawn = 0

  def tasks():
    nonlocal drawn
    for number in range(50):
      drawn += 1
      yield number

  with pool(num_workers, abs) as workers:
    for taken, _ in enumerate(workers.map(tasks())):
      assert drawn - taken <= 2 * num_workers + 1
  assert drawn == 50


@pytest.mark.parametrize('num_workers', [1, 2])
def test_an_exception_reaches_the_caller(num_workers):
  with pool(num_workers, operator.truediv, 1) as workers:
    with pytest.raises(ZeroDivisionError):
      list(workers.map([1, 0]))


def test_a_worker_that_dies_is_no_hang():
  with pool(2, os._exit) as workers:
    with pytest.raises(WorkerDied):
      list(workers.map([1] * 10))


SCRIPT = """
import functools, os, sys, time
from bert_jax.data.preparing.worker_processes import WorkerProcesses

def work(task):
  print(os.getpid(), flush=True)

if __name__ == '__main__':
  with WorkerProcesses(2, functools.partial, (work,)) as workers:
    list(workers.map(range(2)))
    print('idle', flush=True)
    time.sleep(60)
"""


def test_no_worker_outlives_a_killed_parent(tmp_path):
  (tmp_path / 'script.py').write_text(SCRIPT)
  process = start_python(
    tmp_path / 'script.py', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
  )
  try:
    workers = set()
    while (line := process.stdout.readline().strip()) != 'idle':
      workers.add(int(line))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert_ended(workers)
  finally:
    process.kill()


def test_number_of_cores():
  assert 1 <= number_of_cores() <= os.cpu_count()
