"""Entities among the labels of words, and the scores of finding them.

The figures equal those of seqeval (Nakayama 2018), which follows conlleval: an
entity counts as found only if its type and both of its ends are right. An
entity is (type, first word, last word) of one sentence.

`found` finds entities in any sequence of labels, as seqeval's default mode
does: an I- that follows no entity of its type begins one. `found_strictly`
follows IOB2, as mode='strict', scheme=IOB2 does: every entity begins with B-.
M- of BMES means what I- means elsewhere.
"""

import collections
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Entity = tuple[str, int, int]
Finder = Callable[[Sequence[str]], list[Entity]]
OUTSIDE = 'O'
_LABEL = re.compile(r'O|[BIMES]-.+', re.DOTALL)
_IOB2_LABEL = re.compile(r'O|[BI]-.+', re.DOTALL)


def are_entities(labels: Iterable[str]) -> bool:
  """True if these are O, and B-, I-, M-, E- or S- with a type.

  Parts of speech, for example, are not.
  """
  labels = set(labels)
  return all(map(_LABEL.fullmatch, labels)) and labels != {OUTSIDE}


def are_iob2(labels: Iterable[str]) -> bool:
  """True if these can be labels of IOB2, where every entity begins with B-."""
  labels = set(labels)
  return all(map(_IOB2_LABEL.fullmatch, labels)) and any(
    label.startswith('B-') for label in labels
  )


def found(labels: Sequence[str]) -> list[Entity]:
  """The entities of a sentence, in order, from labels of any scheme."""
  entities, first = [], 0
  before, type_before = OUTSIDE, ''
  for place, label in enumerate([*labels, OUTSIDE]):
    prefix, kind = label[0], label[2:]
    changes = kind != type_before
    if before != OUTSIDE and (changes or before in 'ES' or prefix in 'BSO'):
      entities.append((type_before, first, place - 1))
    if prefix != OUTSIDE and (changes or prefix in 'BS' or before in 'ESO'):
      first = place
    before, type_before = prefix, kind
  return entities


def scheme(sentences: Iterable[Sequence[str]]) -> str:
  """The scheme of labels: 'BIOES', 'IOB2' or 'IOB1'.

  BIOES, or BMES, has labels with E- or S-. In IOB1 an entity begins with I-
  unless it follows one of its type; most do so there.
  """
  begins = collections.Counter()
  for labels in sentences:
    prefixes = {label[0] for label in labels}
    if prefixes & {'E', 'S'}:
      return 'BIOES'
    begins.update(labels[first][0] for _, first, _ in found(labels))
  return 'IOB1' if begins['I'] > begins['B'] else 'IOB2'


def out_of_order(labels: Sequence[str], scheme_name: str) -> list[int]:
  """Words whose label may not follow the one before, in a scheme's order.

  Those are, in BIOES, what goes on with no open entity of its type, and what
  leaves one open; in IOB2, what goes on with none; in IOB1 none.
  """
  if scheme_name == 'IOB1':
    return []
  ends = 'ES' if scheme_name == 'BIOES' else ''
  places, open_type = [], ''
  for place, label in enumerate([*labels, OUTSIDE]):
    prefix, kind = label[0], label[2:]
    goes_on = prefix in 'IME'
    if goes_on != bool(open_type) and (goes_on or ends):
      places.append(min(place, len(labels) - 1))
    elif goes_on and kind != open_type:
      places.append(place)
    open_type = kind if prefix in 'BIM' else ''
  return places


def found_strictly(labels: Sequence[str]) -> list[Entity]:
  """The entities of a sentence, in order, from labels of IOB2."""
  entities: list[Entity] = []
  for place, label in enumerate(labels):
    prefix, kind = label[0], label[2:]
    if prefix == 'B':
      entities.append((kind, place, place))
    elif prefix == 'I' and entities and entities[-1][::2] == (kind, place - 1):
      entities[-1] = (*entities[-1][:2], place)
  return entities


def scores(
  answers: Sequence[Sequence[str]],
  predictions: Sequence[Sequence[str]],
  find: Finder = found,
) -> dict[str, Any]:
  """Precision, recall and F1 over all entities and for each type.

  Args:
    answers: The right labels of each sentence.
    predictions: The predicted labels of the same words.
    find: The function from a sentence's labels to its entities.

  Returns:
    'precision', 'recall', 'f1': in [0, 1], 0.0 if the denominator is 0;
    'per_class': these three and 'support' (entities in the answers) by type.
  """
  counts = {
    kind: collections.Counter() for kind in ('right', 'guess', 'answer')
  }
  for right, guess in zip(answers, predictions, strict=True):
    entities, guesses = set(find(right)), set(find(guess))
    counts['answer'].update(kind for kind, *_ in entities)
    counts['guess'].update(kind for kind, *_ in guesses)
    counts['right'].update(kind for kind, *_ in entities & guesses)
  by_type = {
    kind: _ratios(*(counts[name][kind] for name in counts))
    | {'support': counts['answer'][kind]}
    for kind in sorted(counts['answer'] | counts['guess'])
  }
  total = _ratios(*(counts[name].total() for name in counts))
  return total | {'per_class': by_type}


def _ratios(num_right: int, num_guesses: int, num_answers: int) -> dict:
  # F1 = 2PR / (P + R), written in counts.
  return {
    'precision': num_right / max(num_guesses, 1),
    'recall': num_right / max(num_answers, 1),
    'f1': 2 * num_right / max(num_guesses + num_answers, 1),
  }
