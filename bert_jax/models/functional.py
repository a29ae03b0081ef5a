"""The boundary between nnx modules and plain nested dicts of arrays.

Modules are for writing the model; everything else (optimizer, checkpoints,
sharding, jit) sees `{'encoder': {'layers': {'3': {...}}}}`. This is the only
file that splits or merges modules: a plain dict costs jax.jit little to
dispatch, and its paths never move.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.param_info import ParamInfo

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
  """A model as functions over plain nested dicts.

  init: (key) -> fresh parameters, f32; the same key gives the same values on
    any mesh. Call it without jit where no mesh splits parameters: as one
    program the initialisers of BERT-base took 13 s to compile on two cores; one
    by one, with one compilation per shape, they took 4 s.
  bind: (params) -> the module with these parameters in it, ready to be called.
  infos: the declaration of each parameter by its path.
  config: the sizes of the encoder.
  """

  init: Callable[[jax.Array], Params]
  bind: Callable[[Params], nnx.Module]
  infos: dict[str, ParamInfo]
  config: EncoderConfig

  def abstract_params(self) -> Params:
    """The parameters' shapes and dtypes as a tree; allocates no memory."""
    # The key, too, is abstract: a mesh of absent devices computes nothing.
    return jax.eval_shape(lambda: self.init(jax.random.key(0)))


def make_model(
  build: Callable[..., nnx.Module], config: EncoderConfig
) -> Model:
  """The model of the module that `build(rngs=...)` returns."""
  skeleton = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(params=0)))
  graphdef, abstract, rest = nnx.split(skeleton, nnx.Param, ...)

  def init(key: jax.Array) -> Params:
    module = build(rngs=nnx.Rngs(params=key))
    return _string_keys(nnx.to_pure_dict(nnx.state(module, nnx.Param)))

  def bind(params: Params) -> nnx.Module:
    state = jax.tree.map(lambda leaf: leaf, abstract)
    nnx.replace_by_pure_dict(state, _int_keys(params))
    return nnx.merge(graphdef, state, rest)

  infos = {
    '/'.join(map(str, path)): variable.get_metadata('info')
    for path, variable in nnx.to_flat_state(abstract)
  }
  return Model(init, bind, infos, config)


def flatten(tree: Any) -> dict[str, Any]:
  """Flattens a nested dict (or any pytree) to `{'encoder/layers/3/...': leaf}`.

  Each key is the path of its leaf.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in leaves
  }


def unflatten(flat: Mapping[str, Any]) -> Params:
  """Returns the nested dict that `flatten` has turned into `flat`."""
  tree: Params = {}
  for path, value in flat.items():
    *folders, name = path.split('/')
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = value
  return tree


def map_by_path(function: Callable[[str, Any], Any], tree: Any) -> Any:
  """Maps each leaf to function(path, leaf), with paths as in `flatten`."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: function(
      jax.tree_util.keystr(path, simple=True, separator='/'), leaf
    ),
    tree,
  )


def num_parameters(params: Params) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def _string_keys(tree: Any) -> Any:
  # nnx.List has integer keys; checkpoints and paths need all keys as strings.
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
