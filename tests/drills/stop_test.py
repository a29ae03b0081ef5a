"""SIGTERM and Ctrl-C in each phase of a real command.

Each command runs as its user runs it; a hook in the process sends the signal
when the phase has been reached, so that no test waits for a moment to come.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from runs import assert_same_run

from bert_jax.train.checkpoint import saved_steps
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.processes

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 20  # a cloud host gives half a minute
BOTH = pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])

# phase: what is called in it, and whether the signal comes before or after. A
# call that is 'endless' never comes back to Python, as a compilation seems to.
HOOKS = """
import hashlib, importlib, os, sys, time
PHASES = {
  'start-up': ('bert_jax.cli.flags', 'parse', 'endless'),
  'opening': ('bert_jax.jobs.pretrain', 'open_data', 'endless'),
  'compiling': ('bert_jax.train.step', 'make_train_step', 'endless'),
  'training': ('bert_jax.train.window', 'Window.add', 'before'),
  'evaluating': ('bert_jax.train.evaluation', 'RowsInOrder.batches', 'before'),
  'saving': ('bert_jax.train.checkpoint', 'Checkpoints.save', 'after'),
  'saving again': ('bert_jax.train.checkpoint', 'Checkpoints.save', 'twice'),
}
phase, number, call = (sys.argv.pop(1) for _ in range(3))
number, call = int(number), int(call)
module, name, when = PHASES[phase]
holder = importlib.import_module(module)
*parents, name = name.split('.')
for parent in parents:
  holder = getattr(holder, parent)
original = getattr(holder, name)
calls = 0

def send():
  # The clock is that of the machine, so the test reads the same one.
  print('signal at', time.monotonic(), flush=True)
  os.kill(os.getpid(), number)

def hooked(*arguments, **options):
  global calls
  calls += 1
  if calls == call and when != 'after':
    send()
    if when == 'twice':
      send()
    if when in ('endless', 'twice'):
      hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)
  result = original(*arguments, **options)
  if calls == call and when == 'after':
    send()
  return result

setattr(holder, name, hooked)
from bert_jax.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def command(small_corpus, tmp_path):
  """The run of `small_experiment` as a command line."""
  return [
    'pretrain',
    '--config=experiments/pretrain/bert_tiny_local.py',
    '--config.model.num_layers=2',
    '--config.model.embed_dim=16',
    '--config.model.num_heads=2',
    '--config.model.mlp_dim=32',
    '--config.model.max_positions=32',
    f'--config.data.path={small_corpus}',
    '--config.data.row_length=32',
    '--config.num_steps=10',
    '--config.batch_size=8',
    '--config.evaluation.every_steps=5',
    '--config.evaluation.batch_size=16',
    '--config.checkpoint.every_steps=5',
    '--config.logging.every_steps=2',
    '--config.logging.peak_tflops=1.0',
  ]


def run(command, workdir, hook=()):
  """(exit status, last line, seconds from the last signal to the end)."""
  program = ['-c', HOOKS, *map(str, hook)] if hook else ['-m', 'bert_jax']
  result = subprocess.run(
    [sys.executable, *program, *command, f'--workdir={workdir}'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=os.environ
    | {'JAX_NUM_CPU_DEVICES': '1', 'PYTHONPATH': os.pathsep.join(sys.path)},
  )
  assert 'Traceback' not in result.stdout, result.stdout
  ended = time.monotonic()
  lines = result.stdout.strip().splitlines()
  signals = re.findall(r'signal at (\d+\.\d+)', result.stdout)
  seconds = ended - float(signals[-1]) if signals else 0.0
  return result.returncode, lines[-1], seconds


@pytest.fixture
def untouched(module_folder, command):
  workdir = module_folder / 'untouched'
  if not workdir.exists():
    assert run(command, workdir)[0] == 0
  return workdir


def by(number):
  return 'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'


@BOTH
@pytest.mark.parametrize('phase', ['start-up', 'opening', 'compiling'])
def test_before_the_first_step_nothing_is_saved(
  command, tmp_path, phase, number
):
  status, line, seconds = run(command, tmp_path / 'run', (phase, number, 1))
  assert seconds < SECONDS
  assert status == 128 + number
  assert f'pretrain: stopped by {by(number)}; ' in line
  assert 'The same command ' in line
  assert not Workdir(tmp_path / 'run').checkpoints.exists()


@BOTH
@pytest.mark.parametrize(
  'phase, call, step',
  [('training', 3, 3), ('evaluating', 2, 5), ('saving', 1, 5)],
)
def test_what_was_computed_is_saved_and_goes_on_exactly(
  command, untouched, tmp_path, phase, call, step, number
):
  workdir = tmp_path / 'run'
  status, line, seconds = run(command, workdir, (phase, number, call))
  assert seconds < SECONDS
  assert status == (0 if number == signal.SIGTERM else 130)
  assert line == (
    f'pretrain stopped by {by(number)}; the checkpoint of step {step} is kept. '
    'The same command goes on from there.'
  )
  assert saved_steps(Workdir(workdir).checkpoints) == [step]
  assert run(command, workdir)[0] == 0
  assert_same_run(workdir, untouched)


@BOTH
def test_a_continued_run_that_has_computed_nothing_new(
  command, untouched, tmp_path, number
):
  workdir = Workdir(shutil.copytree(untouched, tmp_path / 'run'))
  shutil.rmtree(workdir.checkpoints / '10')
  status, line, _ = run(command, workdir.path, ('evaluating', number, 1))
  assert status == 128 + number
  assert 'the checkpoint of step 5 is kept' in line
  assert saved_steps(workdir.checkpoints) == [5]


@BOTH
def test_a_second_signal_while_saving_loses_nothing_saved(
  command, untouched, tmp_path, number
):
  workdir = shutil.copytree(untouched, tmp_path / 'run')
  shutil.rmtree(Workdir(workdir).checkpoints / '10')
  status, line, _ = run(command, workdir, ('saving again', number, 1))
  assert status == 128 + number
  assert line == (
    f'pretrain: stopped by {by(number)}; the checkpoint of step 5 is kept. '
    'The same command goes on from there.'
  )
  assert run(command, workdir)[0] == 0
  assert_same_run(workdir, untouched)
