"""The rows of a block's documents, and what lies beside them."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bert_jax.data import side_files, token_rows
from bert_jax.data.preparing import packing, pairs
from bert_jax.data.preparing.encoding import EncodedText
from bert_jax.data.tokenizers.base import TokenTable

ROWS = 'rows'  # the array beside which the side files lie


class RowMaker:
  """Packs documents into rows of texts, or of pairs.

  Args:
    table: the tokenizer's table.
    word_starts: whether the documents tell them.
    pairs_kind: one of PAIR_KINDS; '' for rows of texts.
  """

  def __init__(self, table: TokenTable, *, word_starts: bool, pairs_kind: str):
    self._table = table
    self._word_starts = word_starts
    self._pairs_kind = pairs_kind

  def __call__(
    self, documents: Sequence[EncodedText], row_length: int, seed: bytes
  ) -> tuple[dict[str, np.ndarray], Counter[str]]:
    """Returns (arrays of one row length as they are stored, their counts).

    Arrays: ROWS, and of the side files those that there are. Counts: rows,
    segments, padding; of pairs also those of pairs.COUNTED, and rows_of_K: how
    many rows have K pairs.

    Args:
      documents: those of one part of a block, each with a token or more.
      row_length: tokens in a row.
      seed: 32 bytes for the drawing of pairs.
    """
    table = self._table
    tokens = _concatenated([text.ids for text in documents], np.int32)
    drawn = (
      self._draw(documents, row_length, seed) if self._pairs_kind else None
    )
    if drawn:
      layout = packing.Layout(drawn.starts, drawn.lengths, row_length)
    else:
      totals = np.array([len(text.ids) for text in documents], np.int64)
      layout = packing.Layout(*packing.cut(totals, row_length), row_length)
    rows = layout.token_rows(
      tokens, cls_id=table.cls_id, sep_id=table.sep_id, pad_id=table.pad_id
    )
    arrays = {ROWS: rows.astype(token_rows.row_dtype(table.vocab_size))}
    counts = Counter(
      rows=len(rows),
      segments=int((rows == table.cls_id).sum()),
      padding=int((rows == table.pad_id).sum()),
    )
    if self._word_starts:
      starts = _concatenated(
        [_given(text.word_starts) for text in documents], bool
      )
      arrays[side_files.WORD_STARTS] = np.packbits(
        layout.word_starts(starts), axis=1
      )
    if drawn:
      labels = layout.labels(drawn.labels)
      arrays[side_files.PAIR_LABELS] = labels
      counts.update(drawn.counts)
      # Counted as rows_of_K, so that blocks add up like all other counts.
      numbers, often = np.unique((labels >= 0).sum(axis=1), return_counts=True)
      for number, rows_of_it in zip(numbers, often, strict=True):
        counts[f'rows_of_{number}'] = int(rows_of_it)
    return arrays, counts

  def _draw(
    self, documents: Sequence[EncodedText], row_length: int, seed: bytes
  ) -> pairs.Pairs:
    max_tokens = row_length - 3
    sentences = [
      pairs.sentence_ends(
        _given(text.line_starts), _given(text.sentence_starts), max_tokens
      )
      for text in documents
    ]
    return pairs.draw(sentences, max_tokens, self._pairs_kind, seed)


def most_pairs(counts: Counter[str], row_length: int) -> int:
  """The most pairs in a row of this length, by the counts of all blocks.

  It is 1 where there are none.
  """
  names = (
    re.fullmatch(rf'rows_of_(\d+)_{row_length}', name) for name in counts
  )
  return max([1, *(int(match[1]) for match in names if match)])


def _given(flags: np.ndarray | None) -> np.ndarray:
  """Flags of a text that its encoder was asked for."""
  assert flags is not None
  return flags


def _concatenated(arrays: Sequence[np.ndarray], dtype) -> np.ndarray:
  return np.concatenate([*arrays, np.empty(0, dtype)], dtype=dtype)
