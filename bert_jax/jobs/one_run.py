"""One run of several processes: one workdir, one config, the same data."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import jax

from bert_jax.buckets import BucketPath
from bert_jax.config.codec import encode
from bert_jax.data.examples import Examples
from bert_jax.data.reading.corpora import OpenCorpus
from bert_jax.errors import InputError
from bert_jax.parallel import distributed
from bert_jax.stopping import StopSignal
from bert_jax.train import saving
from bert_jax.train.checkpoint import Checkpoints
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.workdir import Workdir


def stop_signal(verb: str) -> StopSignal:
  """The stop of a run, at which its processes agree or end alike."""
  kept = saving.kept_and_goes_on(-1)
  return StopSignal(verb, kept, distributed.stops_here, distributed.announce)


@contextlib.contextmanager
def held(workdir: Workdir) -> Iterator[None]:
  """The workdir, made and locked by the first of several processes for all.

  Raises InputError if it is in use, or is not the same folder for all. Of
  several processes, the first alone prints how the run goes on.
  """
  with contextlib.ExitStack() as stack:
    if distributed.is_first():
      workdir.create()
      stack.enter_context(workdir.lock())
    if distributed.several():
      _check_shared(workdir)
      workdir.create()  # or one that may not write here would fail at a save
    stack.enter_context(first_prints())
    yield


def checkpoints(workdir: Workdir, config: CheckpointConfig) -> Checkpoints:
  """The checkpoints of a workdir, written as long as its lock is held."""
  return Checkpoints(workdir.checkpoints, config, workdir.require_lock)


@contextlib.contextmanager
def first_prints() -> Iterator[None]:
  """A context in which the first of several processes alone prints."""
  with contextlib.ExitStack() as stack:
    if not distributed.is_first():
      nowhere = stack.enter_context(open(os.devnull, 'w'))
      stack.enter_context(contextlib.redirect_stdout(nowhere))
    yield


def in_turn(
  windows: Iterator[Examples],
) -> Iterator[tuple[list[Examples], list[Examples]]]:
  """Yields the windows of a round, and of them this process's: one or none.

  In a round each process takes a window, in their order.
  """
  while together := [*itertools.islice(windows, jax.process_count())]:
    yield together, together[jax.process_index() : jax.process_index() + 1]


def _check_shared(workdir: Workdir) -> None:
  path = workdir.lock_path
  mine = path.read_text() if distributed.is_first() else ''
  owner = distributed.as_first('lock', mine)
  # A shared file system may show a new file after some seconds.
  for _ in range(20):
    with contextlib.suppress(FileNotFoundError):
      if path.read_text() == owner:
        return
    time.sleep(0.5)
  raise InputError(
    f'--workdir={workdir.path} is not the folder that process 0 works in; give '
    'one on a disk that all hosts share'
  )


def check_place(experiment: Any, workdir: Workdir) -> None:
  """Raises InputError on a field that needs a workdir on a disk, if it is not.

  Event files grow by appending, and a profile is written by TensorFlow's code.
  """
  if isinstance(workdir.path, BucketPath):
    for name, value in (
      ('logging.tensorboard', experiment.logging.tensorboard),
      ('profile_steps', experiment.profile_steps),
    ):
      if value:
        raise InputError(
          f'{name}={value}: this is written to a disk alone, and '
          f'--workdir={workdir.path} is none; leave it out, or give a folder '
          'on a disk'
        )


def require_alike(experiment: Any) -> None:
  """Raises InputError if the processes differ in software, devices or config.

  It names the process and the field.
  """
  if distributed.several():
    distributed.require_equal(distributed.software() | _fields(experiment))


def _fields(experiment: Any) -> dict[str, str]:
  """The fields of a config by their names, to be compared between hosts."""
  found: dict[str, str] = {}

  def add(name: str, value: Any) -> None:
    if isinstance(value, dict):
      for key, inner in value.items():
        add(f'{name}.{key}', inner)
    else:
      found[name] = str(value)

  add('config', encode(experiment))
  return found


def content(corpora: list[OpenCorpus]) -> dict[str, str]:
  """The fingerprints of all rows, to be compared between hosts."""
  return {
    f'corpus {corpus.name} (its rows of {length})': rows.fingerprint
    for corpus in corpora
    for length, rows in [*corpus.rows.items(), ('evaluation', corpus.held_out)]
    if rows
  }
