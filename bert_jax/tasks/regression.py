"""Regression: a number for a text or a pair of texts, such as a similarity."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Number
from bert_jax.data.examples import Column, Examples, text_columns
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError
from bert_jax.models import task_head
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.tasks import metrics
from bert_jax.tasks.base import (
  AGAIN,
  CORRELATION,
  NUMBER,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  Guess,
  ReportTable,
  Result,
  Section,
  Task,
)
from bert_jax.tasks.text_task import TextTask, TextTaskConfig

REGRESSION = 'regression'


@dataclasses.dataclass(kw_only=True, slots=True)
class RegressionConfig(TextTaskConfig):
  """Config of regression.

  Numbers are learned unscaled, with one output and mean squared error.
  `metric`: 'pearson' or 'spearman', the correlation of numbers or of ranks.
  """

  name: ClassVar[str] = REGRESSION
  figures: ClassVar[dict[str, Figure]] = {
    'pearson': Figure('Pearson correlation', CORRELATION),
    'spearman': Figure('Spearman correlation', CORRELATION),
  }

  metric: str = 'pearson'

  def columns(self) -> tuple[Column, ...]:
    return text_columns(self.text_columns, self.label_column, values.numbers)

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    numbers = examples.labels
    if len(set(numbers)) < 2:
      raise InputError(
        f'task.train_path={self.train_path}: every example has the number '
        f'{numbers[0]:g}; there is nothing to learn from one'
      )
    return {}

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    return {}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    if head.kind != task_head.TEXTS or head.problem_type != REGRESSION:
      return None
    return cls(pooling=head.pooling), {}

  def build(self, table: TokenTable, facts: Facts) -> Task:
    return Regression(self.pooling, table, facts, self.num_windows)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    return 'a regression'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    held_out = results['numbers']['eval']
    return f'numbers {held_out["smallest"]:g} to {held_out["largest"]:g}'

  @classmethod
  def guess(cls, results: dict[str, Any]) -> Guess:
    del results
    return Guess('pearson', 0.0, 'that of a constant number')

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    return [numbers_section(results)]


class Numbers(TypedDict):
  """The record of `about_numbers` on one part."""

  smallest: Number
  largest: Number
  mean: Number


class _Parts(TypedDict):
  train: Numbers
  eval: Numbers


class _Results(TypedDict):
  numbers: _Parts


_SUMMARY = ('smallest', 'largest', 'mean')


class Regression(TextTask):
  """Regression of texts; see objectives/base.py and tasks/base.py."""

  coefficients = {'squared_error': 1.0}
  num_outputs = 1

  def answers(self, examples: Examples) -> np.ndarray:
    return np.array(examples.labels, np.float32)

  def about(self, part: str, examples: Examples) -> About:
    return about_numbers(part, examples.labels)

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    values_B = self._values(model, batch, dropout_seeds_B)
    weights_B = batch['label_weights']
    error_B = jnp.square(values_B - batch['labels'])
    pair = jnp.sum(error_B * weights_B), jnp.sum(weights_B)
    return {'squared_error': pair}, {}

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Returns f32 values [B]."""
    return self._values(model, self.encode(model, batch, None), None)

  def decode(self, predictions: np.ndarray, features: Features) -> list[Result]:
    """Returns {'value': ...} of each example."""
    values = self.of_examples(predictions, features)
    return [{'value': value} for value in values.tolist()]

  def values(self, results: Sequence[Result]) -> np.ndarray:
    """The predicted values, f32 [n]."""
    return np.array([result['value'] for result in results], np.float32)

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    numbers = np.array(examples.labels, np.float64)
    values = np.array([result['value'] for result in results], np.float64)
    return {
      **metrics.correlations(numbers, values),
      'eval_loss': float(np.mean(np.square(values - numbers))),
    }

  def elsewhere(self) -> TaskHead:
    return TaskHead(
      kind=task_head.TEXTS,
      problem_type=REGRESSION,
      output_names=('LABEL_0',),
      pooling=self.pooling,
    )

  def _values(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> jax.Array:
    return self.outputs(model, batch, dropout_seeds_B)[:, 0]


def about_numbers(part: str, numbers: Sequence[float]) -> About:
  """Describes the numbers that a part is to learn or be compared with."""
  found = dict(
    zip(
      _SUMMARY,
      (min(numbers), max(numbers), math.fsum(numbers) / len(numbers)),
      strict=True,
    )
  )
  line = ', '.join(f'{name} {value:.4g}' for name, value in found.items())
  return About(lines=[f'{part}: {line}'], record={'numbers': found})


def numbers_section(results: dict[str, Any]) -> Section:
  """The section of a report on what `about_numbers` has recorded."""
  rows = [
    [title, *(results['numbers'][part][name] for name in _SUMMARY)]
    for title, part in (('Held-out', 'eval'), ('Training', 'train'))
    if part in results['numbers']
  ]
  table = ReportTable(
    ['Numbers', *map(str.capitalize, _SUMMARY)], rows, [NUMBER] * 3
  )
  return Section('Numbers', table, results.get('notes', ()))
