"""Turns a user's text into a path on this machine, or says why it is none.

pathlib takes gs://bucket/run for the folder `gs:` below the current one: a run
would train to its end and save nothing where its user looks for it.
"""

import os
import pathlib
import re

from bert_jax import buckets
from bert_jax.errors import InputError, shown

_URL = re.compile(r'([A-Za-z][A-Za-z0-9+.-]+):/+')
# The programs that copy a folder from or to storage by its scheme.
_COPY = {'gs': 'gcloud storage rsync -r', 's3': 'aws s3 sync'}


def workdir_path(text: str | os.PathLike[str], what: str = '') -> pathlib.Path:
  """Returns the path of a workdir, on this machine or at gs://BUCKET/FOLDER.

  Its arguments and errors are those of `local_path`.
  """
  name = os.fspath(text)
  if name.startswith(buckets.SCHEME):
    return buckets.bucket_path(name, what or 'path')
  return local_path(name, what)


def local_path(text: str | os.PathLike[str], what: str = '') -> pathlib.Path:
  """Returns the absolute path, with `~` expanded.

  Args:
    text: the path as the user gave it.
    what: the flag or field, such as '--workdir', which begins the error's
      message with an equals sign; '' if only the text itself is known.

  Raises:
    InputError: it is a URL, such as gs://bucket/folder.
  """
  name = os.fspath(text)
  if match := _URL.match(name):
    scheme = match[1].lower()
    advice = 'give a folder or file on a disk of this machine'
    if scheme == 'file':
      advice = f'leave {match[0].rstrip("/")}// out'
    elif copy := _COPY.get(scheme):
      advice += f', and copy from or to it by `{copy}`'
    raise InputError(
      f'{what}{"=" if what else ""}{shown(name)}: remote storage is not '
      f'supported here yet; {advice}'
    )
  # Unlike pathlib, os.path takes the ~ of an unknown user for a file's name.
  return pathlib.Path(os.path.expanduser(name)).absolute()
