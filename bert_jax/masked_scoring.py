"""Log-probabilities of tokens that are hidden from an encoder.

They give a score of a whole text, and bits per byte of hidden words, by which
models with other vocabularies compare.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.tokenizers import Tokenizer
from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.embedding import check_texts, tokens_at_once
from bert_jax.errors import InputError, quoted
from bert_jax.models import functional
from bert_jax.objectives.base import derive_layout
from bert_jax.tasks.text_rows import batches_by_length

WORD, TOKEN = HIDDEN_TOGETHER = ('word', 'token')
# Rows that are sorted by length together; memory grows with it.
_WINDOW = 1024


class HiddenTokens(NamedTuple):
  """A row, and the places in it whose tokens are hidden.

  Attributes:
    ids: All tokens as they are, [CLS] and [SEP] among them, int32 [n].
    places: The hidden ones, int [m]; at least one.
    asked: The hidden ones whose probabilities are asked for, int [k].
  """

  ids: np.ndarray
  places: np.ndarray
  asked: np.ndarray


class TextScore(NamedTuple):
  """The score of a text.

  Attributes:
    log_probability: The sum over its tokens, in nats.
    num_tokens: Without [CLS] and [SEP].
  """

  log_probability: float
  num_tokens: int


class MaskedScorer:
  """Scores hidden tokens, on one device, in f32.

  Args:
    objective: A pretraining objective that predicts tokens.
    model: The encoder with the objective's heads.
    params: Its parameters.
    tokenizer: The one it was trained with.
    max_positions: Tokens of the longest row.
  """

  def __init__(
    self,
    objective: Any,
    model: functional.Model,
    params: functional.Params,
    tokenizer: Tokenizer,
    max_positions: int,
  ):
    self._objective = objective
    self._model = model
    self._params = params
    self._tokenizer = tokenizer
    self._max_positions = max_positions

  def log_probabilities(self, rows: Sequence[HiddenTokens]) -> list[np.ndarray]:
    """The natural logarithms f32 [k] of each row's asked tokens.

    Rows of like length are computed together.
    """
    table = self._tokenizer.table
    found = [np.zeros(0, np.float32)] * len(rows)
    num_tokens = [len(row.ids) for row in rows]
    for batch in batches_by_length(
      num_tokens, self._max_positions, tokens_at_once()
    ):
      most = max(len(rows[number].asked) for number in batch.chosen)
      # Few numbers of places, so that few programs are compiled.
      asked = np.zeros((batch.num_rows, 1 << (most - 1).bit_length()), np.int32)
      right = np.full(asked.shape, table.pad_id, np.int32)
      ids = np.full((batch.num_rows, batch.length), table.pad_id, np.int32)
      ids[:, 0] = table.cls_id
      for place, number in enumerate(batch.chosen):
        row = rows[number]
        ids[place, : len(row.ids)] = row.ids
        ids[place, row.places] = table.mask_id
        asked[place, : len(row.asked)] = row.asked
        right[place, : len(row.asked)] = row.ids[row.asked]
      scores = np.asarray(self._compute(self._params, ids, asked, right))
      for place, number in enumerate(batch.chosen):
        found[number] = scores[place, : len(rows[number].asked)]
    return found

  def scores(self, texts: Sequence[str], together: str) -> list[TextScore]:
    """The score of each text; see TrainedModel.score_texts."""
    if together not in HIDDEN_TOGETHER:
      raise InputError(
        f'hidden={quoted(together)}: choose {", ".join(HIDDEN_TOGETHER)}'
      )
    check_texts(texts)
    table = self._tokenizer.table
    all_ids = self._tokenizer.encode_batch(list(texts))
    for number, ids in enumerate(all_ids, 1):
      if len(ids) + 2 > self._max_positions:
        raise InputError(
          f'text {number} has {len(ids) + 2} tokens with [CLS] and [SEP], the '
          f'model takes {self._max_positions}; shorten it, or score its parts'
        )
    totals = np.zeros(len(texts))
    for numbers, rows in _windows(all_ids, table, together):
      parts = self.log_probabilities(rows)
      np.add.at(totals, numbers, [float(part[0]) for part in parts])
    return [
      TextScore(total, len(ids))
      for total, ids in zip(totals.tolist(), all_ids, strict=True)
    ]

  @functools.partial(jax.jit, static_argnums=0)
  def _compute(
    self,
    params: functional.Params,
    ids_BT: jax.Array,
    asked_BM: jax.Array,
    right_BM: jax.Array,
  ) -> jax.Array:
    layout = derive_layout(ids_BT, self._tokenizer.table)
    model = self._model.bind(params)
    logits_BMV = self._objective.token_logits(model, ids_BT, layout, asked_BM)
    log_probabilities_BMV = jax.nn.log_softmax(logits_BMV, axis=-1)
    return jnp.take_along_axis(
      log_probabilities_BMV, right_BM[..., None], axis=-1
    )[..., 0]


def whole_row(ids: np.ndarray, table: TokenTable) -> np.ndarray:
  """The ids of a text between [CLS] and [SEP], int32."""
  return np.concatenate([[table.cls_id], ids, [table.sep_id]]).astype(np.int32)


def _windows(
  all_ids: Sequence[np.ndarray], table: TokenTable, together: str
) -> Iterator[tuple[list[int], list[HiddenTokens]]]:
  """Yields (numbers of texts, rows), a row for each token of each text."""
  numbers: list[int] = []
  rows: list[HiddenTokens] = []
  for number, ids in enumerate(all_ids):
    row = whole_row(ids, table)
    ends = np.arange(1, len(row))
    if together == WORD:  # which ends before the next token that begins one
      starts = np.flatnonzero(table.word_starts[row])
      ends = starts[np.searchsorted(starts, ends)]
    for place in range(1, len(row) - 1):
      places = np.arange(place, ends[place])
      rows.append(HiddenTokens(row, places, places[:1]))
      numbers.append(number)
      if len(rows) == _WINDOW:
        yield numbers, rows
        numbers, rows = [], []
  if rows:
    yield numbers, rows
