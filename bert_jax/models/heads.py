"""Heads on top of the encoder, and the module that holds encoder and heads."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout
from bert_jax.models.encoder import Encoder, LayerStack
from bert_jax.models.execution import LayerExecution
from bert_jax.models.functional import Model, make_model
from bert_jax.models.layers import ACTIVATIONS, Dense, LayerNorm, parameter
from bert_jax.models.products import dense_product, product
from bert_jax.models.vector_form import VectorForm
from bert_jax.param_info import ParamInfo

_PLAIN = LayerExecution()

# Poolings: the vector of [CLS], or the mean over the text.
CLS, MEAN = POOLINGS = ('cls', 'mean')


class MaskedLMHead(nnx.Module):
  """Maps hidden states at masked positions to scores over the vocabulary.

  A transform (dense, activation, norm) leads to the width of the tables; the
  product with the token embedding follows. That table is handed in at call
  time, which ties the weights.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    self.transform = Dense(
      (config.embed_dim,),
      (config.table_dim,),
      in_axes=('embed',),
      out_axes=(None,),
      out_sizes=('table',),
      kind='head',
      use_bias=config.use_bias,
      stddev=config.output_stddev,
      dtype=dtype,
      rngs=rngs,
    )
    self.activation = ACTIVATIONS[config.activation]
    self.norm = LayerNorm(
      config.table_dim,
      use_bias=config.use_bias,
      epsilon=config.norm_epsilon,
      dtype=dtype,
      size='table',
      # The product with the token embedding sums over the norm's outputs.
      num_in=1,
    )
    self.bias = parameter(
      jnp.zeros((config.table_size,)),
      ParamInfo(('vocab',), 'bias', decays=False),
    )
    self.vocab_size = config.vocab_size
    self.dtype = dtype

  @jax.named_scope('vocabulary')
  def __call__(
    self, hidden_BMD: jax.Array, embedding_VE: jax.Array
  ) -> jax.Array:
    """Returns f32 logits [B, M, V]; entries that fill V up have -1e30."""
    x_BME = self.activation(self.transform(hidden_BMD))
    # The product and the bias both work on matrices (see Dense), so that all
    # their gradients read the same array.
    logits_RV = product(
      're,ve->rv',
      self.norm(x_BME).reshape(-1, x_BME.shape[-1]),
      embedding_VE,
      self.dtype,
    )
    logits_RV += self.bias[...]
    if self.bias.shape[0] > self.vocab_size:
      is_entry_V = jnp.arange(self.bias.shape[0]) < self.vocab_size
      logits_RV = jnp.where(is_entry_V, logits_RV, -1e30)
    return logits_RV.reshape(*x_BME.shape[:-1], -1)


class ReplacedTokenHead(nnx.Module):
  """Maps hidden states to one score per token; above 0 means replaced.

  ELECTRA's discriminator has this head: dense, activation, and a dense layer
  with one output. Source: Clark et al. 2020.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    common = dict(
      in_axes=('embed',),
      out_axes=(None,),
      kind='head',
      stddev=config.initializer_stddev,
      dtype=dtype,
      rngs=rngs,
    )
    embed = (config.embed_dim,)
    self.transform = Dense(
      embed,
      embed,
      out_sizes=('embed',),
      use_bias=config.use_bias,
      **common,
    )
    self.activation = ACTIVATIONS[config.activation]
    self.output = Dense(embed, (1,), use_bias=True, **common)

  def __call__(self, hidden_BTD: jax.Array) -> jax.Array:
    """Returns f32 logits [B, T]."""
    x_BTD = self.activation(self.transform(hidden_BTD))
    return self.output(x_BTD)[..., 0].astype(jnp.float32)


def text_vector(
  hidden_BTD: jax.Array, segment_ids_BT: jax.Array, pooling: str
) -> jax.Array:
  """The pooler's input [B, D] for rows of one text; `pooling`: see POOLINGS."""
  if pooling == CLS:
    return hidden_BTD[:, 0]
  is_text_BT1 = (segment_ids_BT > 0)[..., None]
  total_BD = jnp.sum(hidden_BTD, axis=1, where=is_text_BT1)
  # A row that only fills up the last batch may have no text at all.
  return total_BD / jnp.maximum(jnp.sum(is_text_BT1, axis=1), 1)


