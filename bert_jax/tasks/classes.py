"""Names of classes, taken from labels: their order, counts and oddities.

Counts reveal classes that nobody intended: a header read as an example, 'pos '
beside 'pos', the '-' of SNLI, scores taken for names.
"""

import collections
import decimal
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.errors import InputError, cut, listed, quoted

# Treatment of classes that the training examples lack.
REFUSE, WRONG = 'refuse', 'wrong'
# The way out of a refusal of such classes, for the end of a message.
COUNT_AS_WRONG = (
  '; --unseen=wrong of evaluate, and --config.task.unseen=wrong of finetune, '
  'count them as wrong'
)
_NUMBER = re.compile(
  r'[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?'
)
_MAX_SCORES = 20
_FEW = 2
# Mark of SNLI for examples whose annotators did not agree on a label.
_NO_LABEL = '-'
_CLASSES_SHOWN = 30
_NAMES_SHOWN = 5
# Default name of an output in transformers.
_UNNAMED = 'LABEL_{}'


def check_unseen(setting: str) -> None:
  """Raises InputError if the field `unseen` of a task is none of its values."""
  if setting not in (REFUSE, WRONG):
    raise InputError(
      f'task.unseen is {quoted(setting)}; choose {REFUSE} or {WRONG}'
    )


def ordered_names(labels: Sequence[str], origins: Sequence[str]) -> list[str]:
  """The different labels, in the order of a model's outputs.

  Numbers are ordered by size, so that output i is class i if labels are 0 to
  n - 1; all other labels are ordered by code point.

  Args:
    labels: The label of each example.
    origins: 'path:line' of each example, for messages.

  Raises:
    InputError: One number is written in two ways (1 and 01), or the labels are
      scores: numbers, not all whole, with more than 20 different values.
  """
  names = sorted(set(labels))
  found = [_number(name) for name in names]
  numbers = [number for number in found if number is not None]
  if len(numbers) < len(names):
    return names
  by_size = sorted(zip(numbers, names, strict=True))
  if len(set(numbers)) > _MAX_SCORES:
    for number, name in by_size:
      if number != number.to_integral_value():
        raise InputError(
          f'{origins[labels.index(name)]}: the label {quoted(name)} is a score '
          f'and no class: {len(labels):,} examples have {len(set(numbers)):,} '
          'different numbers. Tune with '
          '--config=experiments/finetune/regression.py, or round them to a few '
          'classes.'
        )
  for (number, name), (other, twin) in zip(by_size, by_size[1:], strict=False):
    if number == other:
      first, second = sorted(labels.index(label) for label in (name, twin))
      raise InputError(
        f'{origins[second]}: the label {quoted(labels[second])} is the same '
        f'number as {quoted(labels[first])} in {origins[first]}; write both '
        'alike.'
      )
  return [name for _, name in by_size]


def names_in(record: Mapping[str, Any], where: str) -> list[str]:
  """The 'labels' of a results.json; InputError if they are missing."""
  labels = record.get('labels')
  if not isinstance(labels, list) or not all(
    isinstance(label, str) for label in labels
  ):
    raise InputError(f'{where} it does not list the labels')
  return labels


def count_line(part: str, counts: Mapping[str, int]) -> str:
  """A line such as 'train: 2 classes: 0 (32), 1 (32)', cut for many classes."""
  names = list(counts)
  what = f'{part}: {len(names)} classes'
  if len(names) > _CLASSES_SHOWN:
    names = sorted(names, key=lambda name: -counts[name])
    smallest = names[-1]
    names = names[:_CLASSES_SHOWN]
    what += ', the largest and the smallest of them'
    names.append(smallest)
  listing = ', '.join(f'{plain(name)} ({counts[name]:,})' for name in names)
  return f'{what}: {listing}'


