"""Rows of one text or a pair of texts, shared by several tasks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bert_jax.data.length_buckets import rounded_length
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, shown

_MIN_LENGTH = 8
_TEXTS_PER_BATCH = 1024


def split_columns(names: Sequence[str]) -> tuple[str, ...]:
  """Names of one or two text columns; InputError if there are more.

  A flag gives 'a,b' as one string, a config file gives ('a', 'b').
  """
  names = tuple(','.join(names).split(','))
  if len(names) not in (1, 2):
    raise InputError(
      f'task.text_columns names {len(names)} columns '
      f'({shown(",".join(names))}); give one or two'
    )
  return names


def encode_examples(
  tokenizer: Tokenizer, texts: Sequence[tuple[str, ...]], max_length: int
) -> tuple[np.ndarray, int]:
  """Encodes each example as a row `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

  RoBERTa's tokenizer puts two [SEP] between the texts, as that model was
  trained (TokenTable.pair_separators). Long examples are cut: tokens are
  dropped from the end of the longer text, as in Google's BERT.

  Args:
    tokenizer: Encodes the texts.
    texts: A tuple of one or two texts for each example.
    max_length: Tokens in a row, with the special ones.

  Returns:
    Rows int32 [n, max_length], padded at the end; the number of examples cut.

  Raises:
    InputError: max_length is below 8.
  """
  _check_length(max_length)
  table = tokenizer.table
  rows = np.full((len(texts), max_length), table.pad_id, np.int32)
  num_cut = 0
  for first in range(0, len(texts), _TEXTS_PER_BATCH):
    batch = texts[first : first + _TEXTS_PER_BATCH]
    encoded = iter(
      tokenizer.encode_batch([t for group in batch for t in group])
    )
    for row, group in zip(rows[first:], batch, strict=False):
      parts = [next(encoded) for _ in group]
      lengths = [len(part) for part in parts]
      num_separators = sum(_separators(len(parts), table))
      kept = _kept_lengths(lengths, max_length - 1 - num_separators)
      num_cut += kept != lengths
      fill_row(row, [p[:n] for p, n in zip(parts, kept, strict=True)], table)
  return rows, num_cut


def _check_length(max_length: int) -> None:
  if max_length < _MIN_LENGTH:
    raise InputError(f'max_length={max_length}: give {_MIN_LENGTH} or more.')


class Windows(NamedTuple):
  """Long texts as several rows.

  Attributes:
    ids_RT: Rows `[CLS] part [SEP]`, int32, padded at the end.
    example_R: The number of each row's example, int64, ascending.
    num_divided: Examples with several rows.
    num_cut: Examples that need more rows than they may have.
  """

  ids_RT: np.ndarray
  example_R: np.ndarray
  num_divided: int
  num_cut: int


def encode_windows(
  tokenizer: Tokenizer,
  texts: Sequence[tuple[str, ...]],
  max_length: int,
  num_windows: int,
) -> Windows:
  """Encodes each text as rows of consecutive tokens, at most `num_windows`.

  Raises InputError if an example has two texts, or max_length is below 8.
  """
  _check_length(max_length)
  if any(len(group) != 1 for group in texts):
    raise InputError(
      f'task.num_windows={num_windows}: a pair of texts cannot be divided; '
      'give 1, or a column of whole texts'
    )
  table, room = tokenizer.table, max_length - 2
  parts, examples = [], []
  num_divided = num_cut = 0
  for first in range(0, len(texts), _TEXTS_PER_BATCH):
    batch = [text for (text,) in texts[first : first + _TEXTS_PER_BATCH]]
    for place, ids in enumerate(tokenizer.encode_batch(batch), first):
      starts = range(0, max(len(ids), 1), room)[:num_windows]
      parts += [ids[start : start + room] for start in starts]
      examples += [place] * len(starts)
      num_divided += len(starts) > 1
      num_cut += len(ids) > room * num_windows
  rows = np.full((len(parts), max_length), table.pad_id, np.int32)
  for row, part in zip(rows, parts, strict=True):
    fill_row(row, [part], table)
  return Windows(rows, np.array(examples), num_divided, num_cut)


def fill_row(
  row_T: np.ndarray, parts: Sequence[np.ndarray], table: TokenTable
) -> None:
  """Writes `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]` into a row of padding.

  `parts` are the ids of the texts; the row has room for them.
  """
  row_T[0] = table.cls_id
  place = 1
  counts = _separators(len(parts), table)
  for part, count in zip(parts, counts, strict=True):
    row_T[place : place + len(part)] = part
    place += len(part)
    row_T[place : place + count] = table.sep_id
    place += count


def _separators(num_parts: int, table: TokenTable) -> list[int]:
  """The numbers of [SEP] after each text."""
  return [table.pair_separators] * (num_parts - 1) + [1]


def _kept_lengths(lengths: list[int], limit: int) -> list[int]:
  """Number of tokens to keep of each part, at most `limit` in all."""
  kept = list(lengths)
  excess = sum(kept) - limit
  if excess <= 0:
    return kept
  if len(kept) == 1:
    return [limit]
  first, second = kept
  # Tokens are dropped from the longer text until both are equal, then from both
  # in turn, beginning with the second.
  from_longer = min(excess, abs(first - second))
  if first > second:
    first -= from_longer
  else:
    second -= from_longer
  rest = excess - from_longer
  return [first - rest // 2, second - (rest + 1) // 2]


class RowBatch(NamedTuple):
  """Rows of like length that are computed together.

  Attributes:
    chosen: The numbers of the rows.
    num_rows: Rows of the array, at least as many.
    length: Tokens of a row of the array.
  """

  chosen: list[int]
  num_rows: int
  length: int


def batches_by_length(
  num_tokens: Sequence[int] | np.ndarray, most_tokens: int, batch_tokens: int
) -> Iterator[RowBatch]:
  """Divides rows into batches, the longest rows first, with little padding.

  The arrays have few shapes, so that few programs are compiled.

  Args:
    num_tokens: Tokens of each row.
    most_tokens: The length of the longest row that there may be.
    batch_tokens: Tokens of an array, padding among them, unless one row has
      more.
  """
  left = sorted(range(len(num_tokens)), key=lambda row: -num_tokens[row])
  while left:
    length = rounded_length(int(num_tokens[left[0]]), most_tokens)
    full = max(1, batch_tokens // length)
    chosen, left = left[:full], left[full:]
    num_rows = min(full, 1 << (len(chosen) - 1).bit_length())
    yield RowBatch(chosen, num_rows, length)


def join_rows(
  shapes: Any,
  num_rows: int,
  parts: Iterable[tuple[Sequence[int] | np.ndarray, Any]],
) -> Any:
  """Predictions of all rows, put together from those of batches.

  Args:
    shapes: The shapes and dtypes for one or more rows of full length.
    num_rows: The number of rows.
    parts: The numbers of a batch's rows, and its predictions, of which the
      first are those of the rows. Axes may be shorter than in `shapes`, where
      columns that are padding were not computed; they are 0.

  Returns:
    Arrays [num_rows, ...], in a tree like `shapes`.
  """
  found = jax.tree.map(
    lambda x: np.zeros((num_rows, *x.shape[1:]), x.dtype), shapes
  )
  for chosen, part in parts:

    def put(whole: np.ndarray, x: np.ndarray, chosen=chosen) -> None:
      columns = (slice(size) for size in x.shape[1:])
      whole[(chosen, *columns)] = x[: len(chosen)]

    jax.tree.map(put, found, part)
  return found
