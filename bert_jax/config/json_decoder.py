"""The one typed decoder: checks JSON values against Python annotations.

All JSON that the package reads (config.json, manifests, results, files of
tokenizers) has its form written as annotations. A value that does not fit gives
an error of one line that names file, field, value and fix.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from bert_jax.errors import InputError, quoted, shown

_NAMES = {
  str: 'a text',
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  type(None): 'null',
}
_UNIONS = (typing.Union, types.UnionType)
_MARKS = (typing.Required, typing.NotRequired)


@dataclasses.dataclass(frozen=True)
class Check:
  """A condition in `Annotated[X, Check(...)]`, beyond the type X.

  fits: says whether a decoded value meets the condition.
  expected: names the condition in messages, such as 'a share'.
  """

  fits: Callable[[Any], bool]
  expected: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
  """Decodes the values of one file.

  Annotations: str, int, float (an int stays one), bool, None, unions, Literal,
  list, tuple, dict[str, X], a TypedDict (further keys are kept unchecked), a
  dataclass, and Annotated with Checks. Any takes any value, and `object` takes
  JSON as it is. If `make` is given, Any, dataclasses and runtime-checkable
  Protocols take a JSON object that `make` converts.

  Attributes:
    where: the file, at the start of each message.
    fix: the end of each message.
    make: (JSON object, its field, this decoder) -> the dataclass it describes.
  """

  where: str
  fix: str
  make: Callable[[dict[str, Any], str, 'Decoder'], Any] | None = None

  def decode(self, value: Any, annotation: Any, field: str = '') -> Any:
    """Converts a value to its annotated type; `field` names it in messages.

    Raises InputError if it does not fit.
    """
    if annotation is object:
      return value
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
      value = self.decode(value, inner[0], field)
      for check in inner[1:]:
        if not check.fits(value):
          raise self._misfit(value, check.expected, field)
      return value
    if origin in _MARKS:
      return self.decode(value, inner[0], field)
    if origin in _UNIONS:
      return self._decode_union(value, inner, field)
    if origin is typing.Literal:
      if any(type(value) is type(item) and value == item for item in inner):
        return value
      names = ', '.join(map(str, inner))
      raise self._misfit(value, f'one of {names}', field)
    if origin in (list, tuple) or annotation in (list, tuple):
      return self._decode_list(value, origin or annotation, inner, field)
    if origin is dict or annotation is dict:
      items = self._items(value, field)
      of_value = inner[1] if inner else Any
      return {
        name: self.decode(item, of_value, _joined(field, name))
        for name, item in items.items()
      }
    if typing.is_typeddict(annotation):
      return value | self._decode_fields(
        self._items(value, field),
        typing.get_type_hints(annotation, include_extras=True),
        annotation.__required_keys__,
        field,
      )
    return self._decode_one(value, annotation, field)

  def _decode_one(self, value: Any, annotation: Any, field: str) -> Any:
    """Decodes a number, text, truth value, null or config object."""
    if annotation in _NAMES:
      # isinstance would not do: bool is an int to Python.
      types_of = (int, float) if annotation is float else (annotation,)
      if type(value) in types_of:
        return value
      raise self._misfit(value, _NAMES[annotation], field)
    if self.make:
      expected = f'of type {getattr(annotation, "__name__", "config")}'
      if not isinstance(value, dict):
        raise self._misfit(value, expected, field)
      made = self.make(value, field, self)
      if annotation is not Any and not isinstance(made, annotation):
        raise self._misfit(type(made).__name__, expected, field)
      return made
    if dataclasses.is_dataclass(annotation):
      return self.fill(annotation, self._items(value, field), field)
    return value

  def fill(self, cls: type, items: Mapping[str, Any], field: str) -> Any:
    """Makes a dataclass from these fields, with defaults for the rest.

    Raises InputError if there is no such field, or a required one is missing.
    """
    known = {each.name: each for each in dataclasses.fields(cls) if each.init}
    required = [
      name
      for name, each in known.items()
      if each.default is each.default_factory is dataclasses.MISSING
    ]
    unknown = sorted(set(items) - set(known))
    missing = [name for name in required if name not in items]
    if unknown or missing:
      problem = 'no field' if unknown else 'to have a field'
      raise InputError(
        f'{self.where}: {field or "the object"}: {cls.__name__} has {problem} '
        f'{quoted((unknown or missing)[0])}; another version wrote it, or it '
        f'was changed: {self.fix}'
      )
    hints = typing.get_type_hints(cls, include_extras=True)
    return cls(**self._decode_fields(items, hints, required, field))

  def _decode_fields(
    self,
    items: Mapping[str, Any],
    hints: Mapping[str, Any],
    required: typing.Collection[str],
    field: str,
  ) -> dict[str, Any]:
    for name in hints:
      if name in required and name not in items:
        raise InputError(
          f'{self.where}: {shown(_joined(field, name))} is missing; {self.fix}'
        )
    return {
      name: self.decode(items[name], hints[name], _joined(field, name))
      for name in hints
      if name in items
    }

  def _decode_list(
    self, value: Any, kind: type, inner: tuple[Any, ...], field: str
  ) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list):
      raise self._misfit(value, 'a list', field)
    if kind is list or not inner or inner[-1] is Ellipsis:
      inner = (inner[:1] or (Any,)) * len(value)
    if len(value) != len(inner):
      raise self._misfit(value, f'a list of {len(inner)}', field)
    # Messages give the place of an object in a list, but not of a number, where
    # the list's name says more.
    return kind(
      self.decode(
        item, of_item, f'{field}[{n}]' if isinstance(item, dict) else field
      )
      for n, (item, of_item) in enumerate(zip(value, inner, strict=True))
    )

  def _decode_union(
    self, value: Any, inner: tuple[Any, ...], field: str
  ) -> Any:
    if value is None and type(None) in inner:
      return None
    kinds = [kind for kind in inner if kind is not type(None)]
    for kind in kinds[:-1]:
      try:
        return self.decode(value, kind, field)
      except InputError:
        continue
    return self.decode(value, kinds[-1], field)

  def _items(self, value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
      raise self._misfit(value, 'an object', field)
    return value

  def _misfit(self, value: Any, expected: str, field: str) -> InputError:
    # Only plain values are printed: others may be nested without end.
    found = f'a {type(value).__name__}'
    if value is None or isinstance(value, str | int | float):
      found = shown(repr(value))
    what = f'{self.where}: {shown(field)}' if field else f'{self.where}: it'
    # 'a number' names a kind of value; 'true or false' lists the values.
    is_kind = expected.partition(' ')[0] in ('a', 'an', 'the')
    must = (
      f', which is not {expected}' if is_kind else f'; it must be {expected}'
    )
    return InputError(f'{what} is {found}{must}; {self.fix}')


def _joined(field: str, name: str) -> str:
  return f'{field}.{name}' if field else name
