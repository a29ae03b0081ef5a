"""Commands: the intent of a sentence, and a label for each of its words.

One encoder serves both (Chen et al. 2019, "BERT for joint intent classification
and slot filling"). Slots may be left out. A sentence with none of the known
intents is found by the probability of its likeliest one, which is below a
threshold (Larson et al. 2019, who made CLINC150).
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config.json_decoder import Decoder
from bert_jax.data.examples import LABELS, TEXTS, Column, Examples
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted, require_package
from bert_jax.models.dropout import fold
from bert_jax.models.heads import (
  Classifier,
  HeadBuilder,
  Pooler,
  TokenClassifier,
)
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.objectives.cross_entropy import class_cross_entropy
from bert_jax.tasks import classes, commands
from bert_jax.tasks.base import (
  AGAIN,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  Result,
  Section,
  validate_examples,
)
from bert_jax.tasks.class_table import mean_per_class
from bert_jax.tasks.classes import REFUSE, WRONG, check_unseen
from bert_jax.tasks.slots import (
  SLOTS,
  divided,
  slot_column,
  slot_ids,
  slot_names,
  slots_of,
)
from bert_jax.tasks.text_task import RowTask
from bert_jax.tasks.word_labels import (
  NONE,
  require_one_column,
  word_weights,
)
from bert_jax.tasks.word_rows import encode_sentences

NAME = 'intents'
_THRESHOLD = 'threshold'


@dataclasses.dataclass(kw_only=True, slots=True)
class IntentsConfig:
  """Config of intents and slots: the columns, and what is out of scope.

  `text_columns` has the one column of words, `slot_column` that of their
  labels: a list each in JSON and Parquet, or a text that is divided at spaces.
  Without a `slot_column` only intents are learned.

  `out_of_scope`: the intent, in `eval_path` alone, of sentences that have none
  of the others. The threshold that finds most of them, at the price of the
  fewest others, is chosen on the evaluation part and kept with the model.
  `unseen`: intents and labels that the training examples lack are refused
  ('refuse'), or count as wrong ('wrong').

  `metric` '' takes 'exact' with slots, else 'best_intent_accuracy' with
  `out_of_scope`, else 'intent_accuracy'.
  """

  name: ClassVar[str] = NAME
  figures: ClassVar[dict[str, Figure]] = {
    'intent_accuracy': Figure('accuracy of intents'),
    'exact': Figure('sentences with intent and all slots right'),
    'slot_f1': Figure('slot F1'),
    'best_intent_accuracy': Figure('accuracy of intents at the best threshold'),
    'auroc': Figure('AUROC of what is out of scope'),
  }

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('text',)
  slot_column: str = SLOTS
  label_column: str = 'intent'
  header: str = ''
  out_of_scope: str = ''
  unseen: str = REFUSE
  metric: str = ''
  max_train_examples: int = 0

  def validate(self) -> None:
    require_one_column(self.text_columns)
    check_unseen(self.unseen)
    if not self.metric:
      self.metric = 'intent_accuracy'
      if self.out_of_scope:
        self.metric = 'best_intent_accuracy'
      if self.slot_column:
        self.metric = 'exact'
    validate_examples(self)
    for metrics_of, field in (
      (('exact', 'slot_f1'), 'slot_column'),
      (('best_intent_accuracy', 'auroc'), 'out_of_scope'),
    ):
      if self.metric in metrics_of and not getattr(self, field):
        raise InputError(
          f'task.metric={self.metric} needs task.{field}, which is empty; give '
          f'--config.task.{field}=NAME, or another metric'
        )

  def columns(self) -> tuple[Column, ...]:
    (words,) = self.text_columns
    label = self.label_column
    return (
      Column(words, 'text_columns', TEXTS, divided),
      *([slot_column(self.slot_column)] if self.slot_column else []),
      Column(label, 'label_column', LABELS, values.labels, is_answer=True),
    )

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    """The names of intents and of slots' labels, ordered by code point."""
    intents = classes.ordered_names(examples.labels, examples.origins)
    if self.out_of_scope in intents:
      number = examples.labels.count(self.out_of_scope)
      raise InputError(
        f'task.out_of_scope={self.out_of_scope}: {self.train_path} has '
        f'{number:,} examples of it; leave them out, since a threshold finds '
        'them, or leave the field out to learn it like other intents'
      )
    if len(intents) < 2:
      raise InputError(
        f'task.train_path={self.train_path}: every sentence has the intent '
        f'{quoted(intents[0])}; there is nothing to learn from one'
      )
    facts: Facts = {'intents': intents, SLOTS: [], _THRESHOLD: 0.0}
    if self.slot_column:
      facts[SLOTS] = slot_names(examples)
    return facts

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    found = Decoder(where=where, fix=AGAIN).decode(record, commands.FactsRecord)
    return {name: found[name] for name in ('intents', SLOTS, _THRESHOLD)}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    del head  # no other library has a class of both heads
    return None

  def build(self, table: TokenTable, facts: Facts) -> 'Intents':
    return Intents(self, table, facts)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    return (
      f'a model of {len(facts["intents"])} intents and {len(facts[SLOTS])} '
      'labels of slots'
    )

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, commands.Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    return f'{len(results["intents"])} intents'

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    title = 'Slots' if results[SLOTS] else 'Intents'
    table = mean_per_class([run['per_class'] for run in results['runs']])
    return [Section(title, table, results.get('notes', ()))]


