"""Files of JSON, read whole or refused by name; digests of values as JSON."""

import hashlib
import json
import pathlib
from typing import Any

from bert_jax.errors import InputError


def read_object(path: pathlib.Path, fix: str) -> dict[str, Any]:
  """The object in a file of JSON.

  Args:
    path: the file.
    fix: the end of each message.

  Raises:
    InputError: the file holds no JSON, or another value than an object.
    OSError: it cannot be read.
  """
  try:
    value = json.loads(path.read_text('utf-8'))
  except (ValueError, RecursionError) as error:
    raise InputError(f'{path}: is not JSON ({error}); {fix}') from None
  if not isinstance(value, dict):
    raise InputError(f'{path}: is no JSON object; {fix}')
  return value


def json_digest(value: Any, *, sort_keys: bool = False) -> str:
  """A SHA-256 of a value as JSON; with `sort_keys` in any order of its keys."""
  text = json.dumps(value, sort_keys=sort_keys)
  return hashlib.sha256(text.encode()).hexdigest()


def read_or_none(path: pathlib.Path) -> Any:
  """The value in a file of JSON; None if there is none that can be read.

  It serves files whose absence and damage mean the same.
  """
  try:
    return json.loads(path.read_text('utf-8'))
  except (OSError, ValueError, RecursionError):
    return None
