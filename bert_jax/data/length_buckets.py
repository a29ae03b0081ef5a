"""Few lengths for rows of many lengths, so that little padding is computed.

Each length of a batch's arrays is a compiled program of its own.
"""

import numpy as np

# A further length must save this share of the tokens that are computed without
# it, or the time of its compilation is hardly won back.
_MIN_SAVED = 0.15


def count_tokens(ids: np.ndarray, pad_id: int) -> np.ndarray:
  """Tokens of each row, int64 [n], up to the last that is no padding.

  `ids` is int [n, ..., T], padded at the end. Of several texts in a row, the
  longest counts.
  """
  length = ids.shape[-1]
  used = ids.reshape(len(ids), -1, length) != pad_id
  used_RT = used.any(axis=1)
  last = length - np.argmax(used_RT[:, ::-1], axis=1)
  return np.where(used_RT.any(axis=1), last, 0)


def rounded_length(num_tokens: int, most_tokens: int) -> int:
  """4, 8, ... 32, 40, ... 64, 80, ...: few lengths, with little padding."""
  step = max(4, (1 << (num_tokens - 1).bit_length()) // 8)
  return min(-(-num_tokens // step) * step, most_tokens)


def choose_lengths(
  num_tokens: np.ndarray, most_tokens: int, max_lengths: int
) -> np.ndarray:
  """The lengths that pad the rows least, int64 [k], ascending.

  Args:
    num_tokens: Tokens of each row, int [n], 1 or more each.
    most_tokens: The length of the longest row that there may be.
    max_lengths: The largest k. There are fewer where a further length would
      save less than 15 % of the padded tokens.

  Returns:
    Lengths of which the last holds the longest row.
  """
  values, value_of_row = np.unique(num_tokens, return_inverse=True)
  rounded = [rounded_length(max(1, int(n)), most_tokens) for n in values]
  lengths, counts = np.unique(
    np.asarray(rounded)[value_of_row], return_counts=True
  )
  before = np.concatenate([[0], np.cumsum(counts)])
  # best[j]: (padded tokens of all rows up to lengths[j], the chosen lengths, of
  # which lengths[j] is the last), with one chosen length more in each turn.
  best = [(before[j + 1] * n, (n,)) for j, n in enumerate(lengths)]
  found = best[-1]
  for _ in range(max_lengths - 1):
    best = [
      min(
        [best[j]]
        + [
          (best[i][0] + (before[j + 1] - before[i + 1]) * n, (*best[i][1], n))
          for i in range(j)
        ]
      )
      for j, n in enumerate(lengths)
    ]
    if best[-1][0] > (1 - _MIN_SAVED) * found[0]:
      break
    found = best[-1]
  return np.asarray(found[1], np.int64)


def bucket_of(num_tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """The index of the shortest length that holds each row, int64 [n]."""
  return np.searchsorted(lengths, num_tokens)
