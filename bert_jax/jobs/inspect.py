"""The examples of a run as text, as the training step sees them."""

import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from bert_jax.data.side_files import LABEL_MEANINGS
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers import Tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment, PretrainExperiment
from bert_jax.jobs.pretrain import open_data, open_stream, pairs_kind
from bert_jax.train.step import MASKS
from bert_jax.workdir import Workdir


def read_experiment(workdir_path: str | os.PathLike) -> PretrainExperiment:
  """Reads the experiment of a pretraining run; InputError for other runs."""
  experiment = Workdir(workdir_path).read_config()
  if not isinstance(experiment, PretrainExperiment):
    what = 'a converted or grown model, which no run here made'
    if isinstance(experiment, FinetuneExperiment):
      what = 'a fine-tuning run, whose examples are the lines of its files'
    raise InputError(
      f'--workdir={workdir_path} is no pretraining run: it is {what}'
    )
  return experiment


def describe_examples(
  experiment: PretrainExperiment,
  *,
  step: int | None = None,
  example: int | None = None,
  rows: int = 8,
) -> Iterator[str]:
  """Yields lines about one example, or about the first `rows` of a step.

  A masked token is shown as {what it was>what the model saw}, with '=' if it
  saw the token itself. For objectives that replace tokens, it shows what the
  generator saw. For pairs, the label follows the number, and '|' stands
  between A and B.

  Raises:
    InputError: the config is invalid, or the run has no such step or example.
  """
  if not isinstance(experiment, PretrainExperiment):
    raise InputError(
      f'--config: {type(experiment).__name__} has no rows to inspect; give a '
      'file of experiments/pretrain'
    )
  experiment.validate()
  plan = experiment.plan()
  if step is not None:
    _check('step', step, plan.num_steps)
    first, size = plan.examples_before(step), plan.stage(step).batch_size
    numbers = range(first, first + min(size, max(rows, 1)))
    yield f'step {step}: examples {first} to {first + size - 1}'
  else:
    assert example is not None, 'give a step or an example'
    _check('example', example, plan.first_examples[-1])
    numbers = range(example, example + 1)
  with open_data(experiment, browse=True) as (corpora, tokenizer):
    stream = open_stream(experiment, corpora)
    numbers = np.array(numbers, np.uint64)
    batch = stream.batch(numbers)
  objective = experiment.objective.build(tokenizer.table)
  key = jax.random.fold_in(jax.random.key(experiment.seed), MASKS)
  at_step: Any = plan.step_of(int(numbers[0]))
  seen = jax.device_get(objective.prepare(batch, key, at_step))
  located = zip(numbers.tolist(), *stream.locate(numbers), strict=True)
  for place, (number, corpus, epoch, row) in enumerate(located):
    yield (
      f'example {number}: row {row} of {corpora[corpus].name}, epoch {epoch}, '
      f'step {plan.step_of(number)}'
    )
    masked = set()
    if 'masked_weights' in seen:
      used = seen['masked_weights'][place] > 0
      masked.update(seen['masked_positions'][place][used].tolist())
    yield from _segments(
      tokenizer,
      batch['input_ids'][place],
      jax.tree.map(lambda array, place=place: array[place], seen),
      masked,
      _labels(next(iter(corpora[corpus].rows.values())), batch, place),
    )


def _check(name: str, value: int, end: int) -> None:
  if not 0 <= value < end:
    raise InputError(f'--{name}={value}: this run has 0 to {end - 1}')


def _labels(
  rows: TokenRows, batch: dict[str, np.ndarray], place: int
) -> list[str] | None:
  """The label of each pair of a row; None for rows without pairs."""
  kind = pairs_kind(rows)
  if not kind:
    return None
  labels = batch['pair_labels'][place].tolist()
  return [f'{n}, {LABEL_MEANINGS[kind][n]}' for n in labels if n >= 0]


def _segments(
  tokenizer: Tokenizer,
  ids: np.ndarray,
  seen: dict[str, np.ndarray],
  masked: set[int],
  labels: list[str] | None,
) -> Iterator[str]:
  """A line for each segment of a row, and one for its padding."""
  segment_ids = seen['segment_ids']
  for segment in range(1, int(segment_ids.max()) + 1):
    words = []
    for place in np.flatnonzero(segment_ids == segment).tolist():
      word = tokenizer.token(int(ids[place]))
      if place in masked:
        shown = tokenizer.token(int(seen['input_ids'][place]))
        word = f'{{{word}>{"=" if shown == word else shown}}}'
      if seen['token_type_ids'][place] > seen['token_type_ids'][place - 1]:
        word = f'| {word}'
      words.append(word)
    label = '' if labels is None else f' ({labels[segment - 1]})'
    yield f'  {segment}{label}: {" ".join(words)}'
  padding = int((segment_ids == 0).sum())
  if padding:
    yield f'  {padding} of padding'
