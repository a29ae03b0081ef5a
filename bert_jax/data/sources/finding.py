"""The files that a path, a folder or a glob names."""

import glob
import os
import pathlib
from typing import NamedTuple

from bert_jax.data.remote import storage
from bert_jax.errors import InputError


class Found(NamedTuple):
  """Files by a path or a glob, in order.

  Attributes:
    named: Files that the path or the glob itself is or matches.
    below: Files below a folder that it is or matches.
    hidden: Hidden files and folders there, which are left out.
  """

  named: list[pathlib.Path]
  below: list[pathlib.Path]
  hidden: list[pathlib.Path]


def find(pattern: str) -> Found:
  """Finds files; those in object storage are epath.Paths.

  Folders are searched through; hidden files in them are left out.

  Raises:
    InputError: There is no such file, or one cannot be read.
  """
  if storage.is_remote(pattern):
    pairs = storage.find(pattern)
    return Found(
      [path for path, is_below in pairs if not is_below],
      [path for path, is_below in pairs if is_below],
      [],
    )
  # Unlike pathlib's, it takes the ~ of an unknown user for a file's name.
  path = pathlib.Path(os.path.expanduser(pattern))
  if path.exists():
    hits = [path]
  elif glob.has_magic(pattern):
    names = sorted(glob.glob(str(path), recursive=True))
    hits = [pathlib.Path(name) for name in names]
    if not hits:
      raise InputError(f'{pattern}: no file matches; check the pattern.')
  else:
    raise InputError(f'{pattern}: there is no such file; check the path.')
  below, hidden = [], []
  for hit in hits:
    if hit.is_dir():
      _add_files_below(hit, below, hidden)
  # A glob may match a folder and the files in it.
  below = list(dict.fromkeys(below))
  in_folders = set(below)
  named = [hit for hit in hits if not hit.is_dir() and hit not in in_folders]
  if not named and not below:
    raise InputError(f'{pattern}: there are no files in it.')
  for file in named + below:
    if not file.is_file():
      raise InputError(f'{file}: is not a regular file; give one that is.')
    if not os.access(file, os.R_OK):
      raise InputError(f'{file}: may not be read; check its permissions.')
  return Found(named, below, list(dict.fromkeys(hidden)))


def _add_files_below(
  folder: pathlib.Path, below: list[pathlib.Path], hidden: list[pathlib.Path]
) -> None:
  files, seen = [], set()
  for root, folders, names in os.walk(folder, followlinks=True):
    # A link may lead to a folder that it lies in.
    real = os.path.realpath(root)
    if real in seen:
      folders.clear()
      continue
    seen.add(real)
    paths = [pathlib.Path(root, name) for name in folders + names]
    hidden += [path for path in paths if path.name.startswith('.')]
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    files += [
      pathlib.Path(root, name) for name in names if not name.startswith('.')
    ]
  below += sorted(files)
