"""Tells whether a folder already holds what a request would give."""

import json
import pathlib
from typing import Any

from bert_jax.data import token_rows
from bert_jax.data.sources.content_changes import EARLIER_VERSION, difference
from bert_jax.errors import InputError, cut

RECORD_NAME = 'prepare.json'


def complete_summary(
  output: pathlib.Path, request: dict[str, Any]
) -> dict[str, Any] | None:
  """The summary of a complete output of the same request; None without one."""
  if not output.exists() or (output.is_dir() and not any(output.iterdir())):
    return None
  try:
    record = json.loads((output / RECORD_NAME).read_text('utf-8'))
    there, summary = record['request'], record['summary']
    folders = [part['folder'] for part in summary['parts']]
    there = {'source': there['source'], **there['work']}
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    raise InputError(
      f'--output={output}: it is there and is not a prepared corpus; choose '
      'another folder'
    ) from None
  _require_same_source(output, there.pop('source'), request['source'])
  for name in request['work'] | there:
    old, new = there.get(name), request['work'].get(name)
    if old != new:
      raise _another_request(
        output,
        f'{name} was {cut(json.dumps(old), 200)}, now '
        f'{cut(json.dumps(new), 200)}',
      )
  try:
    for folder in folders:
      token_rows.TokenRows(output / folder)
  except InputError as error:
    raise InputError(
      f'--output={output}: it is damaged; remove it and run again ({error})'
    ) from None
  return summary


def _require_same_source(
  output: pathlib.Path, there: dict[str, Any], now: dict[str, Any]
) -> None:
  found = difference(there, now)
  if found == EARLIER_VERSION:
    raise InputError(
      f'--output={output}: {found}; remove it or choose another folder to '
      'prepare it anew. Runs can go on reading it as it is'
    )
  if found:
    raise _another_request(output, f'source was another one: {found}')


def _another_request(output: pathlib.Path, what: str) -> InputError:
  return InputError(
    f'--output={output}: it was prepared from another request, {what}; choose '
    'another folder, or remove this one'
  )
