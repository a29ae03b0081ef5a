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
from bert_jax.tasks.text_rows import (
  encode_examples,
  encode_windows,
  split_columns,
)


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
  `num_windows` above 1 divides a text of more than max_length tokens into at
  most so many rows. Each row learns the answer of its text, with a part of its
  weight, and the predictions for them are averaged.
  """

  name: ClassVar[str]
  figures: ClassVar[dict[str, Figure]]

  train_path: str = ''
  eval_path: str = ''
  text_columns: tuple[str, ...] = ('text',)
  label_column: str = 'label'
  header: str = ''
  pooling: str = CLS
  num_windows: int = 1
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
    if self.num_windows < 1:
      raise InputError(
        f'task.num_windows is {self.num_windows}; it must be 1 or more'
      )
    if self.num_windows > 1 and len(self.text_columns) > 1:
      raise InputError(
        f'task.num_windows={self.num_windows}: a pair of texts cannot be '
        'divided; give 1, or a single text column'
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

  def __init__(
    self, pooling: str, table: TokenTable, facts: Facts, num_windows: int = 1
  ):
    super().__init__(table, facts)
    self.pooling = pooling
    self.num_windows = num_windows

  def answers(self, examples: Examples) -> np.ndarray:
    """The labels that the loss reads, [n]; InputError on an impossible one."""
    raise NotImplementedError

  def featurize(
    self, examples: Examples, tokenizer: Tokenizer, max_length: int
  ) -> Features:
    answers = {'labels': self.answers(examples)} if examples.labels else {}
    if self.num_windows > 1:
      return self._windows(examples, answers, tokenizer, max_length)
    ids, num_cut = encode_examples(tokenizer, examples.texts, max_length)
    cut = {f'cut to max_length={max_length} tokens': num_cut}
    return Features(rows={'input_ids': ids, **answers}, cut=cut)

  def _windows(
    self,
    examples: Examples,
    answers: dict[str, np.ndarray],
    tokenizer: Tokenizer,
    max_length: int,
  ) -> Features:
    """Rows of windows; `kept` is the number of each row's example."""
    windows = encode_windows(
      tokenizer, examples.texts, max_length, self.num_windows
    )
    of_row = windows.example_R
    rows = {name: array[of_row] for name, array in answers.items()}
    rows['shares'] = (1 / np.bincount(of_row)[of_row]).astype(np.float32)
    what = f'rows of max_length={max_length} tokens'
    return Features(
      rows={'input_ids': windows.ids_RT} | rows,
      cut={
        f'divided into {what}': windows.num_divided,
        f'cut to {self.num_windows} {what}': windows.num_cut,
      },
      kept=of_row,
    )

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout; a window has a part of its text's weight."""
    batch = super().prepare(batch, key, step)
    if 'shares' in batch and 'label_weights' in batch:
      weights_B = batch['label_weights'] * batch['shares']
      batch = batch | {'label_weights': weights_B}
    return batch

  def of_examples(self, rows: np.ndarray, features: Features) -> np.ndarray:
    """The mean of an example's rows [n, ...], for rows [R, ...] of examples."""
    if self.num_windows == 1:
      return rows
    totals = np.zeros((features.kept[-1] + 1, *rows.shape[1:]), rows.dtype)
    np.add.at(totals, features.kept, rows)
    counts = np.bincount(features.kept).astype(rows.dtype)
    return totals / counts.reshape(-1, *[1] * (rows.ndim - 1))

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
