"""Kind: the classes are never shown, and numbers are put in order as text.

Counts and warnings are held against what a person would see in the file.
"""

import random

import pytest

from bert_jax.errors import InputError
from bert_jax.tasks import classes


def ordered(labels):
  return classes.ordered_names(labels, origins(labels))


def origins(labels):
  return [f'f:{line}' for line in range(1, len(labels) + 1)]


@pytest.mark.parametrize(
  'names',
  [
    [str(number) for number in range(12)],
    ['-10', '-2', '0', '+3', '20'],
    ['0.5', '1.0', '1.5', '2', '10', '10.5'],  # stars
    ['1e1', '1e2', '200'],
    [str(number) for number in range(150)],
    [f'{number}.0' for number in range(30)],  # whole numbers of pandas
    ['10', '2', 'two'],
    ['Neg', 'neg', 'pos'],
    ['١', '٢'],  # no digits that Python's float would be asked for
  ],
)
def test_the_order_of_classes(names):
  labels = names * 2
  random.Random(0).shuffle(labels)
  assert ordered(labels) == names


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (['1', '0', '01'], "f:3: the label '01' is the same number as '1' in f:1"),
    (
      ['1.0', '0', '1'],
      "f:3: the label '1' is the same number as '1.0' in f:1",
    ),
    (['-0', '1', '0'], "f:3: the label '0' is the same number as '-0' in f:1"),
  ],
)
def test_one_number_in_two_ways(labels, message):
  with pytest.raises(InputError, match=message):
    ordered(labels)


@pytest.mark.parametrize(
  'labels',
  [
    [f'{number / 7:.3f}' for number in range(60)],
    ['0', '0.00', *(f'{number / 4:.2f}' for number in range(1, 25))],
    [*(str(number) for number in range(40)), '7.5'],
  ],
)
def test_scores_are_no_classes(labels):
  with pytest.raises(InputError, match='is a score .*finetune/regression.py'):
    ordered(labels)


def test_twenty_different_scores_are_classes():
  labels = [f'{number / 4:g}' for number in range(1, 21)]
  assert ordered(labels[::-1]) == labels


@pytest.mark.parametrize(
  ('counts', 'line'),
  [
    ({'0': 32, '1': 1234}, 'train: 2 classes: 0 (32), 1 (1,234)'),
    ({'pos': 2, 'pos ': 1}, "train: 2 classes: pos (2), 'pos ' (1)"),
    ({'a, b': 2, '': 0}, "train: 2 classes: 'a, b' (2),  (0)"),
  ],
)
def test_counts_are_one_line(counts, line):
  assert classes.count_line('train', counts) == line


def test_of_many_classes_the_largest_and_the_smallest_are_shown():
  counts = {f'c{i}': 100 + i for i in range(150)} | {'label': 1}
  line = classes.count_line('train', counts)
  assert line.startswith('train: 151 classes, the largest and the smallest')
  assert 'c149 (249), c148 (248)' in line and line.endswith(', label (1)')
  assert len(line) < 600


@pytest.mark.parametrize(
  ('labels', 'expected'),
  [
    (['a', 'b'] * 3, []),
    (['a', 'b', 'label', 'a', 'b', 'a', 'b'], ['label (1, f:3)']),
    (['x'] * 9 + ['y'] * 2, ['y (2, f:10)']),
    (['neg', 'neg '] * 3, ["'neg' (3) and 'neg ' (3)"]),
    (['Neg', 'pos', 'neg'] * 3, ["'Neg' (3) and 'neg' (3)"]),
    (['a  b', 'a b', 'c'] * 3, ["'a  b' (3) and 'a b' (3)"]),
    (['caf\u00e9', 'cafe\u0301', 'b'] * 3, ['Unicode form alone: ']),
    (['1', '\uff11', '2'] * 3, ["'1' (3) and '\uff11' (3)"]),
    (['-', 'a', 'b'] * 3, ["'-' (3)"]),
  ],
)
def test_warnings(labels, expected):
  found = classes.warnings(ordered(labels), labels, origins(labels))
  assert len(found) == len(expected)
  for line, words in zip(found, expected, strict=True):
    assert line.startswith('warning: ') and words in line


def test_a_class_that_no_drawn_example_has():
  (line,) = classes.warnings(['a', 'b'], ['a'] * 3, origins('aaa'))
  assert line == 'warning: 1 class of two examples or fewer: b (0)'


@pytest.mark.parametrize(
  ('labels', 'names', 'expected'),
  [
    (['1', '0'], ['LABEL_0', 'LABEL_1'], ['LABEL_1', 'LABEL_0']),
    (['2'], ['LABEL_0', 'LABEL_1'], None),
    (['1', 'x'], ['LABEL_0', 'LABEL_1'], None),
    (['1', '0'], ['no', 'yes'], None),
    (['1', '0'], ['LABEL_1', 'LABEL_0'], None),
  ],
)
def test_numbers_as_outputs_of_a_model_without_names(labels, names, expected):
  assert classes.as_model_names(labels, names) == expected
