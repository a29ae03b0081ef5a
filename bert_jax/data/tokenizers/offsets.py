"""Tells which characters of a text its tokens stand for.

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
    prepared: the text as the tokenizer changed it.
    lengths: characters of `prepared` that each one of `text` became; None
      where all are 1.

  Returns:
    int64 [n, 2]: first and end, at least one character each. A character that
    was dropped belongs to the one before it.
  """
  places = np.array(spans, np.int64).reshape(-1, 2)
  if not len(places):
    return places
  first = np.minimum(places[:, 0], len(prepared) - 1)
  end = np.maximum(places[:, 1], first + 1)
  if lengths is not None:
    origins = np.repeat(np.arange(len(text)), lengths)
    assert len(origins) == len(prepared), 'a text was prepared in another way'
    ends = np.maximum(origins + 1, np.append(origins[1:], len(text)))
    first, end = origins[first], ends[end - 1]
  return np.stack([first, end], axis=1)
