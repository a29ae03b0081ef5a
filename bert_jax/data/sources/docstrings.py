"""The docstrings of Python files, read without running any of them."""

import ast
import inspect
import re
import warnings
from typing import NamedTuple

# Shorter ones ("Internal.", "See above.") say nothing.
MIN_WORDS = 5

_DOCUMENTED = (
  ast.Module,
  ast.ClassDef,
  ast.FunctionDef,
  ast.AsyncFunctionDef,
)


class Docstring(NamedTuple):
  """A docstring, its indentation removed, and the line where it begins."""

  text: str
  line: int


def read_docstrings(path: str) -> list[Docstring] | str:
  """The docstrings of a file in the order of their lines.

  They are those of modules, classes and functions, and of functions written in
  C, which numpy and scipy document by calls of `add_newdoc(...)`. Returns the
  reason (one line) for a file that cannot be parsed.
  """
  try:
    with open(path, 'rb') as file:
      source = file.read()
    if b'"""' not in source and b"'''" not in source:
      return []  # parsing takes the time: one file in five ends here
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # SyntaxWarning: invalid escape '\d'
      tree = ast.parse(source)
  except (OSError, SyntaxError, ValueError, RecursionError) as error:
    return f'{type(error).__name__}: {error}'
  found = []
  # Docstrings hang on statements, so expressions are never descended into.
  statements: list[ast.AST] = [tree]
  while statements:
    statement = statements.pop()
    if documentation := _documentation(statement):
      text, line = documentation
      text = _clean(text)
      if len(text.split()) >= MIN_WORDS:
        found.append(Docstring(text, line))
    for name in ('body', 'orelse', 'handlers', 'finalbody'):
      statements.extend(getattr(statement, name, ()))
  return sorted(found, key=lambda docstring: docstring.line)


class Reader:
  """read_docstrings for several files, as the task of a worker process."""

  def __call__(self, paths: list[str]) -> list[list[Docstring] | str]:
    return [read_docstrings(path) for path in paths]


def _documentation(statement: ast.AST) -> tuple[str, int] | None:
  """The text that documents something here, and the line where it begins."""
  if isinstance(statement, _DOCUMENTED):
    first = statement.body[0] if statement.body else None
    value = first.value if isinstance(first, ast.Expr) else None
  elif isinstance(statement, ast.Expr) and isinstance(
    statement.value, ast.Call
  ):
    call = statement.value
    name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
    is_documentation = name.lstrip('_').startswith('add_newdoc') and call.args
    value = call.args[-1] if is_documentation else None
    # Attributes are documented as ('name', 'text') pairs.
    if isinstance(value, ast.Tuple) and value.elts:
      value = value.elts[-1]
  else:
    return None
  if isinstance(value, ast.Constant) and isinstance(value.value, str):
    return value.value, value.lineno
  return None


def _clean(text: str) -> str:
  # A few docstrings hold half a surrogate pair as an example.
  return re.sub('[\ud800-\udfff]', '\ufffd', inspect.cleandoc(text)).strip()
