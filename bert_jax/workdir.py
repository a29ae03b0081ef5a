"""The layout of a workdir, and the operations that every verb needs.

WORKDIR/config.json   the experiment, with `_type` for every dataclass
WORKDIR/inputs.json   the content of its paths, see run_inputs.py
WORKDIR/input_stamps.json  stamps of their files, which spare reading them again
WORKDIR/tokenizer/    a copy: a workdir is complete without its corpus
WORKDIR/checkpoints/  see train/checkpoint.py
WORKDIR/best/         fine-tuning: the params of the best run, checkpoint form
WORKDIR/results.json  fine-tuning: the labels, every run and their mean
WORKDIR/complete.json  pretraining: there once the run is complete
WORKDIR/starts.jsonl  one line a start: command, versions, devices
WORKDIR/goodput.json  where the time of each start went, see train/goodput.py
WORKDIR/metrics/      part-N.jsonl, one a start
WORKDIR/lock          held while a process works here

A workdir may lie at gs://BUCKET/FOLDER, with the same layout.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

from bert_jax import durable_files
from bert_jax.config.codec import (
  check_recordable,
  check_unchanged,
  decode,
  encode,
)
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError
from bert_jax.local_paths import workdir_path


class Workdir:
  """The paths within a workdir; nothing is created before `create`."""

  def __init__(self, path: str | os.PathLike):
    self.path = workdir_path(path, '--workdir')
    # Raises InputError once the lock is lost, which a disk's never is.
    self.require_lock: Callable[[], None] = lambda: None
    self.lock_path = self.path / 'lock'
    self.config = self.path / 'config.json'
    self.tokenizer = self.path / 'tokenizer'
    self.checkpoints = self.path / 'checkpoints'
    self.best = self.path / 'best'
    self.results = self.path / 'results.json'
    self.grid = self.path / 'grid'
    self.grid_record = self.path / 'grid.json'
    self.starts = self.path / 'starts.jsonl'
    self.goodput = self.path / 'goodput.json'
    self.complete = self.path / 'complete.json'
    self.metrics = self.path / 'metrics'
    self.tensorboard = self.path / 'tensorboard'
    self.profile = self.path / 'profile'
    self.fill_mask = self.path / 'fill_mask.json'
    self.report = self.path / 'report.html'

  def create(self) -> None:
    """Makes the folder; raises OSError if a run could not write in it."""
    try:
      self.metrics.mkdir(parents=True, exist_ok=True)
      for folder in (self.path, self.checkpoints):
        durable_files.check_writable(folder)
    except OSError as error:
      # The error names the user's folder, not the file that was tried.
      raise OSError(error.errno, error.strerror, str(self.path)) from error

  def require(self) -> None:
    """Raises InputError unless this is a workdir."""
    if not self.config.is_file():
      raise InputError(
        f'--workdir={self.path} is not a workdir (it has no config.json); '
        'give the --workdir of a pretrain or finetune run'
      )

  @contextlib.contextmanager
  def lock(self) -> Iterator[None]:
    """Keeps a second process out; a dead owner's lock is free by itself.

    Raises InputError naming the owner.
    """
    what = f'--workdir={self.path}'
    with durable_files.workdir_lock(self.lock_path, what) as self.require_lock:
      yield

  def binds(self) -> bool:
    """True if there are checkpoints or results that depend on the config."""
    return self.has_checkpoint() or self.results.exists()

  def has_checkpoint(self) -> bool:
    """True if a run has saved its first checkpoint here."""
    return any(map(str.isdigit, durable_files.folders(self.checkpoints)))

  def noted_checkpoint(self) -> int:
    """The step of the newest checkpoint in the metrics, -1 if there is none."""
    steps = [
      record['step']
      for name in durable_files.names(self.metrics)
      if _PART_NAME.fullmatch(name)
      for record in _records(self.metrics / name)
      if record.get('kind') == 'checkpoint'
      and isinstance(record.get('step'), int)
    ]
    return max(steps, default=-1)

  def save_tokenizer(self, tokenizer: Tokenizer) -> None:
    """Writes the tokenizer's folder, whole or not at all."""
    if not self.has_checkpoint():
      durable_files.remove_tree(self.tokenizer)
    if not self.tokenizer.exists():
      with durable_files.whole_folder(self.tokenizer) as folder:
        tokenizer.save(folder)

  def note_start(self, devices: list[str]) -> None:
    """Records what a later reader needs to repeat or explain this start."""
    packages = ('bert_jax', 'jax', 'jaxlib', 'flax', 'optax')
    line = {
      'time': time.time(),
      'command': sys.argv,
      'python': platform.python_version(),
      'versions': versions_of(packages),
      'devices': devices,
      'host': platform.node(),
    }
    durable_files.append_line(self.starts, line)

  def config_changes(
    self,
    experiment: Any,
    allow_change: tuple[str, ...],
    same: tuple[str, ...] = (),
  ) -> list[str]:
    """Returns the differences from the recorded config that are allowed.

    `allow_change` names the fields that may differ. The fields `same` name the
    same content by another path, and are not compared. Before the first
    checkpoint any config is accepted. Raises InputError on any other
    difference, and on a config that config.json could not hold.
    """
    check_recordable(experiment)
    recorded = self.recorded_config()
    if recorded is None:
      return []
    return check_unchanged(recorded, experiment, allow_change, same)

  def recorded_config(self) -> Any | None:
    """The config that binds the next start; None before the first checkpoint.

    Earlier versions left compute_dtype '' and let the devices of each start
    decide. It is filled in from the newest start.
    """
    if not (self.config.exists() and self.binds()):
      return None
    config = self.read_config()
    if getattr(config, 'compute_dtype', None) == '':
      name = default_compute_dtype(self._devices_of_newest_start())
      config = dataclasses.replace(config, compute_dtype=name)
    return config

  def _devices_of_newest_start(self) -> str:
    starts = _records(self.starts) if self.starts.is_file() else ()
    named = [start['devices'] for start in starts if 'devices' in start]
    if not named:
      raise InputError(
        f'{self.starts}: does not say on which devices the run was computed, '
        'which decides its compute_dtype; write "float32" or "bfloat16" for it '
        'into config.json'
      )
    return str(named[-1])

  def write_config(
    self, experiment: Any, changes: list[str], next_example: int
  ) -> None:
    """Records the config and its changes, once all checks have passed."""
    for change in changes:
      print(
        f'changed as allowed, from example {next_example} on: {change}',
        flush=True,
      )
    if changes:
      line = {'time': time.time(), 'example': next_example, 'changes': changes}
      durable_files.append_line(self.starts, line)
    durable_files.write_json(self.config, encode(experiment))

  def read_config(self) -> Any:
    """The experiment that this workdir belongs to."""
    self.require()
    value = read_json(self.config)
    if isinstance(value, dict) and '_type' not in value:
      raise InputError(
        f'{self.path} is not the workdir of a bert-jax run: its config.json is '
        'of another program, such as Hugging Face transformers; name a run'
      )
    config = decode(value, where=str(self.config))
    # Every experiment has a model, which the verbs ask for first.
    if not hasattr(config, 'model'):
      raise InputError(
        f'{self.config}: it holds no experiment; restore it or start anew'
      )
    return config


def default_compute_dtype(devices: str) -> str:
  """The dtype of products on devices, given their platform or printed names."""
  return 'float32' if 'cpu' in devices.lower() else 'bfloat16'


_PART_NAME = re.compile(r'part-.*\.jsonl')


def _records(path: pathlib.Path) -> Iterator[dict[str, Any]]:
  """The objects of a JSONL file, without lines that a kill cut off."""
  for line in path.read_bytes().splitlines():
    with contextlib.suppress(ValueError, RecursionError):
      record = json.loads(line)
      if isinstance(record, dict):
        yield record


def read_json(path: pathlib.Path) -> Any:
  """Reads a file of JSON; raises InputError naming the file if it is none."""
  try:
    return json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise InputError(
      f'{path} is not readable JSON ({error}); restore it or start anew'
    ) from None


def versions_of(packages: Iterable[str]) -> dict[str, str]:
  """The versions of packages, or 'not installed', by their names."""

  def version(package: str) -> str:
    try:
      return metadata.version(package)
    except metadata.PackageNotFoundError:
      return 'not installed'

  return {package: version(package) for package in packages}
