"""The part that tasks of vectors share: K texts an example, read one by one."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.data.examples import Examples
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models.dropout import fold, fold_each
from bert_jax.models.heads import HeadBuilder, vectors_of_rows
from bert_jax.models.masks import RowLayout
from bert_jax.models.vector_form import VectorForm
from bert_jax.objectives.base import Batch, derive_layout, with_hidden_states
from bert_jax.tasks.base import Facts, Features, Result
from bert_jax.tasks.retrieval import with_length_1
from bert_jax.tasks.text_rows import encode_examples


class VectorTask:
  """A task whose encoder reads each text of an example by itself.

  A row of a batch is an example, with the ids of its texts int [K, T].
  """

  def __init__(self, form: VectorForm, table: TokenTable, facts: Facts):
    self.form = form
    self.table = table
    self.facts = facts

  def heads(self) -> dict[str, HeadBuilder]:
    return {}

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout [B, K, T]; nothing here is random."""
    del key, step
    return with_layouts(batch, self.table)

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    """Adds whole `vectors`, f32 [B, K, D]; see VectorObjective."""
    rows = flat_rows(batch)
    # The same text twice has other dropout each time (SimCSE).
    seeds = flat_seeds(fold(dropout_seeds_B, 0), batch)
    states = with_hidden_states(model, rows, seeds)['hidden_states']
    vectors = vectors_of_rows(
      states.astype(jnp.float32),
      rows['segment_ids'],
      self.form._replace(dim=0),
    )
    shape = batch['input_ids'].shape[:2]
    return batch | {'vectors': vectors.reshape(*shape, -1)}

  def predict(self, model: nnx.Module, batch: Batch) -> jax.Array:
    """Returns the vectors, f32 [B, K, D], as long as `form` says."""
    vectors_BKD = self.encode(model, batch, None)['vectors']
    return vectors_BKD[..., : self.form.dim or vectors_BKD.shape[-1]]

  def decode(self, predictions: np.ndarray, features: Features) -> list[Result]:
    """Returns {'similarity': cosine of the first two texts} of each example."""
    if features.kept < 2:
      raise InputError('a similarity needs two texts; give both')
    unit = with_length_1(predictions)
    cosines = np.sum(unit[:, 0] * unit[:, 1], axis=-1)
    return [
      {'similarity': cosine, '_vectors': vectors}
      for cosine, vectors in zip(cosines.tolist(), unit.tolist(), strict=True)
    ]

  def values(self, results: Sequence[Result]) -> np.ndarray:
    """The cosines of first and second texts, f32 [n]."""
    return np.array([result['similarity'] for result in results], np.float32)


def with_layouts(batch: Batch, table: TokenTable) -> Batch:
  """The batch with the row layout [B, K, T] of its texts."""
  ids_BKT = batch['input_ids']
  layout = derive_layout(_flat(ids_BKT), table)
  return batch | {
    name: x.reshape(ids_BKT.shape) for name, x in layout._asdict().items()
  }


def flat_rows(batch: Batch) -> Batch:
  """Arrays of the encoder by text, [B * K, ...]."""
  names = ('input_ids', 'embedding_delta', *RowLayout._fields, 'hidden_states')
  return {name: _flat(batch[name]) for name in names if name in batch}


def flat_seeds(seeds_B: jax.Array | None, batch: Batch) -> jax.Array | None:
  """A dropout seed for each text, [B * K]; None without dropout."""
  seeds_BK = fold_each(seeds_B, batch['input_ids'].shape[1])
  return None if seeds_BK is None else seeds_BK.reshape(-1)


def encode_texts(
  examples: Examples, tokenizer: Tokenizer, max_length: int
) -> tuple[np.ndarray, np.ndarray, int]:
  """Encodes each text of each example as a row of its own.

  An example of one text has it twice, as SimCSE needs it.

  Returns:
    Ids int32 [n, K, max_length]; numbers of the texts int32 [n, K], equal for
    equal texts; the number of texts that were cut.

  Raises:
    InputError: A text is empty, or a negative equals its positive.
  """
  require_texts(examples)
  groups = [texts * 2 if len(texts) == 1 else texts for texts in examples.texts]
  flat = [text for texts in groups for text in texts]
  ids, num_cut = encode_examples(
    tokenizer, [(text,) for text in flat], max_length
  )
  places: dict[str, int] = {}
  numbers = [places.setdefault(text, len(places)) for text in flat]
  return (
    ids.reshape(len(groups), -1, max_length),
    np.array(numbers, np.int32).reshape(len(groups), -1),
    num_cut,
  )


def scaled_scores(examples: Examples, low: float, high: float) -> np.ndarray:
  """The examples' scores f32 [n], with `low` and `high` mapped to 0 and 1.

  Raises InputError on a score outside of them.
  """
  for origin, score in zip(examples.origins, examples.labels, strict=True):
    if not low <= score <= high:
      raise InputError(
        f'{origin}: the score is {score:g}, outside task.score_range={low:g},'
        f'{high:g}; mend it, or give --config.task.score_range=SMALLEST,LARGEST'
      )
  scores = np.array(examples.labels, np.float64)
  return ((scores - low) / (high - low)).astype(np.float32)


def _flat(rows_BKT: jax.Array) -> jax.Array:
  return rows_BKT.reshape(-1, *rows_BKT.shape[2:])


def require_texts(examples: Examples) -> None:
  """Raises InputError on an empty text, or a negative that is a positive."""
  for origin, texts in zip(examples.origins, examples.texts, strict=True):
    if not all(text.strip() for text in texts):
      raise InputError(f'{origin}: a text is empty; fill it in')
    for number, text in enumerate(texts[2:], 1):
      if text.strip() == texts[1].strip():
        raise InputError(
          f'{origin}: negative {number} equals its positive, {quoted(text)}; '
          'mend one of them, or leave the example out'
        )
