"""A small classification to fine-tune on: its files and its experiment."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from runs import stop_after

from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.finetune import finetune
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.logging import LoggingConfig
from bert_jax.workdir import Workdir

Rows = Iterable[tuple[str, str]]


def classification(
  folder: pathlib.Path, train: Rows, held_out: Rows, column: str = 'text'
) -> ClassificationConfig:
  """Writes (text, label) rows as train.tsv and eval.tsv of `folder`."""
  for name, rows in (('train', train), ('eval', held_out)):
    lines = [f'{column}\tlabel', *map('\t'.join, rows)]
    (folder / f'{name}.tsv').write_text('\n'.join(lines) + '\n')
  return ClassificationConfig(
    train_path=str(folder / 'train.tsv'),
    eval_path=str(folder / 'eval.tsv'),
    text_columns=(column,),
  )


def tuning(task: Any, **fields: Any) -> FinetuneExperiment:
  """Three epochs of two seeds; `fields` replace those below.

  All rows have one length, since each more is another program to compile.
  """
  defaults = dict(
    num_seeds=2,
    num_epochs=3,
    batch_size=8,
    max_length=16,
    length_buckets=1,
    optimizer=AdamWConfig(learning_rate=1e-2),
    eval_batch_size=8,
    checkpoint=CheckpointConfig(every_steps=3, keep_last=1),
    logging=LoggingConfig(every_steps=4, tensorboard=False, peak_tflops=1.0),
  )
  return FinetuneExperiment(task=task, **(defaults | fields))


def results(workdir: pathlib.Path) -> dict[str, Any]:
  return json.loads(Workdir(workdir).results.read_text())


def stop_at_step_5(
  experiment: FinetuneExperiment, workdir: pathlib.Path, monkeypatch
) -> None:
  """Runs the experiment until a signal stops it after five steps."""
  with monkeypatch.context() as patch:
    stop_after(patch, 5)
    outcome = finetune(experiment, workdir)
  assert (outcome.stopped_by, outcome.saved_step) == ('SIGTERM', 5)
