"""Pairs of texts drawn from documents, as BERT and ALBERT were trained on.

The rules are those of create_instances_from_document in create_pretraining_
data.py of google-research/bert and google-research/albert; comments name each
departure from them. A document is a list of sentences. Consecutive ones are
taken until they fill a row; the first of them, a random number, are part A.

'next_sentence': B is the rest in half of the cases (label 0), and sentences of
another document in the others (label 1), when the rest is taken up again next.
'sentence_order': A and the rest stand in order (0) or are swapped (1).
"""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.data.side_files import NEXT_SENTENCE, PAIR_KINDS
from bert_jax.errors import InputError, quoted

# Change it when the same documents would lead to other pairs.
VERSION = 1
# A document's pairs are shorter with this chance, by a random length, so that
# a model also meets short ones.
SHORT_SEQUENCE_PROBABILITY = 0.1
# The names in `Pairs.counts`; pairs that are not label_1 have label 0.
COUNTED = (
  'label_1',
  'borrowed_tokens',
  'truncated_tokens',
  'unpaired_tokens',
)


class Pairs(NamedTuple):
  """Pairs as parts of the tokens of all documents, one after the other.

  starts, lengths: int64 [pairs, 2] of A and B.
  labels: int64 [pairs], 0 or 1.
  counts: numbers by the names of COUNTED: the pairs of label 1, the tokens of
    other documents in them, those that truncation took, and those in no pair.
  """

  starts: np.ndarray
  lengths: np.ndarray
  labels: np.ndarray
  counts: Counter[str]


def check_kind(kind: str) -> None:
  """Raises InputError unless `kind` is a kind of pairs, or '' for none."""
  if kind and kind not in PAIR_KINDS:
    raise InputError(
      f'--pairs={quoted(kind)}: give one of {", ".join(PAIR_KINDS)}'
    )


