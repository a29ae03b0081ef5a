"""Entities of a plain text, from the labels of its words."""

import dataclasses
import statistics
import unicodedata
from collections.abc import Sequence

from bert_jax.tasks import entities
from bert_jax.tasks.base import Result

# The place of a word: characters [start, end) of its text.
Place = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class TaggedText:
  """A piece of a text, characters [start, end), and its label.

  That is an entity with its type; or, with labels that are none of entities,
  such as parts of speech, a word. `score` is the mean probability of the labels
  of its words.
  """

  text: str
  label: str
  start: int
  end: int
  score: float


def words_of(text: str) -> list[Place]:
  """The places of the words, as taggers mostly read them.

  Blanks part words, and each mark at the beginning or end of one is a word of
  its own, as in CoNLL's files: 'in (New York).' has the words in, (, New, York,
  ) and a full stop. Marks within, as in don't, stay.
  """
  places, end = [], 0
  for piece in text.split():
    start = text.index(piece, end)
    end = start + len(piece)
    first, last = start, end
    while first < last and _is_mark(text[first]):
      first += 1
    while first < last and _is_mark(text[last - 1]):
      last -= 1
    places += [(n, n + 1) for n in range(start, first)]
    places += [(first, last)] if first < last else []
    places += [(n, n + 1) for n in range(last, end)]
  return places


def tagged(
  text: str, places: Sequence[Place], result: Result, names: Sequence[str]
) -> list[TaggedText]:
  """The entities of a text, or all its words, in order.

  Args:
    text: the text.
    places: those of its words.
    result: the result of Tagging for these words.
    names: all labels of the model, which say whether they are of entities.
  """
  labels = result['labels']
  found = [(label, n, n) for n, label in enumerate(labels)]
  if entities.are_entities(names):
    found = entities.found(labels)
  return [
    TaggedText(
      text=text[places[first][0] : places[last][1]],
      label=label,
      start=places[first][0],
      end=places[last][1],
      score=statistics.fmean(result['probabilities'][first : last + 1]),
    )
    for label, first, last in found
  ]


def _is_mark(character: str) -> bool:
  """True for punctuation and symbols, by Unicode."""
  return unicodedata.category(character)[0] in 'PS'
