"""JSON values that each annotation takes, and the one line for all others."""

import dataclasses
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from bert_jax.config.json_decoder import Check, Decoder
from bert_jax.errors import InputError

DECODER = Decoder(where='a.json', fix='mend it')
Share = Annotated[float, Check(lambda x: 0 <= x <= 1, 'a share')]


class Point(TypedDict):
  x: int
  y: NotRequired[Share]


@dataclasses.dataclass
class Token:
  content: str
  flags: tuple[bool, ...] = ()


@pytest.mark.parametrize(
  ('value', 'annotation', 'expected'),
  [
    (3, int, 3),
    (3, float, 3),
    (None, int | None, None),
    ('a', int | str, 'a'),
    ('a', Literal['a', 'b'], 'a'),
    ([1, 2], list[int], [1, 2]),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, 'a'], tuple[int, str], (1, 'a')),
    ([], tuple[int, ...], ()),
    ({'a': [1]}, dict[str, tuple[int, ...]], {'a': (1,)}),
    ({'x': 1, 'more': [{}]}, Point, {'x': 1, 'more': [{}]}),
    ({'x': 1, 'y': 0.5}, Point, {'x': 1, 'y': 0.5}),
    ([{'content': 'a', 'flags': [True]}], list[Token], [Token('a', (True,))]),
    ({'a': [None]}, Any, {'a': [None]}),
  ],
)
def test_what_fits(value, annotation, expected):
  decoded = DECODER.decode(value, annotation, 'f')
  assert decoded == expected and type(decoded) is type(expected)


@pytest.mark.parametrize(
  ('value', 'annotation', 'line'),
  [
    (True, int, 'f is True, which is not a whole number'),
    (1.0, int, 'f is 1.0, which is not a whole number'),
    ('1', float, "f is '1', which is not a number"),
    (1, bool, 'f is 1; it must be true or false'),
    (None, str, 'f is None, which is not a text'),
    ('c', Literal['a', 'b'], "f is 'c'; it must be one of a, b"),
    (1, Literal[True], 'f is 1; it must be one of True'),
    ({}, list[int], 'f is a dict, which is not a list'),
    ([1, 'a'], list[int], "f is 'a', which is not a whole number"),
    ([1], tuple[int, int], 'f is a list, which is not a list of 2'),
    ([], dict[str, int], 'f is a list, which is not an object'),
    ({'a': {'b': ''}}, dict[str, dict[str, int]], "f.a.b is '', which is not"),
    ({'y': 1}, Point, 'f.x is missing'),
    (
      [{'x': 1}, {'x': 1, 'y': 2}],
      list[Point],
      'f[1].y is 2, which is not a s',
    ),
    ({'x': []}, Point | None, 'f.x is a list, which is not a whole number'),
    ({'contents': ''}, Token, "f: Token has no field 'contents'"),
    ({}, Token, "f: Token has to have a field 'content'"),
  ],
)
def test_what_does_not_fit_is_one_line(value, annotation, line):
  with pytest.raises(InputError) as error:
    DECODER.decode(value, annotation, 'f')
  message = str(error.value)
  assert message.startswith(f'a.json: {line}') and message.endswith('mend it')


def test_a_value_without_end_is_one_line():
  value = []
  for _ in range(100_000):
    value = [value]
  with pytest.raises(InputError, match='it is a list, which is not a number'):
    DECODER.decode(value, float)
