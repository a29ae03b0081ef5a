"""A task of a user's own, in one file: any number of labels for each text."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.examples import Column, text_columns
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import Classifier, Pooler
from bert_jax.objectives.base import derive_layout, with_hidden_states
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.tasks.base import (
  NUMBER,
  About,
  Features,
  Figure,
  ReportTable,
  Section,
  validate_examples,
)
from bert_jax.tasks.text_rows import encode_examples
from bert_jax.train.logging import LoggingConfig


def lists_of_labels(table, column):
  cells = table.columns[column]
  for origin, cell in zip(table.origins, cells, strict=True):
    if not isinstance(cell, list):
      raise InputError(f'{origin}: {column} is no list; give one of labels')
  return cells


@dataclasses.dataclass(kw_only=True, slots=True)
class SeveralLabelsConfig:
  name: ClassVar[str] = 'several_labels'
  figures: ClassVar[dict[str, Figure]] = {
    'f1': Figure('F1 of labels'),
    'mean_count': Figure('labels a text', NUMBER),
  }

  train_path: str = ''
  eval_path: str = ''
  tags_column: str = 'tags'
  header: str = ''
  metric: str = 'f1'
  max_train_examples: int = 0
  threshold: float = 0.5

  def validate(self):
    validate_examples(self)

  def columns(self):
    tags = Column(
      self.tags_column, 'tags_column', 'tags', lists_of_labels, is_answer=True
    )
    return (*text_columns(['text'], None), tags)

  def fit(self, examples, earlier=None):
    names = {name for tags in examples.columns['tags'] for name in tags}
    # Facts that the model needs beside its parameters.
    return {'names': sorted(names), 'threshold': self.threshold}

  @classmethod
  def read_facts(cls, record, where):
    if not isinstance(record.get('names'), list):
      raise InputError(f'{where} it does not list the names')
    return {name: record[name] for name in ('names', 'threshold')}

  @classmethod
  def from_elsewhere(cls, head):
    return None

  def build(self, table, facts):
    return SeveralLabels(table, facts)

  @classmethod
  def describe(cls, facts):
    return f'a chooser among {len(facts["names"])} labels'

  @classmethod
  def check_results(cls, results, where):
    pass

  @classmethod
  def measured_on(cls, results):
    return f'{len(results["names"])} labels'

  @classmethod
  def sections(cls, results):
    rows = [
      [name, results['counts']['eval'][name]] for name in results['names']
    ]
    return [
      Section('Labels', ReportTable(['Label', 'Held-out'], rows, [NUMBER]))
    ]


class SeveralLabels:
  coefficients: ClassVar[dict[str, float]] = {'label_loss': 1.0}

  def __init__(self, table, facts: dict[str, Any]):
    self.table, self.facts = table, facts

  def featurize(self, examples, tokenizer, max_length):
    ids, num_cut = encode_examples(tokenizer, examples.texts, max_length)
    rows = {'input_ids': ids}
    if tags := examples.columns.get('tags'):
      rows['labels'] = np.array(
        [[name in each for name in self.facts['names']] for each in tags],
        np.float32,
      )
    return Features(rows=rows, cut={'cut': num_cut})

  def about(self, part, examples):
    tags = examples.columns['tags']
    counts = {n: sum(n in t for t in tags) for n in self.facts['names']}
    return About(lines=[f'{part}: {counts}'], record={'counts': counts})

  def heads(self):
    count = len(self.facts['names'])
    return {
      'pooler': Pooler,
      'classifier': functools.partial(Classifier, num_classes=count),
    }

  def prepare(self, batch, key, step=None):
    return batch | derive_layout(batch['input_ids'], self.table)._asdict()

  def weights(self, batch):
    return {'label_loss': jnp.sum(batch['label_weights'])}

  def encode(self, model, batch, dropout_seeds_B):
    return with_hidden_states(model, batch, dropout_seeds_B)

  def losses(self, model, batch, dropout_seeds_B):
    logits_BC = self._logits(model, batch)
    loss_BC = jnp.logaddexp(0, logits_BC) - logits_BC * batch['labels']
    weight = jnp.sum(batch['label_weights'])
    return {'label_loss': (jnp.sum(loss_BC), weight)}, {}

  def predict(self, model, batch):
    encoded = self.encode(model, batch, None)
    return jax.nn.sigmoid(self._logits(model, encoded))

  def decode(self, predictions, features):
    names, threshold = self.facts['names'], self.facts['threshold']
    return [
      {
        'tags': [n for n, x in zip(names, row, strict=True) if x >= threshold],
        '_row': row,
      }
      for row in predictions.tolist()
    ]

  def values(self, results):
    return [result['tags'] for result in results]

  def score(self, results, examples):
    pairs = [
      (set(result['tags']), set(tags))
      for result, tags in zip(results, examples.columns['tags'], strict=True)
    ]
    hits = sum(len(guess & right) for guess, right in pairs)
    total = sum(len(guess) + len(right) for guess, right in pairs)
    return {
      'f1': 2 * hits / max(total, 1),
      'mean_count': sum(len(guess) for guess, _ in pairs) / len(pairs),
    }

  def elsewhere(self):
    return None

  def _logits(self, model, batch):
    return model.classifier(model.pooler(batch['hidden_states'][:, 0]))


def get_config():
  return FinetuneExperiment(
    num_epochs=12,
    batch_size=8,
    max_length=16,
    model=EncoderConfig(
      num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
    ),
    task=SeveralLabelsConfig(
      train_path='data.jsonl', eval_path='data.jsonl', threshold=0.4
    ),
    optimizer=AdamWConfig(learning_rate=1e-2),
    logging=LoggingConfig(every_steps=4, tensorboard=False, peak_tflops=1.0),
  )
