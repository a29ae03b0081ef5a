"""Which characters of a text its tokens stand for.

The packages tell this of the text that they are given. Where a tokenizer of
ours changes a text before that, character by character, it is traced back here.
"""

from collections.abc import Sequence

import numpy as np


def in_text(
  spans: Sequence[tuple[int, int]],
  text: str,
  prepared: str,
  lengths: Sequence[int] | None,
) -> np.ndarray:
  """The characters of `text` under each token.

  Args:
    spans: (first, end) of each token in `prepared`; empty ones, as of a space
      that a tokenizer put in, get the character that follows.
    text: the original.
    prepared: what became of it.
    lengths: how many characters of `prepared` each one of `text` became; None
      where all are 1.

  Returns:
    int64 [n, 2]: first and end, at least one character each.
  """
  places = np.array(spans, np.int64).reshape(-1, 2)
  if not len(places):
    return places
  first = np.minimum(places[:, 0], len(prepared) - 1)
  last = np.maximum(places[:, 1] - 1, first)
  if lengths is not None:
    origins = np.repeat(np.arange(len(text)), lengths)
    assert len(origins) == len(prepared), 'a text was prepared in another way'
    first, last = origins[first], origins[last]
  return np.stack([first, last + 1], axis=1)
