"""The parts that tasks share: their rows, and one answer to a whole text."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.data.examples import Examples
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models.dropout import fold
from bert_jax.models.heads import (
  CLS,
  POOLINGS,
  Classifier,
  HeadBuilder,
  Pooler,
  text_vector,
)
from bert_jax.objectives.base import (
  Batch,
  derive_layout,
  with_hidden_states,
)
from bert_jax.tasks.base import Facts, Features, Figure, validate_examples
from bert_jax.tasks.text_rows import encode_examples, split_columns


@dataclasses.dataclass(kw_only=True, slots=True)
class TextTaskConfig:
  """Fields of every task with one answer to a text or a pair of texts.

  Paths end in .tsv, .csv, .tab, .jsonl, .ndjson, .json (each also with .gz, .xz
  or .zst) or .parquet. Columns are named as in the header, or by number from 0
  if there is no header; one or two hold texts
  (`--config.task.text_columns=premise,hypothesis`). `header`: 'yes' skips the
  first line of a .tsv or .csv whose columns are given by number; 'no' reads a
  first line that looks like a header, and would be refused, as an example.
  `max_train_examples` above 0 draws that many with a fixed seed, to see how
  much labelled data is needed.

  `pooling`: the pooler sees the vector of [CLS] ('cls'), as in BERT, or the
  mean over the text ('mean'). `metric` is one of the task's `figures`.
  """

  name: ClassVar[str]
  figures: ClassVar[dict[str, Figure]]

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('text',)
  label_column: str = 'label'
  header: str = ''
  pooling: str = CLS
  metric: str = ''
  max_train_examples: int = 0

  def validate(self) -> None:
    self.text_columns = split_columns(self.text_columns)
    validate_examples(self)
    if self.pooling not in POOLINGS:
      raise InputError(
        f'task.pooling is {quoted(self.pooling)}; choose one of '
        f'{", ".join(POOLINGS)}'
      )


class RowTask:
  """A task whose encoder reads clean rows: the part of Task that follows."""

  def __init__(self, table: TokenTable, facts: Facts):
    self.table = table
    self.facts = facts

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout; nothing here is random or follows a schedule."""
    del key, step
    return batch | derive_layout(batch['input_ids'], self.table)._asdict()

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    return with_hidden_states(model, batch, fold(dropout_seeds_B, 0))


class TextTask(RowTask):
  """A task with one answer to a whole text: a pooler and a classifier.

  A subclass gives `answers`, `num_outputs`, and `coefficients` with the names
  of its losses, whose weights are the numbers of examples.
  """

  coefficients: dict[str, float]
  num_outputs: int

  def __init__(self, pooling: str, table: TokenTable, facts: Facts):
    super().__init__(table, facts)
    self.pooling = pooling

  def answers(self, examples: Examples) -> np.ndarray:
    """The labels that the loss reads, [n]; InputError on an impossible one."""
    raise NotImplementedError

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    answers = {'labels': self.answers(examples)} if examples.labels else {}
    ids, num_cut = encode_examples(tokenizer, examples.texts, max_length)
    cut = {f'cut to max_length={max_length} tokens': num_cut}
    return Features(rows={'input_ids': ids, **answers}, cut=cut)

  def heads(self) -> dict[str, HeadBuilder]:
    classifier = functools.partial(Classifier, num_classes=self.num_outputs)
    return {'pooler': Pooler, 'classifier': classifier}

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    weight = jnp.sum(batch['label_weights'])
    return dict.fromkeys(self.coefficients, weight)

  def outputs(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> jax.Array:
    """Scores of an encoded batch, f32 [B, num_outputs]."""
    vector_BD = text_vector(
      batch['hidden_states'], batch['segment_ids'], self.pooling
    )
    return model.classifier(model.pooler(vector_BD), fold(dropout_seeds_B, 1))
