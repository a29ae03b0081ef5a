"""The tokens that each token may see, and the protocol of attention backends.

A row holds packed texts, each a segment of its own, then padding. A token sees
its whole segment, or a window of it around itself. All backends compute the
same numbers for the same view; they differ in memory and speed.
"""

import dataclasses
import functools
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from bert_jax.models.masks import same_segment, within_window
from bert_jax.parallel.sharding import devices_along

# The name of what attention saves for the backward pass; see execution.py.
ATTENDED = 'attended'


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['segment_ids'],
  meta_fields=['window'],
)
@dataclasses.dataclass(frozen=True)
class View:
  """The tokens that each token of a batch of rows sees in a layer.

  segment_ids: int32 [B, T], 0 for padding, which sees padding alone.
  window: tokens in sight, half of them to either side; 0: the whole segment.
  """

  segment_ids: jax.Array
  window: int = 0

  def mask(self) -> jax.Array:
    """The view as bool [B, 1, T, S], True if query t sees key s."""
    mask_B1TS = same_segment(self.segment_ids)
    if self.window:
      length = self.segment_ids.shape[1]
      mask_B1TS &= within_window(length, self.window)
    return mask_B1TS

  def interval(self) -> tuple[jax.Array, jax.Array]:
    """The view as two arrays int32 [B, T]: query t sees the keys [start, end).

    Intervals can express `mask` because the tokens of a segment, and those of
    the padding, stand side by side in a row.
    """
    ids_BT, length = self.segment_ids, self.segment_ids.shape[1]
    column_T = jnp.arange(length, dtype=jnp.int32)
    is_first_BT = jnp.diff(ids_BT, axis=1, prepend=-1) != 0
    is_last_BT = jnp.diff(ids_BT, axis=1, append=-1) != 0
    start_BT = jax.lax.cummax(jnp.where(is_first_BT, column_T, 0), axis=1)
    end_BT = jax.lax.cummin(
      jnp.where(is_last_BT, column_T + 1, length), axis=1, reverse=True
    )
    if self.window:
      start_BT = jnp.maximum(start_BT, column_T - self.window // 2)
      end_BT = jnp.minimum(end_BT, column_T + self.window // 2 + 1)
    return start_BT, end_BT


class Shapes(NamedTuple):
  """Sizes and dtype of one attention call, all known when it is traced.

  dropout: true if attention weights are dropped, as in training.
  """

  batch_size: int
  length: int
  num_heads: int
  head_dim: int
  dtype: jnp.dtype
  dropout: bool


def uneven_split(shapes: Shapes) -> str:
  """Returns '' or why `on_each_device` cannot split a call over the mesh."""
  for axis, number, name in (
    ('batch', shapes.batch_size, 'rows'),
    ('heads', shapes.num_heads, 'heads'),
  ):
    devices = devices_along(axis)
    if number % devices:
      return f'{number} {name} cannot be split evenly among {devices} devices'
  return ''


@runtime_checkable
class Backend(Protocol):
  """One way to compute attention: a config dataclass with these methods."""

  def validate(self) -> None:
    """Raises InputError on invalid fields."""

  def supports(self, view: View, shapes: Shapes, platform: str) -> str:
    """Returns '' or, in a few words, why this call cannot be computed.

    Args:
      view: The view of the call; its arrays are traced, its window is known.
      shapes: The sizes of the call.
      platform: 'cpu', 'gpu' or 'tpu', where the program will run.
    """

  def attend(
    self,
    query_BTNH: jax.Array,
    key_BSNH: jax.Array,
    value_BSNH: jax.Array,
    view: View,
    *,
    dropout_rate: float = 0.0,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    """Returns softmax(q · k / sqrt(H)) · v over the view, [B, T, N, H].

    The result has the dtype of `value`; the softmax is f32. Weights are dropped
    only if seeds uint32 [B] are given.

    What `checkpoint_name(x, ATTENDED)` names in it is saved by the field
    `remat` where that keeps attention; a backend without a name is computed
    again.
    """
