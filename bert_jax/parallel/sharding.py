"""Sharding: the one table that maps logical axes to mesh axes.

Parameters name their axes where they are created (models/layers.py), so a new
architecture needs no edit in this file.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.errors import InputError

RULES: Mapping[str, tuple[str, ...]] = {
  'batch': ('data', 'fsdp'),
  'length': (),
  'embed': ('fsdp',),
  'heads': ('tensor',),
  'head_dim': (),
  'mlp': ('tensor',),
  'vocab': ('tensor',),
  'position': (),
}


def constrain(x: jax.Array, *logical_axes: str | None) -> jax.Array:
  """Pins an activation to the current mesh; returns x itself if there is none.

  Activations keep 'embed' whole, because fsdp already splits their batch.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  spec = [RULES[axis] if axis == 'batch' else None for axis in logical_axes]
  return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))


def on_each_device(
  function: Callable[..., jax.Array],
  in_axes: tuple[tuple[str, ...], ...],
  out_axes: tuple[str, ...],
) -> Callable[..., jax.Array]:
  """The function, applied by each device of the current mesh to its own part.

  Kernels need it, which the compiler cannot split. Returns the function itself
  if there is no mesh.

  Args:
    function: A function of arrays in which no part depends on another.
    in_axes: The logical axes of each argument.
    out_axes: The logical axes of the result.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return function

  def spec(axes: tuple[str, ...]) -> PartitionSpec:
    return PartitionSpec(*(RULES[axis] or None for axis in axes))

  return jax.shard_map(
    function,
    in_specs=tuple(spec(axes) for axes in in_axes),
    out_specs=spec(out_axes),
    check_vma=False,  # kernels do not say what varies over the mesh
  )


def devices_along(axis: str, mesh: jax.sharding.Mesh | None = None) -> int:
  """Devices of a mesh, by default the current one, that split a logical axis.

  Returns 1 if there is no mesh.
  """
  found = jax.sharding.get_abstract_mesh() if mesh is None else mesh
  return math.prod(found.shape.get(name, 1) for name in RULES[axis])


def rows_per_device(batch_size: int) -> int:
  """Rows of a global batch on each device of the current mesh, 1 or more."""
  return max(1, batch_size // devices_along('batch'))


def batch_sharding(
  mesh: jax.sharding.Mesh, *, batch_axis: int = 0
) -> NamedSharding:
  """Sharding of rows, axis `batch_axis`, over all data and fsdp devices."""
  return NamedSharding(
    mesh, PartitionSpec(*[None] * batch_axis, RULES['batch'])
  )


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def parameter_shardings(
  mesh: jax.sharding.Mesh,
  shapes: Mapping[str, tuple[int, ...]],
  logical_axes: Mapping[str, tuple[str | None, ...]],
) -> dict[str, NamedSharding]:
  """The sharding of each parameter by its path.

  Raises InputError naming the parameter if a mesh axis does not divide it.
  """
  shardings = {}
  for path, shape in shapes.items():
    spec: list[Any] = []
    for size, axis in zip(shape, logical_axes[path], strict=True):
      mesh_axes = RULES[axis] if axis else ()
      devices = devices_along(axis, mesh) if axis else 1
      if size % devices:
        raise InputError(
          f'parameter {path} has size {size} along {axis!r}, which mesh axis '
          f'{"x".join(mesh_axes)}={devices} does not divide; '
          'change the mesh or the model size'
        )
      spec.append(mesh_axes or None)
    shardings[path] = NamedSharding(mesh, PartitionSpec(*spec))
  return shardings
