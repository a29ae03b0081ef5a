"""Figures of retrieval: how near the top the right documents are ranked.

Every document is scored for every query, so the ranks are exact.
"""

from collections.abc import Iterable, Sequence

import numpy as np

# Queries that are scored at once; memory grows with it.
_BLOCK = 512
# The worth of a right document at ranks 1 to 10, as of nDCG@10.
GAINS = 1 / np.log2(np.arange(2, 12))


def with_length_1(vectors: np.ndarray) -> np.ndarray:
  """Vectors [..., D] of the same directions; a vector of 0 stays so."""
  lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / np.maximum(lengths, 1e-12)


def top_k(
  queries_QD: np.ndarray, documents_ND: np.ndarray, k: int
) -> np.ndarray:
  """The k documents with the largest products, best first: int [Q, min(k, N)].

  Of equal products, the earlier document is ranked first.
  """
  return np.concatenate(
    [
      np.argsort(
        -(queries_QD[first : first + _BLOCK] @ documents_ND.T),
        axis=1,
        kind='stable',
      )[:, :k]
      for first in range(0, len(queries_QD), _BLOCK)
    ]
  )


def figures(
  ranked_QK: Iterable[np.ndarray], relevant: Sequence[set[int]]
) -> dict[str, float]:
  """The mean figures over queries, from their ranked documents.

  'recall_at_1' and 'recall_at_10', the share of a query's relevant documents
  among the first 1 and 10; 'mrr_at_10', the inverse of the rank of the first
  relevant one, or 0 below rank 10; 'ndcg_at_10', the sum of 1 / log2(1 + rank)
  over the relevant ones, divided by the largest that it can be (Järvelin &
  Kekäläinen 2002).

  Args:
    ranked_QK: The documents of each query, best first, as `top_k` gives them;
      at least 10 of them, or all.
    relevant: The documents that are right for each query, at least one.
  """
  found: dict[str, list[float]] = {
    name: [] for name in ('ndcg_at_10', 'mrr_at_10', 'recall_at_1')
  }
  found['recall_at_10'] = []
  for ranked, right in zip(ranked_QK, relevant, strict=True):
    ranks = [n for n, one in enumerate(ranked[:10].tolist()) if one in right]
    found['recall_at_10'].append(len(ranks) / len(right))
    found['recall_at_1'].append((ranks[:1] == [0]) / len(right))
    found['mrr_at_10'].append(1 / (1 + ranks[0]) if ranks else 0.0)
    best = GAINS[: len(right)].sum()
    found['ndcg_at_10'].append(GAINS[ranks].sum() / best)
  return {name: float(np.mean(values)) for name, values in found.items()}


def figures_of_examples(
  texts: Sequence[tuple[str, ...]], vectors_NKD: np.ndarray
) -> dict[str, float]:
  """The figures of examples (anchor, positive, negatives...) and their vectors.

  The queries are the different anchors, the documents the different texts of
  the other columns. All positives of an anchor are relevant to it.
  """
  queries, first_query = _different([(row[0],) for row in texts])
  documents, first_document = _different([row[1:] for row in texts])
  relevant: list[set[int]] = [set() for _ in first_query]
  for anchor, positive, *_ in texts:
    relevant[queries[anchor]].add(documents[positive])
  others_NKD = vectors_NKD[:, 1:]
  ranked = top_k(
    vectors_NKD[[row for row, _ in first_query], 0],
    others_NKD[tuple(np.array(first_document).T)],
    10,
  )
  return figures(ranked, relevant)


def _different(
  texts: Sequence[tuple[str, ...]],
) -> tuple[dict[str, int], list[tuple[int, int]]]:
  """({text: its number}, the row and column where each stands first)."""
  numbers: dict[str, int] = {}
  first = []
  for row, of_row in enumerate(texts):
    for column, text in enumerate(of_row):
      if text not in numbers:
        numbers[text] = len(numbers)
        first.append((row, column))
  return numbers, first
