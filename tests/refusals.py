"""Refusals: an InputError whose message is one line that is not too long."""

import pytest

from bert_jax.errors import InputError


def one_line(error: object, limit: int = 700) -> str:
  """The message, which must be one line of less than `limit` characters."""
  message = str(error)
  assert message.strip() and len(message.splitlines()) == 1, message
  assert len(message) < limit, message
  return message


def refusal(function, *arguments, **options) -> str:
  """The message with which a call is refused."""
  with pytest.raises(InputError) as caught:
    function(*arguments, **options)
  return one_line(caught.value)
