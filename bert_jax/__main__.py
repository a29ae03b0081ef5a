"""`bert-jax VERB ...`: finds the verb in `bert_jax/cli/` and runs it.

Nothing heavy is imported before the verb is known, so that help and a
misspelt verb answer at once.
"""

import ast
import difflib
import importlib
import io
import os
import pathlib
import sys
from collections.abc import Sequence

import bert_jax
import bert_jax.cli
from bert_jax import stopping
from bert_jax.cli import compilation_cache
from bert_jax.errors import DISK_ADVICE, InputError, quoted, shown

PROGRAM = 'bert-jax'
_HELP = ('-h', '-help', '--help', '--helpshort', '--helpfull')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command and returns its exit status.

  Args:
    argv: the arguments after the program's name; None takes the process's.

  Returns:
    0, or 2 for a command that its user can mend, or 130 after Ctrl-C.
  """
  if argv is not None:
    sys.argv[1:] = argv  # A run records its command.
  # A file's name or a token may have characters that a terminal cannot show.
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors='backslashreplace')
  arguments = sys.argv[1:]
  verbs = find_verbs()
  if not arguments:
    print(_overview(verbs), file=sys.stderr)
    return 2
  first, *rest = arguments
  if first in _HELP:
    print(_overview(verbs))
    return 0
  if first in ('--version', '-version'):
    print(f'{PROGRAM} {bert_jax.__version__}')
    return 0
  if first not in verbs:
    return _fail(PROGRAM, _unknown_verb(first, verbs))
  try:
    with stopping.stoppable(
      'what was complete before is kept. The same command begins again.'
    ):
      return _run(first, rest)
  except InputError as error:
    return _fail(f'{PROGRAM} {first}', error)
  except stopping.Stopped as stopped:
    return _fail(f'{PROGRAM} {first}', stopped, stopped.exit_code)
  except BrokenPipeError:
    # The reader of our output (such as `| head`) has left. Python would
    # complain once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
  except OSError as error:
    if error.errno not in DISK_ADVICE:
      raise
    what = f'{shown(str(error.filename))}: ' if error.filename else ''
    advice = DISK_ADVICE[error.errno]
    return _fail(f'{PROGRAM} {first}', f'{what}{error.strerror}; {advice}')


def find_verbs() -> dict[str, str]:
  """Returns {verb: first line of its docstring}, sorted, importing none.

  A module of `bert_jax/cli/` is a verb if it defines `main`; the others there
  are helpers.
  """
  verbs = {}
  for folder in bert_jax.cli.__path__:
    for path in pathlib.Path(folder).glob('*.py'):
      tree = ast.parse(path.read_text(encoding='utf-8'), str(path))
      if any(
        isinstance(node, ast.FunctionDef) and node.name == 'main'
        for node in tree.body
      ):
        docstring = ast.get_docstring(tree) or ''
        verbs[path.stem] = docstring.partition('\n')[0]
  return dict(sorted(verbs.items()))


def _run(verb: str, arguments: list[str]) -> int:
  from bert_jax.cli import flags

  module = importlib.import_module(f'bert_jax.cli.{verb}')
  flags_end = arguments.index('--') if '--' in arguments else len(arguments)
  if any(argument in _HELP for argument in arguments[:flags_end]):
    print(flags.help_text(verb, module, arguments))
    return 0
  compilation_cache.use()
  return module.main(flags.parse(verb, arguments)) or 0


def _overview(verbs: dict[str, str]) -> str:
  width = max(map(len, verbs), default=0)
  return '\n'.join(
    [
      bert_jax.__doc__ or '',
      '',
      f'Usage: {PROGRAM} VERB [--flag=value ...]',
      '',
      *(f'  {verb:{width}}  {line}' for verb, line in verbs.items()),
      '',
      f'{PROGRAM} VERB --help shows the flags of a verb.',
    ]
  )


def _unknown_verb(word: str, verbs: dict[str, str]) -> str:
  if word.startswith('-'):
    return f'{shown(word)}: the verb comes first, one of {", ".join(verbs)}'
  near = difflib.get_close_matches(word.replace('-', '_'), verbs, 1, cutoff=0.5)
  if near:
    return f'unknown verb {quoted(word)}; the nearest is {near[0]}'
  return f'unknown verb {quoted(word)}; there are {", ".join(verbs)}'


def _fail(where: str, why: object, status: int = 2) -> int:
  sys.stdout.flush()
  print(f'{where}: {" ".join(str(why).splitlines())}', file=sys.stderr)
  return status


if __name__ == '__main__':
  sys.exit(main())
