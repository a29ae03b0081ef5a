"""Names and layouts of parameters, ours and theirs, in one table a family.

A table is read in both directions. The number of a layer is written `{}` on
both sides.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_NUMBER = re.compile(r'(?<=[./_])\d+(?=[./]|$)')


@dataclasses.dataclass(frozen=True)
class Layout:
  """The layout of one of our arrays in their file.

  num_in: the number of our leading axes that are inputs of a matrix; all inputs
    become one axis, all outputs another. 0: a vector, whatever our axes. None:
    as it is.
  transposed: theirs is [out, in].
  """

  num_in: int | None
  transposed: bool = False

  def their_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape in their file of an array that has `shape` here."""
    if self.num_in is None:
      return tuple(shape)
    if self.num_in == 0:
      return (math.prod(shape),)
    merged = math.prod(shape[: self.num_in]), math.prod(shape[self.num_in :])
    return merged[::-1] if self.transposed else merged

  def to_theirs(self, array: np.ndarray) -> np.ndarray:
    shape = self.their_shape(array.shape)
    if self.transposed:
      return np.ascontiguousarray(array.reshape(shape[::-1]).T)
    return array.reshape(shape)

  def to_ours(self, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`shape` is that of ours."""
    if self.transposed:
      array = array.T
    return np.ascontiguousarray(array.reshape(shape))


SAME = Layout(None)
VECTOR = Layout(0)
# torch.nn.Linear keeps [out, in]; FROM_HEADS: our inputs are [heads, head_dim].
LINEAR = Layout(1, transposed=True)
LINEAR_FROM_HEADS = Layout(2, transposed=True)
# TensorFlow keeps [in, out].
KERNEL = Layout(1)
KERNEL_FROM_HEADS = Layout(2)


@dataclasses.dataclass(frozen=True)
class Rule:
  """One parameter: our path, their name, the layout.

  Several paths: they lie in one array of theirs, joined along its first axis.
  """

  ours: str | tuple[str, ...]
  theirs: str
  layout: Layout

  @property
  def paths(self) -> tuple[str, ...]:
    return (self.ours,) if isinstance(self.ours, str) else self.ours


def dense(ours: str, theirs: str, kernel: Layout = LINEAR) -> tuple[Rule, ...]:
  """A torch.nn.Linear; its bias may be [heads, head_dim] here."""
  return (
    Rule(f'{ours}/kernel', f'{theirs}.weight', kernel),
    Rule(f'{ours}/bias', f'{theirs}.bias', VECTOR),
  )


def norm(ours: str, theirs: str) -> tuple[Rule, ...]:
  """A torch.nn.LayerNorm."""
  return (
    Rule(f'{ours}/scale', f'{theirs}.weight', SAME),
    Rule(f'{ours}/bias', f'{theirs}.bias', SAME),
  )


@dataclasses.dataclass(frozen=True)
class Entry:
  """A rule for one layer: nothing is open in it any more."""

  paths: tuple[str, ...]
  name: str
  layout: Layout


def pattern(name: str) -> tuple[str, list[str]]:
  """'a/3/b' -> ('a/{}/b', ['3']); works on names of both sides."""
  return _NUMBER.sub('{}', name), _NUMBER.findall(name)


def entries(table: Sequence[Rule], paths: Iterable[str]) -> list[Entry]:
  """The entries of the table for these paths of ours, in its order.

  Raises KeyError on a path that it does not know: a bug of the table.
  """
  known = {path: rule for rule in table for path in rule.paths}
  found: dict[tuple[str, ...], Entry] = {}
  for path in paths:
    general, numbers = pattern(path)
    rule = known[general]
    name = rule.theirs.format(*numbers)
    mine = tuple(one.format(*numbers) for one in rule.paths)
    found[mine] = Entry(mine, name, rule.layout)
  return list(found.values())


def their_shape(
  entry: Entry, shapes: Mapping[str, Sequence[int]]
) -> tuple[int, ...]:
  """The shape in their file, from our path -> our shape."""
  parts = [entry.layout.their_shape(shapes[path]) for path in entry.paths]
  return (sum(part[0] for part in parts), *parts[0][1:])


def to_ours(
  entry: Entry, array: np.ndarray, shapes: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
  """Cuts their array into ours, by path; its shape must be `their_shape`."""
  found, first = {}, 0
  for path in entry.paths:
    end = first + entry.layout.their_shape(shapes[path])[0]
    found[path] = entry.layout.to_ours(array[first:end], shapes[path])
    first = end
  return found


def to_theirs(entry: Entry, params: Mapping[str, np.ndarray]) -> np.ndarray:
  """Our path -> array, f32 -> their array."""
  parts = [entry.layout.to_theirs(params[path]) for path in entry.paths]
  return parts[0] if len(parts) == 1 else np.concatenate(parts)
