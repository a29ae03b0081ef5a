"""Classification of a text or a pair of texts into one of several classes."""

import collections
import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, ClassVar, NotRequired, Self, TypedDict

import jax
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count, Number, Text
from bert_jax.data.examples import Column, Examples, text_columns
from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError, listed, quoted, require_package
from bert_jax.models import task_head
from bert_jax.models.dropout import fold
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.tasks import class_details, classes, metrics
from bert_jax.tasks.base import (
  AGAIN,
  CORRELATION,
  NUMBER,
  SHARE,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  Guess,
  ReportMatrix,
  ReportTable,
  Result,
  Section,
)
from bert_jax.tasks.class_details import ClassDetails
from bert_jax.tasks.class_losses import ClassLossConfig, ClassLosses
from bert_jax.tasks.class_table import ClassFigures
from bert_jax.tasks.text_task import TextTask

NAME = 'classification'
# The examples of the default task, to train and to evaluate on.
_DOCS = ('installed_docs:train', 'installed_docs:eval')
# Name in transformers for the problem of one class per text.
_SINGLE = 'single_label_classification'
# The fact that training alone reads.
_WEIGHTS = 'class_weights'
# The use of a row's seed for a second pass; the encoder's is 0, the head's 1.
_SECOND_PASS = 2
# Largest number of classes that is drawn as a picture.
_MAX_CONFUSION_CLASSES = 60


@dataclasses.dataclass(kw_only=True, slots=True)
class ClassificationConfig(ClassLossConfig):
  """Config of classification; by default, from which package is a docstring?

  Labels are names. If all are numbers, classes are ordered by size, so that
  output i of the model is class i if labels are 0 to n - 1; otherwise by code
  point.

  `unseen`: a class that the training examples lack is refused ('refuse'), or
  its examples count as wrong ('wrong').
  `positive_class`: the class whose F1 is the figure 'f1', as in MRPC and QQP of
  GLUE; '' for none.
  """

  name: ClassVar[str] = NAME
  figures: ClassVar[dict[str, Figure]] = {
    'accuracy': Figure('accuracy'),
    'f1': Figure('F1 of the positive class'),
    'macro_f1': Figure('macro F1'),
    'matthews': Figure('Matthews', CORRELATION),
  }

  train_path: str = _DOCS[0]
  eval_path: str = _DOCS[1]
  metric: str = 'accuracy'
  positive_class: str = ''
  unseen: str = classes.REFUSE

  def validate(self) -> None:
    if self.train_path != _DOCS[0] and self.eval_path == _DOCS[1]:
      self.eval_path = ''  # of other texts: nobody gave it
    ClassLossConfig.validate(self)
    classes.check_unseen(self.unseen)
    if self.metric == 'f1' and not self.positive_class:
      raise InputError(
        'task.metric=f1 is the F1 of one class; name it with '
        '--config.task.positive_class=CLASS, or give the metric macro_f1'
      )

  def columns(self) -> tuple[Column, ...]:
    return text_columns(self.text_columns, self.label_column)

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """The names of the classes, in the order of the model's outputs.

    The weights of their losses are added for training, and are not saved.
    """
    labels, origins = examples.labels, examples.origins
    if examples.may_be_header:
      # Imported here, because other uses of a config need no reader.
      from bert_jax.data.tables.header import refuse_lone_first_label

      refuse_lone_first_label(origins[0], labels, '--config.task.')
    names = classes.ordered_names(labels, origins)
    if len(names) < 2:
      raise InputError(
        f'task.train_path={self.train_path}: every example has the label '
        f'{quoted(names[0])}; there is nothing to learn from one class'
      )
    if self.positive_class and self.positive_class not in names:
      raise InputError(
        f'task.positive_class is {quoted(self.positive_class)}; the classes of '
        f'{self.train_path} are {listed(names)}'
      )
    weights = self.weights_of(labels, names)
    return {'labels': names} | ({_WEIGHTS: weights} if weights else {})

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    return {'labels': classes.names_in(record, where)}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    if head.kind != task_head.TEXTS or head.problem_type != _SINGLE:
      return None
    config = cls(train_path='', eval_path='', pooling=head.pooling)
    return config, {'labels': list(head.output_names)}

  def build(self, table: TokenTable, facts: Facts) -> 'Classification':
    return Classification(
      self.pooling,
      table,
      facts,
      num_windows=self.num_windows,
      positive_class=self.positive_class,
      takes_unseen=self.unseen == classes.WRONG,
      losses=ClassLosses(
        label_smoothing=self.label_smoothing,
        class_weights=facts.get(_WEIGHTS, ()),
        r_drop=self.r_drop,
      ),
    )

  @classmethod
  def describe(cls, facts: Facts) -> str:
    return f'a classifier of {len(facts["labels"])} classes'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)
    labels = results['labels']
    if not labels:
      raise InputError(f'{where}: it has no labels; {AGAIN}')
    for run in results['runs']:
      confusion = run['confusion']
      if (
        any(len(x) != len(labels) for x in [confusion, *confusion])
        or any(count < 0 for row in confusion for count in row)
        or any(label not in run['per_class'] for label in labels)
      ):
        raise InputError(
          f'{where}: the run of seed {run["seed"]} lacks figures; {AGAIN}'
        )

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    return f'{len(results["labels"])} classes'

  @classmethod
  def guess(cls, results: dict[str, Any]) -> Guess:
    per_class = results['runs'][0]['per_class']
    most = max(results['labels'], key=lambda label: per_class[label]['support'])
    share = per_class[most]['support'] / max(results['num_eval'], 1)
    return Guess('accuracy', share, f'that of always {quoted(most)}')

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    labels, runs = results['labels'], results['runs']
    # Results of earlier versions have no 'label_counts'.
    in_training = results.get('label_counts', {'train': {}})['train']
    rows = []
    for label in labels:
      scores = [run['per_class'][label] for run in runs]
      means = [
        statistics.fmean(score[name] for score in scores)
        for name in ('precision', 'recall', 'f1')
      ]
      rows.append([label, *means, scores[0]['support'], in_training.get(label)])
    table = ReportTable(
      ['Class', 'Precision', 'Recall', 'F1', 'Held-out', 'Training'],
      rows,
      [SHARE] * 3 + [NUMBER] * 2,
    )
    sections = [Section('Classes', table, results.get('notes', ()))]
    details = cls._details(results)
    if len(labels) > _MAX_CONFUSION_CLASSES:
      too_many = (
        f'{len(labels)} classes are too many for a picture; results.json has '
        'the counts.'
      )
      return [*sections, Section('Confusion', None, [too_many]), *details]
    matrix = ReportMatrix(
      'Confusion matrix',
      labels,
      np.sum([run['confusion'] for run in runs], axis=0),
      'Counts summed over the seeds; a cell is as strong as its share of the '
      'true class.',
    )
    return [*sections, Section('Confusion', matrix), *details]

  @classmethod
  def _details(cls, results: dict[str, Any]) -> list[Section]:
    """Sections on the best run; none of results of earlier versions."""
    best = results['runs'][results.get('best_seed', 0)]
    return class_details.sections(best['details']) if 'details' in best else []


