"""A check of several parts, each in a process of its own.

The most memory that a process has had in use cannot be measured anew, a process
that ends itself takes none of the others with it, and one that hangs can be
ended. This process leaves the device alone, which another may hold as a whole.
"""

import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from bert_jax.config.json_files import read_object
from bert_jax.errors import InputError, one_line

# Ends the table of a machine that has a CPU alone.
WITHOUT_ACCELERATOR = (
  'No accelerator is here, so that the figures are those of a CPU. What a step '
  'is compiled to for a GPU or TPU (kernels, products by dtype, bytes, memory, '
  'its least time) shows: bert-jax preflight --config='
  'experiments/pretrain/bert_base.py --vocab_size=30522 --topology=h100:1, or '
  '--topology=v5e:2x4'
)
PARTS = ('peaks', 'attention', 'precision', 'recipes', 'determinism')


def check_all(
  parts: Sequence[str],
  recipes: Sequence[str],
  arguments: Sequence[str],
  seconds: float,
) -> dict[str, Any]:
  """Runs parts one after the other, a process for each and for each recipe.

  Args:
    parts: some of PARTS.
    recipes: names; none for one process that times a user's own.
    arguments: the words after the verb on the command line.
    seconds: the time after which a process is ended.

  Returns:
    The report: {'parts': {part: its figures}, 'failures': [a line each]} and
    what the figures depend on.
  """
  report: dict[str, Any] = {'parts': {}, 'failures': []}
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'part.json')
    for flags in _processes(parts, recipes):
      path.unlink(missing_ok=True)
      failure = _run([*arguments, *flags, f'--json={path}'], seconds)
      if path.exists():
        _add(report, read_object(path, 'run it again'))
      else:
        line = f'{" ".join(flags)}: {failure}'
        print(line, flush=True)
        report['failures'].append(line)
  if report.get('platform') == 'cpu':
    print(WITHOUT_ACCELERATOR)
  return report


def _processes(
  parts: Sequence[str], recipes: Sequence[str]
) -> Iterator[list[str]]:
  for part in parts:
    if part == 'recipes' and recipes:
      yield from (['--part=recipes', f'--recipes={name}'] for name in recipes)
    else:
      yield [f'--part={part}']


def _run(arguments: list[str], seconds: float) -> str:
  """Runs the verb; returns why it ended, which says something if it failed."""
  command = [sys.executable, '-m', 'bert_jax', 'check_device', *arguments]
  try:
    done = subprocess.run(
      command, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False
    )
  except subprocess.TimeoutExpired:
    return f'ended after {seconds:g} s; --seconds gives it more'
  return f'ended with status {done.returncode}: {_last_line(done.stderr)}'


def _add(report: dict[str, Any], found: dict[str, Any]) -> None:
  """Adds the report of a process; recipes of several stand side by side."""
  parts = report.pop('parts')
  failures = report.pop('failures') + found.pop('failures')
  for part, figures in found.pop('parts').items():
    if part not in parts:
      parts[part] = figures
    else:
      parts[part]['timed'] += figures['timed']
      parts[part]['left_out'] |= figures['left_out']
  # The date is that of the beginning, and comes first.
  report.update(found | report)
  report.update(parts=parts, failures=failures)


def platform_here() -> str:
  """The platform of JAX on this machine, asked of another process.

  Raises InputError if JAX cannot start.
  """
  code = 'import jax; print(jax.default_backend())'
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False
  )
  if done.returncode:
    raise InputError(f'JAX cannot start here: {_last_line(done.stderr)}')
  return done.stdout.strip()


def _last_line(text: str) -> str:
  lines = text.strip().splitlines()
  return one_line(lines[-1]) if lines else 'nothing was said'