class Intents(RowTask):
  """Intents and slots; see objectives/base.py and tasks/base.py."""

  def __init__(self, config: IntentsConfig, table: TokenTable, facts: Facts):
    super().__init__(table, facts)
    self._out_of_scope = config.out_of_scope
    self._takes_unseen = config.unseen == WRONG
    self._intents: list[str] = facts['intents']
    self._slots: list[str] = facts[SLOTS]
    self.coefficients = {'intent_loss': 1.0}
    if self._slots:
      self.coefficients['slot_loss'] = 1.0

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Rows with 'intents' [R], known in the first row of a sentence alone."""
    ids_RT, places, cut = encode_sentences(
      tokenizer, examples.texts, max_length
    )
    starts = np.cumsum([0, *map(len, examples.texts)])[:-1]
    first_rows = places.row[starts]
    rows = {'input_ids': ids_RT}
    if examples.labels:
      rows['intents'] = np.full(len(ids_RT), NONE, np.int32)
      rows['intents'][first_rows] = self._intent_ids(examples)
    if examples.labels and self._slots:
      rows['labels'] = np.full(ids_RT.shape, NONE, np.int32)
      rows['labels'][places.row, places.place] = slot_ids(
        examples, self._slots, takes_unseen=self._takes_unseen
      )
    return Features(
      rows=rows,
      cut=cut,
      kept=(places, first_rows, examples.texts),
      per_token=('input_ids', *(['labels'] if 'labels' in rows else [])),
    )

  def about(self, part: str, examples: Examples) -> About:
    require_package('sklearn', f'the task {NAME}', 'finetune')
    self._intent_ids(examples)
    counts = collections.Counter(examples.labels)
    names = [*self._intents]
    in_scope = [x for x in examples.labels if x != self._out_of_scope]
    notes = classes.unseen_note(in_scope, names)
    if counts[self._out_of_scope]:
      names.append(self._out_of_scope)
    elif part == 'eval' and self._out_of_scope:
      notes.append(
        f'warning: no example has the intent {quoted(self._out_of_scope)}, so '
        'that these examples choose no threshold'
      )
    by_name = {name: counts[name] for name in names}
    line = classes.count_line(part, by_name).replace('classes', 'intents', 1)
    record = {'intent_counts': by_name}
    return About(lines=[line], record=record, notes=notes)

  def heads(self) -> dict[str, HeadBuilder]:
    heads = {
      'pooler': Pooler,
      'classifier': functools.partial(
        Classifier, num_classes=len(self._intents)
      ),
    }
    if self._slots:
      heads['token_classifier'] = functools.partial(
        TokenClassifier, num_classes=len(self._slots)
      )
    return heads

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    weights = {'intent_loss': jnp.sum(_intent_weights(batch))}
    if self._slots:
      weights['slot_loss'] = jnp.sum(word_weights(batch))
    return weights

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    intents_BC = self._intent_logits(model, batch, dropout_seeds_B)
    pairs = {'intent': (intents_BC, batch['intents'], _intent_weights(batch))}
    if self._slots:
      slots_BTC = self._slot_logits(model, batch, dropout_seeds_B)
      pairs['slot'] = (slots_BTC, batch['labels'], word_weights(batch))
    losses: SumAndWeight = {}
    hits: SumAndWeight = {}
    for name, (logits, labels, weights) in pairs.items():
      nll, is_right = class_cross_entropy(logits, jnp.maximum(labels, 0))
      weight = jnp.sum(weights)
      losses[f'{name}_loss'] = (jnp.sum(nll * weights), weight)
      hits[f'{name}_accuracy'] = (jnp.sum(is_right * weights), weight)
    return losses, hits

  def predict(self, model: nnx.Module, batch: Batch) -> dict[str, jax.Array]:
    """Returns 'intents' f32 log-probabilities [B, C], 'label' int32 [B, T].

    'label' is there with slots alone.
    """
    encoded = self.encode(model, batch, None)
    intents_BC = self._intent_logits(model, encoded, None)
    found = {'intents': jax.nn.log_softmax(intents_BC, axis=-1)}
    if self._slots:
      slots_BTC = self._slot_logits(model, encoded, None)
      found['label'] = jnp.argmax(slots_BTC, axis=-1).astype(jnp.int32)
    return found

  def decode(
    self, predictions: dict[str, np.ndarray], features: Features
  ) -> list[Result]:
    """Returns 'intent', 'probability', 'words' and 'slots' of each sentence."""
    places, first_rows, sentences = features.kept
    probabilities_NC = np.exp(predictions['intents'][first_rows])
    tops = np.argmax(probabilities_NC, axis=-1).tolist()
    slots = []
    if self._slots:
      at = predictions['label'][places.row, places.place].tolist()
      slots = [self._slots[label] for label in at]
    results, first = [], 0
    for words, top, probabilities_C in zip(
      sentences, tops, probabilities_NC, strict=True
    ):
      probability = float(probabilities_C[top])
      is_in_scope = not self._out_of_scope or (
        probability >= self.facts[_THRESHOLD]
      )
      end = first + len(words)
      intent = self._intents[top] if is_in_scope else self._out_of_scope
      results.append(
        {
          'intent': intent,
          'probability': probability,
          'words': list(words),
          'slots': slots[first:end],
          '_likeliest': self._intents[top],
        }
      )
      first = end
    return results

  def values(self, results: Sequence[Result]) -> list[commands.Command]:
    """A Command for each sentence."""
    return [*map(commands.command_of, results)]

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """Figures of intents, and of slots if there are some.

    'exact' counts sentences whose intent and labels are all right. 'per_class'
    is of the slots' types, without slots of the intents.
    """
    self._intent_ids(examples)  # raises on an intent that is not known
    figures = commands.of_intents(
      results, examples.labels, self._intents, self._out_of_scope
    )
    if self._slots:
      right = slots_of(examples)
      figures |= commands.of_slots(results, examples.labels, right)
    return figures

  def fitted(self, results: Sequence[Result], examples: Examples) -> Facts:
    """The threshold of the best accuracy; see tasks.base.FittedTask."""
    if not self._out_of_scope:
      return {}
    scope = commands.scope(results, examples.labels, self._out_of_scope)
    return {_THRESHOLD: commands.best_threshold(*scope)[1]}

  def elsewhere(self) -> TaskHead | None:
    return None

  def _intent_logits(
    self, model: nnx.Module, batch: Batch, seeds_B: jax.Array | None
  ) -> jax.Array:
    """Scores of intents f32 [B, C], from the state of [CLS]."""
    pooled_BD = model.pooler(batch['hidden_states'][:, 0])
    return model.classifier(pooled_BD, fold(seeds_B, 1))

  def _slot_logits(
    self, model: nnx.Module, batch: Batch, seeds_B: jax.Array | None
  ) -> jax.Array:
    """Scores of slots' labels f32 [B, T, C]."""
    return model.token_classifier(batch['hidden_states'], fold(seeds_B, 2))

  def _intent_ids(self, examples: Examples) -> np.ndarray:
    """The output of each intent, int32 [n]; -1 for those without."""
    found = np.full(len(examples), NONE, np.int32)
    is_in_scope = np.array(examples.labels) != self._out_of_scope
    known = np.array(examples.labels)[is_in_scope].tolist()
    origins = np.array(examples.origins)[is_in_scope].tolist()
    found[is_in_scope] = classes.label_ids(
      known,
      self._intents,
      origins,
      takes_unseen=self._takes_unseen,
      way_out=classes.COUNT_AS_WRONG,
    )
    return found


def _intent_weights(batch: Batch) -> jax.Array:
  """Weights f32 [B], 0 for rows without an intent to predict."""
  return (batch['intents'] != NONE) * batch['label_weights']
