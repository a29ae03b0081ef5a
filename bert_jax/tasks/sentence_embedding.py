"""Sentence embeddings: vectors of texts whose cosines say how alike they are.

The encoder reads each text of an example by itself (a bi-encoder, Reimers &
Gurevych 2019), so that vectors can be kept and searched. There is no head: what
is tuned is the encoder.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, NotRequired, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count
from bert_jax.data.examples import LABELS, Column, Examples, filled_columns
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted, shown
from bert_jax.models.task_head import TaskHead
from bert_jax.models.vector_form import POOLINGS, VectorForm
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.tasks import metrics, retrieval, sentence_losses
from bert_jax.tasks.base import (
  AGAIN,
  CORRELATION,
  NUMBER,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  ReportTable,
  Result,
  Section,
  validate_examples,
)
from bert_jax.tasks.regression import Numbers, about_numbers, numbers_section
from bert_jax.tasks.vector_task import VectorTask, encode_texts, scaled_scores

IN_BATCH, COSINE, COSENT, TRIPLET = LOSSES = (
  'in_batch_negatives',
  'cosine',
  'cosent',
  'triplet',
)
# Losses that learn scores.
_SCORED = (COSINE, COSENT)
# Figures of scored pairs; the others are those of retrieval.
_OF_SCORES = ('spearman', 'pearson')


@dataclasses.dataclass(kw_only=True, slots=True)
class SentenceEmbeddingConfig:
  """Config of sentence embeddings: the texts, the loss, the form of vectors.

  `loss` decides which columns an example of `train_path` has:
    'in_batch_negatives': an anchor, its positive, and any number of negatives;
      the positives and negatives of the other examples of a batch are negatives
      too. A single column is SimCSE: each text is its own positive, with other
      dropout. Uses `scale` (1 / temperature) and `symmetric`.
    'cosent': two texts and a score, whose order the cosines shall have. Uses
      `scale`.
    'cosine': two texts and a score, to which the cosine shall be equal, after
      `score_range` is mapped to 0 to 1.
    'triplet': an anchor, its positive and one negative. Uses `margin`.

  `text_columns` and `label_column` are those of `eval_path`, and of
  `train_path` too unless `train_columns` names its texts. With a `label_column`
  of scores, the figures are correlations of cosines with scores; with ''
  those of retrieval: each anchor is a query, and all texts of the other columns
  are the documents. `metric` '' takes Spearman's correlation or nDCG.

  `pooling`: one of vector_form.POOLINGS. `normalize`: vectors are used with
  length 1. `matryoshka_dims`: the loss is summed over vectors cut to so many
  first numbers. `vector_dim`, one of these, cuts those of the tuned model.
  """

  name: ClassVar[str] = 'sentence_embedding'
  figures: ClassVar[dict[str, Figure]] = {
    'spearman': Figure('Spearman correlation', CORRELATION),
    'pearson': Figure('Pearson correlation', CORRELATION),
    'ndcg_at_10': Figure('NDCG@10'),
    'mrr_at_10': Figure('MRR@10'),
    'recall_at_1': Figure('recall@1'),
    'recall_at_10': Figure('recall@10'),
  }

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('anchor', 'positive')
  label_column: str = ''
  train_columns: tuple[str, ...] = ()
  header: str = ''
  loss: str = IN_BATCH
  scale: float = 20.0
  symmetric: bool = False
  margin: float = 0.5
  score_range: tuple[float, float] = (0.0, 1.0)
  pooling: str = 'mean'
  normalize: bool = True
  matryoshka_dims: tuple[int, ...] = ()
  vector_dim: int = 0
  metric: str = ''
  max_train_examples: int = 0

  def validate(self) -> None:
    for name in ('text_columns', 'train_columns'):
      columns = tuple(','.join(getattr(self, name)).split(','))
      setattr(self, name, columns if any(columns) else ())
    usual = 'spearman' if self.label_column else 'ndcg_at_10'
    self.metric = self.metric or usual
    validate_examples(self)
    for name, allowed in (('loss', LOSSES), ('pooling', POOLINGS)):
      if getattr(self, name) not in allowed:
        raise InputError(
          f'task.{name} is {quoted(getattr(self, name))}; choose one of '
          f'{", ".join(allowed)}'
        )
    self._validate_numbers()
    self._validate_columns()

  def _validate_numbers(self) -> None:
    for name in ('scale', 'margin'):
      if not 0 < getattr(self, name) < math.inf:
        raise InputError(
          f'task.{name} is {getattr(self, name)}; it must be above 0 and finite'
        )
    ends = self.score_range
    if len(ends) != 2 or not -math.inf < ends[0] < ends[1] < math.inf:
      raise InputError(
        f'task.score_range is {shown(str(ends))}; give the smallest and the '
        'largest score, such as 0,5'
      )
    dims = self.matryoshka_dims
    if len(set(dims)) != len(dims) or any(dim < 1 for dim in dims):
      raise InputError(
        f'task.matryoshka_dims is {shown(str(dims))}; give sizes above 0 once'
      )
    if self.vector_dim and self.vector_dim not in dims:
      raise InputError(
        f'task.vector_dim={self.vector_dim}: give one of matryoshka_dims, or 0'
      )

  def _validate_columns(self) -> None:
    if not self.eval_path and (self.train_columns or not self.label_column):
      raise InputError(
        'task.eval_path is empty, and only pairs with scores are held out of '
        'train_path; give --config.task.eval_path=FILE'
      )
    field = self._training_field()
    given = getattr(self, field)
    counts = {IN_BATCH: '1 or more', TRIPLET: '3'}.get(self.loss, '2')
    if counts not in (str(len(given)), '1 or more'):
      raise InputError(
        f'task.{field} names {len(given)} columns ({shown(",".join(given))}); '
        f'the loss {self.loss} needs {counts}'
      )
    most = 2 if self.label_column else math.inf
    if not 2 <= len(self.text_columns) <= most:
      raise InputError(
        f'task.text_columns names {len(self.text_columns)} columns '
        f'({shown(",".join(self.text_columns))}); eval_path needs two texts '
        'with a label_column, and two or more without; those of train_path may '
        'be others (train_columns)'
      )
    if self.loss in _SCORED and not self.label_column:
      raise InputError(
        f'task.label_column is empty, and the loss {self.loss} learns scores; '
        'give --config.task.label_column=COLUMN'
      )
    is_learned = self.loss in _SCORED or self.train_columns
    if self.label_column and not is_learned:
      raise InputError(
        f'task.loss={self.loss} takes all pairs of train_path for alike, '
        f'whatever their {self.label_column}; give train_columns, the texts '
        f'of a file of such pairs, or the loss {COSENT}'
      )
    if (self.metric in _OF_SCORES) != bool(self.label_column):
      raise InputError(
        f'task.metric={self.metric} needs '
        f'{"no" if self.label_column else "a"} task.label_column; choose '
        f'{"spearman or pearson" if self.label_column else "ndcg_at_10"}'
      )

  def columns(self) -> tuple[Column, ...]:
    return _columns(self.text_columns, 'text_columns', self.label_column)

  def training_columns(self) -> tuple[Column, ...]:
    """The columns of `train_path`; see tasks.base.TrainingColumns."""
    field = self._training_field()
    label = self.label_column if self.loss in _SCORED else ''
    return _columns(getattr(self, field), field, label)

  @property
  def needs_dropout(self) -> str:
    """The reason why there must be dropout, as in SimCSE; '' otherwise."""
    if len(getattr(self, self._training_field())) > 1:
      return ''
    return 'nothing else makes a pair of a single text, as in SimCSE'

  def _training_field(self) -> str:
    return 'train_columns' if self.train_columns else 'text_columns'

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """Nothing: there are only texts to learn from."""
    del earlier
    if examples.labels and len(set(examples.labels)) < 2:
      raise InputError(
        f'task.train_path={self.train_path}: every example has the score '
        f'{examples.labels[0]:g}; there is nothing to learn from one'
      )
    return {}

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    del record, where
    return {}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    """None, since no head is one of this task."""
    del head

  def build(self, table: TokenTable, facts: Facts) -> 'SentenceEmbedding':
    return SentenceEmbedding(self, table, facts)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    del facts
    return 'a sentence encoder'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    return f'{results["texts"]["eval"]["different"]:,} different texts'

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    rows = [
      [title, *results['texts'][part].values()]
      for title, part in (('Held-out', 'eval'), ('Training', 'train'))
    ]
    head = ['Texts', 'In an example', 'Different ones']
    table = ReportTable(head, rows, [NUMBER] * 2)
    if 'numbers' in results:
      return [Section('Texts', table), numbers_section(results)]
    return [Section('Texts', table, results.get('notes', ()))]


def _columns(
  names: Sequence[str], field: str, label: str
) -> tuple[Column, ...]:
  columns = filled_columns(names, field)
  if not label:
    return columns
  read = values.numbers
  return *columns, Column(label, 'label_column', LABELS, read, is_answer=True)


class _Texts(TypedDict):
  an_example: Count
  different: Count


class _Results(TypedDict):
  texts: dict[str, _Texts]
  numbers: NotRequired[dict[str, Numbers]]


class SentenceEmbedding(VectorTask):
  """Vectors of texts; see objectives/base.py and tasks/base.py."""

  def __init__(
    self, config: SentenceEmbeddingConfig, table: TokenTable, facts: Facts
  ):
    form = VectorForm(config.pooling, config.normalize, dim=config.vector_dim)
    super().__init__(form, table, facts)
    self.config = config
    self.couples_examples = config.loss in (IN_BATCH, COSENT)
    self.coefficients = {self._loss_name(dim): 1.0 for dim in self._dims}

  @property
  def _dims(self) -> tuple[int, ...]:
    """Sizes of vectors that are trained; 0 is the whole vector."""
    return self.config.matryoshka_dims or (0,)

  def _loss_name(self, dim: int) -> str:
    return f'{self.config.loss}_loss' + (f'_of_{dim}' if dim else '')

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Rows with 'input_ids' [n, K, T], and what the loss reads beside them.

    That is 'labels', scores from 0 to 1, or 'text_ids' [n, K], equal for equal
    texts.
    """
    ids_nKT, numbers_nK, num_cut = encode_texts(examples, tokenizer, max_length)
    rows = {'input_ids': ids_nKT}
    if self.config.loss == IN_BATCH:
      rows['text_ids'] = numbers_nK
    elif self.config.loss in _SCORED and examples.labels:
      rows['labels'] = scaled_scores(examples, *self.config.score_range)
    return Features(
      rows=rows,
      cut={f'texts cut to max_length={max_length} tokens': num_cut},
      kept=len(examples.texts[0]),
    )

  def about(self, part: str, examples: Examples) -> About:
    num_texts = len(examples.texts[0])
    flat = [text for texts in examples.texts for text in texts]
    different = len(set(flat))
    about = About()
    if examples.labels:
      about = about_numbers(part, examples.labels)
    line = f'{part}: {num_texts} texts an example, {different:,} different'
    about.lines.insert(0, line)
    about.record['texts'] = {'an_example': num_texts, 'different': different}
    return about

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    weight = jnp.sum(batch['label_weights'])
    if self.config.loss == COSENT:
      weight = jnp.ones(())
    return dict.fromkeys(self.coefficients, weight)

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    del model, dropout_seeds_B
    vectors_BKD, weights_B = batch['vectors'], batch['label_weights']
    if max(self._dims) > (size := vectors_BKD.shape[-1]):
      raise InputError(
        f'task.matryoshka_dims has {max(self._dims)}, and vectors have {size} '
        f'numbers; give sizes up to {size}'
      )
    found, more = {}, {}
    for dim in self._dims:
      part_BKd = vectors_BKD[..., :dim] if dim else vectors_BKD
      loss = self._loss(part_BKd, batch)
      pair = loss, jnp.ones(())
      if loss.ndim:
        pair = jnp.sum(loss * weights_B), jnp.sum(weights_B)
      found[self._loss_name(dim)] = pair
    if self.config.loss == IN_BATCH:
      left_out_BC = sentence_losses.false_negatives(batch['text_ids'])
      more['false_negatives'] = jnp.sum(left_out_BC), jnp.sum(weights_B)
    return found, more

  def _loss(self, vectors_BKD: jax.Array, batch: Batch) -> jax.Array:
    """The loss of each example, [B], or that of all, []."""
    config = self.config
    if config.loss == COSINE:
      return sentence_losses.squared_cosine_error(vectors_BKD, batch['labels'])
    if config.loss == COSENT:
      return sentence_losses.cosent(
        vectors_BKD, batch['labels'], scale=config.scale
      )
    if config.loss == TRIPLET:
      return sentence_losses.triplet(vectors_BKD, margin=config.margin)
    return sentence_losses.in_batch_negatives(
      vectors_BKD,
      sentence_losses.false_negatives(batch['text_ids']),
      scale=config.scale,
      symmetric=config.symmetric,
    )

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """Correlations with the examples' scores if there are any, or retrieval.

    See metrics.correlations and retrieval.figures.
    """
    if examples.labels:
      scores = np.array(examples.labels, np.float64)
      return metrics.correlations(scores, self.values(results))
    vectors_NKD = np.array([r['_vectors'] for r in results], np.float32)
    return retrieval.figures_of_examples(examples.texts, vectors_NKD)

  def elsewhere(self) -> TaskHead | None:
    """None: there is no head; convert writes the encoder and its pooling."""
