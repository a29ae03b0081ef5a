"""Whole-word masking of each kind of tokenizer: never a part of a word.

What the objective selects is compared with the words of the text, as told by
the text alone.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_tokenizers import train

from bert_jax.data.tokenizers.sentencepiece_training import MODEL_TYPES
from bert_jax.objectives.mlm import MaskedLMConfig

TEXT = (
  "Unforgettable: the re-arranged arrays aren't, however, in 日本語 or Ελλάδα; "
  'supercalifragilistic café naïveté 😀 😀👍 (f(x) = x**2) [SEP] 3,14159 '
  'Żółw\twent\naway  quickly\r\nthere …'
)
NUM_DRAWS = 100
# Few enough entries that most words are several tokens.
TRAIN = [
  'the array is in there; arrays are away or arranged, quickly 3,1 (x) f'
] * 30


def wordpiece_words(text):
  """As Google's BasicTokenizer: punctuation and Chinese stand alone."""
  return re.findall(r'[一-鿿]|[^\W一-鿿]+|[😀👍]+|[^\w\s]', text)


def spaced_words(text):
  return text.split()


KINDS = {
  'wordpiece': (
    functools.partial(train, 'wordpiece', [*TRAIN, TEXT], 200),
    wordpiece_words,
  ),
  'byte_bpe': (functools.partial(train, 'byte_bpe', TRAIN, 300), spaced_words),
} | {
  f'sentencepiece_{model_type}': (
    functools.partial(train, f'sentencepiece_{model_type}', TRAIN, 320),
    spaced_words,
  )
  for model_type in MODEL_TYPES
}


def masked_runs(tokenizer, ids):
  """(first, end) in ids of runs of words that the objective masks at once."""
  table = tokenizer.table
  row = np.concatenate([[table.cls_id], ids, [table.sep_id]])
  objective = MaskedLMConfig(selection='whole_word', mask_rate=0.3).build(table)
  numbers = jnp.arange(NUM_DRAWS, dtype=jnp.uint32)
  batch = {
    'input_ids': jnp.tile(jnp.asarray(row, jnp.int32), (NUM_DRAWS, 1)),
    'example_number': jnp.stack([jnp.zeros_like(numbers), numbers], axis=1),
  }
  prepared = jax.jit(objective.prepare)(batch, jax.random.key(0))
  for positions, weights in zip(
    np.asarray(prepared['masked_positions']),
    np.asarray(prepared['masked_weights']),
    strict=True,
  ):
    masked = np.zeros(len(row) + 1, bool)
    masked[positions[weights > 0]] = True
    edges = np.flatnonzero(np.diff(masked.astype(int), prepend=0))
    yield from edges.reshape(-1, 2) - 1


@pytest.mark.parametrize('kind', KINDS)
def test_words_of_the_table_are_the_words_of_the_text(kind):
  make, words_of = KINDS[kind]
  tokenizer = make()
  (ids,) = tokenizer.encode_batch([TEXT])
  starts = tokenizer.table.word_starts[ids]
  starts[0] = True  # as the objective has it
  words = [
    tokenizer.decode(part) for part in np.split(ids, np.flatnonzero(starts)[1:])
  ]
  # A second space in a row is a token of its own to a byte BPE.
  words = [word for word in words if word]
  expected = words_of(TEXT)
  if kind.startswith('sentencepiece'):
    expected = [w.replace('…', '...') for w in expected]  # its NFKC
  assert words == expected
  assert len(ids) > 1.5 * len(words)


@pytest.mark.parametrize('kind', KINDS)
def test_masks_are_whole_words(kind):
  make, words_of = KINDS[kind]
  tokenizer = make()
  (ids,) = tokenizer.encode_batch([TEXT])
  expected = set(words_of(TEXT.replace('…', '...')))
  expected |= set(words_of(TEXT))
  seen = set()
  for first, end in masked_runs(tokenizer, ids):
    found = words_of(tokenizer.decode(ids[first:end]))
    assert set(found) <= expected
    seen |= set(found)
  # All words come up, but for those longer than the whole budget.
  assert len(seen) > 0.9 * len(set(words_of(TEXT)))
