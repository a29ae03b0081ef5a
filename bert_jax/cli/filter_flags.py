"""The flags that say which documents to leave out; no verb itself."""

from collections.abc import Callable
from typing import Any

from absl import flags

# define_filters() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()


def define_filters() -> Callable[[Any], Any]:
  """Defines the flags; returns what puts the filters around a source."""
  min_characters = flags.DEFINE_integer(
    'min_characters', 0, 'Leave out documents shorter than this.'
  )
  max_characters = flags.DEFINE_integer(
    'max_characters', 0, 'Leave out documents longer than this; 0: none.'
  )
  deduplicate = flags.DEFINE_boolean(
    'deduplicate', False, 'Keep the first of documents with the same text.'
  )
  near_duplicates = flags.DEFINE_float(
    'near_duplicates',
    0.0,
    'Leave out a document that shares this much of its runs of five words with '
    'an earlier one, such as 0.8 (MinHash; 0: none).',
  )
  keep = flags.DEFINE_string(
    'keep',
    '',
    'MODULE:FUNCTION of your own, called with the text of each document; where '
    'it gives False the document is left out.',
  )

  def filtered(source: Any) -> Any:
    from bert_jax.data.preparing import filters

    return filters.filtered(
      source,
      filters.FilterOptions(
        min_characters=min_characters.value,
        max_characters=max_characters.value,
        deduplicate=deduplicate.value,
        near_duplicates=near_duplicates.value,
        keep=keep.value,
      ),
    )

  return filtered
