"""Names and layouts of parameters, ours and theirs, in one table a family.

A table is read in both directions. The number of a layer is written `{}` on
both sides.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bert_jax.param_info import ParamInfo

_NUMBER = re.compile(r'(?<=[./_])\d+(?=[./]|$)')


@dataclasses.dataclass(frozen=True)
class Rule:
  """A parameter: our path, its name and its layout in the file.

  A file holds a parameter as a matrix or a vector, ParamInfo.matrix_shape: all
  inputs are one axis, all outputs another.

  ours: several paths are joined in one array along its first axis.
  transposed: a matrix is [out, in], as torch.nn.Linear has it.
  """

  ours: str | tuple[str, ...]
  theirs: str
  transposed: bool = False

  @property
  def paths(self) -> tuple[str, ...]:
    return (self.ours,) if isinstance(self.ours, str) else self.ours


def dense(ours: str, theirs: str) -> tuple[Rule, ...]:
  """A torch.nn.Linear."""
  return (
    Rule(f'{ours}/kernel', f'{theirs}.weight', transposed=True),
    Rule(f'{ours}/bias', f'{theirs}.bias'),
  )


def norm(ours: str, theirs: str) -> tuple[Rule, ...]:
  """A torch.nn.LayerNorm."""
  return (
    Rule(f'{ours}/scale', f'{theirs}.weight'),
    Rule(f'{ours}/bias', f'{theirs}.bias'),
  )


@dataclasses.dataclass(frozen=True)
class Entry:
  """A rule for one layer, with numbers in the place of {}."""

  paths: tuple[str, ...]
  name: str
  transposed: bool


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
    found[mine] = Entry(mine, name, rule.transposed)
  return list(found.values())


def their_shape(
  entry: Entry,
  shapes: Mapping[str, Sequence[int]],
  infos: Mapping[str, ParamInfo],
) -> tuple[int, ...]:
  """The shape in the file, from our shapes and declarations by path."""
  parts = _part_shapes(entry, shapes, infos)
  return (sum(part[0] for part in parts), *parts[0][1:])


def to_ours(
  entry: Entry,
  array: np.ndarray,
  shapes: Mapping[str, Sequence[int]],
  infos: Mapping[str, ParamInfo],
) -> dict[str, np.ndarray]:
  """Cuts their array into ours, by path; its shape must be `their_shape`."""
  sizes = [part[0] for part in _part_shapes(entry, shapes, infos)]
  parts = np.split(array, np.cumsum(sizes)[:-1])
  return {
    path: np.ascontiguousarray(
      (part.T if entry.transposed else part).reshape(shapes[path])
    )
    for path, part in zip(entry.paths, parts, strict=True)
  }


def to_theirs(
  entry: Entry,
  params: Mapping[str, np.ndarray],
  infos: Mapping[str, ParamInfo],
) -> np.ndarray:
  """Joins our arrays f32, by path, to the array of the file."""
  parts = []
  for path in entry.paths:
    array = params[path].reshape(infos[path].matrix_shape(params[path].shape))
    parts.append(np.ascontiguousarray(array.T if entry.transposed else array))
  return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _part_shapes(
  entry: Entry,
  shapes: Mapping[str, Sequence[int]],
  infos: Mapping[str, ParamInfo],
) -> list[tuple[int, ...]]:
  """Shapes in the file of the parts that the paths of an entry have there."""
  step = -1 if entry.transposed else 1
  return [
    infos[path].matrix_shape(shapes[path])[::step] for path in entry.paths
  ]
