"""The labels of another library's classifier: their number and names.

The weights say how many there are; config.json says what they are called.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_jax.errors import listed, quoted, shown
from bert_jax.interop import name_table
from bert_jax.interop.family import Family
from bert_jax.interop.recognise import architectures_of, matched
from bert_jax.models.heads import CLS, POOLINGS
from bert_jax.models.task_head import (
  CHOICES,
  HEAD_OF,
  SCORE,
  SPANS,
  START_AND_END,
  TEXTS,
  WORDS,
  TaskHead,
)

# Values of problem_type for one label, and for one number, per text.
_ONE_LABEL, _ONE_NUMBER = 'single_label_classification', 'regression'
_OTHER_PROBLEMS = {
  _ONE_NUMBER: 'it is a regression',
  _ONE_LABEL: 'it is a classification with one label',
  'multi_label_classification': 'it was trained for several labels a text',
}
_NOT_OF_TEXTS = 'by architectures {} it is not one of whole texts or words'
_BY_ID, _BY_LABEL, _COUNT = 'id2label', 'label2id', 'num_labels'
# Number of labels that transformers assumes if a config has none.
_DEFAULT_COUNT = 2


def read_task_head(
  family: Family,
  config: Mapping[str, Any],
  weights: Mapping[str, np.ndarray],
  problems: list[str],
  notes: list[str],
) -> tuple[TaskHead | None, str]:
  """Returns (the head with its labels or None, the reason for leaving it out).

  Classifiers of tokens and of choices have the same names in the file: only the
  class in config.json tells them apart.

  Args:
    family: the names of the weights.
    config: the contents of config.json.
    weights: arrays by the name in the file.
    problems: receives a sentence if the names of the labels contradict.
    notes: receives a sentence on each label filled in, dropped or left out.
  """
  kind = _kind(config)
  head = HEAD_OF[kind or TEXTS]
  if not _names_of(head, family) & matched(family, weights):
    return _without_a_classifier(family, config, kind, notes)
  count = _num_outputs(family, weights, head)
  reason = _why_not(family, config, kind, count)
  if reason:
    notes.append(f'its classifier was left out: {reason}')
    return None, reason
  if kind == SPANS:
    return TaskHead(kind=SPANS, output_names=START_AND_END), ''
  if kind == CHOICES:
    return TaskHead(kind=CHOICES, output_names=SCORE), ''
  names = _names(config, count, problems, notes)
  if not names:
    return None, ''  # there is a problem, which ends all
  if kind == WORDS:
    return TaskHead(kind=WORDS, output_names=names), ''
  head = TaskHead(
    problem_type=problem_type(len(names)),
    output_names=names,
    pooling=pooling_of(family, config),
  )
  return head, ''


def _kind(config: Mapping[str, Any]) -> str:
  """The kind of head by the class in config.json; '' if we have none such."""
  return next(
    (
      kind
      for kind in HEAD_OF
      if any(name.endswith(kind) for name in architectures_of(config))
    ),
    '',
  )


def problem_type(num_outputs: int) -> str:
  """The problem_type, as transformers calls it, of a head of whole texts."""
  return _ONE_LABEL if num_outputs > 1 else _ONE_NUMBER


def pooling_of(family: Family, config: Mapping[str, Any]) -> Any:
  """Reads from config.json what the classifier sees of a text."""
  return config.get(family.pooling_field, CLS) if family.pooling_field else CLS


def _without_a_classifier(
  family: Family, config: Mapping[str, Any], kind: str, notes: list[str]
) -> tuple[None, str]:
  """Says why a model has no classifier that its class makes one expect.

  A class that the family's table does not know can have any other head.
  """
  classes = architectures_of(config)
  if kind == TEXTS:
    notes.append(
      f'architectures names {listed(classes)}, but the weights have no '
      'classifier'
    )
    return None, 'the weights have none'
  if kind in (WORDS, SPANS, CHOICES) or (
    classes and not {*classes} & {*family.architectures}
  ):
    return None, _NOT_OF_TEXTS.format(listed(classes))
  return None, ''


def _names_of(head: str, family: Family) -> set[str]:
  """Names in the file of the parameters of one of our heads."""
  return {
    name_table.pattern(rule.theirs)[0]
    for rule in family.table
    if rule.paths[0].startswith(f'{head}/')
  }


def _num_outputs(
  family: Family, weights: Mapping[str, np.ndarray], head: str
) -> int | None:
  """The number of rows of the classifier's matrix; None without a matrix."""
  matrix = next(
    rule.theirs
    for rule in family.table
    if rule.paths[0] == f'{head}/output/kernel'
  )
  for name, array in weights.items():
    if family.canonical(name) == matrix and array.ndim == 2 and len(array):
      return len(array)
  return None


def _why_not(
  family: Family, config: Mapping[str, Any], kind: str, count: int | None
) -> str:
  """The reason why a classifier cannot be imported; '' if it can."""
  classes = architectures_of(config)
  if not classes:
    return (
      'config.json has no architectures, so it may be one of tokens and not '
      'one of whole texts'
    )
  if not kind:
    return _NOT_OF_TEXTS.format(listed(classes))
  if kind == WORDS:
    return ''
  if kind == SPANS:
    # A missing matrix is reported by read_params.
    is_whole = count in (None, len(START_AND_END))
    return '' if is_whole else f'it has {count} outputs, not start and end'
  if kind == CHOICES:
    return _why_no_choices(family, config, count)
  problem = config.get('problem_type')
  # Without a problem_type, transformers treats one output as a regression.
  if problem not in (None, _ONE_NUMBER if count == 1 else _ONE_LABEL):
    what = _OTHER_PROBLEMS.get(str(problem), 'it is not one label a text')
    return f'{what} (problem_type {quoted(str(problem))})'
  pooling = pooling_of(family, config)
  if pooling not in POOLINGS:
    return (
      f'{family.pooling_field} is {shown(repr(pooling))}, ours can only be '
      f'{" or ".join(POOLINGS)}'
    )
  return ''


