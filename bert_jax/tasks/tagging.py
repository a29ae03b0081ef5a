"""Tagging: a label for each word of a sentence, such as the entities in it.

A word's first token carries its label, in training and in prediction. A
sentence with more tokens than a row holds becomes several overlapping rows;
each word is judged in the row that shows most of its surroundings.
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count, Text
from bert_jax.data.examples import LABELS, TEXTS, Column, Examples
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models import task_head
from bert_jax.models.dropout import fold
from bert_jax.models.heads import HeadBuilder, TokenClassifier
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.objectives.cross_entropy import class_cross_entropy
from bert_jax.tasks import classes, entities
from bert_jax.tasks.base import (
  AGAIN,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  Guess,
  Result,
  Section,
  validate_examples,
)
from bert_jax.tasks.class_table import ClassFigures, mean_per_class
from bert_jax.tasks.text_task import RowTask
from bert_jax.tasks.word_labels import (
  NONE,
  require_one_column,
  word_label_ids,
  word_weights,
)
from bert_jax.tasks.word_rows import encode_sentences

_REPAIR, _REFUSE = 'repair', 'refuse'


@dataclasses.dataclass(kw_only=True, slots=True)
class TaggingConfig:
  """Config of tagging: the files of sentences, and the metric.

  Files in CoNLL format have a word and its label in each line, and a blank line
  after each sentence. Columns are numbered from 0, or from -1 backwards;
  `text_columns` gives the column of the words. JSON and Parquet have named
  lists of words and of labels.

  `metric`: 'f1' of entities, which needs labels such as B-PER and I-PER;
  'strict_f1', where every entity must begin with B-; or 'accuracy', the share
  of words with the right label, for any labels.

  Labels of entities may follow IOB1, IOB2, BIOES or BMES. `invalid`: an
  entity that does not begin or end as in the scheme of its part, such as an I-
  after O in IOB2, is read as conlleval does and counted ('repair'), or refused
  ('refuse').
  """

  name: ClassVar[str] = 'tagging'
  figures: ClassVar[dict[str, Figure]] = {
    'f1': Figure('entity F1'),
    'precision': Figure('precision'),
    'recall': Figure('recall'),
    'strict_f1': Figure('strict F1'),
    'accuracy': Figure('accuracy of words'),
  }

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('0',)
  label_column: str = '-1'
  header: str = ''
  metric: str = 'f1'
  invalid: str = _REPAIR
  max_train_examples: int = 0

  def validate(self) -> None:
    require_one_column(self.text_columns)
    if self.invalid not in (_REPAIR, _REFUSE):
      raise InputError(
        f'task.invalid is {quoted(self.invalid)}; choose {_REPAIR} or {_REFUSE}'
      )
    validate_examples(self)

  def columns(self) -> tuple[Column, ...]:
    (words,) = self.text_columns
    common = dict(read=values.words, of_words=True)
    return (
      Column(words, 'text_columns', TEXTS, **common),
      Column(
        self.label_column, 'label_column', LABELS, is_answer=True, **common
      ),
    )

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """The different labels of words, ordered by code point.

    If the run starts from a tagger with the same labels, they keep the order of
    its outputs, so that its head is kept too.
    """
    names = sorted({label for labels in examples.labels for label in labels})
    if len(names) < 2:
      raise InputError(
        f'task.train_path={self.train_path}: every word has the label '
        f'{quoted(names[0])}; there is nothing to learn from one'
      )
    if self.metric != 'accuracy' and not entities.are_entities(names):
      other = next(n for n in names if not entities.are_entities([n, 'B-x']))
      raise InputError(
        f'task.metric={self.metric}: the label {quoted(other)} is none of an '
        'entity (O, or B-, I-, M-, E-, S- and a type); give '
        '--config.task.metric=accuracy'
      )
    if self.metric == 'strict_f1' and not entities.are_iob2(names):
      raise InputError(
        'task.metric=strict_f1: the labels are not those of IOB2, where every '
        'entity begins with B-; give --config.task.metric=f1'
      )
    before = (earlier or {}).get('labels', [])
    return {'labels': before if sorted(before) == names else names}

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    return {'labels': classes.names_in(record, where)}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    if head.kind != task_head.WORDS:
      return None
    names = list(head.output_names)
    metric = 'f1' if entities.are_entities(names) else 'accuracy'
    return cls(metric=metric), {'labels': names}

  def build(self, table: TokenTable, facts: Facts) -> 'Tagging':
    return Tagging(table, facts, self.invalid)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    return f'a tagger of words with {len(facts["labels"])} labels'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    return f'{len(results["labels"])} labels of words'

  @classmethod
  def guess(cls, results: dict[str, Any]) -> Guess:
    if all('f1' in run for run in results['runs']):
      return Guess('f1', 0.0, 'that of no entity at all')
    counts = results['label_counts']['eval']
    most = max(counts, key=counts.__getitem__, default='O')
    share = counts.get(most, 0) / max(sum(counts.values()), 1)
    return Guess('accuracy', share, f'that of always {quoted(most)}')

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    table = mean_per_class([run['per_class'] for run in results['runs']])
    return [Section('Entities', table, results.get('notes', ()))]


class _Run(TypedDict):
  per_class: dict[str, ClassFigures]


class _Parts(TypedDict):
  eval: dict[str, Count]


class _Results(TypedDict):
  labels: list[Text]
  label_counts: _Parts
  runs: list[_Run]


class Tagging(RowTask):
  """Tagging of words; see objectives/base.py and tasks/base.py."""

  coefficients = {'tagging_loss': 1.0}

  def __init__(self, table: TokenTable, facts: Facts, invalid: str = _REPAIR):
    super().__init__(table, facts)
    self._names: list[str] = facts['labels']
    self._invalid = invalid

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    ids_RT, places, cut = encode_sentences(
      tokenizer, examples.texts, max_length
    )
    rows = {'input_ids': ids_RT}
    if examples.labels:
      labels_RT = np.full(ids_RT.shape, NONE, np.int32)
      labels_RT[places.row, places.place] = self._label_ids(examples)
      rows['labels'] = labels_RT
    return Features(
      rows=rows,
      cut=cut,
      kept=(places, examples.texts),
      per_token=tuple(rows),
    )

  def about(self, part: str, examples: Examples) -> About:
    self._label_ids(examples)
    counts = collections.Counter(
      label for labels in examples.labels for label in labels
    )
    by_name = {name: counts[name] for name in self._names}
    line = classes.count_line(part, by_name).replace('classes', 'labels', 1)
    return About(
      lines=[line],
      record={'label_counts': by_name},
      notes=self._out_of_order(examples),
    )

  def heads(self) -> dict[str, HeadBuilder]:
    head = functools.partial(TokenClassifier, num_classes=len(self._names))
    return {'token_classifier': head}

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return {'tagging_loss': jnp.sum(word_weights(batch))}

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    logits_BTC = model.token_classifier(
      batch['hidden_states'], fold(dropout_seeds_B, 1)
    )
    weights_BT = word_weights(batch)
    labels_BT = jnp.maximum(batch['labels'], 0)
    nll_BT, hits_BT = class_cross_entropy(logits_BTC, labels_BT)
    weight = jnp.sum(weights_BT)
    return (
      {'tagging_loss': (jnp.sum(nll_BT * weights_BT), weight)},
      {'accuracy': (jnp.sum(hits_BT * weights_BT), weight)},
    )

  def predict(self, model: nnx.Module, batch: Batch) -> dict[str, jax.Array]:
    """Returns 'label' int32 [B, T] and its 'log_probability' f32 [B, T]."""
    encoded = self.encode(model, batch, None)
    logits_BTC = model.token_classifier(encoded['hidden_states'])
    log_probabilities_BTC = jax.nn.log_softmax(logits_BTC, axis=-1)
    return {
      'label': jnp.argmax(logits_BTC, axis=-1).astype(jnp.int32),
      'log_probability': jnp.max(log_probabilities_BTC, axis=-1),
    }

  def decode(
    self, predictions: dict[str, np.ndarray], features: Features
  ) -> list[Result]:
    """Returns 'words', 'labels' and 'probabilities' of each sentence."""
    places, sentences = features.kept
    at = places.row, places.place
    labels = [self._names[label] for label in predictions['label'][at]]
    probabilities = np.exp(predictions['log_probability'][at]).tolist()
    results, first = [], 0
    for words in sentences:
      end = first + len(words)
      results.append(
        {
          'words': list(words),
          'labels': labels[first:end],
          'probabilities': probabilities[first:end],
        }
      )
      first = end
    return results

  def values(self, results: Sequence[Result]) -> list[list[str]]:
    """The labels of each sentence, one for each word."""
    return [result['labels'] for result in results]

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    answers = examples.labels
    predictions = [result['labels'] for result in results]
    hits = [
      right == guess
      for pair in zip(answers, predictions, strict=True)
      for right, guess in zip(*pair, strict=True)
    ]
    figures: Figures = {'accuracy': float(np.mean(hits))}
    if not entities.are_entities(self._names):
      return figures | {'per_class': {}}
    figures = entities.scores(answers, predictions) | figures
    if entities.are_iob2(self._names):
      strict = entities.scores(answers, predictions, entities.found_strictly)
      figures['strict_f1'] = strict['f1']
    return figures

  def elsewhere(self) -> TaskHead:
    return TaskHead(kind=task_head.WORDS, output_names=tuple(self._names))

  def _out_of_order(self, examples: Examples) -> list[str]:
    """A line on labels that do not follow their scheme, in a list.

    Raises InputError on the first of them if they are refused.
    """
    if not entities.are_entities(self._names):
      return []
    name = entities.scheme(examples.labels)
    found = [
      (f'{origin}, word {place + 1}', labels[place])
      for origin, labels in zip(examples.origins, examples.labels, strict=True)
      for place in entities.out_of_order(labels, name)
    ]
    if not found:
      return []
    where, label = found[0]
    what = (
      f'{where}: the label {quoted(label)} is out of order in {name}, the '
      f'scheme of the labels here, and {len(found) - 1:,} more are'
    )
    if self._invalid == _REFUSE:
      raise InputError(
        f'{what}; mend them, or give --config.task.invalid=repair'
      )
    return [f'warning: {what}; they are read as by conlleval']

  def _label_ids(self, examples: Examples) -> np.ndarray:
    return word_label_ids(examples.labels, self._names, examples.origins)
