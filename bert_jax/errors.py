"""The one exception that means: what the user gave cannot be used as it is."""


class InputError(ValueError):
  """A problem in a file, flag or config that its user can mend.

  The message is one line that names the file or field, the value and the fix.
  The command line prints it without a traceback and exits with status 2; every
  other exception is a bug of ours and shows where it happened.
  """
