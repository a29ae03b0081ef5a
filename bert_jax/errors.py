"""InputError, the exception for input that cannot be used as it is.

Its message quotes what the user gave, by the functions below.
"""

import errno
import importlib.util
from collections.abc import Sequence

# Errors of a disk or of access rights are no bug of ours, so they are shown in
# one line without a traceback.
DISK_ADVICE = {
  errno.ENOSPC: 'free some space, or write to another disk',
  errno.EDQUOT: 'free some space, or write to another disk',
  errno.EROFS: 'write to a folder that is not mounted read-only',
  errno.EACCES: 'choose a path that you may read and write',
  errno.EPERM: 'choose a path that you may read and write',
  errno.EEXIST: 'choose another path',
  errno.ENOTDIR: 'choose a path of folders',
  errno.EISDIR: 'choose a file',
  errno.ELOOP: 'mend the links, or choose another path',
  errno.ENAMETOOLONG: 'choose a shorter path',
  errno.EIO: 'try again, and look after the disk; the kernel logs its errors',
  errno.ESTALE: 'try again once the file system is mounted anew',
  errno.ENOTCONN: 'try again once the file system is mounted anew',
  errno.ETIMEDOUT: 'try again once the file system answers',
  errno.ENOMEM: 'close what else runs on this machine',
  errno.EMFILE: 'allow more open files: ulimit -n',
  errno.ENFILE: 'close what else runs on this machine',
}


class InputError(ValueError):
  """A problem in a file, flag or config that its user can mend.

  The message is one line that names the file or field, the value and the fix.
  The command line prints it without a traceback and exits with status 2; every
  other exception is a bug of ours and shows where it happened.
  """


def require_package(package: str, what: str, extra: str) -> None:
  """Checks that an optional package is there before work on it begins.

  Args:
    package: the package's import name.
    what: the flag or field that asks for it.
    extra: the extra of setup.py that installs it.

  Raises:
    InputError: it is missing; the message has the command that installs it.
  """
  spec = importlib.util.find_spec(package)
  # A folder of that name, such as the wandb/ of earlier runs, has no origin.
  if spec is None or spec.origin is None:
    raise InputError(
      f"{what} needs the package {package}: pip install 'bert_jax[{extra}]'"
    )


def quoted(text: str, limit: int = 40) -> str:
  """A user's text for a message: quoted, in one line, cut to `limit`.

  The limit is that of what stands between the quotes. Escapes count as they are
  written: one odd character can take ten places.
  """
  kept = cut(text, limit)
  while len(repr(kept)) > limit + 2:
    kept = f'{kept.removesuffix("...")[:-1]}...'
  return repr(kept)


def cut(text: str, limit: int) -> str:
  """The text, or its beginning and '...' if it is longer than `limit`."""
  return text if len(text) <= limit else f'{text[: limit - 3]}...'


def one_line(text: object, limit: int = 200) -> str:
  """Another program's text, such as its error, in one line and cut."""
  return cut(' '.join(str(text).split()), limit)


def listed(names: Sequence[str], limit: int = 200) -> str:
  """A user's names for a message; all of them if they are few."""
  # A name can be a whole document if a header is missing.
  return cut(', '.join(map(quoted, names[:limit])), limit)


def shown(text: str, limit: int = 100) -> str:
  """A user's text as it was typed if it fits in one line, else quoted."""
  return text if len(text) <= limit and text.isprintable() else quoted(text)