def warnings(
  names: Sequence[str], labels: Sequence[str], origins: Sequence[str]
) -> list[str]:
  """Oddities of the classes of the training examples.

  Args:
    names: The names of all classes, including those without an example.
    labels: The label of each example.
    origins: 'path:line' of each example.

  Returns:
    A line for each oddity: classes of no, one or two examples; names that
    differ in spaces, case or Unicode form alone; names that mean "no label" in
    other data.
  """
  counts = collections.Counter(labels)
  first = {}
  for label, origin in zip(labels, origins, strict=True):
    first.setdefault(label, origin)
  found = []
  few = [name for name in names if counts[name] <= _FEW]
  if few:
    shown = [
      f'{plain(name)} ({counts[name]}'
      + (f', {first[name]})' if name in first else ')')
      for name in few[:_NAMES_SHOWN]
    ]
    found.append(
      f'warning: {_num_classes(len(few))} of two examples or fewer: '
      f'{_some(shown, len(few))}'
    )
  found += [
    'warning: names that differ in spaces, case or Unicode form alone: '
    + ' and '.join(f'{quoted(name)} ({counts[name]:,})' for name in group)
    for group in _alike(names)
  ]
  if _NO_LABEL in counts:
    found.append(
      f'warning: {quoted(_NO_LABEL)} ({counts[_NO_LABEL]:,}) is a class like '
      'others; in SNLI and MultiNLI it means that there is no label'
    )
  return found


def has_names(label_names: Sequence[str]) -> bool:
  """True if a model names its outputs; LABEL_0 to LABEL_n-1 are no names."""
  unnamed = map(_UNNAMED.format, range(len(label_names)))
  return list(label_names) != list(unnamed)


def as_model_names(
  labels: Sequence[str], label_names: Sequence[str]
) -> list[str] | None:
  """Turns labels 0 to n - 1 into the output names of a model without names.

  Returns None if the model has names, or a label is not one of these numbers.
  """
  numbers = {str(place): name for place, name in enumerate(label_names)}
  if has_names(label_names) or not set(labels) <= numbers.keys():
    return None
  return [numbers[label] for label in labels]


def label_ids(
  labels: Sequence[str],
  names: Sequence[str],
  origins: Sequence[str],
  *,
  takes_unseen: bool = False,
  way_out: str = '',
) -> np.ndarray:
  """Returns the place of each label in `names`, int32 [n].

  Args:
    labels: The label of each example.
    names: The names of a model's outputs.
    origins: 'path:line' of each example, for messages.
    takes_unseen: Whether labels that are not among the names have the place -1.
    way_out: Another way to go on, for the message.

  Raises:
    InputError: A label is not among the names; with `takes_unseen` none is.
  """
  places = {name: place for place, name in enumerate(names)}
  unknown = [row for row, label in enumerate(labels) if label not in places]
  if unknown and not (takes_unseen and len(unknown) < len(labels)):
    others = collections.Counter(labels[row] for row in unknown)
    raise InputError(
      f'{origins[unknown[0]]}: the label {quoted(next(iter(others)))} is not '
      f'known; known are {listed(names)}. {len(unknown):,} of {len(labels):,} '
      f'examples have unknown labels ({listed([*others])}), '
      f'{cut(", ".join(map(str, others.values())), 40)} of each; name them as '
      f'in training, or leave them out{way_out}.'
    )
  return np.array([places.get(label, -1) for label in labels], np.int32)


def unseen_note(labels: Sequence[str], names: Sequence[str]) -> list[str]:
  """A line, in a list, on labels that no output of a model stands for."""
  unseen = collections.Counter(x for x in labels if x not in {*names})
  if not unseen:
    return []
  counts = ', '.join(f'{plain(x)} ({n:,})' for x, n in unseen.items())
  return [
    f'warning: {unseen.total():,} of {len(labels):,} examples are of classes '
    f'that the model does not know, and count as wrong: {counts}; eval_loss is '
    'that of the others'
  ]


def plain(name: str) -> str:
  """A name for a list: unchanged, or quoted if it could be misread."""
  odd = name != name.strip() or not name.isprintable() or len(name) > 40
  return quoted(name) if odd or set(name) & set(',()"\'') else name


def _number(name: str) -> decimal.Decimal | None:
  if not name.isascii() or not _NUMBER.fullmatch(name):
    return None
  return decimal.Decimal(name)


def _alike(names: Sequence[str]) -> list[list[str]]:
  groups: dict[str, list[str]] = {}
  for name in names:
    # Composed and decomposed accents, or full-width digits, look the same.
    plainer = unicodedata.normalize('NFKC', name).casefold()
    groups.setdefault(' '.join(plainer.split()), []).append(name)
  return [group for group in groups.values() if len(group) > 1]


def _num_classes(count: int) -> str:
  return '1 class' if count == 1 else f'{count} classes'


def _some(shown: list[str], count: int) -> str:
  rest = count - len(shown)
  return ', '.join(shown) + (f' and {rest} more' if rest else '')
