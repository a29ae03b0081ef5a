"""Larger models from trained ones: longer, deeper, wider, with more tokens.

Each function takes parameters and their config and returns new ones. If the
larger model can compute the smaller one's function, it does. The parameters'
declarations name the axes that grow, so every head grows too, and so does a
generator of replaced tokens, which shares the encoder's embeddings and depth.
`bert-jax grow` applies this to a checkpoint and its tokenizer: jobs/grow.py.
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig, electra_generator
from bert_jax.models.functional import Params
from bert_jax.models.generator import generator_width
from bert_jax.param_info import Infos

Grown = tuple[Params, EncoderConfig]


def extend_positions(
  params: Params,
  config: EncoderConfig,
  max_positions: int,
  infos: Infos,
  *,
  rotary_theta: float = 0.0,
) -> Grown:
  """Makes room for longer rows.

  Learned positions are stretched: row i of the new table is interpolated
  between the two old rows at the proportional place. So the function changes
  for every length; if max_positions - 1 is a multiple of the old value minus 1,
  every old row is kept.

  Rotary positions have no parameters. With the old `rotary_theta`, rows of the
  old lengths are computed as before. With 0, theta is raised until the slowest
  pair turns as far over the new length as it did over the old: NTK-aware
  scaling, https://arxiv.org/abs/2309.00071, section 3.1. ModernBERT went from
  10,000 to 160,000 for eight times the length. `local_rotary_theta` stays,
  because windows keep their length.

  Raises InputError if `max_positions` is not larger than before.
  """
  old = config.max_positions
  _require_more('max_positions', max_positions, old)
  if config.positions == 'rotary':
    exponent = config.head_dim / max(config.head_dim - 2, 1)
    scaled = config.rotary_theta * (max_positions / old) ** exponent
    theta = rotary_theta or scaled
    return params, dataclasses.replace(
      config, max_positions=max_positions, rotary_theta=theta
    )
  offset = config.position_offset

  def stretch(table_PE: jax.Array) -> jax.Array:
    place = jnp.linspace(0, old - 1, max_positions)
    columns = jax.vmap(jnp.interp, in_axes=(None, None, 1), out_axes=1)
    stretched = columns(place, jnp.arange(old), table_PE[offset:])
    return jnp.concatenate([table_PE[:offset], stretched])

  params = _changed(params, dict.fromkeys(_long_as(infos, 'position'), stretch))
  return params, dataclasses.replace(config, max_positions=max_positions)


def add_layers(params: Params, config: EncoderConfig, num_layers: int) -> Grown:
  """Adds copies of all layers, in their order, after the last one.

  In a pre-norm encoder, the copies' output projections are zero: they add
  nothing, so the function is preserved exactly, and they learn from the first
  step on. A post-norm layer always has an effect, as it ends in a norm; the
  copies are complete, as in Gong et al. 2019 (progressive stacking), and the
  function changes. A shared layer is not copied but applied more often.

  Raises InputError if `num_layers` is not larger than before.
  """
  old = config.num_layers
  _require_more('num_layers', num_layers, old)
  grown = dataclasses.replace(config, num_layers=num_layers)
  if config.share_layers:
    return params, grown
  params = dict(params)
  for stack in params.keys() & {'encoder', 'generator'}:
    layers = dict(params[stack]['layers'])
    for number in range(old, num_layers):
      layer = layers[str(number % old)]
      if config.norm_placement == 'pre':
        layer = _without_effect(layer)
        # A copy of the first layer, which may lack a norm, gets a fresh one.
        norm = jax.tree.map(jnp.zeros_like, layer['feed_forward_norm'])
        norm['scale'] = jnp.ones_like(norm['scale'])
        layer.setdefault('attention_norm', norm)
      layers[str(number)] = layer
    params[stack] = dict(params[stack]) | {'layers': layers}
  return params, grown


# Sizes that `widen` multiplies; if the embedding tables are as wide as the
# layers, it multiplies their width, 'table', too.
_WIDER = {'embed', 'heads', 'mlp'}


def widen(
  params: Params,
  config: EncoderConfig,
  factor: int,
  key: jax.Array,
  infos: Infos,
) -> Grown:
  """Multiplies width, number of heads and feed-forward width by `factor`.

  The width of a head stays. `infos` declares which axes of each parameter grow,
  and which of them the product sums over. Every unit gets copies: Chen et al.
  2016 (Net2Net, https://arxiv.org/abs/1511.05641). A norm over repeated vectors
  has the statistics of one, so the function is preserved, up to rounding, for
  every family and head. The weights that read a unit are split among its copies
  in random shares, drawn from `key`, so that the copies get different gradients
  and develop apart. Embeddings narrower than the layers keep their width.

  Raises InputError on a factor below 2, on undeclared parameters, and on a
  generator that cannot be widened with its encoder.
  """
  _require_more('width_factor', factor, 1)
  is_narrow = config.table_dim != config.embed_dim
  if is_narrow and config.table_dim == factor * config.embed_dim:
    raise InputError(
      f'width_factor={factor} would make the layers {config.table_dim} wide, '
      'as wide as the embeddings, whose projection would be left over; choose '
      'another factor'
    )
  grown = dataclasses.replace(
    config,
    embed_dim=factor * config.embed_dim,
    num_heads=factor * config.num_heads,
    mlp_dim=factor * config.mlp_dim,
    embedding_size=config.embedding_size if is_narrow else 0,
  )
  if 'generator' in params:
    _check_generator(config, grown, generator_width(config, params), factor)
  sizes = _WIDER if is_narrow else {*_WIDER, 'table'}

  changes = {}
  for path in functional.flatten(params):
    if path not in infos:
      raise InputError(
        f'parameter {path} has no ParamInfo, so widen cannot tell which of its '
        'axes grow; declare it, or leave it out'
      )
    axes = [n for n, size in enumerate(infos[path].sizes) if size in sizes]
    # Shares depend on the folder, so both parameters of a norm get the same.
    folder = path.rpartition('/')[0].encode()
    changes[path] = functools.partial(
      _widened,
      axes=axes,
      num_in=infos[path].num_in,
      factor=factor,
      key=jax.random.fold_in(key, zlib.crc32(folder)),
    )
  return _changed(params, changes), grown


def extend_vocabulary(
  params: Params,
  config: EncoderConfig,
  vocab_size: int,
  infos: Infos,
  *,
  pieces: Sequence[Sequence[int] | np.ndarray] = (),
) -> Grown:
  """Adds entries after the old ones, whose scores stay the same.

  Args:
    params: Parameters of an encoder, with or without a masked-LM head.
    config: The config of that encoder.
    vocab_size: The new number of entries.
    infos: The declarations of the parameters.
    pieces: For each new entry the old ids whose mean it starts from, such as
      the pieces that the old tokenizer cuts it into. Entries without pieces
      start from the mean of all, which no text prefers (Hewitt 2021,
      https://nlp.stanford.edu/~johnhew/vocab-expansion.html).

  Raises InputError if `vocab_size` is not larger than before, if `pieces` has
  more entries than are added, or if it names an id that is not an old one.
  """
  old = config.vocab_size
  _require_more('vocab_size', vocab_size, old)
  if len(pieces) > vocab_size - old:
    raise InputError(
      f'pieces has {len(pieces)} entries, but vocab_size={vocab_size} adds '
      f'{vocab_size - old}; give at most as many'
    )
  for ids in pieces:
    if any(not 0 <= token_id < old for token_id in ids):
      raise InputError(
        f'pieces holds the ids {list(ids)}; they must be between 0 and the old '
        f'vocab_size={old}'
      )
  grown = dataclasses.replace(config, vocab_size=vocab_size)

  def extend(old_entries: jax.Array) -> np.ndarray:
    # Entries are set one by one in numpy, because jax would be slow at it.
    entries = np.asarray(old_entries)[:old]
    mean = np.mean(entries, axis=0, dtype=np.float64)
    # Entries that fill up the table are never drawn; the mean serves for them.
    new = np.empty((grown.table_size - old, *mean.shape), entries.dtype)
    new[:] = mean
    for row, ids in enumerate(pieces):
      if len(ids):
        new[row] = np.mean(entries[np.asarray(ids)], axis=0)
    return np.concatenate([entries, new])

  changes = dict.fromkeys(_long_as(infos, 'vocab'), extend)
  return _changed(params, changes), grown


def _check_generator(
  config: EncoderConfig, grown: EncoderConfig, width: float, factor: int
) -> None:
  """Raises InputError unless the generator can be widened with its encoder."""
  old, new = electra_generator(config, width), electra_generator(grown, width)
  if new.num_heads != factor * old.num_heads:
    why = f'would have num_heads={new.num_heads}, not {factor * old.num_heads}'
  elif new.table_dim == new.embed_dim != factor * old.table_dim:
    why = 'would be as wide as the embeddings and lack their projection'
  elif old.table_dim == old.embed_dim and new.table_dim != new.embed_dim:
    why = 'is as wide as the embeddings and would need a projection'
  else:
    return
  raise InputError(
    f'width_factor={factor} does not fit the generator of width '
    f'{old.embed_dim}, which {why}; choose another factor, or grow the encoder '
    'alone, from the folder of bert-jax convert --output_format=huggingface'
  )


def _require_more(name: str, value: int, old: int) -> None:
  if value <= old:
    raise InputError(f'{name} is {value}; to grow it must be above {old}')


def _long_as(infos: Infos, size: str) -> list[str]:
  """Paths of the parameters whose first axis has the size named `size`."""
  return [path for path, info in infos.items() if info.sizes[0] == size]


def _changed(params: Params, changes: dict) -> Params:
  """Copy of a tree, with changes[path](leaf) in the place of some leaves."""

  def change(path, leaf):
    return changes[path](jnp.asarray(leaf)) if path in changes else leaf

  return functional.map_by_path(change, params)


def _without_effect(layer: Params) -> Params:
  """Copy of a layer whose two blocks add nothing to their input."""
  layer = dict(layer)
  for block in ('attention', 'feed_forward'):
    output = jax.tree.map(jnp.zeros_like, layer[block]['output'])
    layer[block] = dict(layer[block]) | {'output': output}
  return layer


def _widened(
  leaf: jax.Array,
  axes: Sequence[int],
  num_in: int,
  factor: int,
  key: jax.Array,
) -> jax.Array:
  """Copies a parameter along `axes`; input weights are split among the copies.

  The random shares of a unit's copies add up to 1.
  """
  for axis in axes:
    size = leaf.shape[axis]
    leaf = jnp.concatenate([leaf] * factor, axis=axis)
    if axis < num_in:
      shares = jax.random.uniform(key, (factor, size), minval=0.5, maxval=1.5)
      shares = (shares / jnp.sum(shares, axis=0)).reshape(-1)
      leaf *= jnp.expand_dims(
        shares, [n for n in range(leaf.ndim) if n != axis]
      )
  return leaf
