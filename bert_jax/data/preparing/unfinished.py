"""The folder of a corpus that is being prepared, beside its output.

It holds finished blocks and groups, and a mark with the work that they are of.
"""

import json
import pathlib
import shutil
from typing import Any

from bert_jax import durable_files
from bert_jax.errors import InputError

_MARK = 'unfinished.json'


def folder_of(output: pathlib.Path) -> pathlib.Path:
  return output.with_name(output.name + '.partial')


def open_folder(
  partial: pathlib.Path, work: dict[str, Any], *, is_shared: bool
) -> None:
  """Makes the folder, or takes that of a run before.

  Args:
    partial: the folder.
    work: see blocks.describe_work. What was finished of other work is removed.
    is_shared: other processes may be at work in it.

  Raises:
    InputError: the folder is not of `prepare`; or it is shared, and holds what
      was finished of other work.
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
  try:
    is_same = json.loads(mark.read_text('utf-8')) == work
  except (FileNotFoundError, ValueError, RecursionError):
    is_same = False
  if is_same:
    return
  finished = list(partial.glob('*-*.*'))
  if finished and is_shared:
    raise InputError(
      f'{partial}: it holds what is finished of another request, or of an '
      'earlier version; remove it, or choose another --output'
    )
  for path in finished:
    path.unlink()
  durable_files.write_json(mark, work)


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
