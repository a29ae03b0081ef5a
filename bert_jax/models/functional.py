"""The boundary between nnx modules and plain nested dicts of arrays.

Modules are for writing the model; everything else (optimizer, checkpoints,
sharding, jit) sees `{'encoder': {'layers': {'3': {...}}}}`. This is the only
file that splits or merges modules: a plain dict costs jax.jit little to
dispatch, and its paths never move.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

Params = dict[str, Any]
# build(rngs=...) -> a module; a functools.partial over configs and dtype.
Build = Callable[..., nnx.Module]


def init(build: Build, key: jax.Array) -> Params:
  """Fresh parameters, f32; the same key gives the same values on any mesh.

  Not to be jitted: as one program the initialisers of BERT-base took 13 s to
  compile on two cores, one by one, with one compilation for each shape, 4 s.
  """
  module = build(rngs=nnx.Rngs(params=key))
  return _string_keys(nnx.to_pure_dict(nnx.state(module, nnx.Param)))


def bind(build: Build, params: Params) -> nnx.Module:
  """The module with these parameters in it, ready to be called."""
  module = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(params=0)))
  graphdef, state, rest = nnx.split(module, nnx.Param, ...)
  nnx.replace_by_pure_dict(state, _int_keys(params))
  return nnx.merge(graphdef, state, rest)


def abstract_params(build: Build) -> Params:
  """The tree of shapes and dtypes, without memory."""
  return jax.eval_shape(lambda: init(build, jax.random.key(0)))


def logical_axes(build: Build) -> dict[str, tuple[str | None, ...]]:
  """`{'encoder/layers/3/...': ('embed', 'mlp')}` for every parameter."""
  module = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(params=0)))
  flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
  return {
    '/'.join(map(str, path)): variable.get_metadata('logical_axes')
    for path, variable in flat
  }


def flatten(tree: Any) -> dict[str, Any]:
  """A nested dict (or any pytree) -> `{'encoder/layers/3/...': leaf}`."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in leaves
  }


def num_parameters(params: Params) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def _string_keys(tree: Any) -> Any:
  # nnx.List gives integer keys; checkpoints and paths want one kind of key.
  if not isinstance(tree, dict):
    return tree
  return {str(key): _string_keys(value) for key, value in tree.items()}


def _int_keys(tree: Any) -> Any:
  if not isinstance(tree, dict):
    return tree
  return {
    int(key) if key.isdigit() else key: _int_keys(value)
    for key, value in tree.items()
  }
