"""Question answering: the span of a context that answers a question.

As in SQuAD (Rajpurkar et al. 2016, 2018), where a question may also have no
answer in its context. Each row holds a question and a window of its context;
scores of first and last tokens decide, and [CLS] stands for no answer.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count, Number, is_number
from bert_jax.data.examples import IDS, LABELS, Column, Examples, filled_columns
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models import task_head
from bert_jax.models.heads import HeadBuilder, TokenClassifier
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.objectives.cross_entropy import class_cross_entropy
from bert_jax.tasks import answer_scores, answers
from bert_jax.tasks.base import (
  AGAIN,
  NUMBER,
  SHARE,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  ReportTable,
  Result,
  Section,
  hits_of,
  validate_examples,
)
from bert_jax.tasks.span_rows import columns_of, encode_questions
from bert_jax.tasks.text_rows import split_columns
from bert_jax.tasks.text_task import RowTask

_THRESHOLD = 'null_threshold'
# Metrics that need questions without an answer.
_OF_NULL = ('best_f1', 'best_exact')


@dataclasses.dataclass(kw_only=True, slots=True)
class QuestionAnsweringConfig:
  """Config of question answering: the files of questions, and the decoding.

  Files are SQuAD's .json, or JSON lines or Parquet with the columns id,
  question, context and answers, as Hugging Face's `squad` has them: answers are
  objects with `text` and `answer_start`. The first one is learned, all of them
  are right. `text_columns` names question and context; `id_column` '' reads no
  ids.

  `unanswerable`: whether questions may have no answer (SQuAD 2.0). A question
  is then left unanswered if that scores higher than the best span by more than
  a threshold, which is 0 in training; the one with the best F1 on the
  evaluation part is kept with the model.

  `max_answer_length` is in tokens. `num_best` spans of each question are given
  at most. `metric`: 'f1' or 'exact'; with `unanswerable` also 'best_f1' or
  'best_exact', those at the best threshold.
  """

  name: ClassVar[str] = 'question_answering'
  figures: ClassVar[dict[str, Figure]] = {
    'f1': Figure('F1 of answers'),
    'exact': Figure('exact match'),
    'best_f1': Figure('F1 at the best threshold'),
    'best_exact': Figure('exact match at the best threshold'),
  }

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('question', 'context')
  label_column: str = 'answers'
  id_column: str = 'id'
  header: str = ''
  unanswerable: bool = False
  max_answer_length: int = 30
  num_best: int = 3
  metric: str = 'f1'
  max_train_examples: int = 0

  def validate(self) -> None:
    self.text_columns = split_columns(self.text_columns)
    if len(self.text_columns) != 2:
      raise InputError(
        'task.text_columns names one column; give those of question and context'
      )
    validate_examples(self)
    if self.metric in _OF_NULL and not self.unanswerable:
      raise InputError(
        f'task.metric={self.metric} is of questions that may have no answer; '
        'give --config.task.unanswerable=True, or the metric f1'
      )
    for name in ('max_answer_length', 'num_best'):
      if getattr(self, name) < 1:
        raise InputError(
          f'task.{name} is {getattr(self, name)}; it must be 1 or more'
        )

  def columns(self) -> tuple[Column, ...]:
    ids = Column(
      *(self.id_column, 'id_column', IDS, values.unique_ids), is_answer=True
    )
    return (
      *filled_columns(self.text_columns, 'text_columns'),
      Column(
        *(self.label_column, 'label_column', LABELS),
        read=values.answers,
        is_answer=True,
      ),
      *([ids] if self.id_column else []),
    )

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """The threshold of the model that the run starts from, or 0."""
    if not any(examples.labels):
      raise InputError(
        f'task.train_path={self.train_path}: no question has an answer; there '
        'is nothing to learn from'
      )
    return {_THRESHOLD: (earlier or {}).get(_THRESHOLD, 0.0)}

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    threshold = record.get(_THRESHOLD)
    if not isinstance(threshold, float | int) or not is_number(threshold):
      raise InputError(f'{where} it has no number {_THRESHOLD}')
    return {_THRESHOLD: float(threshold)}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    """Any head of spans; it always answers, as transformers' pipeline does."""
    if head.kind != task_head.SPANS:
      return None
    return cls(), {_THRESHOLD: 0.0}

  def build(self, table: TokenTable, facts: Facts) -> 'QuestionAnswering':
    return QuestionAnswering(self, table, facts)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    del facts
    return 'a model that answers questions from their context'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    counts = results['questions']['eval']
    return f'{counts["unanswerable"]:,} of them without an answer'

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    counts, summary = results['questions']['eval'], results['summary']
    rows = [
      [
        title,
        summary[f'{kind}_exact']['mean'],
        summary[f'{kind}_f1']['mean'],
        counts[count],
      ]
      for title, kind, count in (
        ('With an answer', 'has_answer', 'answerable'),
        ('Without an answer', 'no_answer', 'unanswerable'),
      )
      if counts[count]
    ]
    table = ReportTable(
      ['Questions', 'Exact match', 'F1', 'Held-out'],
      rows,
      [SHARE, SHARE, NUMBER],
    )
    return [Section('Questions', table, results.get('notes', ()))]


