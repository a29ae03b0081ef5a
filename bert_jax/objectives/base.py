"""Interface of an objective or a task to the training step.

Losses are (sum, weight) pairs. Each weight depends on ids and masks alone, so
the step knows the weight of the whole batch before the first microbatch:
accumulated gradients then equal those of one batch.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import HeadBuilder
from bert_jax.models.masks import RowLayout, row_layout

# Arrays [B, ...] by name; a sum of objectives also holds such dicts of parts.
Batch = dict[str, Any]
# Pairs by name: (sum over examples, number of things summed), f32 scalars.
SumAndWeight = dict[str, tuple[jax.Array, jax.Array]]


class Objective(Protocol):
  """A training objective, built from its config and a tokenizer's table.

  A step calls `prepare` and `weights` for the global batch, then `encode` and
  `losses` for each microbatch.
  """

  # Factor c of each loss: the step minimises the total of c * sum / weight.
  coefficients: dict[str, float]

  def heads(self) -> dict[str, HeadBuilder]:
    """The heads beside the encoder, by the name of their parameters."""
    ...

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Turns clean rows [B, T] of the global batch into the input of `encode`.

    Random choices depend on `key` and each row's `example_number` alone.
    `step` is the training step, for values that follow a schedule; None in
    evaluation.
    """
    ...

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    """The weight of each loss over a prepared batch."""
    ...

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    """Adds the encoder's `hidden_states` [B, T, D] to a prepared batch.

    Dropout needs seeds; see models/dropout.py.
    """
    ...

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    """Returns (losses, metrics) of a batch that `encode` returned."""
    ...


@runtime_checkable
class VectorObjective(Objective, Protocol):
  """An objective whose losses read nothing of the model but `vectors`.

  `encode` adds these, f32 [B, ...]. So the gradients of any loss on them can be
  had from parts of a batch; see train/cached_gradients.py.

  couples_examples: true if the losses compare the examples of a batch, so that
    those of its parts do not add up to that of the whole.
  """

  couples_examples: bool


class PretrainingObjective(Objective, Protocol):
  """An objective over the rows of a prepared corpus.

  corrupts: true if it changes the ids that the encoder reads. In a sum, an
    objective that corrupts nothing reads the hidden states of one that does.
  pairs_kind: the kind of pairs that rows must hold, of PAIR_KINDS; '' for any
    rows.
  predicts_tokens: true if it has `token_logits`.
  """

  corrupts: bool
  pairs_kind: str
  predicts_tokens: bool

  def token_logits(
    self,
    model: nnx.Module,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    places_BM: jax.Array,
  ) -> jax.Array:
    """Scores f32 [B, M, V] of the tokens that could stand at some places."""
    ...

  def flops_per_row(self, config: EncoderConfig, row_length: int) -> float:
    """Model FLOPs of a row in training; see models/flops.py."""
    ...


@runtime_checkable
class ObjectiveConfig(Protocol):
  """The config of an objective in an experiment: a dataclass."""

  def validate(self, field: str = 'objective') -> None:
    """Raises InputError on an invalid config; `field` is its name."""
    ...

  def build(self, table: TokenTable) -> PretrainingObjective:
    """The objective for the ids of a tokenizer."""
    ...


def with_hidden_states(
  model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
) -> Batch:
  """Implements `encode` for an encoder that reads `input_ids` unchanged.

  If the batch has `embedding_delta` [B, T, E], it is added to the vectors of
  the tokens; see train/gradients.py.
  """
  hidden_BTD = model.encoder(
    batch['input_ids'],
    layout_of(batch),
    dropout_seeds_B,
    batch.get('embedding_delta'),
  )
  return batch | {'hidden_states': hidden_BTD}


def derive_layout(ids_BT: jax.Array, table: TokenTable) -> RowLayout:
  """The layout of clean rows int [B, T], from a tokenizer's special ids."""
  return row_layout(
    ids_BT, cls_id=table.cls_id, sep_id=table.sep_id, pad_id=table.pad_id
  )


def layout_of(batch: Batch) -> RowLayout:
  return RowLayout(*(batch[name] for name in RowLayout._fields))


def row_keys(key: jax.Array, example_number_B2: jax.Array) -> jax.Array:
  """Keys [B], one per row, from both 32-bit words of its example number."""

  def one(words_2: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, words_2[0]), words_2[1])

  return jax.vmap(one)(example_number_B2)


def summed(function: Callable[[Any], Any], parts: Any) -> Any:
  """The sum of function(part) over the leading axis of `parts`, one by one."""

  def add(total: Any, part: Any) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, function(part)), None

  first = jax.tree.map(lambda x: x[0], parts)
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, first)
  )
  return jax.lax.scan(add, zeros, parts)[0]


def microbatches(batch: Any, count: int) -> Any:
  """Splits [B, ...] into parts [count, B / count, ...].

  Rows are dealt out in turn (row i goes to part i % count), so that every part
  has rows of every device and nothing moves between devices.
  """
  return jax.tree.map(
    lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(
      0, 1
    ),
    batch,
  )
