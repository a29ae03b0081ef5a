"""Queries and their documents: grouped, checked, and the ranking measured.

An example is a query and its documents: one with a label, or a positive and
its negatives without any.
"""

import numpy as np

from bert_jax.data.examples import Examples
from bert_jax.errors import InputError
from bert_jax.tasks import retrieval


def counts(examples: Examples) -> dict[str, int]:
  """The numbers of different 'queries', of 'documents', and of 'right' ones."""
  right = len(examples)  # without labels, each has one
  if examples.labels:
    right = sum(label > 0 for label in examples.labels)
  return {
    'queries': len(rows_of_queries(examples)),
    'documents': sum(len(texts) - 1 for texts in examples.texts),
    'right': right,
  }


def figures(examples: Examples, scores: np.ndarray) -> dict[str, float]:
  """The figures of retrieval, over the documents that each query has.

  Of documents with equal scores the wrong ones rank first, so that nothing is
  gained by the order of a file. `scores` is [n], one an example.
  """
  labels = np.array(examples.labels)
  groups, _ = ranked_queries(examples)
  ranked = [rows[np.lexsort((labels[rows], -scores[rows]))] for rows in groups]
  right = [set(rows[labels[rows] > 0].tolist()) for rows in groups]
  return retrieval.figures(ranked, right)


def ndcg_of_chance(examples: Examples) -> float:
  """The mean nDCG@10 that documents in a random order are expected to have."""
  labels = np.array(examples.labels)
  groups, _ = ranked_queries(examples)
  shares = [
    labels[rows].mean()
    * retrieval.GAINS[: len(rows)].sum()
    / retrieval.GAINS[: int(labels[rows].sum())].sum()
    for rows in groups
  ]
  return float(np.mean(shares))


def check_labels(examples: Examples) -> None:
  """Raises InputError on a label outside of 0 to 1."""
  for origin, label in zip(examples.origins, examples.labels, strict=True):
    if not 0 <= label <= 1:
      raise InputError(
        f'{origin}: the label is {label:g}; give 1 for a right document, 0 for '
        'a wrong one, or a number between'
      )


def rows_of_queries(examples: Examples) -> dict[str, list[int]]:
  rows: dict[str, list[int]] = {}
  for row, texts in enumerate(examples.texts):
    rows.setdefault(texts[0], []).append(row)
  return rows


def ranked_queries(examples: Examples) -> tuple[list[np.ndarray], list[str]]:
  """The rows of each query that can be ranked well or badly, and notes.

  Raises InputError if there is none, or a label is neither 0 nor 1.
  """
  for origin, label in zip(examples.origins, examples.labels, strict=True):
    if label not in (0, 1):
      raise InputError(
        f'{origin}: the label is {label:g}; figures are of documents that are '
        'right or not, so give 1 or 0'
      )
  labels = np.array(examples.labels)
  groups = [np.array(rows) for rows in rows_of_queries(examples).values()]
  none = sum(not labels[rows].any() for rows in groups)
  only = sum(bool(labels[rows].all()) for rows in groups)
  said = (
    f'of {len(groups):,} queries {none:,} have no right document and {only:,} '
    'only right ones'
  )
  if none + only == len(groups):
    raise InputError(
      f'{examples.origins[0]}: {said}, so nothing can be ranked; give a query '
      'both, each in a record with an equal query'
    )
  groups = [rows for rows in groups if 0 < labels[rows].mean() < 1]
  notes = [f'{said}; the figures are without them'] if none + only else []
  return groups, notes


def contradictions(part: str, examples: Examples) -> list[str]:
  """A warning, in a list, on documents that are both right and wrong."""
  right, wrong = set(), set()
  for row, (query, *documents) in enumerate(examples.texts):
    is_right = not examples.labels or examples.labels[row] > 0
    (right if is_right else wrong).add((query, documents[0]))
    wrong.update((query, document) for document in documents[1:])
  if not (both := right & wrong):
    return []
  return [
    f'warning: {part}: {len(both):,} documents are right for their query in '
    'one example and wrong in another'
  ]
