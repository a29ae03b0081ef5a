"""What the training step asks of an objective or a task.

Losses are (sum, weight) pairs. The weight of each depends on ids and masks
alone, so the step can know the weight of the whole batch before it looks at
the first microbatch: accumulated gradients then equal those of one batch.
"""

from typing import Any, Protocol, runtime_checkable

import jax
from flax import nnx

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import HeadBuilder
from bert_jax.models.masks import RowLayout, row_layout

# name -> array [B, ...], or (in a sum of objectives) such a dict of one part.
Batch = dict[str, Any]
# name -> (sum over examples, number of things summed), both f32 scalars.
SumAndWeight = dict[str, tuple[jax.Array, jax.Array]]


class Objective(Protocol):
  """One thing to train for; built from its config and a tokenizer's table.

  A step calls `prepare` and `weights` for the global batch, then `encode` and
  `losses` for each of its parts.
  """

  # How much each loss counts: the step minimises sum of c * sum / weight.
  coefficients: dict[str, float]

  def heads(self) -> dict[str, HeadBuilder]:
    """The heads beside the encoder, by the name of their parameters."""
    ...

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Clean rows [B, T] -> what `losses` reads, for the whole global batch.

    Random choices depend on `key` and each row's `example_number` alone.
    `step` is the training step, for what follows a schedule; None in
    evaluation.
    """
    ...

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    """The weight of each loss over a prepared batch."""
    ...

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    """Adds `hidden_states` [B, T, D], the encoder's, to a prepared batch.

    Without seeds there is no dropout; see models/dropout.py.
    """
    ...

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    """(losses, metrics) of a batch that `encode` has seen."""
    ...


class PretrainingObjective(Objective, Protocol):
  """An objective over the rows of a prepared corpus.

  corrupts: whether it changes what the encoder reads. Of a sum, objectives that
    do not read the hidden states of one that does.
  pairs_kind: of PAIR_KINDS, what the rows must hold; '' for any rows.
  predicts_tokens: whether there is `token_logits`.
  """

  corrupts: bool
  pairs_kind: str
  predicts_tokens: bool

  def token_logits(
    self, model: nnx.Module, input_ids_BT: jax.Array, layout: RowLayout
  ) -> jax.Array:
    """f32 [B, T, V]: which token stands, or would stand, at each place."""
    ...

  def flops_per_row(self, config: EncoderConfig, row_length: int) -> float:
    """Model FLOPs of a row in training; see models/flops.py."""
    ...


@runtime_checkable
class ObjectiveConfig(Protocol):
  """The config of an objective, as an experiment holds it: a dataclass."""

  def validate(self, field: str = 'objective') -> None:
    """Raises InputError on a config that cannot be; `field` is its name."""
    ...

  def build(self, table: TokenTable) -> PretrainingObjective:
    """The objective for the ids of a tokenizer."""
    ...


def with_hidden_states(
  model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
) -> Batch:
  """`encode` where the encoder reads `input_ids` of the batch as they are.

  `embedding_delta` [B, T, E], where the batch has it, is added to the vectors
  of the tokens; see train/gradients.py.
  """
  hidden_BTD = model.encoder(
    batch['input_ids'],
    layout_of(batch),
    dropout_seeds_B,
    batch.get('embedding_delta'),
  )
  return batch | {'hidden_states': hidden_BTD}


def derive_layout(ids_BT: jax.Array, table: TokenTable) -> RowLayout:
  """The layout of clean rows, int [B, T], by a tokenizer's special ids."""
  return row_layout(
    ids_BT, cls_id=table.cls_id, sep_id=table.sep_id, pad_id=table.pad_id
  )


def layout_of(batch: Batch) -> RowLayout:
  return RowLayout(*(batch[name] for name in RowLayout._fields))


def row_keys(key: jax.Array, example_number_B2: jax.Array) -> jax.Array:
  """A key [B] for each row, from both 32-bit words of its example number."""

  def one(words_2: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, words_2[0]), words_2[1])

  return jax.vmap(one)(example_number_B2)


def microbatches(batch: Any, count: int) -> Any:
  """[B, ...] -> [count, B / count, ...], rows dealt out in turn.

  In turn (row i goes to part i % count), so that every device keeps rows of
  its own in every part and nothing moves between devices.
  """
  return jax.tree.map(
    lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(
      0, 1
    ),
    batch,
  )
