"""Packs tokenised documents into rows of one length, by best fit.

A row is `[CLS] text [SEP] [CLS] text [SEP] ... [PAD]`, or of pairs `[CLS] A
[SEP] B [SEP]`. Nothing is truncated: a document longer than a row is cut into
consecutive pieces. Best-fit decreasing wastes far less than one document a row,
and needs no random choice.
"""

import numpy as np

from bert_jax.errors import InputError

MIN_ROW_LENGTH = 8
# Longer rows are read by no model, and packing them would fill the memory.
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


def cut(totals: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray]:
  """Cuts documents of `totals` tokens into consecutive pieces that fit a row.

  Args:
    totals: int64 [documents]; one of 0 tokens gives no piece.
    row_length: tokens in a row, two of them special; 8 to 2**20.

  Returns:
    int64 [pieces, 1] each: where a piece starts among the tokens of all
    documents, one after the other, and its length.

  Raises:
    InputError: the row length is another.
  """
  check_row_length(row_length)
  max_length = row_length - 2
  num_pieces = -(-totals // max_length)
  document = np.repeat(np.arange(len(totals)), num_pieces)
  piece = np.arange(num_pieces.sum()) - np.repeat(
    np.cumsum(num_pieces) - num_pieces, num_pieces
  )
  starts = (np.cumsum(totals) - totals)[document] + piece * max_length
  lengths = np.minimum(totals[document] - piece * max_length, max_length)
  return starts[:, None], lengths[:, None]


class Layout:
  """The places of segments in rows: `[CLS] part [SEP] part [SEP]` each.

  Rows stand in the order of the first segment in each, and segments of a row in
  the order in which they were given.
  """

  def __init__(self, starts: np.ndarray, lengths: np.ndarray, row_length: int):
    """Packs segments of one part or more into rows, by best fit.

    Args:
      starts: int64 [segments, parts]: the first token of each part.
      lengths: int64 [segments, parts]: its tokens, 1 or more; those of a
        segment with its special tokens are at most `row_length`.
      row_length: tokens in a row; 8 to 2**20.

    Raises:
      InputError: the row length is another.
    """
    check_row_length(row_length)
    sizes = lengths.sum(axis=1) + lengths.shape[1] + 1
    rows = np.empty(0, np.int64)
    if len(sizes):
      rows = _in_reading_order(_best_fit(sizes, row_length))
    # Segments sorted by row; the sort is stable, so in their order within it.
    self._order = np.argsort(rows, kind='stable')
    starts, lengths, sizes, self._rows = (
      array[self._order] for array in (starts, lengths, sizes, rows)
    )
    begins = np.cumsum(sizes) - sizes
    row_begins = begins[np.diff(self._rows, prepend=-1) > 0]
    self._shape = (len(row_begins), row_length)
    # Places are numbers in the flat array of all rows.
    self._cls_places = self._rows * row_length + begins
    self._cls_places -= row_begins[self._rows]
    self._sep_places = self._cls_places[:, None] + np.cumsum(
      lengths + 1, axis=1
    )
    self._part_places = self._sep_places - lengths
    # Token i of the sorted parts: where it is read, where it is written.
    lengths = lengths.reshape(-1)
    within = np.arange(lengths.sum()) - np.repeat(
      np.cumsum(lengths) - lengths, lengths
    )
    self._sources = within + np.repeat(starts.reshape(-1), lengths)
    self._targets = within + np.repeat(self._part_places.reshape(-1), lengths)

  def token_rows(
    self, tokens: np.ndarray, *, cls_id: int, sep_id: int, pad_id: int
  ) -> np.ndarray:
    """int32 [rows, row_length]: the ids of `tokens` and the special ones."""
    packed = np.full(self._shape, pad_id, np.int32)
    flat = packed.reshape(-1)
    flat[self._cls_places] = cls_id
    flat[self._sep_places] = sep_id
    flat[self._targets] = tokens[self._sources]
    return packed

  def word_starts(self, starts: np.ndarray) -> np.ndarray:
    """bool [rows, row_length] of bool [tokens]; a part begins with a word."""
    packed = np.zeros(self._shape, bool)
    flat = packed.reshape(-1)
    flat[self._targets] = starts[self._sources]
    flat[self._part_places] = True
    return packed

  def labels(self, labels: np.ndarray) -> np.ndarray:
    """int8 [rows, most segments of a row] of int [segments]; -1 for none."""
    number = np.arange(len(self._rows)) - np.searchsorted(
      self._rows, self._rows
    )
    packed = np.full((self._shape[0], number.max(initial=-1) + 1), -1, np.int8)
    packed[self._rows, number] = labels[self._order]
    return packed


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
