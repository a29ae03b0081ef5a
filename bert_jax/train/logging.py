"""Metrics out: JSONL always, TensorBoard and Weights & Biases if asked for."""

import contextlib
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from bert_jax.errors import InputError
from bert_jax.workdir import Workdir, encode


@dataclasses.dataclass(kw_only=True, slots=True)
class LoggingConfig:
  """Records every `every_steps`.

  `peak_tflops` is the peak per device that MFU refers to; 0: a table for known
  accelerators, and for a CPU a product measured at the start.
  """

  every_steps: int = 100
  tensorboard: bool = True
  wandb_project: str = ''
  peak_tflops: float = 0.0

  def validate(self) -> None:
    if self.every_steps < 1:
      raise InputError(
        f'logging.every_steps is {self.every_steps}; it must be 1 or more'
      )


class MetricWriter:
  """Appends records to a new `part-N.jsonl`, one file for each start."""

  def __init__(
    self,
    config: LoggingConfig,
    metrics: pathlib.Path,
    tensorboard: pathlib.Path,
    run_config: Any = None,
  ):
    metrics.mkdir(parents=True, exist_ok=True)
    number = 1 + max(
      (int(path.stem[5:]) for path in metrics.glob('part-*.jsonl')), default=-1
    )
    self._file = open(metrics / f'part-{number}.jsonl', 'x')
    self._tensorboard = None
    self._wandb = None
    if config.tensorboard:
      import tensorboardX

      self._tensorboard = tensorboardX.SummaryWriter(str(tensorboard))
    if config.wandb_project:
      self._wandb = _start_wandb(config.wandb_project, run_config)

  def write(self, record: dict[str, Any]) -> None:
    """One JSON line; `kind` and `step` are in every record."""
    self._file.write(json.dumps(record | {'time': time.time()}) + '\n')
    self._file.flush()
    step = record['step']
    names = [record['kind'], record.get('corpus')]
    if 'seed' in record:
      names.append(f'seed_{record["seed"]}')
    prefix = '/'.join(name for name in names if name)
    numbers = {
      f'{prefix}/{name}': value
      for name, value in record.items()
      if isinstance(value, float) or name == 'skipped_updates'
    }
    if self._tensorboard is not None:
      for name, value in numbers.items():
        self._tensorboard.add_scalar(name, value, step)
    if self._wandb is not None:
      self._wandb.log(numbers, step=step)

  def close(self) -> None:
    self._file.close()
    if self._tensorboard is not None:
      self._tensorboard.close()
    if self._wandb is not None:
      self._wandb.finish()


@contextlib.contextmanager
def open_writer(experiment: Any, workdir: Workdir) -> Iterator[MetricWriter]:
  """The writer of a run, closed at its end."""
  writer = MetricWriter(
    experiment.logging,
    workdir.metrics,
    workdir.tensorboard,
    encode(experiment),
  )
  try:
    yield writer
  finally:
    writer.close()


class Progress:
  """A bar on a terminal, plain lines elsewhere."""

  def __init__(self, label: str, first: int, total: int):
    self._bar = None
    self._total = total
    if sys.stderr.isatty():
      import tqdm

      self._bar = tqdm.tqdm(
        initial=first, total=total, desc=label, unit='step', leave=True
      )

  def advance(self) -> None:
    if self._bar is not None:
      self._bar.update()

  def show(self, record: dict[str, Any]) -> None:
    """One record, as the bar's ending or as a line of its own."""
    text = ' '.join(
      f'{name}={value:.4g}'
      for name, value in record.items()
      if isinstance(value, float) and name != 'time'
    )
    if self._bar is not None and record['kind'] == 'train':
      loss = record['loss']
      self._bar.set_postfix_str(
        'loss not finite' if loss is None else f'loss={loss:.3f}'
      )
      return
    where = f'step {record["step"]}/{self._total}'
    if 'seed' in record:
      where += f' seed {record["seed"]}'
    self.say(f'{where} {record["kind"]} {text}')

  def say(self, text: str) -> None:
    if self._bar is not None:
      self._bar.write(text)
    else:
      print(text, flush=True)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()


def _start_wandb(project: str, run_config: Any) -> Any:
  try:
    import wandb
  except ImportError:
    raise InputError(
      f'logging.wandb_project={project!r} needs the package wandb; '
      'pip install wandb, or leave the field empty'
    ) from None
  return wandb.init(project=project, config=run_config)