def _why_no_choices(
  family: Family, config: Mapping[str, Any], count: int | None
) -> str:
  """The reason why a scorer of choices cannot be imported; '' if it can."""
  if count not in (None, len(SCORE)):
    return f'it has {count} outputs, not one score a choice'
  pooling = {family.pooling_field: CLS} if family.pooling_field else {}
  for field, ours in (pooling | {**family.choice_fixed}).items():
    if (theirs := config.get(field, ours)) != ours:
      return f'{field} is {shown(repr(theirs))}, ours can only be {ours!r}'
  return ''


def _names(
  config: Mapping[str, Any],
  count: int | None,
  problems: list[str],
  notes: list[str],
) -> tuple[str, ...]:
  """The names of the outputs; `count` None takes config.json's number."""
  wrong: list[str] = []
  by_id = _from_ids(config.get(_BY_ID), wrong, notes)
  # label2id counts only if id2label has no names.
  by_label = _from_labels(config.get(_BY_LABEL), [] if by_id else wrong)
  if wrong:
    problems += wrong
    return ()
  if count is None:
    # read_params reports the missing matrix.
    count = len(by_id) or _DEFAULT_COUNT
  told = config.get(_COUNT)
  known = by_id or by_label
  extra = sorted(number for number in known if number >= count)
  unnamed = [number for number in range(count) if number not in known]
  field = _BY_ID if by_id or not by_label else _BY_LABEL
  if extra and unnamed:
    problems.append(
      f'{field} names the outputs {_numbers(sorted(known))}, the classifier '
      f'has 0 to {count - 1}: which is which cannot be known; number them so'
    )
    return ()
  names = {number: f'LABEL_{number}' for number in unnamed} | known
  found = tuple(names[number] for number in range(count))
  twice = [name for name, times in Counter(found).items() if times > 1]
  if twice:
    problems.append(
      f'{field} is {shown(repr(config.get(field)))}: {listed(twice)} would be '
      'the name of several outputs; name each label once'
    )
    return ()
  notes += _remarks(field, known, extra, unnamed, found)
  if type(told) is int and told != count:
    notes.append(
      f'{_COUNT} is {told}, the classifier has {count} outputs; these are taken'
    )
  notes += _contradiction(by_id, by_label, count)
  return found


def _remarks(
  field: str,
  known: Mapping[int, str],
  extra: list[int],
  unnamed: list[int],
  found: tuple[str, ...],
) -> list[str]:
  """Sentences on the names that were filled in or dropped."""
  said = f'{field} names {len(known)} labels, the classifier has {len(found)}'
  if not known:
    return [f'{_BY_ID} is missing; the labels are {listed(found)}']
  if unnamed:
    return [f'{said}; {listed([found[n] for n in unnamed])} was filled in']
  if extra:
    return [f'{said}; {listed([known[n] for n in extra])} was dropped']
  if field == _BY_LABEL:
    return [f'{_BY_ID} is missing; the labels are those of {_BY_LABEL}']
  return []


def _contradiction(
  by_id: Mapping[int, str], by_label: Mapping[int, str], count: int
) -> list[str]:
  """Returns a sentence, in a list, on an output with two different names."""
  for number in range(count):
    name, other = by_id.get(number), by_label.get(number)
    if name is not None and other is not None and name != other:
      return [
        f'{_BY_LABEL} has {quoted(other)} for output {number}, {_BY_ID} '
        f'{quoted(name)}; {_BY_ID} is taken, as transformers does'
      ]
  return []


def _from_ids(
  value: Any, problems: list[str], notes: list[str]
) -> dict[int, str]:
  """Names by output from id2label; an empty name counts as missing."""
  if isinstance(value, list):
    value = {str(number): name for number, name in enumerate(value)}
  if value is None:
    return {}
  if not isinstance(value, dict):
    problems.append(f'{_BY_ID} is {shown(repr(value))}, which names no labels')
    return {}
  found, are_numbers = {}, False
  for key, name in value.items():
    if name is None or name == '':
      continue
    # isinstance would accept a bool as an int.
    if type(name) is int:
      name, are_numbers = str(name), True
    if not _is_number(key) or not isinstance(name, str):
      problems.append(
        f'{_BY_ID} has {shown(repr(key))}: {shown(repr(name))}; it must be the '
        'number of an output and the name of a label'
      )
      return {}
    found[int(key)] = name
  if are_numbers:
    notes.append(f'{_BY_ID} has numbers for names; they are taken as text')
  return found


def _from_labels(value: Any, problems: list[str]) -> dict[int, str]:
  """Names by output from label2id."""
  found: dict[int, str] = {}
  for name, number in value.items() if isinstance(value, dict) else ():
    if not _is_number(str(number)) or int(number) in found:
      problems.append(
        f'{_BY_LABEL} has {shown(repr(name))}: {shown(repr(number))}; it must '
        'be the name of a label and the number of its output'
      )
      return {}
    found[int(number)] = name
  return found


def _is_number(key: str) -> bool:
  # int() refuses strings of thousands of digits.
  is_short = key.isascii() and key.isdecimal() and len(key) < 10
  return is_short and key == str(int(key))


def _numbers(numbers: list[int]) -> str:
  return shown(', '.join(map(str, numbers)))
