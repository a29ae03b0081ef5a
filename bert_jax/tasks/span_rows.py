"""Rows of a question and a window of its context, and spans as places in them.

A context of more tokens than a row holds becomes several rows, whose windows
overlap by a quarter. A question is never cut.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError
from bert_jax.tasks.text_rows import fill_row
from bert_jax.tasks.word_rows import windows_of

_TEXTS_PER_BATCH = 1024


class SpanRow(NamedTuple):
  """One row: a window of the context of an example.

  Attributes:
    example: The number of the example, from 0.
    column: The column of the window's first token.
    offsets: int64 [n, 2], the characters of the context that each token of the
      window stands for.
  """

  example: int
  column: int
  offsets: np.ndarray


def encode_questions(
  tokenizer: Tokenizer,
  texts: Sequence[tuple[str, ...]],
  origins: Sequence[str],
  max_length: int,
) -> tuple[np.ndarray, list[SpanRow], dict[str, int]]:
  """Encodes each pair as rows `[CLS] question [SEP] window of context [SEP]`.

  Args:
    tokenizer: Encodes the texts.
    texts: A question and its context for each example.
    origins: The place of each example, for messages.
    max_length: Tokens in a row, with the special ones.

  Returns:
    Rows int32 [rows, max_length], padded at the end, example by example; what
    each holds; and how many contexts were divided, by what was done.

  Raises:
    InputError: A question leaves less than a quarter of the row for a context
      that needs more.
  """
  table = tokenizer.table
  questions = tokenizer.encode_batch([question for question, _ in texts])
  contexts = _encode_once(tokenizer, [context for _, context in texts])
  num_special = 1 + table.pair_separators + 1
  rows: list[np.ndarray] = []
  spans: list[SpanRow] = []
  num_divided = 0
  for number, (question, (_, context)) in enumerate(
    zip(questions, texts, strict=True)
  ):
    ids, offsets = contexts[context]
    room = max_length - len(question) - num_special
    if room < min(max(len(ids), 1), max_length // 4):
      raise InputError(
        f'{origins[number]}: the question has {len(question)} tokens, which '
        f'leaves too little of max_length={max_length} for its context; give a '
        'greater max_length, or a shorter question'
      )
    windows = windows_of([1] * len(ids), room)
    num_divided += len(windows) > 1
    for window in windows:
      row = np.full(max_length, table.pad_id, np.int32)
      fill_row(row, [question, ids[window.first : window.end]], table)
      column = 1 + len(question) + table.pair_separators
      rows.append(row)
      shown = offsets[window.first : window.end]
      spans.append(SpanRow(number, column, shown))
  cut = {f'divided into rows of max_length={max_length} tokens': num_divided}
  return np.stack(rows), spans, cut


def columns_of(row: SpanRow, start: int, end: int) -> tuple[int, int] | None:
  """The columns of the first and last token of characters [start, end).

  Returns None if the row does not show the span as a whole, or the tokenizer
  keeps nothing of it.
  """
  if not len(row.offsets):
    return None
  is_first = start >= row.offsets[0, 0] and end <= row.offsets[-1, 1]
  first = int(np.searchsorted(row.offsets[:, 1], start, 'right'))
  last = int(np.searchsorted(row.offsets[:, 0], end, 'left')) - 1
  if not is_first or first > last:
    return None
  return row.column + first, row.column + last


def best_spans(
  row: SpanRow,
  start_T: np.ndarray,
  end_T: np.ndarray,
  *,
  max_length: int,
  count: int,
) -> list[tuple[float, int, int]]:
  """The spans of a row with the highest sums of two scores.

  Args:
    row: What the row holds.
    start_T, end_T: f32 [T], scores of the first and the last token of a span.
    max_length: The most tokens of a span.
    count: The most spans.

  Returns:
    (score, first character, end) of each, the highest score first.
  """
  num_tokens = len(row.offsets)
  if not num_tokens:
    return []
  part = slice(row.column, row.column + num_tokens)
  longest = min(max_length, num_tokens)
  ends = np.concatenate([end_T[part], np.full(longest - 1, -np.inf)])
  sums = start_T[part, None] + np.lib.stride_tricks.sliding_window_view(
    ends, longest
  )
  flat = sums.ravel()
  count = min(count, flat.size)
  chosen = np.sort(np.argpartition(-flat, count - 1)[:count])
  chosen = chosen[np.argsort(-flat[chosen], kind='stable')]
  return [
    (
      float(flat[place]),
      int(row.offsets[place // longest, 0]),
      int(row.offsets[place // longest + place % longest, 1]),
    )
    for place in chosen
    if np.isfinite(flat[place])
  ]


def _encode_once(
  tokenizer: Tokenizer, contexts: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Ids and offsets of each different context; many questions share one."""
  different = list(dict.fromkeys(contexts))
  found = {}
  for first in range(0, len(different), _TEXTS_PER_BATCH):
    batch = different[first : first + _TEXTS_PER_BATCH]
    encoded = tokenizer.encode_with_offsets(batch)
    found |= dict(zip(batch, encoded, strict=True))
  return found
