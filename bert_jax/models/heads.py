"""Heads on top of the encoder, and the module that holds encoder and heads."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout
from bert_jax.models.encoder import Encoder
from bert_jax.models.layers import Dense, LayerNorm, gelu, parameter


class MaskedLMHead(nnx.Module):
  """Hidden states at masked positions -> scores over the vocabulary.

  A transform (dense, GELU, norm), then the product with the token embedding,
  which is handed in at call time: that is how the weights are tied.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    dim = config.embed_dim
    self.transform = Dense(
      (dim,),
      (dim,),
      in_axes=('embed',),
      out_axes=(None,),
      stddev=config.initializer_stddev,
      dtype=dtype,
      rngs=rngs,
    )
    self.norm = LayerNorm(dim, epsilon=config.norm_epsilon, dtype=dtype)
    self.bias = parameter(jnp.zeros((config.vocab_size,)), ('vocab',))
    self.dtype = dtype

  @jax.named_scope('vocabulary')
  def __call__(
    self, hidden_BMD: jax.Array, embedding_VD: jax.Array
  ) -> jax.Array:
    """Returns f32 logits [B, M, V]."""
    x_BMD = gelu(self.transform(hidden_BMD))
    # As two matrices (see Dense), also where the bias is added: its gradient
    # then reads the same array as those of the product.
    logits_RV = jnp.dot(
      self.norm(x_BMD).reshape(-1, x_BMD.shape[-1]),
      embedding_VD.astype(self.dtype).T,
      preferred_element_type=jnp.float32,
    )
    logits_RV += self.bias[...]
    return logits_RV.reshape(*x_BMD.shape[:-1], -1)


class Pooler(nnx.Module):
  """One vector a text through a dense layer and tanh: [B, D] -> [B, D].

  In BERT the vector is that of [CLS].
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    dim = config.embed_dim
    dense = Dense(
      (dim,),
      (dim,),
      in_axes=('embed',),
      out_axes=(None,),
      stddev=config.initializer_stddev,
      dtype=dtype,
      rngs=rngs,
    )
    # A head's parameters are its own: `pooler/kernel`, not `pooler/dense/..`.
    self.kernel, self.bias = dense.kernel, dense.bias
    self.dtype = dtype

  def __call__(self, vector_BD: jax.Array) -> jax.Array:
    product = jnp.dot(
      vector_BD.astype(self.dtype),
      self.kernel[...].astype(self.dtype),
      preferred_element_type=jnp.float32,
    )
    return jnp.tanh(product + self.bias[...]).astype(self.dtype)


class NextSentenceHead(Dense):
  """BERT's second loss: [B, D] of the pooler -> logits [B, 2].

  0: the second text follows the first; 1: it does not.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    super().__init__(
      (config.embed_dim,),
      (2,),
      in_axes=('embed',),
      out_axes=(None,),
      stddev=config.initializer_stddev,
      dtype=dtype,
      rngs=rngs,
    )


class Classifier(nnx.Module):
  """Dropout and one dense layer: [B, D] -> f32 logits [B, C]."""

  def __init__(
    self,
    config: EncoderConfig,
    *,
    num_classes: int,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    self.output = Dense(
      (config.embed_dim,),
      (num_classes,),
      in_axes=('embed',),
      out_axes=(None,),
      stddev=config.initializer_stddev,
      dtype=dtype,
      rngs=rngs,
    )
    self.dropout_rate = config.dropout

  def __call__(
    self, pooled_BD: jax.Array, dropout_seeds_B: jax.Array | None = None
  ) -> jax.Array:
    x_BD = dropout(pooled_BD, self.dropout_rate, dropout_seeds_B)
    return self.output(x_BD).astype(jnp.float32)


# (config, dtype=, rngs=) -> a head.
HeadBuilder = Callable[..., nnx.Module]


class EncoderWithHeads(nnx.Module):
  """`encoder`, and beside it the heads by name.

  What an objective or a task trains. The encoder comes first, so that its
  initial parameters do not depend on which heads stand beside it.
  """

  def __init__(
    self,
    config: EncoderConfig,
    heads: dict[str, HeadBuilder],
    *,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
    for name, build_head in heads.items():
      setattr(self, name, build_head(config, dtype=dtype, rngs=rngs))
