"""Multiple choice: which of several texts goes with a context.

As in SWAG (Zellers et al. 2018) and RACE (Lai et al. 2017). Each choice is a
text `[CLS] context [SEP] choice [SEP]` with one score, and a softmax over the
choices of an example decides. They are packed in one row, where no text sees
another, so examples may have different numbers of choices.
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
from bert_jax.config.json_values import Count
from bert_jax.data.examples import (
  LABELS,
  TEXTS,
  Column,
  Examples,
  filled_columns,
)
from bert_jax.data.length_buckets import count_tokens, rounded_length
from bert_jax.data.tables import values
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError
from bert_jax.models import task_head
from bert_jax.models.dropout import fold
from bert_jax.models.heads import Classifier, HeadBuilder, Pooler
from bert_jax.models.task_head import TaskHead
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.objectives.cross_entropy import class_cross_entropy
from bert_jax.tasks.base import (
  AGAIN,
  NUMBER,
  SHARE,
  About,
  Facts,
  Features,
  Figure,
  Figures,
  Guess,
  ReportTable,
  Result,
  Section,
  hits_of,
  validate_examples,
)
from bert_jax.tasks.text_rows import encode_examples, split_columns
from bert_jax.tasks.text_task import RowTask

_PARTS = ('train', 'eval')


@dataclasses.dataclass(kw_only=True, slots=True)
class MultipleChoiceConfig:
  """Config of multiple choice: the files of examples.

  `text_columns` names the context, and a second column, if any, with the text
  that every choice goes on (SWAG's sent2, the question of RACE).
  `choice_columns` names one column that holds a list of texts, in JSON or
  Parquet, or several of one text each, as in SWAG's .csv.
  `label_column`: the number of the right choice, from 0.

  `max_length` of the experiment is that of one choice with its context.
  """

  name: ClassVar[str] = 'multiple_choice'
  figures: ClassVar[dict[str, Figure]] = {'accuracy': Figure('accuracy')}

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('context',)
  choice_columns: tuple[str, ...] = ('choices',)
  label_column: str = 'label'
  header: str = ''
  metric: str = 'accuracy'
  max_train_examples: int = 0

  def validate(self) -> None:
    self.text_columns = split_columns(self.text_columns)
    # A flag gives 'a,b' as one string, a config file gives ('a', 'b').
    self.choice_columns = tuple(','.join(self.choice_columns).split(','))
    validate_examples(self)

  def columns(self) -> tuple[Column, ...]:
    is_list = len(self.choice_columns) == 1
    read_choice = values.choices if is_list else values.filled_texts
    return (
      *filled_columns(self.text_columns, 'text_columns'),
      *(
        Column(name, 'choice_columns', TEXTS, read_choice)
        for name in self.choice_columns
      ),
      Column(
        *(self.label_column, 'label_column', LABELS, values.places),
        is_answer=True,
      ),
    )

  def fit(self, examples: Examples, earlier: Facts | None = None) -> Facts:
    del examples, earlier
    return {}

  @classmethod
  def read_facts(cls, record: dict[str, Any], where: str) -> Facts:
    return {}

  @classmethod
  def from_elsewhere(cls, head: TaskHead) -> tuple[Self, Facts] | None:
    return (cls(), {}) if head.kind == task_head.CHOICES else None

  def build(self, table: TokenTable, facts: Facts) -> 'MultipleChoice':
    return MultipleChoice(len(self.text_columns), table, facts)

  @classmethod
  def describe(cls, facts: Facts) -> str:
    del facts
    return 'a model that chooses among texts'

  @classmethod
  def check_results(cls, results: dict[str, Any], where: str) -> None:
    Decoder(where=where, fix=AGAIN).decode(results, _Results)

  @classmethod
  def measured_on(cls, results: dict[str, Any]) -> str:
    counts = {int(k): n for k, n in results['choices']['eval'].items()}
    chance = cls.guess(results).value
    return f'{_numbers(counts)} choices, by chance {chance:.3f}'

  @classmethod
  def guess(cls, results: dict[str, Any]) -> Guess:
    counts = {int(k): n for k, n in results['choices']['eval'].items()}
    chance = sum(n / k for k, n in counts.items()) / sum(counts.values())
    return Guess('accuracy', chance, 'that of chance')

  @classmethod
  def sections(cls, results: dict[str, Any]) -> list[Section]:
    counts = [results['choices'][part] for part in reversed(_PARTS)]
    sizes = sorted({int(size) for part in counts for size in part})
    rows = [
      [str(size), 1 / size, *(part.get(str(size), 0) for part in counts)]
      for size in sizes
    ]
    table = ReportTable(
      ['Choices', 'By chance', 'Held-out', 'Training'],
      rows,
      [SHARE, NUMBER, NUMBER],
    )
    return [Section('Choices', table, results.get('notes', ()))]


class _Parts(TypedDict):
  train: dict[str, Count]
  eval: dict[str, Count]


class _Results(TypedDict):
  choices: _Parts


class MultipleChoice(RowTask):
  """A choice among texts; see objectives/base.py and tasks/base.py.

  The score of a choice stands at its [CLS], and a label is the column of the
  right one.
  """

  coefficients = {'choice_loss': 1.0}

  def __init__(self, num_contexts: int, table: TokenTable, facts: Facts):
    super().__init__(table, facts)
    self._num_contexts = num_contexts

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    """Rows of all choices of an example, each of at most `max_length` tokens.

    'labels' int32 [n] is the column at which the right choice begins. Rows are
    as long as the longest needs.
    """
    self._check(examples)
    choices = [self._choices(texts) for texts in examples.texts]
    pairs = [
      (texts[0], ' '.join([*texts[1 : self._num_contexts], choice]))
      for texts, mine in zip(examples.texts, choices, strict=True)
      for choice in mine
    ]
    ids_CT, num_cut = encode_examples(tokenizer, pairs, max_length)
    packed, columns = _pack(ids_CT, [*map(len, choices)], self.table.pad_id)
    rows = {'input_ids': packed}
    if examples.labels:
      right = zip(columns, examples.labels, strict=True)
      rows['labels'] = np.array([mine[n] for mine, n in right], np.int32)
    what = f'choices cut to max_length={max_length} tokens'
    return Features(rows=rows, cut={what: num_cut}, kept=(columns, choices))

  def about(self, part: str, examples: Examples) -> About:
    self._check(examples)
    sizes = [len(self._choices(texts)) for texts in examples.texts]
    counts = dict(sorted(collections.Counter(sizes).items()))
    notes = []
    if len(set(examples.labels)) == 1 < len(examples):
      notes.append(
        f'warning: {part}: choice {examples.labels[0]} is the right one of '
        f'every example; look whether the label column is the one you mean'
      )
    return About(
      lines=[f'{part}: {_numbers(counts)} choices an example'],
      record={'choices': {str(size): n for size, n in counts.items()}},
      notes=notes,
    )

  def heads(self) -> dict[str, HeadBuilder]:
    scorer = functools.partial(Classifier, num_classes=1)
    return {'pooler': Pooler, 'choice_head': scorer}

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return {'choice_loss': jnp.sum(batch['label_weights'])}

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    scores_BT = self._scores(model, batch, dropout_seeds_B)
    nll_B, hits_B = class_cross_entropy(scores_BT, batch['labels'])
    weights_B = batch['label_weights']
    weight = jnp.sum(weights_B)
    return (
      {'choice_loss': (jnp.sum(nll_B * weights_B), weight)},
      {'accuracy': (jnp.sum(hits_B * weights_B), weight)},
    )

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Returns the scores f32 [B, T], each at the column of its choice."""
    return self._scores(model, self.encode(model, batch, None), None)

  def decode(self, predictions: np.ndarray, features: Features) -> list[Result]:
    """Returns {'choice': from 0, 'text': ..., 'probabilities': [...]}."""
    results = []
    for scores_T, columns, texts in zip(
      predictions, *features.kept, strict=True
    ):
      scores_K = scores_T[columns].astype(np.float64)
      log_probs_K = scores_K - np.logaddexp.reduce(scores_K)
      choice = int(np.argmax(scores_K))
      results.append(
        {
          'choice': choice,
          'text': texts[choice],
          'probabilities': np.exp(log_probs_K).tolist(),
          '_log_probabilities': log_probs_K.tolist(),
        }
      )
    return results

  def values(self, results: Sequence[Result]) -> list[np.ndarray]:
    """The probabilities of each example's choices, f32 [choices]."""
    return [np.array(one['probabilities'], np.float32) for one in results]

  def score(self, results: Sequence[Result], examples: Examples) -> Figures:
    """'accuracy', and 'eval_loss' over the choices of each example."""
    self._check(examples)
    pairs = [*zip(results, examples.labels, strict=True)]
    losses = [-one['_log_probabilities'][right] for one, right in pairs]
    hits = [one['choice'] == right for one, right in pairs]
    return {
      'accuracy': float(np.mean(hits)),
      'eval_loss': float(np.mean(losses)),
    }

  def details(
    self, results: Sequence[Result], examples: Examples
  ) -> dict[str, str]:
    pairs = zip(results, examples.labels, strict=True)
    return {'hits': hits_of(one['choice'] == right for one, right in pairs)}

  def elsewhere(self) -> TaskHead:
    return TaskHead(kind=task_head.CHOICES, output_names=task_head.SCORE)

  def _scores(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> jax.Array:
    """Scores f32 [B, T] of an encoded batch; -1e30 where no choice begins."""
    pooled_BTD = model.pooler(batch['hidden_states'])
    scores_BT1 = model.choice_head(pooled_BTD, fold(dropout_seeds_B, 1))
    begins_BT = batch['input_ids'] == self.table.cls_id
    return jnp.where(begins_BT, scores_BT1[..., 0], -1e30)

  def _choices(self, texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts[self._num_contexts :]

  def _check(self, examples: Examples) -> None:
    """Raises InputError on too few choices, or a label that is none of them."""
    for origin, texts in zip(examples.origins, examples.texts, strict=True):
      if len(self._choices(texts)) < 2:
        also = ' and the beginning of its choices'
        raise InputError(
          f'{origin}: there are {len(texts)} texts; give a context'
          f'{also if self._num_contexts > 1 else ""}, and two choices or more'
        )
    for origin, texts, right in zip(
      examples.origins, examples.texts, examples.labels, strict=False
    ):
      if right >= (count := len(self._choices(texts))):
        raise InputError(
          f'{origin}: the label is {right}, and there are the choices 0 to '
          f'{count - 1}; give the number of the right one, from 0'
        )


def _pack(
  ids_CT: np.ndarray, counts: Sequence[int], pad_id: int
) -> tuple[np.ndarray, list[np.ndarray]]:
  """Puts the texts of each example one after another.

  Args:
    ids_CT: Rows of one text each, int32, padded at the end.
    counts: The number of texts of each example.
    pad_id: The id of padding.

  Returns:
    Rows int32 [examples, T], padded at the end, and the columns at which the
    texts of each begin.
  """
  length = ids_CT.shape[1]
  num_tokens_C = count_tokens(ids_CT, pad_id)
  of_example = np.split(np.arange(len(ids_CT)), np.cumsum(counts)[:-1])
  longest = max(int(np.sum(num_tokens_C[mine])) for mine in of_example)
  width = rounded_length(longest, max(counts) * length)
  packed = np.full((len(counts), width), pad_id, np.int32)
  columns = []
  for row, mine in zip(packed, of_example, strict=True):
    ends = np.cumsum(num_tokens_C[mine])
    columns.append(ends - num_tokens_C[mine])
    for text, start, end in zip(mine, columns[-1], ends, strict=True):
      row[start:end] = ids_CT[text, : end - start]
  return packed, columns


def _numbers(counts: dict[int, int]) -> str:
  """The numbers of choices: '4', or '2 to 5'."""
  smallest, largest = min(counts), max(counts)
  few = smallest == largest
  return str(smallest) if few else f'{smallest} to {largest}'
