"""Rows of sentences whose words are known, which several tasks may share."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.tokenizers.base import Tokenizer

_SENTENCES_PER_BATCH = 1024


class WordPlaces(NamedTuple):
  """The first token of each word, one sentence after the other."""

  row: np.ndarray  # int64 [words]
  place: np.ndarray  # int64 [words], the column in that row


class Window(NamedTuple):
  """Words [first, end) of a sentence in one row, which judges some of them."""

  first: int
  end: int
  judged_first: int
  judged_end: int


def encode_sentences(
  tokenizer: Tokenizer, sentences: Sequence[tuple[str, ...]], max_length: int
) -> tuple[np.ndarray, WordPlaces, str]:
  """Encodes sentences as rows `[CLS] words [SEP]`, long ones as several rows.

  Args:
    tokenizer: Encodes the words, joined by spaces.
    sentences: A tuple of words for each.
    max_length: Tokens in a row, with the special ones.

  Returns:
    int32 [rows, max_length], padded at the end; where each word's first token
    is; and how much was divided or cut, in words.
  """
  table, room = tokenizer.table, max_length - 2
  rows: list[np.ndarray] = []
  places: list[tuple[int, int]] = []
  num_divided = num_cut = num_unseen = 0
  for words in _tokens_of_words(tokenizer, sentences):
    num_unseen += sum(not len(ids) for ids in words)
    num_cut += sum(len(ids) > room for ids in words)
    # A word of no token of its own is there, but nothing is known of it.
    words = [
      ids[:room] if len(ids) else np.array([table.unk_id]) for ids in words
    ]
    windows = windows_of([len(ids) for ids in words], room)
    num_divided += len(windows) > 1
    for window in windows:
      row = np.full(max_length, table.pad_id, np.int32)
      row[0], place = table.cls_id, 1
      for number in range(window.first, window.end):
        ids = words[number]
        if window.judged_first <= number < window.judged_end:
          places.append((len(rows), place))
        row[place : place + len(ids)] = ids
        place += len(ids)
      row[place] = table.sep_id
      rows.append(row)
  cut = f'{num_divided:,} divided into rows of max_length={max_length} tokens'
  if num_cut:
    cut += f', {num_cut:,} words cut to a row'
  if num_unseen:
    cut += f', {num_unseen:,} words of which the tokenizer keeps nothing'
  where = np.array(places, np.int64).reshape(-1, 2)
  return np.stack(rows), WordPlaces(where[:, 0], where[:, 1]), cut


def windows_of(lengths: Sequence[int], room: int) -> list[Window]:
  """Divides words into rows; each word is judged in one of them.

  Neighbours share up to a quarter of a row, and each judges its half of that.

  Args:
    lengths: The tokens of each word, at most `room`.
    room: The tokens of a row.
  """
  windows: list[Window] = []
  first = judged = 0
  while True:
    end, total = first, 0
    while end < len(lengths) and total + lengths[end] <= room:
      total += lengths[end]
      end += 1
    if end == len(lengths):
      return [*windows, Window(first, end, judged, end)]
    # The next row begins with words of this one, and has room for one more.
    shared, start = 0, end
    limit = min(room // 4, room - lengths[end])
    while start - 1 > first and shared + lengths[start - 1] <= limit:
      start -= 1
      shared += lengths[start]
    middle = (start + end + 1) // 2
    windows.append(Window(first, end, judged, middle))
    first, judged = start, middle


def _tokens_of_words(
  tokenizer: Tokenizer, sentences: Sequence[tuple[str, ...]]
) -> Iterator[list[np.ndarray]]:
  """The ids of each word of each sentence; a word may have none."""
  for place in range(0, len(sentences), _SENTENCES_PER_BATCH):
    batch = sentences[place : place + _SENTENCES_PER_BATCH]
    texts = [' '.join(words) for words in batch]
    for words, (ids, offsets) in zip(
      batch, tokenizer.encode_with_offsets(texts), strict=True
    ):
      lengths = np.array([len(word) + 1 for word in words])
      # A space belongs to the word that it stands before.
      starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) - 1
      word_of = np.searchsorted(starts, offsets[:, 0], 'right') - 1
      yield np.split(ids, np.searchsorted(word_of, range(1, len(words))))
