"""Reranking: a score for a document, read together with its query.

The encoder reads both as one pair (a cross-encoder, Nogueira & Cho 2019), so
that each word of the one sees those of the other. That is dearer than comparing
kept vectors (sentence_embedding.py) and more exact: it orders the best few
documents that another search has found.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count, Number
from bert_jax.data.examples import LABELS, Column, Examples, filled_columns
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted, require_package, shown
from bert_jax.models import task_head
from bert_jax.models.dropout import fold
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight, with_hidden_states
from bert_jax.tasks import metrics, queries, ranking_losses
from bert_jax.tasks.base import (
  AGAIN,
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
)
from bert_jax.tasks.regression import RegressionConfig
from bert_jax.tasks.text_rows import encode_examples
from bert_jax.tasks.text_task import TextTask, TextTaskConfig
from bert_jax.tasks.vector_task import (
  flat_rows,
  flat_seeds,
  require_texts,
  with_layouts,
)

NAME = 'reranking'
BINARY, MARGIN, LISTWISE = LOSSES = ('binary', 'margin', 'listwise')
# Figures of single pairs, whose scores are then probabilities.
_OF_PAIRS = ('average_precision', 'accuracy')


@dataclasses.dataclass(kw_only=True, slots=True)
class RerankingConfig(RegressionConfig):
  """Config of reranking: the columns, the loss, the figure.

  `text_columns` are the query and the document of `eval_path`, and
  `label_column` says whether it is right, 1 or 0. Records with equal queries
  are the documents of one query, which are ranked by their scores.

  `loss` decides which columns an example of `train_path` has:
    'binary': those of `eval_path`; the label may be any number from 0 to 1.
      Scores are probabilities.
    'margin': the `train_columns`: a query, its positive and negatives, each of
      which is to score lower than the positive by `margin`.
    'listwise': the same columns; a softmax over the scores of all documents is
      to choose the positive.

  `metric`: one of `figures`; 'average_precision' and 'accuracy' are of all
  pairs together, and need the loss 'binary'. `pooling`: see TextTaskConfig.

  It is a regression, in that a run goes on with the head of one: rerankers
  whose folders have no mark are read as regressions.
  """

  name: ClassVar[str] = NAME
  figures: ClassVar[dict[str, Figure]] = {
    'ndcg_at_10': Figure('NDCG@10'),
    'mrr_at_10': Figure('MRR@10'),
    'recall_at_1': Figure('recall@1'),
    'recall_at_10': Figure('recall@10'),
    'average_precision': Figure('average precision'),
    'accuracy': Figure('accuracy'),
  }

  text_columns: tuple[str, ...] = ('query', 'document')
  train_columns: tuple[str, ...] = ()
  loss: str = BINARY
  margin: float = 1.0
  metric: str = 'ndcg_at_10'

  def validate(self) -> None:
    TextTaskConfig.validate(self)
    columns = tuple(','.join(self.train_columns).split(','))
    self.train_columns = columns if any(columns) else ()
    if len(self.text_columns) != 2:
      raise InputError(
        f'task.text_columns names 1 column ({shown(self.text_columns[0])}); '
        'give two, of the query and of the document'
      )
    if not self.eval_path and self.loss != BINARY:
      raise InputError(
        'task.eval_path is empty, and only pairs with labels are held out of '
        'train_path; give --config.task.eval_path=FILE'
      )
    self._validate_loss()

  def _validate_loss(self) -> None:
    if self.loss not in LOSSES:
      raise InputError(
        f'task.loss is {quoted(self.loss)}; choose one of {", ".join(LOSSES)}'
      )
    if not 0 < self.margin < math.inf:
      raise InputError(
        f'task.margin is {self.margin}; it must be above 0 and finite'
      )
    count, names = len(self.train_columns), shown(','.join(self.train_columns))
    if self.loss == BINARY and count:
      raise InputError(
        f'task.train_columns is {names}, and the loss {BINARY} learns '
        f'text_columns and label_column; leave it out, or give the loss '
        f'{LISTWISE}'
      )
    if self.loss != BINARY and count < 3:
      raise InputError(
        f'task.train_columns names {count} columns ({names}); the loss '
        f'{self.loss} needs three or more: a query, its positive, negatives'
      )
    if self.metric in _OF_PAIRS and self.loss != BINARY:
      raise InputError(
        f'task.metric={self.metric} needs probabilities, which the loss '
        f'{self.loss} does not learn; choose ndcg_at_10, or the loss {BINARY}'
      )

  def columns(self) -> tuple[Column, ...]:
    label = Column(
      *(self.label_column, 'label_column', LABELS, values.numbers),
      is_answer=True,
    )
    query, document = filled_columns(self.text_columns, 'text_columns')
    query = dataclasses.replace(query, keeps_together=True)
    return query, document, label

  def training_columns(self) -> tuple[Column, ...]:
    """The columns of `train_path`; see tasks.base.TrainingColumns."""
    if self.loss == BINARY:
      return self.columns()
    return filled_columns(self.train_columns, 'train_columns')

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """Nothing; InputError if a query has no right document to learn."""
    del earlier
    if examples.labels:
      queries.check_labels(examples)
      for query, rows in queries.rows_of_queries(examples).items():
        if not any(examples.labels[row] for row in rows):
          raise InputError(
            f'{examples.origins[rows[0]]}: the query {quoted(query)} has '
            f'{len(rows)} documents, all with the label 0; give it one above '
            '0, or leave it out'
          )
      if min(examples.labels) == max(examples.labels):
        raise InputError(
          f'task.train_path={self.train_path}: every example has the label '
          f'{examples.labels[0]:g}; there is nothing to learn from one'
        )
    return {}

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    del record, where
    return {}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    if not head.activation:
      return None
    # A folder does not say which loss gave scores that are no probabilities.
    loss = BINARY if head.activation == task_head.SIGMOID else LISTWISE
    return cls(pooling=head.pooling, loss=loss), {}

  def build(self, table: TokenTable, facts: Facts) -> 'Reranking':
    return Reranking(self, table, facts)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    del facts
    return 'a reranker'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    of_eval = results['ranked']['eval']
    return f'{of_eval["queries"]:,} queries, {of_eval["documents"]:,} documents'

  @classmethod
  def guess(cls, results: dict[str, Any]) -> Guess:
    chance = results['ndcg_of_chance']['eval']
    return Guess('ndcg_at_10', chance, 'that of a random order')

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    names = ('queries', 'documents', 'right')
    rows = [
      [title, *(results['ranked'][part][name] for name in names)]
      for title, part in (('Held-out', 'eval'), ('Training', 'train'))
    ]
    table = ReportTable(
      ['Examples', *map(str.capitalize, names)], rows, [NUMBER] * 3
    )
    return [Section('Queries', table, results.get('notes', ()))]


class _Ranked(TypedDict):
  queries: Count
  documents: Count
  right: Count


class _Parts(TypedDict):
  train: _Ranked
  eval: _Ranked


class _Chance(TypedDict):
  eval: Number


class _Results(TypedDict):
  ranked: _Parts
  ndcg_of_chance: _Chance


class Reranking(TextTask):
  """Reranking of documents; see objectives/base.py and tasks/base.py.

  A row of a batch is an example, with the ids of its K pairs, int [K, T].
  """

  num_outputs = 1

  def __init__(self, config: RerankingConfig, table: TokenTable, facts: Facts):
    super().__init__(config.pooling, table, facts)
    self._config = config
    self.coefficients = {f'{config.loss}_loss': 1.0}

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Rows 'input_ids' [n, K, T], a pair for each document of an example.

    'labels' f32 [n] are those of examples with one document.
    """
    require_texts(examples)
    counts = {len(texts) for texts in examples.texts}
    if len(counts) != 1 or min(counts) < 2:
      raise InputError('a score needs a query and a document; give both')
    pairs = [(query, d) for query, *rest in examples.texts for d in rest]
    ids, num_cut = encode_examples(tokenizer, pairs, max_length)
    rows = {'input_ids': ids.reshape(len(examples), -1, max_length)}
    if examples.labels:
      queries.check_labels(examples)
      rows['labels'] = np.array(examples.labels, np.float32)
    return Features(
      rows=rows,
      cut={f'documents cut to max_length={max_length} tokens': num_cut},
      kept=rows['input_ids'].shape[1],
    )

  def about(self, part: str, examples: Examples) -> About:
    if examples.labels and self._gives_probabilities:
      require_package('sklearn', f'the task {NAME}', 'finetune')
    notes = queries.contradictions(part, examples)
    record: dict[str, Any] = {'ranked': queries.counts(examples)}
    if part == 'eval':
      notes += queries.ranked_queries(examples)[1]
      record['ndcg_of_chance'] = queries.ndcg_of_chance(examples)
    line = (
      '{}: {queries:,} queries with {documents:,} documents, {right:,} of them '
      'right'
    ).format(part, **record['ranked'])
    return About(lines=[line], record=record, notes=notes)

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout [B, K, T]; nothing here is random."""
    del key, step
    return with_layouts(batch, self.table)

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    """Adds `hidden_states` [B, K, T, D]."""
    seeds = flat_seeds(dropout_seeds_B, batch)
    rows = with_hidden_states(model, flat_rows(batch), fold(seeds, 0))
    states = rows['hidden_states']
    shape = batch['input_ids'].shape
    return batch | {'hidden_states': states.reshape(*shape, -1)}

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    scores_BK = self._scores(model, batch, dropout_seeds_B)
    weights_B = batch['label_weights']
    if self._config.loss == BINARY:
      scores_B, labels_B = scores_BK[:, 0], batch['labels']
      loss_B = ranking_losses.binary(scores_B, labels_B)
      hits_B = (scores_B > 0) == (labels_B >= 0.5)
    else:
      hits_B = jnp.argmax(scores_BK, axis=1) == 0
      if self._config.loss == MARGIN:
        loss_B = ranking_losses.margin(scores_BK, self._config.margin)
      else:
        loss_B = ranking_losses.listwise(scores_BK)
    (name,) = self.coefficients
    weight = jnp.sum(weights_B)
    return (
      {name: (jnp.sum(loss_B * weights_B), weight)},
      {'accuracy': (jnp.sum(hits_B * weights_B), weight)},
    )

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Returns the outputs of the head, f32 [B, K]."""
    return self._scores(model, self.encode(model, batch, None), None)

  def decode(self, predictions: np.ndarray, features: Features) -> list[Result]:
    """Returns {'score': ...}: a probability, or the output as it is."""
    if features.kept != 1:
      raise InputError(
        f'there are {features.kept + 1} texts; give a query and one document'
      )
    outputs = predictions[:, 0]
    scores = outputs
    if self._gives_probabilities:
      scores = np.exp(-np.logaddexp(0, -outputs.astype(np.float64)))
    return [
      {'score': score, '_output': output}
      for score, output in zip(scores.tolist(), outputs.tolist(), strict=True)
    ]

  def values(self, results: Sequence[Result]) -> np.ndarray:
    """The scores, f32 [n]."""
    return np.array([result['score'] for result in results], np.float32)

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """Figures of the ranked documents; see queries.figures.

    With the loss 'binary' those of all pairs too.
    """
    outputs = np.array([result['_output'] for result in results], np.float64)
    labels = np.array(examples.labels, np.float64)
    found: Figures = queries.figures(examples, outputs)
    if self._gives_probabilities:
      losses = np.logaddexp(0, outputs) - outputs * labels
      found |= {
        'average_precision': metrics.average_precision(labels, outputs),
        'accuracy': float(np.mean((outputs > 0) == (labels > 0))),
        'eval_loss': float(np.mean(losses)),
      }
    return found

  def elsewhere(self) -> TaskHead:
    is_probability = self._gives_probabilities
    return TaskHead(
      kind=task_head.TEXTS,
      output_names=('LABEL_0',),
      pooling=self.pooling,
      activation=task_head.SIGMOID if is_probability else task_head.IDENTITY,
    )

  @property
  def _gives_probabilities(self) -> bool:
    return self._config.loss == BINARY

  def _scores(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> jax.Array:
    """Outputs f32 [B, K] of an encoded batch."""
    rows = flat_rows(batch)
    outputs = self.outputs(model, rows, flat_seeds(dropout_seeds_B, batch))
    return outputs.reshape(batch['input_ids'].shape[:2])
