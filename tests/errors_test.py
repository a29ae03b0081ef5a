"""Texts of users in messages: one line of a bounded length."""

import pytest

from bert_jax import errors
from bert_jax.config import overrides


@pytest.mark.parametrize(
  'text, expected',
  [
    ('a' * 40, repr('a' * 40)),
    ('a' * 41, repr('a' * 37 + '...')),
    # Escapes are never cut in two.
    ('\0' * 10, repr('\0' * 10)),
    ('\0' * 11, repr('\0' * 9 + '...')),
    ('\ud800' * 100, repr('\ud800' * 6 + '...')),
    ('\U000f0000' * 5, repr('\U000f0000' * 3 + '...')),
    ('...' * 14, repr('.' * 40)),
    ('', "''"),
  ],
)
def test_a_quoted_text_is_bounded_as_it_is_written(text, expected):
  assert errors.quoted(text) == expected
  assert len(expected) <= 42


def test_a_text_is_shown_as_it_is_or_else_quoted():
  assert errors.shown('a b' * 33) == 'a b' * 33
  assert errors.shown('a' * 101) == repr('a' * 37 + '...')
  assert errors.shown('a\nb') == repr('a\nb')


def test_another_programs_error_becomes_one_line():
  error = ValueError('first\n  second\t' + 'x' * 300)
  assert errors.one_line(error) == 'first second ' + 'x' * 184 + '...'
  assert errors.one_line(error, 8) == 'first...'


def test_names_are_listed_up_to_a_limit():
  assert errors.listed(['a', 'b']) == "'a', 'b'"
  assert errors.listed(['name'] * 300) == ("'name', " * 25)[:197] + '...'


def test_a_field_of_odd_characters_is_refused_in_a_short_line():
  with pytest.raises(errors.InputError) as refused:
    overrides.find_field('\ud800' * 90, {'seed': overrides.Field(0, int)})
  name = "'" + r'\ud800' * 6 + "...'"
  assert str(refused.value) == (
    f'--config.{name}: no such field; there are seed'
  )