def vectors_of_rows(
  hidden_BTD: jax.Array, segment_ids_BT: jax.Array, form: VectorForm
) -> jax.Array:
  """The vectors [B, D] of rows of one text, as `form` says."""
  is_text_BT1 = (segment_ids_BT > 0)[..., None]
  if form.pooling == 'cls':
    vectors_BD = hidden_BTD[:, 0]
  elif form.pooling == 'max':
    vectors_BD = jnp.max(
      hidden_BTD, axis=1, where=is_text_BT1, initial=-jnp.inf
    )
  else:
    vectors_BD = jnp.mean(hidden_BTD, axis=1, where=is_text_BT1)
  if form.normalize:
    vectors_BD = with_length_1(vectors_BD)
  return vectors_BD[:, : form.dim] if form.dim else vectors_BD


def with_length_1(vectors: jax.Array) -> jax.Array:
  """Vectors [..., D] divided by their lengths; those of zeros stay zeros."""
  squares = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
  # The bound stands below the root, whose slope at 0 is infinite.
  return vectors / jnp.sqrt(jnp.maximum(squares, 1e-24))


class Pooler(nnx.Module):
  """A dense layer and tanh on one vector per text: [B, D] -> [B, D].

  BERT takes the vector of [CLS]. Other families use another activation, and
  ModernBERT adds a norm.
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
      out_sizes=('embed',),
      kind='head',
      use_bias=config.use_bias,
      stddev=config.output_stddev,
      dtype=dtype,
      rngs=rngs,
    )
    # Parameters lie directly in the head: `pooler/kernel`, not `pooler/dense/`.
    self.kernel, self.bias = dense.kernel, dense.bias
    self.activation = ACTIVATIONS[config.pooler_activation]
    norm = dict(epsilon=config.norm_epsilon, dtype=dtype)
    self.norm = (
      LayerNorm(dim, use_bias=config.use_bias, **norm)
      if config.pooler_norm
      else None
    )
    self.dtype = dtype

  def __call__(self, vector_BD: jax.Array) -> jax.Array:
    pooled_BD = dense_product(vector_BD, self.kernel[...], 1, self.dtype)
    if self.bias is not None:
      pooled_BD += self.bias[...]
    pooled_BD = self.activation(pooled_BD).astype(self.dtype)
    return pooled_BD if self.norm is None else self.norm(pooled_BD)


class NextSentenceHead(Dense):
  """Head of BERT's second loss: pooler output [..., D] -> logits [..., 2].

  Output 0 says that the second text follows the first, output 1 that it does
  not. ALBERT's sentence order uses the same head: 0 in order, 1 swapped.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    super().__init__(
      (config.embed_dim,),
      (2,),
      in_axes=('embed',),
      out_axes=(None,),
      kind='head',
      use_bias=True,
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
      kind='head',
      use_bias=True,
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


class TokenClassifier(Classifier):
  """Scores for the label of each token: [B, T, D] -> f32 logits [B, T, C].

  If the family's pooler has a norm (ModernBERT), a pooler is applied to each
  token before the classifier.
  """

  def __init__(
    self,
    config: EncoderConfig,
    *,
    num_classes: int,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    self.transform = (
      Pooler(config, dtype=dtype, rngs=rngs) if config.pooler_norm else None
    )
    super().__init__(config, num_classes=num_classes, dtype=dtype, rngs=rngs)

  def __call__(
    self, hidden_BTD: jax.Array, dropout_seeds_B: jax.Array | None = None
  ) -> jax.Array:
    if self.transform is not None:
      hidden_BTD = self.transform(hidden_BTD)
    return super().__call__(hidden_BTD, dropout_seeds_B)


# Functions of (config, dtype=, rngs=) that return a head.
HeadBuilder = Callable[..., nnx.Module]


class EncoderWithHeads(nnx.Module):
  """Module of an objective or a task: `encoder`, and heads by their names.

  The encoder is built first, so that its initial parameters do not depend on
  the heads. `execution` says how the layers of the encoder and of its heads are
  computed.
  """

  def __init__(
    self,
    config: EncoderConfig,
    heads: dict[str, HeadBuilder],
    *,
    execution: LayerExecution = _PLAIN,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
    for name, build_head in heads.items():
      setattr(self, name, build_head(config, dtype=dtype, rngs=rngs))
    for name in ('encoder', *heads):
      if isinstance(stack := getattr(self, name), LayerStack):
        stack.execution = execution


def model_with_heads(
  config: EncoderConfig,
  heads: dict[str, HeadBuilder],
  compute_dtype: str,
  *,
  execution: LayerExecution = _PLAIN,
) -> Model:
  """An encoder and its heads; matrix products take `compute_dtype`."""
  build = functools.partial(
    EncoderWithHeads,
    config,
    heads,
    execution=execution,
    dtype=jnp.dtype(compute_dtype),
  )
  return make_model(build, config)
