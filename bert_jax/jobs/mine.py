"""Hard negatives: texts that an encoder takes for the right ones, and are not.

All documents are scored for every anchor, so the search is exact. The options
are those of sentence-transformers' `mine_hard_negatives`.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bert_jax.data.examples import Examples
from bert_jax.data.progress import TextProgress
from bert_jax.embedding import WINDOW, Embedder, check_texts
from bert_jax.errors import InputError
from bert_jax.tasks.retrieval import top_k, with_length_1
from bert_jax.tasks.vector_task import require_texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mining:
  """The choice of negatives among the nearest documents of an anchor.

  Attributes:
    num_negatives: Negatives of a pair, which is left out if it has fewer.
    range_min: The number of nearest documents, positives aside, to pass over.
    range_max: The number of nearest documents to look at.
    max_score: The largest cosine of a negative with the anchor.
    relative_margin: A negative's cosine is at most 1 - this of the positive's,
      as what is nearer may be right but unlabelled (Moreira et al. 2024 take
      0.05).
  """

  num_negatives: int = 3
  range_min: int = 0
  range_max: int = 100
  max_score: float = 1.0
  relative_margin: float = 0.05

  def __post_init__(self):
    if self.num_negatives < 1:
      raise InputError(f'--num_negatives={self.num_negatives}: give 1 or more')
    if not 0 <= self.range_min <= self.range_max - self.num_negatives:
      raise InputError(
        f'--range_min={self.range_min} and --range_max={self.range_max}: give '
        f'numbers from 0 up with room for --num_negatives={self.num_negatives} '
        'between them'
      )
    if not 0 <= self.relative_margin < 1:
      raise InputError(
        f'--relative_margin={self.relative_margin}: give a number from 0 up to '
        'but not 1'
      )


@dataclasses.dataclass(kw_only=True)
class Mined:
  """The pairs with negatives, and what became of the others.

  Attributes:
    records: {'anchor', 'positive', 'negative_1', ...} of each pair, in order.
    num_without: Pairs with too few negatives, which are left out.
    num_near: Documents that were too near to an anchor, or to its positive.
    num_cut: Texts whose ends were dropped to encode them.
    mean_scores: Mean cosine of an anchor with its positive and its negatives.
  """

  records: list[dict[str, str]] = dataclasses.field(default_factory=list)
  num_without: int = 0
  num_near: int = 0
  num_cut: int = 0
  mean_scores: tuple[float, float] = (0.0, 0.0)

  def lines(self) -> Iterator[bytes]:
    """The records as lines of JSON."""
    for record in self.records:
      yield (json.dumps(record, ensure_ascii=False) + '\n').encode()


def mine(
  embedder: Embedder,
  pairs: Examples,
  more: Sequence[str],
  mining: Mining,
  *,
  cut: bool,
) -> Mined:
  """Finds negatives for pairs of an anchor and its positive.

  Args:
    embedder: The encoder; its vectors are compared by their cosines.
    pairs: Anchors may be repeated, and are given none of their positives.
    more: More documents beside the positives.
    mining: What to choose.
    cut: See Embedder.encode.

  Raises:
    InputError: A text is too long or empty, or no pair has enough negatives.
  """
  require_texts(pairs)
  mined = Mined()
  anchors = _numbers(anchor for anchor, _ in pairs.texts)
  documents = _numbers([*(positive for _, positive in pairs.texts), *more])
  anchors_AD, documents_ND = (
    _vectors(embedder, [*texts], cut, mined) for texts in (anchors, documents)
  )
  of_anchor = collections.defaultdict(set)
  for anchor, positive in pairs.texts:
    of_anchor[anchors[anchor.strip()]].add(documents[positive.strip()])
  look_at = mining.range_max + max(map(len, of_anchor.values()))
  nearest_AK = top_k(anchors_AD, documents_ND, look_at)
  texts, scores = [*documents], []
  for anchor, positive in pairs.texts:
    at, right = anchors[anchor.strip()], documents[positive.strip()]
    others = [d for d in nearest_AK[at].tolist() if d not in of_anchor[at]]
    others = others[mining.range_min : mining.range_max]
    cosines = documents_ND[[right, *others]] @ anchors_AD[at]
    limit = cosines[0] - mining.relative_margin * abs(cosines[0])
    is_far = cosines[1:] <= min(limit, mining.max_score)
    mined.num_near += int(np.sum(~is_far))
    chosen = np.flatnonzero(is_far)[: mining.num_negatives]
    if len(chosen) < mining.num_negatives:
      mined.num_without += 1
      continue
    scores.append((cosines[0], np.mean(cosines[1:][chosen])))
    negatives = {
      f'negative_{number}': texts[others[place]]
      for number, place in enumerate(chosen.tolist(), 1)
    }
    record = {'anchor': anchor, 'positive': positive}
    mined.records.append(record | negatives)
  if not scores:
    raise InputError(
      f'none of {len(pairs):,} pairs has {mining.num_negatives} negatives '
      f'among {len(documents):,} documents; give more documents (--corpus), '
      'fewer --num_negatives, or a smaller --relative_margin'
    )
  mined.mean_scores = tuple(np.mean(scores, axis=0).tolist())
  return mined


def _numbers(texts: Iterable[str]) -> dict[str, int]:
  """Numbers of texts from 0, equal for equal ones but for spaces around."""
  found: dict[str, int] = {}
  for text in texts:
    found.setdefault(text.strip(), len(found))
  return found


def _vectors(
  embedder: Embedder, texts: list[str], cut: bool, mined: Mined
) -> np.ndarray:
  """Vectors of length 1, f32 [n, D]."""
  check_texts(texts)
  parts = []
  total = sum(len(text.encode()) for text in texts)
  with TextProgress(total, True, 'mine') as progress:
    for first in range(0, len(texts), WINDOW):
      window = texts[first : first + WINDOW]
      vectors, num_cut = embedder.window(window, first, cut)
      parts.append(vectors)
      mined.num_cut += num_cut
      progress.update(sum(len(text.encode()) for text in window))
  return with_length_1(np.concatenate(parts))
