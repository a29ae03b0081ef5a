"""A source of the user's own: `--input=python:MODULE:FUNCTION`."""

from collections.abc import Iterator
from typing import Any

from bert_jax.data import user_functions
from bert_jax.data.sources import base
from bert_jax.errors import InputError, shown

_METHODS = ('documents', 'describe', 'size_in_bytes')


class UserSource:
  """The source that a function without arguments returns; see base.Source.

  A prepared corpus is known by the function's code and what `describe` of the
  source gives, so that has to change where the documents do.

  Args:
    name: MODULE:FUNCTION.

  Raises InputError where there is no such function, or it returns no source.
  """

  name = 'python'

  def __init__(self, name: str):
    function = user_functions.load('input', name, 'python:corpora:letters')
    self._source = function()
    self._function = user_functions.describe(name, function)
    self._where = f'--input=python:{shown(name)}'
    for method in _METHODS:
      if not callable(getattr(self._source, method, None)):
        raise InputError(
          f'{self._where}: what it returns has no method {method}; give one '
          f'with {", ".join(_METHODS)}, as in bert_jax/data/sources/base.py'
        )

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    return base.require_documents(self._documents(report), self._where)

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for document in self._source.documents(report):
      text, origin = self._checked(document)
      yield from base.bounded_record(text, origin, report)

  def _checked(self, document: Any) -> base.Document:
    if not (
      isinstance(document, tuple)
      and len(document) == 2
      and all(isinstance(part, str) for part in document)
    ):
      raise InputError(
        f'{self._where}: it yields a {type(document).__name__} that is no '
        '(text, origin), two strings'
      )
    return base.Document(*document)

  def describe(self) -> dict[str, Any]:
    return {
      'kind': self.name,
      'function': self._function,
      'source': self._source.describe(),
    }

  def size_in_bytes(self) -> int:
    return self._source.size_in_bytes()
