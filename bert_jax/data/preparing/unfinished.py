"""The folder of a corpus that is being prepared, beside its output.

It holds finished blocks and groups, and a mark with the work that they are of.
"""

import json
import pathlib
import shutil
from typing import Any

from bert_jax import durable_files
from bert_jax.config.json_files import read_or_none
from bert_jax.data.sources.content import without_files
from bert_jax.data.sources.content_changes import difference
from bert_jax.errors import InputError

_MARK = 'unfinished.json'
_PARTS = 'parts.json'


def folder_of(output: pathlib.Path) -> pathlib.Path:
  return output.with_name(output.name + '.partial')


def open_folder(
  partial: pathlib.Path,
  work: dict[str, Any],
  source: dict[str, Any],
  *,
  is_shared: bool,
) -> None:
  """Makes the folder, or takes that of a run before.

  Args:
    partial: the folder.
    work: see blocks.describe_work. What was finished of other work is removed.
    source: the description of the source.
    is_shared: other processes may be at work in it.

  Raises:
    InputError: the folder is not of `prepare`; it holds what parts of another
      request have finished; or it is shared, and holds what was finished of
      other work.
  """
  mark = partial / _MARK
  if partial.exists() and not mark.exists():
    # A folder of our own holds at most the temporary file of its mark.
    if not partial.is_dir() or not all(
      path.name.startswith(f'.{_MARK}') for path in partial.iterdir()
    ):
      raise InputError(
        f'{partial}: it is there and was not made by `prepare`; move it away'
      )
  partial.mkdir(exist_ok=True)
  finished = list(partial.glob('*-*.*'))
  _require_same_parts(
    partial / _PARTS,
    json.loads(json.dumps({'source': without_files(source), 'work': work})),
    is_shared=is_shared,
    is_begun=bool(finished),
  )
  try:
    is_same = json.loads(mark.read_text('utf-8')) == work
  except (FileNotFoundError, ValueError, RecursionError):
    is_same = False
  if is_same:
    return
  if finished and is_shared:
    raise InputError(
      f'{partial}: it holds what is finished of another request, or of an '
      'earlier version; remove it, or choose another --output'
    )
  for path in finished:
    path.unlink()
  durable_files.write_json(mark, work)


def _require_same_parts(
  path: pathlib.Path,
  request: dict[str, Any],
  *,
  is_shared: bool,
  is_begun: bool,
) -> None:
  """Refuses other flags than those of the first part, and keeps these.

  Files are not compared: what changed among them is noticed, and done again.
  """
  first = read_or_none(path) if is_begun else None
  if first is None:
    path.unlink(missing_ok=True)
    if is_shared:
      durable_files.write_json(path, request)
  elif found := difference(first, request):
    raise InputError(
      f'{path.parent}: it holds parts of another request, {found}; give the '
      'flags of the other parts, or remove it'
    )


def remove_folder(partial: pathlib.Path) -> None:
  """Removes the folder, its mark last, so that a rest of it is known."""
  if not (partial / _MARK).exists():
    return
  for path in partial.iterdir():
    if path.is_dir():
      shutil.rmtree(path)
    elif path.name != _MARK:
      path.unlink()
  shutil.rmtree(partial)


def remove_unused_folder(partial: pathlib.Path) -> None:
  """Removes the folder if nothing was finished in it."""
  mark = partial / _MARK
  if mark.exists() and list(partial.iterdir()) == [mark]:
    shutil.rmtree(partial)
