"""Rows of sentences whose words are known, for use by several tasks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.tokenizers.base import Tokenizer

_SENTENCES_PER_BATCH = 1024


class WordPlaces(NamedTuple):
  """Places of each word's first token, one sentence after the other."""

  row: np.ndarray  # int64 [words]
  place: np.ndarray  # int64 [words], the column in that row


class Window(NamedTuple):
  """One row's words [first, end) of a sentence.

  The row judges words [judged_first, judged_end).
  """

  first: int
  end: int
  judged_first: int
  judged_end: int


def encode_sentences(
  tokenizer: Tokenizer, sentences: Sequence[tuple[str, ...]], max_length: int
) -> tuple[np.ndarray, WordPlaces, dict[str, int]]:
  """Encodes sentences as rows `[CLS] words [SEP]`, long ones as several rows.

  Args:
    tokenizer: Encodes the words, joined by spaces.
    sentences: A tuple of words for each sentence.
    max_length: Tokens in a row, with the special ones.

  Returns:
    Rows int32 [rows, max_length], padded at the end; the places of each word's
    first token; and how many sentences were divided or cut, by what was done.
  """
  table, room = tokenizer.table, max_length - 2
  rows: list[np.ndarray] = []
  places: list[tuple[int, int]] = []
  num_divided = num_cut = num_unseen = 0
  for words in _tokens_of_words(tokenizer, sentences):
    num_unseen += sum(not len(ids) for ids in words)
    num_cut += sum(len(ids) > room for ids in words)
    # Words that the tokenizer drops keep a place as the unknown token.
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
  cut = {f'divided into rows of max_length={max_length} tokens': num_divided}
  if num_cut:
    cut['words cut to a row'] = num_cut
  if num_unseen:
    cut['words of which the tokenizer keeps nothing'] = num_unseen
  where = np.array(places, np.int64).reshape(-1, 2)
  return np.stack(rows), WordPlaces(where[:, 0], where[:, 1]), cut


def windows_of(lengths: Sequence[int], room: int) -> list[Window]:
  """Divides words into rows; each word is judged in one of them.

  Neighbouring rows share up to a quarter of a row; each judges one half of it.

  Args:
    lengths: The number of tokens of each word, at most `room`.
    room: The number of tokens that a row holds.
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
    # The next row starts with words of this one and has room for a new word.
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
  """Yields the ids of each word for each sentence; a word may have none."""
  for place in range(0, len(sentences), _SENTENCES_PER_BATCH):
    batch = sentences[place : place + _SENTENCES_PER_BATCH]
    texts = [' '.join(words) for words in batch]
    for words, (ids, offsets) in zip(
      batch, tokenizer.encode_with_offsets(texts), strict=True
    ):
      lengths = np.array([len(word) + 1 for word in words])
      # A space belongs to the word after it.
      starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) - 1
      word_of = np.searchsorted(starts, offsets[:, 0], 'right') - 1
      yield np.split(ids, np.searchsorted(word_of, range(1, len(words))))
