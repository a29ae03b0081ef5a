"""Packs tokenised documents into rows of one length, by best fit.

A row is `[CLS] text [SEP] [CLS] text [SEP] ... [PAD]`. Nothing is truncated: a
document longer than a row is cut into consecutive pieces. Best-fit decreasing
wastes far less than one document a row, and needs no random choice.
"""

from collections.abc import Sequence

import numpy as np

from bert_jax.errors import InputError

MIN_ROW_LENGTH = 8
# No model reads longer ones, and a packer of them would fill the memory.
MAX_ROW_LENGTH = 2**20


def check_row_length(row_length: int) -> None:
  """Raises InputError where `row_length` holds no text, or all memory."""
  if row_length < MIN_ROW_LENGTH:
    raise InputError(
      f'row_length={row_length} is too short: give {MIN_ROW_LENGTH} or more'
    )
  if row_length > MAX_ROW_LENGTH:
    raise InputError(
      f'row_length={row_length} is too long: give {MAX_ROW_LENGTH} or less'
    )


def pack(
  documents: Sequence[np.ndarray],
  row_length: int,
  *,
  cls_id: int,
  sep_id: int,
  pad_id: int,
) -> np.ndarray:
  """Rows that hold every token of `documents` once.

  Args:
    documents: integer ids [n_i] of each, without special tokens; an empty one
      takes no place.
    row_length: tokens in a row; 8 to 2**20.
    cls_id: begins each segment.
    sep_id: ends each segment.
    pad_id: fills a row's end.

  Returns:
    int32 [rows, row_length]. Rows stand in the order of the first document in
    each, and segments of a row in the order of the documents.

  Raises:
    InputError: the row length is another.
  """
  check_row_length(row_length)
  source_starts, lengths = _cut(documents, row_length - 2)
  if not len(lengths):
    return np.empty((0, row_length), np.int32)
  rows = _in_reading_order(_best_fit(lengths + 2, row_length))

  # Segments sorted by row; the sort is stable, so in document order within it.
  order = np.argsort(rows, kind='stable')
  source_starts, lengths, rows = (
    source_starts[order],
    lengths[order],
    rows[order],
  )
  sizes = lengths + 2
  ends = np.cumsum(sizes)
  is_first = np.diff(rows, prepend=-1) > 0
  row_starts = (ends - sizes)[is_first]
  target_starts = rows * row_length + (ends - sizes) - row_starts[rows]

  packed = np.full((len(row_starts), row_length), pad_id, np.int32)
  flat = packed.reshape(-1)
  flat[target_starts] = cls_id
  flat[target_starts + sizes - 1] = sep_id
  # Token i of the sorted segments: where it is read, where it is written.
  within = np.arange(lengths.sum()) - np.repeat(
    np.cumsum(lengths) - lengths, lengths
  )
  tokens = np.concatenate([np.asarray(ids, np.int32) for ids in documents])
  flat[within + np.repeat(target_starts + 1, lengths)] = tokens[
    within + np.repeat(source_starts, lengths)
  ]
  return packed


def _cut(
  documents: Sequence[np.ndarray], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Consecutive pieces: (start in the concatenated documents, length)."""
  totals = np.fromiter(
    (len(ids) for ids in documents), np.int64, count=len(documents)
  )
  num_pieces = -(-totals // max_length)
  document = np.repeat(np.arange(len(totals)), num_pieces)
  piece = np.arange(num_pieces.sum()) - np.repeat(
    np.cumsum(num_pieces) - num_pieces, num_pieces
  )
  starts = (np.cumsum(totals) - totals)[document] + piece * max_length
  lengths = np.minimum(totals[document] - piece * max_length, max_length)
  return starts, lengths


def _best_fit(sizes: np.ndarray, row_length: int) -> np.ndarray:
  """The row of each segment [n]: the fullest row that still has room for it.

  Segments are taken from the longest to the shortest. Open rows are kept by
  the space left in them, and one integer has a bit set for each space there
  is, so that the search is a shift and a lowest set bit, not a walk.
  """
  order = np.argsort(-sizes, kind='stable')
  rows = [0] * len(sizes)
  open_rows: list[list[int]] = [[] for _ in range(row_length + 1)]
  spaces = 0
  num_rows = 0
  for segment, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
    fitting = spaces >> size
    if fitting:
      space = size + (fitting & -fitting).bit_length() - 1
      row = open_rows[space].pop()
      if not open_rows[space]:
        spaces ^= 1 << space
    else:
      space, row = row_length, num_rows
      num_rows += 1
    rows[segment] = row
    # A segment takes three places at least: [CLS], a token, [SEP].
    if space - size >= 3:
      open_rows[space - size].append(row)
      spaces |= 1 << (space - size)
  return np.asarray(rows, np.int64)


def _in_reading_order(rows: np.ndarray) -> np.ndarray:
  """Renumbers rows by the first segment in each, so that text keeps its order.

  Best fit numbers them from full to sparse, which an unshuffled reader, and a
  reader of the files, would see.
  """
  _, first_segment = np.unique(rows, return_index=True)
  rank = np.empty_like(first_segment)
  rank[np.argsort(first_segment)] = np.arange(len(first_segment))
  return rank[rows]