def sentence_ends(
  line_starts: np.ndarray, sentence_starts: np.ndarray, max_tokens: int
) -> list[int]:
  """Cuts a document into the sentences that pairs are made of.

  Lines are sentences, as in Google's input. A document of one line, and a line
  longer than a pair, are cut where sentences end; what is longer still, into
  pieces of at most half a pair, where Google's code would truncate it.

  Args:
    line_starts, sentence_starts: bool [n] of the document's tokens, n >= 1.
    max_tokens: the most tokens of a pair.

  Returns:
    Where each sentence ends, the last one at n.
  """
  line = np.cumsum(line_starts)
  is_cut = np.bincount(line)[line] > max_tokens
  if line[-1] == 1:
    is_cut[:] = True
  starts = np.flatnonzero(line_starts | (sentence_starts & is_cut)).tolist()
  ends = []
  for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
    if end - start > max_tokens:
      num_pieces = -(-(end - start) // (max_tokens // 2))
      ends += [
        start + (end - start) * piece // num_pieces
        for piece in range(1, num_pieces)
      ]
    ends.append(end)
  return ends


def draw(
  documents: Sequence[Sequence[int]], max_tokens: int, kind: str, seed: bytes
) -> Pairs:
  """Draws the pairs of a block of documents.

  Args:
    documents: the ends of the sentences of each, see `sentence_ends`.
    max_tokens: of a pair: the row length without three special tokens.
    kind: one of PAIR_KINDS.
    seed: 32 bytes. Only `random()` of Python's generator is used, since its
      numbers stay the same from version to version.
  """
  rng = random.Random(int.from_bytes(seed, 'big'))
  drawing = _Drawing(documents, max_tokens, kind, rng)
  for document in range(len(documents)):
    drawing.add_document(document)
  bounds = np.array(drawing.bounds, np.int64).reshape(-1, 2, 2)
  return Pairs(
    bounds[:, :, 0],
    bounds[:, :, 1] - bounds[:, :, 0],
    np.array(drawing.labels, np.int64),
    drawing.counts,
  )


def seed(*parts: Any) -> bytes:
  """A seed for `draw`: 32 bytes that depend on all of `parts`."""
  return hashlib.sha256(repr((VERSION, *parts)).encode()).digest()


class _Drawing:
  """Draws pairs, and holds those drawn so far.

  Each of `bounds` is ((start of A, end of A), (start of B, end of B)).
  """

  def __init__(
    self,
    documents: Sequence[Sequence[int]],
    max_tokens: int,
    kind: str,
    rng: random.Random,
  ):
    self._max_tokens = max_tokens
    self._kind = kind
    self._rng = rng
    self.bounds: list[tuple[tuple[int, int], tuple[int, int]]] = []
    self.labels: list[int] = []
    self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    # Starts of each document's sentences among all tokens, then its end.
    self._edges: list[list[int]] = []
    first = 0
    for ends in documents:
      self._edges.append([first, *(first + end for end in ends)])
      first += ends[-1]

  def add_document(self, document: int) -> None:
    edges = self._edges[document]
    target = self._max_tokens
    if self._rng.random() < SHORT_SEQUENCE_PROBABILITY:
      target = 2 + self._below(self._max_tokens - 1)
    first = 0
    while first < len(edges) - 1:
      end = first + 1
      while end < len(edges) - 1 and edges[end] - edges[first] < target:
        end += 1
      chunk = edges[first : end + 1]
      if self._kind == NEXT_SENTENCE:
        first += self._add_next_sentence(document, chunk, target)
      else:
        self._add_sentence_order(chunk)
        first = end

  def _add_next_sentence(
    self, document: int, chunk: list[int], target: int
  ) -> int:
    """Adds a pair of these sentences; returns the number of sentences used."""
    num_sentences = len(chunk) - 1
    split = 1
    if num_sentences > 1:
      split += self._below(num_sentences - 1)
    a = (chunk[0], chunk[split])
    # Departure: if there is no other document, Google's code draws B from the
    # same one.
    alone = len(self._edges) == 1
    if num_sentences == 1 and alone:
      self.counts['unpaired_tokens'] += a[1] - a[0]
      return 1
    if alone or (num_sentences > 1 and self._rng.random() >= 0.5):
      self._add(a, (chunk[split], chunk[-1]), 0)
      return num_sentences
    b = self._elsewhere(document, target - (a[1] - a[0]))
    self.counts['borrowed_tokens'] += b[1] - b[0]
    self._add(a, b, 1)
    return split

  def _elsewhere(self, document: int, num_tokens: int) -> tuple[int, int]:
    """Bounds of sentences of another document, `num_tokens` long or more."""
    other = self._below(len(self._edges) - 1)
    edges = self._edges[other + (other >= document)]
    start = self._below(len(edges) - 1)
    end = start + 1
    while end < len(edges) - 1 and edges[end] - edges[start] < num_tokens:
      end += 1
    return edges[start], edges[end]

  def _add_sentence_order(self, chunk: list[int]) -> None:
    """Adds a pair of these sentences.

    A single one is cut in two at a random token. ALBERT's code takes another
    document's sentences for B there and says "swapped"; its paper has no pairs
    of two documents.
    """
    if len(chunk) == 2:
      if chunk[1] - chunk[0] < 2:
        self.counts['unpaired_tokens'] += chunk[1] - chunk[0]
        return
      chunk = list(range(chunk[0], chunk[1] + 1))
    split = chunk[1 + self._below(len(chunk) - 2)]
    parts = (chunk[0], split), (split, chunk[-1])
    if self._rng.random() < 0.5:
      self._add(parts[1], parts[0], 1)
    else:
      self._add(*parts, 0)

  def _add(self, a: tuple[int, int], b: tuple[int, int], label: int) -> None:
    """Adds a pair, truncated to what a row holds (truncate_seq_pair).

    Token by token, always from the longer part, at its front or its back.
    """
    bounds = [[*a], [*b]]
    lengths = [a[1] - a[0], b[1] - b[0]]
    excess = max(0, sum(lengths) - self._max_tokens)
    for _ in range(excess):
      longer = 0 if lengths[0] > lengths[1] else 1
      lengths[longer] -= 1
      if self._rng.random() < 0.5:
        bounds[longer][0] += 1
      else:
        bounds[longer][1] -= 1
    self.counts['truncated_tokens'] += excess
    self.counts['label_1'] += label
    (a_start, a_end), (b_start, b_end) = bounds
    self.bounds.append(((a_start, a_end), (b_start, b_end)))
    self.labels.append(label)

  def _below(self, number: int) -> int:
    """Draws one of range(number), each as likely."""
    return int(self._rng.random() * number)
