"""Python in another process, and the command line as a user runs it."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_python(*arguments, folder=ROOT, **environment):
  """The ended process of `python ARGUMENTS` in a folder, with one device.

  It finds the package of this checkout, and reads nothing from a terminal.
  """
  defaults = {'JAX_NUM_CPU_DEVICES': '1', 'PYTHONPATH': str(ROOT)}
  return subprocess.run(
    [sys.executable, *map(str, arguments)],
    cwd=folder,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    env=os.environ | defaults | environment,
  )


def start_python(*arguments, **options) -> subprocess.Popen:
  """Starts `python ARGUMENTS`, which finds all that this process finds."""
  return subprocess.Popen(
    [sys.executable, *map(str, arguments)],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    text=True,
    **options,
  )


def verb(folder, *words, status=0, **environment):
  """The ended process of `bert-jax WORDS`, which must exit with `status`."""
  words = ('-m', 'bert_jax', *words)
  done = run_python(*words, folder=folder, **environment)
  assert done.returncode == status, done.stdout + done.stderr
  assert 'Traceback' not in done.stderr
  return done


def said(folder, *words, status=0) -> str:
  """The text of `bert-jax WORDS` on stdout, or on stderr if it fails."""
  done = verb(folder, *words, status=status)
  return done.stderr if status else done.stdout
