"""Writes metrics: JSONL always, TensorBoard and Weights & Biases on request."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

from bert_jax.config.codec import encode
from bert_jax.errors import InputError, require_package
from bert_jax.parallel import distributed
from bert_jax.train.record_files import new_part
from bert_jax.workdir import Workdir


@dataclasses.dataclass(kw_only=True, slots=True)
class LoggingConfig:
  """Writes a record every `every_steps`.

  `tensorboard` and `wandb_project` need the extras tensorboard and wandb.
  `peak_tflops` is the peak per device that MFU refers to; 0 takes it from a
  table of known accelerators, or for a CPU measures a product at the start.
  """

  every_steps: int = 100
  tensorboard: bool = False
  wandb_project: str = ''
  peak_tflops: float = 0.0

  def validate(self) -> None:
    if self.every_steps < 1:
      raise InputError(
        f'logging.every_steps is {self.every_steps}; it must be 1 or more'
      )

  def require_packages(self) -> None:
    """Raises InputError if a package of the chosen writers is missing."""
    if self.tensorboard:
      require_package('tensorboardX', 'logging.tensorboard', 'tensorboard')
    if self.wandb_project:
      require_package('wandb', 'logging.wandb_project', 'wandb')


class MetricWriter:
  """Appends records to a new `part-N.jsonl`, one file for each start.

  If the disk is full, records wait in memory until there is room, and the run
  goes on. In a bucket they wait until `flush`, or for half a minute.
  """

  def __init__(
    self,
    config: LoggingConfig,
    metrics: pathlib.Path,
    tensorboard: pathlib.Path,
    run_config: Any = None,
  ):
    self._part, number = new_part(metrics)
    self._waiting: list[bytes] = []
    self._has_failed = False
    self._tensorboard = None
    self._wandb = None
    if config.tensorboard:
      self._tensorboard = _TensorBoard(tensorboard, number)
    if config.wandb_project:
      import wandb

      self._wandb = wandb.init(project=config.wandb_project, config=run_config)

  @property
  def path(self) -> pathlib.Path:
    """The part that the next records go to."""
    return self._part.path

  def write(self, record: dict[str, Any]) -> None:
    """Writes one JSON line; every record has `kind` and `step`."""
    line = json.dumps(record | {'time': time.time()}) + '\n'
    self._waiting.append(line.encode())
    self._write_waiting()
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
      self._tensorboard.write(numbers, step)
    if self._wandb is not None:
      self._wandb.log(numbers, step=step)

  def flush(self) -> None:
    """Puts all records where a reader of the workdir finds them."""
    self._write_waiting(whole=True)

  def close(self) -> None:
    """Raises InputError if records could not be written."""
    error = self._write_waiting(whole=True)
    self._part.close()
    if self._tensorboard is not None:
      self._tensorboard.close()
    if self._wandb is not None:
      self._wandb.finish()
    if error:
      raise InputError(
        f'{self.path}: {error}; the last {len(self._waiting)} records are '
        'lost, all else is kept. Make room before you go on'
      )

  def _write_waiting(self, whole: bool = False) -> OSError | None:
    """Writes whole lines or nothing; says so at the first of several failures.

    `whole`: the part may not leave them for later.
    """
    try:
      if self._part.write(b''.join(self._waiting), whole):
        self._waiting.clear()
    except OSError as error:
      if not self._has_failed:
        _warn(f'{self.path}: {error}; records wait in memory until it works')
      self._has_failed = True
      return error
    self._has_failed = False
    return None


class _NoWriter(MetricWriter):
  """Writes nothing: of several processes, the first alone writes records."""

  def __init__(self):
    pass

  def write(self, record: dict[str, Any]) -> None:
    pass

  def flush(self) -> None:
    pass

  def close(self) -> None:
    pass


class _TensorBoard:
  """An event file, written as the records come.

  tensorboardX.SummaryWriter is not used: its thread dies when the disk is full,
  and training then waits for ever once the queue is full.
  """

  def __init__(self, folder: pathlib.Path, number: int):
    from tensorboardX import record_writer
    from tensorboardX.proto import event_pb2

    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads the files of a folder in the order of their names.
    name = f'events.out.tfevents.{time.time():.0f}.{platform.node()}'
    self._records = record_writer.RecordWriter(
      str(folder / f'{name}.part-{number}')
    )
    self._append(
      event_pb2.Event(wall_time=time.time(), file_version='brain.Event:2')
    )

  def write(self, numbers: dict[str, float], step: int) -> None:
    from tensorboardX.proto import event_pb2, summary_pb2

    values = [
      summary_pb2.Summary.Value(tag=tag, simple_value=value)
      for tag, value in numbers.items()
    ]
    self._append(
      event_pb2.Event(
        wall_time=time.time(),
        step=step,
        summary=summary_pb2.Summary(value=values),
      )
    )

  def _append(self, event: Any) -> None:
    if self._records is None:
      return
    try:
      self._records.write(event.SerializeToString())
      self._records.flush()
    except OSError as error:
      # A torn record ends the file for its readers.
      with contextlib.suppress(OSError):  # its buffer has no room on the disk
        self._records.close()
      self._records = None
      _warn(f'TensorBoard: {error}; metrics/ has what it will lack from here')

  def close(self) -> None:
    if self._records is not None:
      self._records.close()


class Log:
  """Sends a run's records to its files and to the terminal."""

  def __init__(self, writer: MetricWriter, progress: 'Progress'):
    self._writer = writer
    self._progress = progress

  def record(self, record: dict[str, Any]) -> None:
    self._writer.write(record)
    self._progress.show(record)

  def note(self, record: dict[str, Any]) -> None:
    """Writes a record to the files alone."""
    self._writer.write(record)

  def flush(self) -> None:
    self._writer.flush()

  def say(self, text: str) -> None:
    """Prints a sentence to the terminal alone."""
    self._progress.say(text)

  def advance(self) -> None:
    self._progress.advance()


@contextlib.contextmanager
def open_writer(experiment: Any, workdir: Workdir) -> Iterator[MetricWriter]:
  """The writer of a run, closed at its end."""
  writer = (
    MetricWriter(
      experiment.logging,
      workdir.metrics,
      workdir.tensorboard,
      encode(experiment),
    )
    if distributed.is_first()
    else _NoWriter()
  )
  try:
    yield writer
  except BaseException:
    # An error of closing would hide the error that ended the run.
    with contextlib.suppress(InputError):
      writer.close()
    raise
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
    """Shows one record, at the end of the bar or as a line of its own."""
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


def _warn(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
