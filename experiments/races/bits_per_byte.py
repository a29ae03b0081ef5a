"""Bits per byte of hidden words: a loss by which all encoders compare.

.venv/bin/python experiments/races/bits_per_byte.py --model=PATH --text=FILE

A masked-LM loss is per token, so models with other vocabularies do not compare
by it. Here 15 % of the words of a held-out text are drawn by a fixed seed, from
the text alone; all tokens of each are hidden, and their -log2 p, summed up, is
divided by the bytes of the words. A word with an unknown token is charged 8
bits a byte, which is what writing it out costs.

The text is put into lower case and Unicode's NFKC first, and divided at spaces
into passages of at most 320 bytes, each of which a model sees alone. PATH is a
workdir, or a folder of transformers.
"""

import dataclasses
import json
import math
import pathlib
import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

import bert_jax
from bert_jax.data.tokenizers import Tokenizer
from bert_jax.errors import InputError
from bert_jax.inference import TrainedModel
from bert_jax.masked_scoring import HiddenTokens, whole_row

PASSAGE_BYTES = 320
SHARE = 0.15
SEED = 17
# Bits of a byte of a word that a tokenizer cannot write.
UNKNOWN_BITS = 8.0
# Letters and digits; marks and spaces between them are no words.
_WORD = re.compile(r'[^\W_]+')
# Passages that are scored at once.
_WINDOW = 512


@dataclasses.dataclass(frozen=True)
class Passage:
  """A passage, and the places (start, end) of its drawn words."""

  text: str
  words: tuple[tuple[int, int], ...]


@dataclasses.dataclass
class Score:
  """The cost of a text's hidden words to a model.

  Attributes:
    bits: Of all drawn words.
    num_bytes: Of the same, in UTF-8.
    num_words: How many they are.
    num_unknown: Words with an unknown token among them.
  """

  bits: float = 0.0
  num_bytes: int = 0
  num_words: int = 0
  num_unknown: int = 0

  @property
  def bits_per_byte(self) -> float:
    return self.bits / self.num_bytes


def passages(text: str) -> Iterator[Passage]:
  """The passages of a text with one drawn word or more, in order.

  What is longer than a passage without a space, as an address may be, is left
  out.
  """
  parts = [
    part
    for part in unicodedata.normalize('NFKC', text).lower().split()
    if len(part.encode()) <= PASSAGE_BYTES
  ]
  first = number = 0
  while first < len(parts):
    end, size = first + 1, len(parts[first].encode())
    while end < len(parts) and size + 1 + len(parts[end].encode()) <= (
      PASSAGE_BYTES
    ):
      size += 1 + len(parts[end].encode())
      end += 1
    passage = ' '.join(parts[first:end])
    words = [match.span() for match in _WORD.finditer(passage)]
    draws = np.random.Generator(np.random.Philox([SEED, number]))
    is_drawn = draws.random(len(words)) < SHARE
    drawn = tuple(w for w, d in zip(words, is_drawn, strict=True) if d)
    if drawn:
      yield Passage(passage, drawn)
    first, number = end, number + 1


def score(model: TrainedModel, found: Sequence[Passage]) -> Score:
  """The score of a model on passages.

  Raises InputError if it predicts no tokens, or takes no row so long.
  """
  total = Score()
  for first in range(0, len(found), _WINDOW):
    _add(total, model, found[first : first + _WINDOW])
  return total


def _add(total: Score, model: TrainedModel, found: Sequence[Passage]) -> None:
  limit, table = model.experiment.model.max_positions, model.tokenizer.table
  rows, words = [], []
  for passage, of_words in zip(
    found, _tokens(model.tokenizer, found), strict=True
  ):
    ids, spans = of_words
    row = whole_row(ids, table)
    if len(row) > limit:
      raise InputError(
        f'{len(row)} tokens of a passage of {PASSAGE_BYTES} bytes do not fit '
        f'the {limit} positions of {model.origin}'
      )
    places = np.unique(np.concatenate(spans)) + 1
    rows.append(HiddenTokens(row, places, places))
    words.append((passage, row, places, spans))
  parts = model.masked_scorer().log_probabilities(rows)
  for part, (passage, row, places, spans) in zip(parts, words, strict=True):
    bits_of = dict(zip(places.tolist(), (-part / math.log(2)), strict=True))
    for (start, end), span in zip(passage.words, spans, strict=True):
      num_bytes = len(passage.text[start:end].encode())
      is_unknown = bool(np.any(row[span + 1] == table.unk_id)) or not len(span)
      bits = sum(float(bits_of[place]) for place in (span + 1).tolist())
      total.bits += UNKNOWN_BITS * num_bytes if is_unknown else bits
      total.num_bytes += num_bytes
      total.num_words += 1
      total.num_unknown += is_unknown


def _tokens(
  tokenizer: Tokenizer, found: Sequence[Passage]
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
  """Yields the ids of each passage, and the tokens of each drawn word in it."""
  texts = [passage.text for passage in found]
  for passage, (ids, offsets) in zip(
    found, tokenizer.encode_with_offsets(texts), strict=True
  ):
    yield (
      ids,
      [
        np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
        for start, end in passage.words
      ],
    )


def main(argv: list[str]) -> None:
  del argv
  text = pathlib.Path(flags.FLAGS.text).read_text('utf-8')
  model = bert_jax.load(flags.FLAGS.model)
  found = score(model, [*passages(text)])
  print(
    json.dumps(
      dataclasses.asdict(found) | {'bits_per_byte': found.bits_per_byte}
    )
  )


def define_flags() -> None:
  flags.DEFINE_string('model', None, 'The model.', required=True)
  flags.DEFINE_string('text', None, 'The held-out text.', required=True)


if __name__ == '__main__':
  define_flags()
  app.run(main)
