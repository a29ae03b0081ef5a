"""Primitives that own parameters, and the rules of precision.

Precision, stated once for the whole model: parameters are f32; operands of
matrix products have the compute dtype (bf16 on accelerators, f32 on CPU) in
both directions, and sums are f32 (models/products.py); norm statistics,
softmax, activations and losses are f32 inside; so is the residual stream of
pre-norm encoders.

A parameter is declared where it is used, with its initial value and a ParamInfo
that tells the other packages all they need to know about it. Profilers show the
named scopes (experiments/benchmarks/step_profile.py).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from bert_jax.models.config import EncoderConfig
from bert_jax.models.products import dense_product
from bert_jax.param_info import ParamInfo


def parameter(value: jax.Array, info: ParamInfo) -> nnx.Param:
  """A parameter that carries its declaration."""
  assert value.ndim == len(info.axes), (value.shape, info)
  return nnx.Param(value, info=info)


def set_depth(module: nnx.Module, depth: int) -> None:
  """Sets the depth of all parameters of a module; see ParamInfo."""
  for _, node in nnx.iter_graph(module):
    if isinstance(node, nnx.Param):
      info = dataclasses.replace(node.get_metadata('info'), depth=depth)
      node.set_metadata(info=info)


def truncated_normal(
  key: jax.Array, shape: Sequence[int], stddev: float
) -> jax.Array:
  """Google's initialiser: N(0, stddev) cut at two deviations, not rescaled.

  Equals `tf.truncated_normal_initializer(stddev)` in google-research/bert.
  """
  return stddev * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def residual_dtype(config: EncoderConfig, dtype: jnp.dtype) -> jnp.dtype:
  """The dtype of the states between layers: f32 in pre-norm encoders.

  A pre-norm encoder adds to one sum in every layer. Rounding that sum to bf16
  each time made the error of the hidden states of ModernBERT-base 0.0108
  instead of 0.0017 (root mean square beside f32, relative; 4 x 128 tokens, two
  fresh initialisations, on a CPU). A post-norm encoder norms the sum anew in
  every layer.
  """
  return jnp.dtype(jnp.float32) if config.norm_placement == 'pre' else dtype


# The name of what Dense layers save for the backward pass; see execution.py.
DENSE = 'dense'

Adapter = Callable[[jax.Array, jax.Array | None], jax.Array]


class Dense(nnx.Module):
  """Dense layer, y = x · kernel + bias, over one or more axes.

  Constructor arguments: `in_shape` and `out_shape` are the sizes of the
  contracted axes (the last ones of x) and of the new axes; `in_axes` and
  `out_axes` are their logical names; `in_sizes` and `out_sizes` are the names
  of their sizes, if those differ; `kind` is the kernel's kind; `use_bias` false
  leaves the bias out.

  A method of peft/ may set `adapter`, a function of (x, dropout seeds) whose
  f32 result is added to the product.
  """

  def __init__(
    self,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    *,
    in_axes: tuple[str | None, ...],
    out_axes: tuple[str | None, ...],
    in_sizes: tuple[str | None, ...] = (),
    out_sizes: tuple[str | None, ...] = (),
    kind: str,
    use_bias: bool,
    stddev: float,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    kernel = truncated_normal(rngs.params(), in_shape + out_shape, stddev)
    in_sizes, out_sizes = in_sizes or in_axes, out_sizes or out_axes
    self.num_in = len(in_shape)
    self.kernel = parameter(
      kernel,
      ParamInfo(
        in_axes + out_axes, kind, self.num_in, sizes=in_sizes + out_sizes
      ),
    )
    bias = ParamInfo(out_axes, 'bias', decays=False, sizes=out_sizes)
    self.bias = parameter(jnp.zeros(out_shape), bias) if use_bias else None
    self.adapter: Adapter | None = None
    self.dtype = dtype

  @jax.named_scope('dense')
  def __call__(
    self, x: jax.Array, dropout_seeds_B: jax.Array | None = None
  ) -> jax.Array:
    """Maps x [B, ..., in] to [B, ..., out]; only the adapter uses the seeds."""
    y = dense_product(x, self.kernel[...], self.num_in, self.dtype)
    if self.bias is not None:
      y += self.bias[...]
    if self.adapter is not None:
      y += self.adapter(x, dropout_seeds_B)
    return checkpoint_name(y.astype(self.dtype), DENSE)


class Embedding(nnx.Module):
  """A table of vectors, looked up by id."""

  def __init__(
    self,
    num_entries: int,
    embed_dim: int,
    *,
    entries_axis: str | None,
    stddev: float,
    rngs: nnx.Rngs,
  ):
    table = truncated_normal(rngs.params(), (num_entries, embed_dim), stddev)
    info = ParamInfo(
      (entries_axis, 'embed'), 'embedding', 1, sizes=(entries_axis, 'table')
    )
    self.embedding = parameter(table, info)

  @jax.named_scope('embedding')
  def __call__(self, ids: jax.Array) -> jax.Array:
    """Maps ids int [...] to f32 [..., embed_dim]."""
    # The host refuses out-of-range ids when it opens the rows; the lookup here
    # would clamp them silently.
    return self.embedding[...][ids]


class LayerNorm(nnx.Module):
  """Layer normalisation over the last axis, statistics in f32.

  Constructor arguments: `size` is the name of that axis's size; `num_in` is 1
  if a product with tied weights sums over the output (see ParamInfo).
  """

  def __init__(
    self,
    embed_dim: int,
    *,
    use_bias: bool,
    epsilon: float,
    dtype: jnp.dtype,
    size: str = 'embed',
    num_in: int = 0,
  ):
    scale, bias = (
      ParamInfo(('embed',), kind, num_in, decays=False, sizes=(size,))
      for kind in ('scale', 'bias')
    )
    self.scale = parameter(jnp.ones((embed_dim,)), scale)
    zeros = jnp.zeros((embed_dim,))
    self.bias = parameter(zeros, bias) if use_bias else None
    self.epsilon = epsilon
    self.dtype = dtype

  @jax.named_scope('norm')
  def __call__(self, x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + self.epsilon)
    y = normalised * self.scale[...]
    if self.bias is not None:
      y += self.bias[...]
    return y.astype(self.dtype)


@jax.custom_jvp
@jax.named_scope('gelu')
def gelu(x: jax.Array) -> jax.Array:
  """GELU, x · Φ(x), computed with erf as in google-research/bert.

  Published BERT weights expect this exact form, not the tanh approximation.
  jax.nn.gelu is slower: its erfc evaluates three rational functions where erf
  needs one; the results differ by less than 1e-7 of x.
  """
  wide = x.astype(jnp.float32)
  return (wide * _normal_cdf(wide)).astype(x.dtype)


@gelu.defjvp
@jax.named_scope('gelu')
def _gelu_jvp(primals, tangents):
  # The rule is written out so that the backward pass keeps the derivative only,
  # in the dtype of x.
  (x,), (dx,) = primals, tangents
  wide = x.astype(jnp.float32)
  cdf = _normal_cdf(wide)
  density = jnp.exp(-0.5 * wide * wide) * (1 / math.sqrt(2 * math.pi))
  derivative = (cdf + wide * density).astype(x.dtype)
  return (wide * cdf).astype(x.dtype), dx * derivative


def _in_f32(
  activation: Callable[[jax.Array], jax.Array],
) -> Callable[[jax.Array], jax.Array]:
  """The activation computed in f32, with a result in the dtype of its input."""
  return lambda x: activation(x.astype(jnp.float32)).astype(x.dtype)


def _normal_cdf(x: jax.Array) -> jax.Array:
  return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


# Activations by the names that EncoderConfig uses. The second version of ALBERT
# was trained with the approximation 'gelu_tanh'.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'gelu': gelu,
  'gelu_tanh': _in_f32(functools.partial(jax.nn.gelu, approximate=True)),
  'relu': jax.nn.relu,
  'tanh': _in_f32(jnp.tanh),
}
