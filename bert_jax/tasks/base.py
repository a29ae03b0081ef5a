"""What a downstream task is: its subject, from columns to report section.

A task is one file: a config (a dataclass) and what it builds. Everything else
(runs, inference, report, export) handles examples, rows, results and figures
without knowing what they are of. classification.py is the one to read first.

A verb asks in this order: `columns`, `fit`, `build`; then of what was built
`featurize`, `predict`, `decode`, `score`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import jax
import numpy as np
from flax import nnx

from bert_jax.data.examples import Column, Examples
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, Objective

# What a task knows from its training examples, such as the names of its
# classes: JSON, saved with the model.
Facts = dict[str, Any]
# What came out for one example: JSON. A key that begins with '_' is for `score`
# alone; no file gets it.
Result = dict[str, Any]
# Numbers by name, and what `sections` shows of them: JSON.
Figures = dict[str, Any]

# The fix of a message about a damaged results.json.
AGAIN = 'remove it, and give the finetune command of its workdir again'
SHARE, CORRELATION, NUMBER = 'share', 'correlation', 'number'


@dataclasses.dataclass(frozen=True)
class Figure:
  """How a figure is called, and shown: as one of SHARE, CORRELATION, NUMBER."""

  title: str
  kind: str = SHARE


@dataclasses.dataclass(frozen=True)
class ReportTable:
  """A table of a report: a name in front, then numbers or shares."""

  head: Sequence[str]
  rows: Sequence[Sequence[Any]]
  kinds: Sequence[str] = ()  # SHARE or NUMBER, of each column after the first


@dataclasses.dataclass(frozen=True)
class ReportMatrix:
  """Counts of true by predicted class, drawn as a picture."""

  title: str
  names: Sequence[str]
  counts: np.ndarray
  caption: str


@dataclasses.dataclass(frozen=True)
class Section:
  """A section of a report, as far as it is about one run."""

  title: str
  content: ReportTable | ReportMatrix | None
  notes: Sequence[str] = ()


@dataclasses.dataclass(kw_only=True)
class Features:
  """Examples as rows of a model, and what the host keeps of them.

  Attributes:
    rows: 'input_ids' int32 [n, T]; with answers also these, such as 'labels'
      [n, ...]. There may be more rows than examples.
    cut: What became of long examples, for a line: '3 cut to max_length=128
      tokens'.
    kept: What `decode` needs of the examples.
  """

  rows: dict[str, np.ndarray]
  cut: str
  kept: Any = None


@dataclasses.dataclass(kw_only=True)
class About:
  """What is to be said of one part of the data before training.

  Attributes:
    lines: Printed.
    record: Goes into results.json, by name and part.
    notes: What is odd, a line each.
  """

  lines: list[str] = dataclasses.field(default_factory=list)
  record: dict[str, Any] = dataclasses.field(default_factory=dict)
  notes: list[str] = dataclasses.field(default_factory=list)


@runtime_checkable
class TaskConfig(Protocol):
  """The config of a task; a dataclass, saved in config.json.

  Attributes:
    name: What results.json calls the task.
    figures: What a report shows; the first is the usual `metric`.
    train_path, eval_path: Files that `columns` are read from.
    header: See data.labelled.read_examples.
    metric: The figure that chooses the best epoch; higher is better.
    max_train_examples: Above 0, so many are drawn.
  """

  name: ClassVar[str]
  figures: ClassVar[dict[str, Figure]]
  train_path: str
  eval_path: str
  header: str
  metric: str
  max_train_examples: int

  def validate(self) -> None:
    """Raises InputError on a config that cannot be."""
    ...

  def columns(self) -> tuple[Column, ...]:
    """The columns of a file of examples, answers among them."""
    ...

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """The facts of the training examples; InputError where they cannot be.

    `earlier` are those of the model that a run starts from, if it has a head
    for any task.
    """
    ...

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    """The facts among what results.json holds.

    Raises InputError, which begins with `where`, if they are not there.
    """
    ...

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    """A config and facts that say the same as another library's head.

    None where it is no head of this task.
    """
    ...

  def build(self, table: TokenTable, facts: Facts) -> 'Task':
    """The task itself."""
    ...

  @classmethod
  def describe(cls, facts: Facts) -> str:
    """What a model of this task is, such as 'a classifier of 3 classes'."""
    ...

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    """Raises InputError where `sections` lacks something in results.json.

    `where` is the file.
    """
    ...

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    """What the held-out examples are, such as '3 classes'; '' for nothing."""
    ...

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    """The task's own sections of a report on what results.json holds."""
    ...


class Task(Objective, Protocol):
  """An objective over rows of examples that can also predict and be scored."""

  facts: Facts

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Rows of at most `max_length` tokens, with answers where there are some.

    Raises InputError where an answer is none that the model can give.
    """
    ...

  def about(self, part: str, examples: Examples) -> About:
    """What is to be known of the examples of a part, 'train' or 'eval'.

    Raises InputError where an answer is none that the model can give.
    """
    ...

  def predict(self, model: nnx.Module, batch: Batch) -> Any:
    """A prepared batch -> f32 or int arrays [B, ...], one entry a row."""
    ...

  def decode(self, predictions: Any, features: Features) -> list[Result]:
    """One result an example, in their order, from the predictions of all rows.

    `predictions` is what `predict` gives, joined along the rows, in numpy.
    """
    ...

  def values(self, results: Sequence[Result]) -> Any:
    """What `TrainedModel.predict` returns: an array, if it can be one."""
    ...

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """Figures over a whole set of examples with answers, on the host.

    Single numbers are floats.
    """
    ...

  def elsewhere(self) -> TaskHead | None:
    """What the exported model is called; None: others have no class for it."""
    ...


def validate_examples(config: TaskConfig) -> None:
  """The checks of the fields that all tasks have; raises InputError."""
  for name in ('train_path', 'eval_path'):
    if not getattr(config, name):
      raise InputError(f'task.{name} is empty; give --config.task.{name}=FILE')
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


def shown_result(result: Result) -> Result:
  """A result as a file gets it."""
  return {k: value for k, value in result.items() if not k.startswith('_')}


def to_arrays(predictions: Sequence[Any]) -> Any:
  """Predictions of several batches, joined along their rows, in numpy."""
  return jax.tree.map(lambda *parts: np.concatenate(parts), *predictions)