class _Counts(TypedDict):
  train: dict[str, Count]
  eval: dict[str, Count]


class _Run(TypedDict):
  seed: Count
  accuracy: Number
  macro_f1: Number
  matthews: Number
  per_class: dict[str, ClassFigures]
  confusion: list[list[Count]]
  details: NotRequired[ClassDetails]


class _Results(TypedDict):
  labels: list[Text]
  label_counts: NotRequired[_Counts]
  runs: list[_Run]


_PLAIN = ClassLosses()


class Classification(TextTask):
  """Classification of texts; see objectives/base.py and tasks/base.py."""

  def __init__(
    self,
    pooling: str,
    table: TokenTable,
    facts: Facts,
    *,
    num_windows: int = 1,
    positive_class: str = '',
    takes_unseen: bool = False,
    losses: ClassLosses = _PLAIN,
  ):
    # A model is of the same task whatever its losses weighed.
    super().__init__(pooling, table, {'labels': facts['labels']}, num_windows)
    self._losses = losses
    self.coefficients = losses.coefficients
    self._positive_class = positive_class
    self._takes_unseen = takes_unseen
    self._names: list[str] = facts['labels']
    self.num_outputs = len(self._names)

  def answers(self, examples: Examples) -> np.ndarray:
    return self._label_ids(examples)[0]

  def about(self, part: str, examples: Examples) -> About:
    require_package('sklearn', f'the task {NAME}', 'finetune')
    _, notes = self._label_ids(examples)
    counts = collections.Counter(examples.labels)
    by_name = {name: counts[name] for name in self._names}
    lines = [classes.count_line(part, by_name)]
    if part == 'train':
      notes += classes.warnings(self._names, examples.labels, examples.origins)
      if weights := self._losses.class_weights:
        ends = f'{min(weights):.3g} to {max(weights):.3g}'
        lines.append(f'train: an example weighs {ends}, by its class')
    return About(
      lines=lines,
      record={'label_counts': by_name},
      notes=notes,
    )

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    logits_BC = self.outputs(model, batch, dropout_seeds_B)
    again_BC = None
    if self._losses.r_drop and dropout_seeds_B is not None:
      seeds_B = fold(dropout_seeds_B, _SECOND_PASS)
      again = self.encode(model, batch, seeds_B)
      again_BC = self.outputs(model, again, seeds_B)
    return self._losses(batch, logits_BC, again_BC)

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Returns f32 log-probabilities [B, C]."""
    encoded = self.encode(model, batch, None)
    return jax.nn.log_softmax(self.outputs(model, encoded, None), axis=-1)

  def decode(self, predictions: np.ndarray, features: Features) -> list[Result]:
    """Returns {'label': ..., 'probabilities': {label: ...}} of each example."""
    probabilities = np.exp(predictions)
    if self.num_windows > 1:
      # The mean of f32 numbers could be 0, which has no logarithm.
      of_rows = np.exp(predictions.astype(np.float64))
      probabilities = self.of_examples(of_rows, features)
      predictions = np.log(probabilities)
    return [
      {
        'label': self._names[place],
        'probabilities': dict(zip(self._names, of_row, strict=True)),
        '_log_probabilities': log_probabilities,
      }
      for place, of_row, log_probabilities in zip(
        np.argmax(probabilities, axis=-1).tolist(),
        probabilities.tolist(),
        predictions.tolist(),
        strict=True,
      )
    ]

  def values(self, results: Sequence[Result]) -> np.ndarray:
    """Class probabilities f32 [n, C] in the order of the labels."""
    rows = [list(result['probabilities'].values()) for result in results]
    return np.array(rows, np.float32).reshape(-1, len(self._names))

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    labels = self.answers(examples)
    predictions = np.stack([result['_log_probabilities'] for result in results])
    report = metrics.classification_report(
      labels, np.argmax(predictions, axis=-1), self._names
    )
    if self._positive_class:
      report['f1'] = report['per_class'][self._positive_class]['f1']
    is_known = labels >= 0
    chosen = np.take_along_axis(
      predictions[is_known], labels[is_known, None], axis=-1
    )
    return report | {'eval_loss': float(-np.mean(chosen, dtype=np.float64))}

  def details(
    self, results: Sequence[Result], examples: Examples
  ) -> ClassDetails:
    return class_details.details(
      np.stack([result['_log_probabilities'] for result in results]),
      self.answers(examples),
      self._names,
      examples,
    )

  def elsewhere(self) -> TaskHead:
    return TaskHead(
      kind=task_head.TEXTS,
      problem_type=_SINGLE,
      output_names=tuple(self._names),
      pooling=self.pooling,
    )

  def _label_ids(self, examples: Examples) -> tuple[np.ndarray, list[str]]:
    """Returns the output of each example's label, int32 [n], and notes.

    If a model calls its outputs LABEL_0 to LABEL_n-1, labels 0 to n - 1 stand
    for them, and a note says so. Raises InputError on a label that the model
    does not have.
    """
    names, labels, notes = self._names, examples.labels, []
    if not (set(labels) <= set(names) or classes.has_names(names)):
      labels = classes.as_model_names(labels, names)
      if labels is None:
        raise InputError(
          f'{examples.origins[0]}: the label is {quoted(examples.labels[0])}, '
          'and the model has no names for its outputs; write all labels as '
          f'their numbers, 0 to {len(names) - 1}'
        )
      notes.append(
        f'labels 0 to {len(names) - 1} are taken for the outputs of the model, '
        f'{names[0]} to {names[-1]}'
      )
    ids = classes.label_ids(
      labels,
      names,
      examples.origins,
      takes_unseen=self._takes_unseen,
      way_out=classes.COUNT_AS_WRONG,
    )
    return ids, notes + classes.unseen_note(labels, names)
