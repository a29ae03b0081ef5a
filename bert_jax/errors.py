"""The one exception that means: what the user gave cannot be used as it is.

And how its message quotes what the user gave.
"""


class InputError(ValueError):
  """A problem in a file, flag or config that its user can mend.

  The message is one line that names the file or field, the value and the fix.
  The command line prints it without a traceback and exits with status 2; every
  other exception is a bug of ours and shows where it happened.
  """


def quoted(text: str, limit: int = 40) -> str:
  """A user's text within a message: quoted, in one line, and not for ever."""
  return repr(text if len(text) <= limit else f'{text[: limit - 3]}...')
