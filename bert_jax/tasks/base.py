"""Interface of a downstream task, from the columns of files to the report.

A task is one file: a config (a dataclass) and the class that it builds. The
other rooms (runs, inference, report, export) handle examples, rows, results and
figures without knowing their subject. Read classification.py first.

A verb calls `columns`, `fit` and `build` of the config, in this order, and then
`featurize`, `predict`, `decode` and `score` of the task.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from flax import nnx

from bert_jax.data.examples import Column, Examples
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models.task_head import TaskHead
from bert_jax.models.vector_form import VectorForm
from bert_jax.objectives.base import Batch, Objective

# Knowledge of a task from its training examples, such as the names of its
# classes: JSON, saved with the model.
Facts = dict[str, Any]
# Outcome of one example: JSON. Keys that begin with '_' are for `score` alone
# and are not written to files.
Result = dict[str, Any]
# Numbers by name, and the values that `sections` shows: JSON.
Figures = dict[str, Any]

# Fix that ends a message about a damaged results.json.
AGAIN = 'remove it, and give the finetune command of its workdir again'
SHARE, CORRELATION, NUMBER = 'share', 'correlation', 'number'
TEXT = 'text'  # of a cell in a ReportTable alone


@dataclasses.dataclass(frozen=True)
class Figure:
  """The title of a figure and its format: SHARE, CORRELATION or NUMBER."""

  title: str
  kind: str = SHARE


@dataclasses.dataclass(frozen=True)
class ReportTable:
  """A table of a report; each row has a name, then values of these kinds.

  `kinds`: SHARE, CORRELATION, NUMBER or TEXT for each column but the first.
  """

  head: Sequence[str]
  rows: Sequence[Sequence[Any]]
  kinds: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class ReportMatrix:
  """Counts of true by predicted class, drawn as a picture."""

  title: str
  names: Sequence[str]
  counts: np.ndarray
  caption: str


@dataclasses.dataclass(frozen=True)
class ReportCurve:
  """Shares over shares, (x, y), drawn beside the line y = x."""

  title: str
  points: Sequence[tuple[float, float]]
  x_label: str
  y_label: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Section:
  """A section of a report on one run."""

  title: str
  content: ReportTable | ReportMatrix | ReportCurve | None
  notes: Sequence[str] = ()


@dataclasses.dataclass(kw_only=True)
class Features:
  """Examples as rows of a model, and the data that the host keeps.

  Attributes:
    rows: 'input_ids' int32 [n, T], or [n, K, T] where the encoder reads the K
      texts of an example one by one; and the answers if there are any, such as
      'labels' [n, ...]. There may be more rows than examples.
    per_token: Names of rows whose last axis is that of the tokens. It is cut
      where the rows of a batch are shorter.
    cut: Treatment of long examples, and how many had it: {'cut to
      max_length=128 tokens': 3}.
    kept: Data about the examples that `decode` needs.
  """

  rows: dict[str, np.ndarray]
  cut: dict[str, int]
  kept: Any = None
  per_token: tuple[str, ...] = ('input_ids',)


@dataclasses.dataclass(kw_only=True)
class About:
  """Information on one part of the data, given before training.

  Attributes:
    lines: Lines to print.
    record: Entries of results.json, which are stored by name and part.
    notes: Oddities of the data, a line each.
  """

  lines: list[str] = dataclasses.field(default_factory=list)
  record: dict[str, Any] = dataclasses.field(default_factory=dict)
  notes: list[str] = dataclasses.field(default_factory=list)


class ExampleFields(Protocol):
  """The fields of every task's config.

  Attributes:
    name: The name of the task in results.json.
    figures: The figures of a report; the first is the usual `metric`.
    train_path, eval_path: Files that `columns` are read from; without an
      eval_path, a part of the training examples is held out.
    header: Treatment of a first line; see data.labelled.read_examples.
    metric: The figure that chooses the best epoch; higher is better.
    max_train_examples: The number of examples to draw; 0 takes all.
  """

  name: ClassVar[str]
  figures: ClassVar[dict[str, Figure]]
  train_path: str
  eval_path: str
  header: str
  metric: str
  max_train_examples: int


@runtime_checkable
class TaskConfig(ExampleFields, Protocol):
  """The config of a task; a dataclass, saved in config.json.

  It may have two more properties: `needs_dropout`, the reason why training
  needs dropout, '' for none; and `num_passes`, how often a step encodes a text.
  """

  def validate(self) -> None:
    """Raises InputError on an invalid config."""
    ...

  def columns(self) -> tuple[Column, ...]:
    """The columns of a file of examples, including the answers."""
    ...

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """The facts of the training examples; InputError if they are unusable.

    `earlier` holds the facts of the model that a run starts from, if it has a
    head for any task.
    """
    ...

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    """Reads the facts from the contents of results.json.

    Raises InputError, with a message that begins with `where`, if they are
    missing.
    """
    ...

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    """A config and facts equivalent to another library's head.

    Returns None if the head is not one of this task.
    """
    ...

  def build(self, table: TokenTable, facts: Facts) -> 'Task':
    """Builds the task for the ids of a tokenizer."""
    ...

  @classmethod
  def describe(cls, facts: Facts) -> str:
    """Name for a model of this task, such as 'a classifier of 3 classes'."""
    ...

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    """Raises InputError if results.json lacks something that `sections` needs.

    `where` is the path of the file.
    """
    ...

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    """Summary of the held-out examples, such as '3 classes', or ''."""
    ...

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    """The task's own sections of the report on a results.json."""
    ...


class Task(Objective, Protocol):
  """An objective over rows of examples that can also predict and be scored."""

  facts: Facts

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Makes rows of at most `max_length` tokens, with answers if there are any.

    Raises InputError on an answer that the model cannot give.
    """
    ...

  def about(self, part: str, examples: Examples) -> About:
    """Describes the examples of a part, 'train' or 'eval'.

    Raises InputError on an answer that the model cannot give.
    """
    ...

  def predict(self, model: nnx.Module, batch: Batch) -> Any:
    """Predicts for a prepared batch: f32 or int arrays [B, ...]."""
    ...

  def decode(self, predictions: Any, features: Features) -> list[Result]:
    """Returns one result per example, in order, from all rows' predictions.

    `predictions` holds the outputs of `predict`, joined along the rows, in
    numpy. Those of a row's padding may be 0.
    """
    ...

  def values(self, results: Sequence[Result]) -> Any:
    """The value of `TrainedModel.predict`: an array, if it can be one."""
    ...

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """Computes figures over a whole set of examples with answers, on the host.

    Single numbers are floats.
    """
    ...

  def elsewhere(self) -> TaskHead | None:
    """Description of the head for export; None if no library has its class."""
    ...


@runtime_checkable
class SentenceEncoder(Protocol):
  """A task whose model gives vectors of texts, as `embed` computes them."""

  form: VectorForm


@runtime_checkable
class TrainingColumns(Protocol):
  """A task config whose training file has other columns than the held-out one.

  `columns` then are those of `eval_path`, and of `evaluate` and `predict`.
  """

  def training_columns(self) -> tuple[Column, ...]:
    """The columns of `train_path`."""
    ...


@dataclasses.dataclass(frozen=True)
class Guess:
  """The figure of an answer that needs no learning.

  Attributes:
    figure: The name of a figure that every run has.
    value: Its value on the held-out examples.
    words: The answer, for a sentence: "that of always 'pos'".
  """

  figure: str
  value: float
  words: str


@runtime_checkable
class GuessedTask(Protocol):
  """A task config that knows what a guess gets; a run not above it failed."""

  @classmethod
  def guess(cls, results: dict[str, Any]) -> Guess:
    """The best guess for the held-out examples of a results.json."""
    ...


@runtime_checkable
class DetailedTask(Protocol):
  """A task whose `sections` show more of a run than figures."""

  def details(
    self, results: Sequence[Result], examples: Examples
  ) -> Mapping[str, Any]:
    """JSON that stands in results.json as 'details' of a run.

    'hits', if there, has '1' for each example with a right answer, else '0':
    two models can then be compared on their examples.
    """
    ...


@runtime_checkable
class FittedTask(Protocol):
  """A task with facts of a trained model, such as a threshold for answers."""

  def fitted(self, results: Sequence[Result], examples: Examples) -> Facts:
    """Facts found on the evaluation part, after training.

    They take the place of facts of these names in results.json, and are those
    of the best seed.
    """
    ...


def validate_examples(config: ExampleFields) -> None:
  """Checks the fields that all tasks have; raises InputError."""
  if not config.train_path:
    raise InputError(
      'task.train_path is empty; give --config.task.train_path=FILE'
    )
  if config.max_train_examples < 0:
    raise InputError(
      f'task.max_train_examples is {config.max_train_examples}; give 0 (all) '
      'or a positive number'
    )
  if config.metric not in config.figures:
    raise InputError(
      f'task.metric is {quoted(config.metric)}; choose one of '
      f'{", ".join(config.figures)}'
    )


def hits_of(are_right: Iterable[Any]) -> str:
  """The 'hits' of DetailedTask.details: '1' for what is true, else '0'."""
  return ''.join('1' if is_right else '0' for is_right in are_right)


def shown_result(result: Result) -> Result:
  """The part of a result that is written to files."""
  return {k: value for k, value in result.items() if not k.startswith('_')}


def cut_phrase(cut: Mapping[str, int]) -> str:
  """The phrase for a printed line: '3 cut to max_length=128 tokens'."""
  return ', '.join(f'{number:,} {what}' for what, number in cut.items())
