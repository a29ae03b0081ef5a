"""Multi-head self-attention: projections around the attention of a backend."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.rotary import Rotation, rotate, rotation
from bert_jax.models.attention.view import Backend, Shapes, View
from bert_jax.models.config import EncoderConfig
from bert_jax.models.layers import Dense
from bert_jax.models.masks import RowLayout


class LayerKind(NamedTuple):
  """Values shared by all global layers of an encoder, or by all local ones.

  view: the keys that a token sees. rotation: turns queries and keys; may be
  None. backend: computes the attention.
  """

  view: View
  rotation: Rotation | None
  backend: Backend


def layer_kind(
  config: EncoderConfig,
  layout: RowLayout,
  backends: tuple[Backend, ...],
  *,
  is_global: bool,
  dtype: jnp.dtype,
  dropout: bool,
) -> LayerKind:
  """The kind of the global or of the local layers; see EncoderConfig.

  Args:
    config: The encoder's config.
    layout: The layout of its rows.
    backends: Backends to choose from; see `choose`.
    is_global: True for the global layers, false for the local ones.
    dtype: The dtype of queries, keys and values.
    dropout: True if the encoder is called with dropout seeds.
  """
  view = View(layout.segment_ids, 0 if is_global else config.local_window)
  batch_size, length = layout.segment_ids.shape
  shapes = Shapes(
    batch_size,
    length,
    config.num_heads,
    config.head_dim,
    jnp.dtype(dtype),
    dropout and config.attention_dropout > 0,
  )
  turned_by = None
  if config.positions == 'rotary':
    turned_by = rotation(
      layout.position_ids,
      head_dim=config.head_dim,
      theta=config.rotary_theta if is_global else config.local_rotary_theta,
    )
  return LayerKind(view, turned_by, choose(backends, view, shapes))


class SelfAttention(nnx.Module):
  """Projects to heads, attends to the tokens in view, and projects back."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    embed, heads = (config.embed_dim,), (config.num_heads, config.head_dim)
    common = dict(use_bias=config.use_bias, dtype=dtype, rngs=rngs)
    into_heads = dict(
      in_axes=('embed',),
      out_axes=('heads', 'head_dim'),
      stddev=config.initializer_stddev,
    )
    self.query = Dense(embed, heads, kind='query', **into_heads, **common)
    self.key = Dense(embed, heads, kind='key', **into_heads, **common)
    self.value = Dense(embed, heads, kind='value', **into_heads, **common)
    self.output = Dense(
      heads,
      embed,
      in_axes=('heads', 'head_dim'),
      out_axes=('embed',),
      kind='attention_output',
      stddev=config.output_stddev,
      **common,
    )
    self.dropout_rate = config.attention_dropout

  def __call__(
    self,
    x_BTD: jax.Array,
    kind: LayerKind,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    attended_BTNH = kind.backend.attend(
      rotate(self.query(x_BTD, dropout_seeds_B), kind.rotation),
      rotate(self.key(x_BTD, dropout_seeds_B), kind.rotation),
      self.value(x_BTD, dropout_seeds_B),
      kind.view,
      dropout_rate=self.dropout_rate,
      dropout_seeds_B=dropout_seeds_B,
    )
    return self.output(attended_BTNH, dropout_seeds_B)
