"""A verb as several real processes, of which one acts at a chosen call.

An experiment file that begins with ACTING acts in one process at one call of a
function, so that no test waits for a moment to come.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]

# Runs in the launched processes: ACT is 'PROCESS SIGNAL MODULE NAME CALL', and
# DISK_FULL is one of the signals.
ACTING = """
import functools, importlib, os, resource, signal, sys, time


def act(process, number, module, name, call):
  if f'--process_id={process}' not in sys.argv:
    return
  holder = importlib.import_module(module)
  *parents, name = name.split('.')
  for parent in parents:
    holder = getattr(holder, parent)
  original, calls = getattr(holder, name), 0

  @functools.wraps(original)
  def acting(*arguments, **options):
    nonlocal calls
    calls += 1
    if calls == int(call):
      print('acts at', time.time(), file=sys.stderr, flush=True)
      if number == 'DISK_FULL':
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
      else:
        os.kill(os.getpid(), getattr(signal, number))
    return original(*arguments, **options)

  setattr(holder, name, acting)


if os.environ.get('ACT'):
  act(*os.environ['ACT'].split())
"""
# Called once after each step.
STEP = 'bert_jax.train.window Window.add'


class Ended:
  """An ended launcher: its exit status, lines, and seconds after the act."""

  def __init__(self, result: subprocess.CompletedProcess):
    self.status, self.text = result.returncode, result.stdout
    acted = re.search(r'acts at ([\d.]+)', self.text)
    self.seconds = time.time() - float(acted[1]) if acted else None

  def lines_of(self, process: int) -> str:
    start = f'[{process}] '
    lines = self.text.splitlines()
    return '\n'.join(line for line in lines if line.startswith(start))


def launch(*words, processes=2, devices=2, status=0, act='') -> Ended:
  """Runs a verb by launch/local_processes.py, which must exit with `status`."""
  launcher = [sys.executable, ROOT / 'launch' / 'local_processes.py']
  options = [str(processes), f'--devices={devices}', '--']
  ended = Ended(
    subprocess.run(
      [*launcher, *options, *words],
      env=os.environ | {'ACT': act},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
  )
  assert ended.status == status, ended.text
  assert 'Traceback' not in ended.text, ended.text
  return ended
