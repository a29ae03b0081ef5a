"""The encoder: embeddings, then layers, as its config describes them.

Sources: Devlin et al. 2019, and modeling.py of google-research/bert;
models/config.py says how the other families differ.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.errors import InputError
from bert_jax.models.attention.layer import (
  LayerKind,
  SelfAttention,
  layer_kind,
)
from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout, fold, fold_each
from bert_jax.models.embeddings import Embeddings
from bert_jax.models.execution import LayerExecution
from bert_jax.models.feed_forward import FeedForward
from bert_jax.models.layers import (
  Dense,
  LayerNorm,
  residual_dtype,
  set_depth,
)
from bert_jax.models.masks import RowLayout
from bert_jax.parallel.sharding import constrain


class EncoderLayer(nnx.Module):
  """Attention, then feed-forward, each added to its input.

  Norm placement: post is x = norm(x + block(x)), pre is x + block(norm(x)).
  """

  def __init__(
    self,
    config: EncoderConfig,
    *,
    attention_norm: bool,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    self.attention = SelfAttention(config, dtype=dtype, rngs=rngs)
    self.attention_norm = _norm(config, dtype) if attention_norm else None
    self.feed_forward = FeedForward(config, dtype=dtype, rngs=rngs)
    self.feed_forward_norm = _norm(config, dtype)
    self.norm_placement = config.norm_placement
    self.dropout_rate = config.dropout

  def __call__(
    self,
    x_BTD: jax.Array,
    kind: LayerKind,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    seeds = [fold(dropout_seeds_B, use) for use in range(3)]
    x_BTD = self._add(
      x_BTD,
      lambda x_BTD: self.attention(x_BTD, kind, seeds[0]),
      self.attention_norm,
      seeds[1],
    )
    x_BTD = self._add(
      x_BTD,
      lambda x_BTD: self.feed_forward(x_BTD, seeds[2]),
      self.feed_forward_norm,
      seeds[2],
    )
    return constrain(x_BTD, 'batch', 'length', 'embed')

  def _add(
    self,
    x_BTD: jax.Array,
    block: Callable[[jax.Array], jax.Array],
    norm: LayerNorm | None,
    seeds_B: jax.Array | None,
  ) -> jax.Array:
    if self.norm_placement == 'post':
      assert norm is not None
      return norm(x_BTD + dropout(block(x_BTD), self.dropout_rate, seeds_B))
    given_BTD = x_BTD if norm is None else norm(x_BTD)
    return x_BTD + dropout(block(given_BTD), self.dropout_rate, seeds_B)


class LayerStack(nnx.Module):
  """The layers of an encoder, without its embeddings.

  execution: how the layers are computed; may be set after construction.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    self.config = config
    self.dtype = dtype
    self.execution = LayerExecution()
    self.layers = nnx.List(
      EncoderLayer(
        config,
        attention_norm=number > 0 or config.first_attention_norm,
        dtype=dtype,
        rngs=rngs,
      )
      for number in range(1 if config.share_layers else config.num_layers)
    )
    for number, layer in enumerate(self.layers):
      set_depth(layer, number + 1)
    is_pre_norm = config.norm_placement == 'pre'
    self.final_norm = _norm(config, dtype) if is_pre_norm else None

  def layer_states(
    self,
    x_BTD: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
  ) -> list[jax.Array]:
    """Returns arrays [B, T, D]: the embeddings, then each layer's states.

    The last states of a pre-norm encoder are taken after its final norm.
    """
    states = [self._first_states(x_BTD)]
    kinds = self._kinds(layout, dropout=dropout_seeds_B is not None)
    for number in range(self.config.num_layers):
      states.append(self._layer(number, states[-1], kinds, dropout_seeds_B))
    if self.final_norm is not None:
      states[-1] = self.final_norm(states[-1])
    return states

  def last_states(
    self,
    x_BTD: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    """Returns the last of `layer_states`, [B, T, D].

    Layers may be computed in a loop, whose body is as many layers as lie
    between two global ones. Layers before and after whole rounds of the loop,
    such as ModernBERT's first, which has no norm before attention, are
    computed one by one.
    """
    if not self.execution.scan_layers:
      return self.layer_states(x_BTD, layout, dropout_seeds_B)[-1]
    config = self.config
    kinds = self._kinds(layout, dropout=dropout_seeds_B is not None)
    first = 0 if config.first_attention_norm or config.share_layers else 1
    size = config.global_every
    count = (config.num_layers - first) // size
    x_BTD = self._first_states(x_BTD)
    for number in range(first):
      x_BTD = self._layer(number, x_BTD, kinds, dropout_seeds_B)
    if count:
      x_BTD = self._loop(x_BTD, first, size, count, kinds, dropout_seeds_B)
    for number in range(first + size * count, config.num_layers):
      x_BTD = self._layer(number, x_BTD, kinds, dropout_seeds_B)
    return x_BTD if self.final_norm is None else self.final_norm(x_BTD)

  def _first_states(self, x_BTD: jax.Array) -> jax.Array:
    # A stream in bf16 would be rounded once a layer (see `residual_dtype`).
    x_BTD = x_BTD.astype(residual_dtype(self.config, self.dtype))
    return constrain(x_BTD, 'batch', 'length', 'embed')

  def _kinds(
    self, layout: RowLayout, *, dropout: bool
  ) -> dict[bool, LayerKind]:
    """The kinds of layers that there are: global, by True, and local."""
    config = self.config
    return {
      is_global: layer_kind(
        config,
        layout,
        self.execution.attention,
        is_global=is_global,
        dtype=self.dtype,
        dropout=dropout,
      )
      for is_global in {config.is_global(i) for i in range(config.num_layers)}
    }

  def _layer(
    self,
    number: int,
    x_BTD: jax.Array,
    kinds: dict[bool, LayerKind],
    dropout_seeds_B: jax.Array | None,
  ) -> jax.Array:
    layer = self.layers[0 if self.config.share_layers else number]
    kind = kinds[self.config.is_global(number)]
    return self.execution.checkpointed(functools.partial(_apply, layer, kind))(
      x_BTD, fold(dropout_seeds_B, number + 1)
    )

  def _loop(
    self,
    x_BTD: jax.Array,
    first: int,
    size: int,
    count: int,
    kinds: dict[bool, LayerKind],
    dropout_seeds_B: jax.Array | None,
  ) -> jax.Array:
    """Applies `count` rounds of `size` layers from layer `first` on."""
    config = self.config
    if any(
      isinstance(node, Dense) and node.adapter is not None
      for _, node in nnx.iter_graph(self.layers)
    ):
      raise InputError(
        'scan_layers is set, and layers with adapters, such as those of LoRA, '
        'cannot be stacked; leave scan_layers out'
      )
    rounds = [
      list(self.layers[number : number + size])
      for number in range(first, first + size * count, size)
    ]
    structure = jax.tree.structure(rounds[0])
    leaves = None
    if not config.share_layers:
      same = zip(*map(jax.tree.leaves, rounds), strict=True)
      leaves = [jnp.stack(leaf) for leaf in same]
    seeds = None
    if dropout_seeds_B is not None:
      # Seeds of `fold`, with the number of the layer as an index.
      seeds_BL = fold_each(dropout_seeds_B, config.num_layers + 1)
      assert seeds_BL is not None
      seeds = seeds_BL[:, first + 1 : first + 1 + size * count]
      seeds = seeds.T.reshape(count, size, -1)

    def one_round(x_BTD, given):
      leaves, seeds = given
      layers = (
        [self.layers[0]] * size
        if config.share_layers
        else jax.tree.unflatten(structure, leaves)
      )
      for place, layer in enumerate(layers):
        kind = kinds[config.is_global(first + place)]
        x_BTD = self.execution.checkpointed(
          functools.partial(_apply, layer, kind), in_loop=True
        )(x_BTD, None if seeds is None else seeds[place])
      return x_BTD, None

    return jax.lax.scan(one_round, x_BTD, (leaves, seeds), length=count)[0]


def _apply(
  layer: EncoderLayer,
  kind: LayerKind,
  x_BTD: jax.Array,
  seeds_B: jax.Array | None,
) -> jax.Array:
  return layer(x_BTD, kind, seeds_B)


class Encoder(LayerStack):
  """The whole encoder: token ids and their layout in, a vector a token out."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    self.embeddings = Embeddings(config, dtype=dtype, rngs=rngs)
    super().__init__(config, dtype=dtype, rngs=rngs)

  def __call__(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
    token_delta_BTE: jax.Array | None = None,
  ) -> jax.Array:
    """Returns the last layer's hidden states, [B, T, D].

    `token_delta_BTE` is added to the token vectors; see Embeddings.
    """
    x_BTD = self.embeddings(
      input_ids_BT, layout, fold(dropout_seeds_B, 0), token_delta_BTE
    )
    return self.last_states(x_BTD, layout, dropout_seeds_B)

  def hidden_states(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
    token_delta_BTE: jax.Array | None = None,
  ) -> list[jax.Array]:
    """Returns [B, T, D] after the embeddings and after each layer."""
    x_BTD = self.embeddings(
      input_ids_BT, layout, fold(dropout_seeds_B, 0), token_delta_BTE
    )
    return self.layer_states(x_BTD, layout, dropout_seeds_B)


def _norm(config: EncoderConfig, dtype: jnp.dtype) -> LayerNorm:
  return LayerNorm(
    config.embed_dim,
    use_bias=config.use_bias,
    epsilon=config.norm_epsilon,
    dtype=dtype,
  )
