"""Timed processes and tables, shared by the benchmarks.

Contestants run in separate processes and take turns, so that other work on the
machine affects all of them alike; figures are medians over the turns, and
ratios are taken within a turn.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

# Setting for all contestants: large arrays lie on large pages, if Linux and
# glibc have them; otherwise a fifth of a CPU's step goes to page faults.
ENVIRONMENT = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}


def start(command: Sequence[str], **options) -> subprocess.Popen:
  """Starts a process in its own group, so that its memory can be found."""
  return subprocess.Popen(
    [str(word) for word in command],
    env=os.environ | ENVIRONMENT,
    start_new_session=True,
    **options,
  )


class PeakMemory:
  """Watches the memory of a process group; `mib` is its peak.

  The proportional set size counts pages that processes share once.
  """

  def __init__(self, group: int):
    self.mib = 0.0
    self._group = group
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self) -> 'PeakMemory':
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._done.set()
    self._thread.join()

  def _watch(self) -> None:
    while not self._done.wait(0.05):
      self.mib = max(self.mib, group_mib(self._group))


def group_mib(group: int) -> float:
  total_kib = 0
  for folder in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      if os.getpgid(int(folder.name)) != group:
        continue
      rollup = (folder / 'smaps_rollup').read_text()
    except (OSError, ProcessLookupError):
      continue  # the process has ended
    total_kib += sum(
      int(line.split()[1])
      for line in rollup.splitlines()
      if line.startswith('Pss:')
    )
  return total_kib / 1024


def run(command: Sequence[str]) -> tuple[float, float, str]:
  """Runs a command and returns (seconds, peak MiB of its group, output)."""
  began = time.perf_counter()
  process = start(command, stdout=subprocess.PIPE, text=True)
  with PeakMemory(process.pid) as peak:
    output, _ = process.communicate()
  seconds = time.perf_counter() - began
  if process.returncode:
    raise SystemExit(f'{command} ended with status {process.returncode}')
  return seconds, peak.mib, output


class Worker:
  """A contestant in its own process, which answers questions line by line."""

  def __init__(self, command: Sequence[str]):
    self._process = start(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

  def ask(self, question: str, timeout: float = 3600) -> dict:
    """Returns the worker's answer; kills it and raises TimeoutError if late."""
    self._process.stdin.write(question + '\n')
    self._process.stdin.flush()
    timer = threading.Timer(timeout, self._process.kill)
    timer.start()
    try:
      for line in self._process.stdout:
        if line.startswith('{'):
          return json.loads(line)
    finally:
      timer.cancel()
    raise TimeoutError(f'no answer to {question} within {timeout} s')

  def end(self) -> None:
    self._process.stdin.close()
    self._process.wait()


def answer(questions: dict) -> None:
  """Answers in a worker: calls questions[line]() for each line of stdin."""
  for line in sys.stdin:
    print(json.dumps(questions[line.strip()]()), flush=True)


def peak_mib_of_this_process() -> float:
  import resource

  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
  """Name of the machine for a table: '2 x AMD EPYC, Python 3.13.0'."""
  name = platform.processor() or platform.machine()
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    for line in info.read_text().splitlines():
      if line.startswith('model name'):
        name = line.partition(':')[2].strip()
  cores = len(os.sched_getaffinity(0))
  return f'{cores} x {name}, Python {platform.python_version()}'


def spread(values: Sequence[float], digits: int = 0) -> str:
  """Median, least and most, such as '12 (11-14)'."""
  low, middle, high = min(values), statistics.median(values), max(values)
  return f'{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})'


def table(rows: Sequence[Sequence[str]]) -> str:
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [
      cell.ljust(width) if place == 0 else cell.rjust(width)
      for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    lines.append('  '.join(cells).rstrip())
  return '\n'.join(lines)
