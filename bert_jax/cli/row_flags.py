"""The flags that say what rows are made of documents; no verb itself."""

from collections.abc import Callable
from typing import Any

from absl import flags

from bert_jax.cli.flags import whole_numbers

# define_rows() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()


def define_rows() -> Callable[[], dict[str, Any]]:
  """Defines the flags; returns what gives their values for `prepare`."""
  row_length = flags.DEFINE_list(
    'row_length',
    ['128'],
    'Tokens in a row; a folder is written for each value.',
  )
  eval_fraction = flags.DEFINE_float(
    'eval_fraction',
    0.01,
    'Share of the documents, chosen by a hash of the text, that is kept out of '
    'training, in OUTPUT/eval.',
  )
  word_segmenter = flags.DEFINE_string(
    'word_segmenter',
    '',
    "Note where words begin, for whole-word masking: 'jieba' for Chinese, or "
    'MODULE:FUNCTION of your own that gives the list of words of a text.',
  )
  pairs = flags.DEFINE_string(
    'pairs',
    '',
    "Rows of pairs instead of texts: 'next_sentence' (as BERT) or "
    "'sentence_order' (as ALBERT).",
  )

  def options() -> dict[str, Any]:
    return {
      'row_lengths': whole_numbers(row_length),
      'eval_fraction': eval_fraction.value,
      'word_segmenter': word_segmenter.value,
      'pairs': pairs.value,
    }

  return options