class _Counts(TypedDict):
  answerable: Count
  unanswerable: Count


class _Mean(TypedDict):
  mean: Number


class _Results(TypedDict):
  questions: dict[str, _Counts]
  summary: dict[str, _Mean]


class QuestionAnswering(RowTask):
  """Spans that answer questions; see objectives/base.py and tasks/base.py."""

  coefficients = {'span_loss': 1.0}

  def __init__(
    self, config: QuestionAnsweringConfig, table: TokenTable, facts: Facts
  ):
    super().__init__(table, facts)
    self.config = config

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Rows with 'labels' int32 [n, 2]: the columns of first and last token.

    Both are 0, the place of [CLS], if the window does not hold the answer.
    """
    _check_filled(examples)
    self._check_answers(examples)
    ids_RT, spans, cut = encode_questions(
      tokenizer, examples.texts, examples.origins, max_length
    )
    rows = {'input_ids': ids_RT}
    if examples.labels:
      labels_R2 = np.zeros((len(spans), 2), np.int32)
      is_found = [not right for right in examples.labels]
      for label_2, span in zip(labels_R2, spans, strict=True):
        for answer in examples.labels[span.example][:1]:
          end = answer.start + len(answer.text)
          if columns := columns_of(span, answer.start, end):
            label_2[:] = columns
            is_found[span.example] = True
      rows['labels'] = labels_R2
      if num_lost := is_found.count(False):
        cut['answers that no row shows as a whole'] = num_lost
    return Features(rows=rows, cut=cut, kept=(spans, examples.texts))

  def about(self, part: str, examples: Examples) -> About:
    self._check_answers(examples)
    with_answer = sum(map(bool, examples.labels))
    without = len(examples) - with_answer
    return About(
      lines=[f'{part}: {with_answer:,} with an answer, {without:,} without'],
      record={
        'questions': {'answerable': with_answer, 'unanswerable': without}
      },
    )

  def heads(self) -> dict[str, HeadBuilder]:
    count = len(task_head.START_AND_END)
    return {'span_head': functools.partial(TokenClassifier, num_classes=count)}

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return {'span_loss': jnp.sum(batch['label_weights'])}

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    """The mean of the cross-entropies of first and last token.

    As in transformers: no dropout before the head, and windows without the
    answer count. Padding is left out, so that a longer row costs nothing.
    """
    del dropout_seeds_B
    logits_B2T = self._logits(model, batch)
    nll_B2, hits_B2 = class_cross_entropy(logits_B2T, batch['labels'])
    weights_B = batch['label_weights']
    weight = jnp.sum(weights_B)
    hits_B = jnp.all(hits_B2, axis=1)
    return (
      {'span_loss': (jnp.sum(jnp.mean(nll_B2, axis=1) * weights_B), weight)},
      {'accuracy': (jnp.sum(hits_B * weights_B), weight)},
    )

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Returns the logits of first and last token, f32 [B, 2, T]."""
    return self._logits(model, self.encode(model, batch, None))

  def decode(self, predictions: np.ndarray, features: Features) -> list[Result]:
    """Returns the fields of answers.Answer for each question."""
    spans, texts = features.kept
    return answers.decoded(
      spans,
      predictions,
      [context for _, context in texts],
      max_length=self.config.max_answer_length,
      num_best=self.config.num_best,
      threshold=self.facts[_THRESHOLD] if self.config.unanswerable else None,
    )

  def values(self, results: Sequence[Result]) -> list[answers.Answer]:
    """The answers as objects."""
    return [answers.answer_of(result) for result in results]

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """Figures of the official scripts, as shares.

    'exact' and 'f1' over all questions; the same of those with an answer
    ('has_answer_') and without ('no_answer_'); with `unanswerable` also
    'best_exact', 'best_f1' and its threshold 'best_f1_threshold'.
    """
    right = _right_texts(examples)
    figures = answer_scores.figures([one['text'] for one in results], right)
    if self.config.unanswerable:
      figures['best_exact'] = _best('exact', results, right).score
      best = _best('f1', results, right)
      figures |= {'best_f1': best.score, 'best_f1_threshold': best.threshold}
    return figures

  def details(
    self, results: Sequence[Result], examples: Examples
  ) -> dict[str, str]:
    answers = [one['text'] for one in results]
    right = _right_texts(examples)
    exact_N = answer_scores.scores(answer_scores.exact, answers, right)
    return {'hits': hits_of(exact_N)}

  def fitted(self, results: Sequence[Result], examples: Examples) -> Facts:
    """The threshold with the best F1; see tasks.base.FittedTask."""
    if not self.config.unanswerable:
      return {}
    best = _best('f1', results, _right_texts(examples))
    return {_THRESHOLD: best.threshold}

  def elsewhere(self) -> TaskHead:
    return TaskHead(kind=task_head.SPANS, output_names=task_head.START_AND_END)

  def _logits(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Scores f32 [B, 2, T] of an encoded batch; those of padding are -1e30."""
    logits_BT2 = model.span_head(batch['hidden_states'])
    is_text_BT1 = (batch['segment_ids'] > 0)[..., None]
    return jnp.where(is_text_BT1, logits_BT2, -1e30).swapaxes(1, 2)

  def _check_answers(self, examples: Examples) -> None:
    """Raises InputError on an answer that is not in its context as it says.

    A question without an answer is one too, unless there may be such.
    """
    for origin, (_, context), right in zip(
      examples.origins, examples.texts, examples.labels, strict=False
    ):
      if not right and not self.config.unanswerable:
        raise InputError(
          f'{origin}: the question has no answer, and the model always gives '
          'one; tune it with --config.task.unanswerable=True, as for SQuAD 2.0'
        )
      for text, start in right:
        end = start + len(text)
        if start < 0 or end > len(context):
          raise InputError(
            f'{origin}: the answer {quoted(text)} at {start} lies outside its '
            f'context of {len(context)} characters; mend its answer_start'
          )
        if context[start:end] != text:
          raise InputError(
            f'{origin}: the answer is {quoted(text)}, and the context has '
            f'{quoted(context[start:end])} at {start}; mend one of them'
          )


def _check_filled(examples: Examples) -> None:
  """Raises InputError on an empty text of a caller; files have none."""
  for origin, texts in zip(examples.origins, examples.texts, strict=True):
    if len(texts) != 2 or not all(text.strip() for text in texts):
      raise InputError(
        f'{origin}: give a question and its context, neither of them empty'
      )


def _right_texts(examples: Examples) -> list[list[str]]:
  return [[one.text for one in right] for right in examples.labels]


def _best(
  name: str, results: Sequence[Result], right: Sequence[Sequence[str]]
) -> answer_scores.Best:
  """The best threshold for a measure; see answer_scores.best_threshold."""
  spans = [
    result['candidates'][0]['text'] if result['candidates'] else ''
    for result in results
  ]
  measure = getattr(answer_scores, name)
  return answer_scores.best_threshold(
    answer_scores.scores(measure, spans, right),
    np.array([result['null_difference'] or 0.0 for result in results]),
    np.array([bool(one) for one in right]),
    np.array([not span for span in spans]),
  )
