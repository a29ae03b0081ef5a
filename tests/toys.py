"""Small objects that several tests share: a table, rows, a batch, a model."""

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.models import config as presets
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import model_with_heads

PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB_SIZE = 50


def table() -> TokenTable:
  """A token table with special ids 0-4; even ids start a word."""
  return TokenTable(
    vocab_size=VOCAB_SIZE,
    pad_id=PAD,
    unk_id=UNK,
    cls_id=CLS,
    sep_id=SEP,
    mask_id=MASK,
    special_ids=np.arange(5, dtype=np.int32),
    ordinary_ids=np.arange(5, VOCAB_SIZE, dtype=np.int32),
    word_starts=np.arange(VOCAB_SIZE) % 2 == 0,
  )


def rows(num_rows: int, length: int, seed: int = 0) -> np.ndarray:
  """Rows int32 [num_rows, length] of two texts and a little padding each."""
  rng = np.random.default_rng(seed)
  ids = rng.integers(5, VOCAB_SIZE, (num_rows, length)).astype(np.int32)
  for row in ids:
    middle = rng.integers(3, length - 6)
    end = length - rng.integers(0, 3)
    row[0] = row[middle + 1] = CLS
    row[middle] = row[end - 1] = SEP
    row[end:] = PAD
  return ids


def batch(num_rows: int, length: int, first: int = 0) -> dict[str, jax.Array]:
  numbers = np.arange(first, first + num_rows, dtype=np.uint64)
  words = np.stack([numbers >> np.uint64(32), numbers & np.uint64(2**32 - 1)])
  return {
    'input_ids': jnp.asarray(rows(num_rows, length, first)),
    'example_number': jnp.asarray(words.T.astype(np.uint32)),
  }


SIZES = dict(
  num_layers=2,
  embed_dim=16,
  num_heads=2,
  mlp_dim=32,
  vocab_size=VOCAB_SIZE,
  dropout=0.0,
  attention_dropout=0.0,
  # The published 0.02 would leave small models hardly different from zero.
  initializer_stddev=0.2,
)


def encoder_config(**overrides) -> EncoderConfig:
  return EncoderConfig(**(SIZES | {'max_positions': 32} | overrides))


# The families other than BERT, with the fields that small models must change.
FAMILIES = {
  'roberta': (presets.roberta_base, {}),
  'distilbert': (presets.distilbert_base, {}),
  'albert': (presets.albert_base, dict(embedding_size=8)),
  'electra': (presets.electra_base, dict(embedding_size=24)),
  'modernbert': (
    presets.modernbert_base,
    # A global layer follows two local ones, and 50 tokens have 56 embedding
    # rows.
    dict(num_layers=4, local_window=8, vocab_multiple=8),
  ),
}


def family_config(family: str, **overrides) -> EncoderConfig:
  """The published preset of a family, with the sizes of `encoder_config`."""
  preset, own = FAMILIES[family]
  return preset(**(SIZES | {'max_positions': 128} | own | overrides))


def model(objective, **overrides) -> functional.Model:
  return model_with_heads(
    encoder_config(**overrides), objective.heads(), 'float32'
  )


def pair_batch(num_rows: int, length: int, first: int = 0) -> dict:
  """A batch of pairs, two in even rows and one in odd ones; labels [B, 3].

  The label of a pair is 1 if A's first token is larger than all of B's.
  """
  rng = np.random.default_rng(first)
  found = batch(num_rows, length, first)
  ids = np.full((num_rows, length), PAD, np.int32)
  labels = np.full((num_rows, 3), -1, np.int32)
  for row in range(num_rows):
    edges = [0, length // 2, length - 1] if row % 2 == 0 else [0, length - 2]
    for pair, (start, end) in enumerate(zip(edges, edges[1:], strict=False)):
      text = rng.integers(5, VOCAB_SIZE - 1, end - start)
      middle = rng.integers(2, end - start - 2)
      text[0], text[middle], text[-1] = CLS, SEP, SEP
      labels[row, pair] = rng.integers(2)
      if labels[row, pair]:
        text[1] = VOCAB_SIZE - 1
      ids[row, start:end] = text
  return found | {
    'input_ids': jnp.asarray(ids),
    'pair_labels': jnp.asarray(labels),
  }


def params(model: functional.Model) -> functional.Params:
  """Random parameters, made without the compilations of `Model.init`."""
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    values = rng.normal(0, 0.3, leaf.shape).astype(np.float32)
    return values + (path[-1].key == 'scale')

  return jax.tree_util.tree_map_with_path(draw, model.abstract_params())
