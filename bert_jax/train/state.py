"""The state of a run: a plain pytree, without random-number state.

Keys are folded from the seed and the step, so that only what training changes
needs saving.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax.models import functional
from bert_jax.parallel.sharding import parameter_shardings
from bert_jax.param_info import ParamInfo

_register = functools.partial(jax.tree_util.register_dataclass, meta_fields=())


@dataclasses.dataclass(frozen=True)
class Best:
  """The parameters with the best evaluation so far (fine-tuning)."""

  params: functional.Params
  score: jax.Array
  step: jax.Array


@dataclasses.dataclass(frozen=True)
class TrainState:
  """The arrays that training changes and a checkpoint holds.

  step: int32, updates done, skipped ones included.
  nonfinite_count: int32, non-finite steps in a row up to now.
  first_nonfinite_step: int32, step where that row began; -1 without one.
  skipped_updates: int32, non-finite steps in all.
  best: the best parameters in fine-tuning, None in pretraining.
  average: the moving average of the parameters, None in a run without one.

  Fine-tuning puts one axis in front of every leaf: the seeds.
  """

  step: jax.Array
  params: functional.Params
  optimizer_state: Any
  nonfinite_count: jax.Array
  first_nonfinite_step: jax.Array
  skipped_updates: jax.Array
  best: Best | None = None
  average: functional.Params | None = None

  @property
  def judged(self) -> functional.Params:
    """The parameters that are evaluated: the average, if there is one."""
    return self.params if self.average is None else self.average


for _class in (Best, TrainState):
  _register(_class, data_fields=[f.name for f in dataclasses.fields(_class)])


def init_state(
  params: functional.Params,
  optimizer: optax.GradientTransformation,
  *,
  keep_best: bool,
  keep_average: bool = False,
) -> TrainState:
  """The state before the first step."""

  def integer(value: int) -> jax.Array:
    # Each leaf needs its own array: the step donates the state, and a buffer
    # cannot be donated twice.
    return jnp.array(value, jnp.int32)

  best = None
  if keep_best:
    best = Best(
      params=jax.tree.map(jnp.copy, params),
      score=jnp.array(-jnp.inf, jnp.float32),
      step=integer(-1),
    )
  return TrainState(
    step=integer(0),
    params=params,
    optimizer_state=optimizer.init(params),
    nonfinite_count=integer(0),
    first_nonfinite_step=integer(-1),
    skipped_updates=integer(0),
    best=best,
    average=jax.tree.map(jnp.copy, params) if keep_average else None,
  )


def state_shardings(
  state: TrainState,
  mesh: jax.sharding.Mesh,
  infos: Mapping[str, ParamInfo],
  *,
  seeds_axis: bool = False,
) -> TrainState:
  """A NamedSharding for each leaf of an abstract state.

  A leaf of the optimizer's state, such as a moment, is sharded like the
  parameter of the same path and shape, and stays whole if there is none. (`jit`
  would replicate all leaves: zeros_like carries no sharding.) With `seeds_axis`
  the leading axis stays whole.
  """
  flat = functional.flatten(state.params)
  shapes = {path: leaf.shape for path, leaf in flat.items()}
  leading = (None,) if seeds_axis else ()
  axes = {path: (*leading, *infos[path].axes) for path in shapes}
  by_path = parameter_shardings(mesh, shapes, axes)
  # Typed as Any, since the tree has shardings in place of arrays.
  whole: Any = NamedSharding(mesh, PartitionSpec())

  def lies(keys: tuple[Any, ...], leaf: jax.Array) -> NamedSharding:
    path = _parameter_path(keys)
    return by_path[path] if shapes.get(path) == leaf.shape else whole

  params, optimizer_state = jax.tree_util.tree_map_with_path(
    lies, (state.params, state.optimizer_state)
  )
  best = state.best and Best(params=params, score=whole, step=whole)
  return TrainState(
    step=whole,
    params=params,
    optimizer_state=optimizer_state,
    nonfinite_count=whole,
    first_nonfinite_step=whole,
    skipped_updates=whole,
    best=best,
    average=None if state.average is None else params,
  )


def _parameter_path(keys: tuple[Any, ...]) -> str:
  """The path of the parameter that a leaf of an optimizer's state belongs to.

  The fields of a state's tuples hold trees like that of the parameters, so the
  path is what follows the last field.
  """
  names: list[str] = []
  for key in reversed(keys):
    if not isinstance(key, jax.tree_util.DictKey):
      break
    names.append(key.key)
  return '/'.join(reversed(names))


def host_step(state: TrainState) -> int:
  """The step as a Python integer; waits for the device."""
  return int(np.max(jax.device_get(state.step)))


def keep_best(state: TrainState, scores: jax.Array | np.ndarray) -> TrainState:
  """Remembers the parameters of every seed whose score (f32 [seeds]) rose."""
  best = state.best
  assert best is not None  # a fine-tuning state has one from the start
  better = scores > best.score

  def choose(new: jax.Array | np.ndarray, old: jax.Array) -> jax.Array:
    shape = better.shape + (1,) * (new.ndim - better.ndim)
    return jnp.where(better.reshape(shape), new, old)

  return dataclasses.replace(
    state,
    best=Best(
      params=jax.tree.map(choose, state.judged, best.params),
      score=choose(scores, best.score),
      step=choose(state.step, best.step),
    ),
  )


def with_shardings(abstract: TrainState, shardings: TrainState) -> TrainState:
  """Joins shapes, dtypes and shardings in one tree, as a restore needs them."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    abstract,
    shardings,
  )


def state_bytes(abstract: TrainState, shardings: TrainState) -> tuple[int, int]:
  """Bytes of (parameters, optimizer) on one device."""

  def of(arrays: Any, shardings: Any) -> int:
    sizes = jax.tree.map(
      lambda x, sharding: (
        np.prod(sharding.shard_shape(x.shape)) * x.dtype.itemsize
      ),
      arrays,
      shardings,
    )
    return int(sum(jax.tree.leaves(sizes)))

  return (
    of(abstract.params, shardings.params),
    of(abstract.optimizer_state, shardings.optimizer_state),
  )
