"""ELECTRA's generator: a small masked LM over another encoder's embeddings.

Source: Clark et al. 2020, section 3.2, and google-research/electra. The two
encoders share the tables, their norm and its dropout; the generator has its own
projection, layers and head.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig, electra_generator
from bert_jax.models.dropout import fold
from bert_jax.models.embeddings import Embeddings, embedding_projection
from bert_jax.models.encoder import LayerStack
from bert_jax.models.functional import Params
from bert_jax.models.heads import MaskedLMHead
from bert_jax.models.layers import set_depth
from bert_jax.models.masks import RowLayout


class Generator(LayerStack):
  """Layers with `width_share` of the encoder's width, and a masked-LM head.

  `discriminator` is the config of the encoder beside it. That encoder's
  embeddings are handed in at call time, and so are shared.
  """

  def __init__(
    self,
    discriminator: EncoderConfig,
    *,
    width_share: float,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    config = electra_generator(discriminator, width_share)
    self.projection = embedding_projection(config, dtype=dtype, rngs=rngs)
    if self.projection is not None:
      set_depth(self.projection, 0)
    super().__init__(config, dtype=dtype, rngs=rngs)
    self.mlm_head = MaskedLMHead(config, dtype=dtype, rngs=rngs)

  def __call__(
    self,
    embeddings: Embeddings,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    """Returns the last layer's hidden states, [B, T, the generator's D]."""
    seeds_B = fold(dropout_seeds_B, 0)
    x_BTD = embeddings.from_tables(input_ids_BT, layout, seeds_B)
    if self.projection is not None:
      x_BTD = self.projection(x_BTD)
    return self.last_states(x_BTD, layout, dropout_seeds_B)


def generator_width(config: EncoderConfig, params: Params) -> float:
  """The width of the generator in `params`, as a share of the encoder's."""
  kernel_DE = params['generator']['mlm_head']['transform']['kernel']
  return kernel_DE.shape[0] / config.embed_dim
