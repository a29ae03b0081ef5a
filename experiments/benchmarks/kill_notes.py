"""Notes of what a process does, for kill_drill.py, which kills it.

The experiment file of the drill calls `keep`. From then on the process writes a
line at each new phase and after each step: the time, the phase, and the step.
"""

import functools
import importlib
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

# Phases in the order in which a start comes to them.
PHASES = (
  'initialising',
  'staging',
  'compiling',
  'training',
  'evaluating',
  'saving',
  'ending',
)


# Names the folder in the environment of the process.
FOLDER = 'KILL_NOTES'


class _Notes:
  def __init__(self, path: pathlib.Path):
    # Each line is one write, which a kill does not cut.
    self._file = open(path, 'ab', buffering=0)
    self._phase, self.step, self.saving = '', 0, False

  def note(self, phase: str) -> str:
    """Begins a phase; returns the one before."""
    before, self._phase = self._phase, phase
    if phase != before:
      self._write()
    return before

  def step_done(self, step: int) -> None:
    self.step = step
    self._phase = 'saving' if self.saving else 'training'
    self._write()

  def _write(self) -> None:
    line = f'{time.time():.3f} {self._phase} {self.step}\n'
    self._file.write(line.encode())


def keep() -> None:
  """Wraps the functions at which a phase of pretrain or finetune begins."""
  process = next(
    (word for word in sys.argv if word.startswith('--process_id=')), '=0'
  ).partition('=')[2]
  notes = _Notes(pathlib.Path(os.environ[FOLDER], f'notes-{process}'))
  notes.note('initialising')
  _at('bert_jax.jobs.one_run', 'held', _beginning(notes, 'staging'))
  checkpoints = 'bert_jax.train.checkpoint', 'Checkpoints'
  _at(*checkpoints, '__init__', _beginning(notes, 'compiling'))
  _at(*checkpoints, 'save', _saving(notes))
  _at(*checkpoints, '_settle', _settling(notes))
  _at(*checkpoints, 'close', _beginning(notes, 'ending'))
  window = 'bert_jax.train.window', 'Window'
  _at(*window, '__init__', _counting(notes))
  _at(*window, 'add', _stepping(notes))
  for evaluator in (
    ('bert_jax.train.evaluation', 'HeldOutLosses'),
    ('bert_jax.train.scoring', 'Scoring'),
  ):
    _at(*evaluator, 'run', _during(notes, 'evaluating'))


def _at(module: str, *names_and_wrapper: Any) -> None:
  """Puts wrapper(original) in the place of a function of a module."""
  *parents, name, wrapper = names_and_wrapper
  holder = importlib.import_module(module)
  for parent in parents:
    holder = getattr(holder, parent)
  original = getattr(holder, name)
  setattr(holder, name, functools.wraps(original)(wrapper(original)))


def _beginning(notes: _Notes, phase: str) -> Callable:
  def wrapper(original):
    def wrapped(*arguments, **options):
      notes.note(phase)
      return original(*arguments, **options)

    return wrapped

  return wrapper


def _during(notes: _Notes, phase: str) -> Callable:
  def wrapper(original):
    def wrapped(*arguments, **options):
      before = notes.note(phase)
      try:
        return original(*arguments, **options)
      finally:
        notes.note(before)

    return wrapped

  return wrapper


def _saving(notes: _Notes) -> Callable:
  """A save goes on beside the steps, until it is settled."""

  def wrapper(original):
    def wrapped(*arguments):
      notes.saving = True
      notes.note('saving')
      return original(*arguments)

    return wrapped

  return wrapper


def _settling(notes: _Notes) -> Callable:
  def wrapper(original):
    def wrapped(checkpoints, **options):
      original(checkpoints, **options)
      if notes.saving and checkpoints._pending is None:
        notes.saving = False
        notes.note('training')

    return wrapped

  return wrapper


def _counting(notes: _Notes) -> Callable:
  def wrapper(original):
    def wrapped(window, step, *arguments, **options):
      notes.step = step
      return original(window, step, *arguments, **options)

    return wrapped

  return wrapper


def _stepping(notes: _Notes) -> Callable:
  def wrapper(original):
    first = True

    def wrapped(window, metrics):
      nonlocal first
      original(window, metrics)
      if first:  # others are done when the one after the next is dispatched
        import jax

        jax.block_until_ready(metrics)
        first = False
      notes.step_done(notes.step + 1)

    return wrapped

  return wrapper
