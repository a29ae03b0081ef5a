"""Classification of a text or a pair of texts into one of several classes."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError, quoted, shown
from bert_jax.models.dropout import fold
from bert_jax.models.heads import (
  CLS,
  POOLINGS,
  Classifier,
  HeadBuilder,
  Pooler,
  text_vector,
)
from bert_jax.objectives.base import (
  Batch,
  SumAndWeight,
  derive_layout,
  with_hidden_states,
)
from bert_jax.objectives.cross_entropy import class_cross_entropy
from bert_jax.tasks import metrics

METRICS = ('accuracy', 'macro_f1', 'matthews')


@dataclasses.dataclass(kw_only=True, slots=True)
class ClassificationConfig:
  """Where the examples are, and which figure chooses the best epoch.

  Paths end in .tsv, .csv, .jsonl, .json or .parquet (all but the last .gz too).
  Columns go by the name in the header, or by number from 0 where there is none;
  one or two text columns (`--config.task.text_columns=premise,hypothesis`).
  `header` 'yes' passes over the first line of a .tsv or .csv though columns go
  by number, 'no' takes a first line for an example that looks like a header and
  is refused otherwise. `max_train_examples` above 0 takes that many, drawn with
  a fixed seed: how much labelled data is needed?

  Labels are names. Where all are numbers, classes go by size, so that output i
  of the model is class i if labels are 0 to n - 1; else by code point.

  `pooling`: the pooler sees the vector of [CLS] ('cls'), as in BERT, or the
  mean over the text ('mean').
  """

  train_path: str = 'installed_docs:train'
  eval_path: str = 'installed_docs:eval'
  text_columns: tuple[str, ...] = ('text',)
  label_column: str = 'label'
  header: str = ''
  pooling: str = CLS
  metric: str = 'accuracy'
  max_train_examples: int = 0

  def validate(self) -> None:
    # A flag gives 'a,b' as one string, a config file gives ('a', 'b').
    self.text_columns = tuple(','.join(self.text_columns).split(','))
    if len(self.text_columns) not in (1, 2):
      raise InputError(
        f'task.text_columns names {len(self.text_columns)} columns '
        f'({shown(",".join(self.text_columns))}); give one or two'
      )
    for name in ('train_path', 'eval_path'):
      if not getattr(self, name):
        raise InputError(
          f'task.{name} is empty; give --config.task.{name}=FILE'
        )
    if self.max_train_examples < 0:
      raise InputError(
        f'task.max_train_examples is {self.max_train_examples}; give 0 (all) '
        'or a positive number'
      )
    if self.pooling not in POOLINGS:
      raise InputError(
        f'task.pooling is {quoted(self.pooling)}; choose one of '
        f'{", ".join(POOLINGS)}'
      )
    if self.metric not in METRICS:
      raise InputError(
        f'task.metric is {quoted(self.metric)}; choose one of '
        f'{", ".join(METRICS)}'
      )

  def build(
    self, table: TokenTable, label_names: list[str]
  ) -> 'Classification':
    return Classification(self.pooling, table, label_names)


class Classification:
  """See objectives/base.py and tasks/base.py for the methods."""

  coefficients = {'classification_loss': 1.0}

  def __init__(self, pooling: str, table: TokenTable, label_names: list[str]):
    self.pooling = pooling
    self.table = table
    self.label_names = label_names

  def heads(self) -> dict[str, HeadBuilder]:
    classifier = functools.partial(
      Classifier, num_classes=len(self.label_names)
    )
    return {'pooler': Pooler, 'classifier': classifier}

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout; nothing here is random or follows a schedule."""
    del key, step
    return batch | derive_layout(batch['input_ids'], self.table)._asdict()

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return {'classification_loss': jnp.sum(batch['label_weights'])}

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    return with_hidden_states(model, batch, fold(dropout_seeds_B, 0))

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    logits_BC = self._logits(model, batch, dropout_seeds_B)
    labels_B, weights_B = batch['labels'], batch['label_weights']
    nll_B, hits_B = class_cross_entropy(logits_BC, labels_B)
    weight = jnp.sum(weights_B)
    return (
      {'classification_loss': (jnp.sum(nll_B * weights_B), weight)},
      {'accuracy': (jnp.sum(hits_B * weights_B), weight)},
    )

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """f32 log-probabilities [B, C]."""
    encoded = self.encode(model, batch, None)
    return jax.nn.log_softmax(self._logits(model, encoded, None), axis=-1)

  def score(
    self, labels: np.ndarray, predictions: np.ndarray
  ) -> dict[str, Any]:
    report = metrics.classification_report(
      labels, np.argmax(predictions, axis=-1), self.label_names
    )
    chosen = np.take_along_axis(predictions, labels[:, None], axis=-1)
    return report | {'eval_loss': float(-np.mean(chosen, dtype=np.float64))}

  def _logits(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> jax.Array:
    vector_BD = text_vector(
      batch['hidden_states'], batch['segment_ids'], self.pooling
    )
    return model.classifier(model.pooler(vector_BD), fold(dropout_seeds_B, 1))
