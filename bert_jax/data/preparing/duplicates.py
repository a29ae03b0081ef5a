"""Documents that repeat earlier ones of a source, in whichever group.

In a first pass each group gives the fingerprints of its documents, read by any
process. They are gone through in the order of the source: of equal documents,
and of nearly equal ones, the first is kept. The groups then leave out the
others as they are read once more.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bert_jax.data.preparing.near_duplicates import (
  NUM_VALUES,
  NearDuplicates,
  Signatures,
)

REASONS = ('', 'exact_duplicates', 'near_duplicates')
_EXACT, _NEAR = 1, 2
_DIGEST_BYTES = 16


class Fingerprints(NamedTuple):
  """Digests and signatures that tell documents apart.

  digests: uint8 [documents, 16]; [documents, 0] where equal texts are kept.
  signatures: uint32 [documents with a word, 128]; 0 of them where similar texts
    are kept.
  have_signature: bool [documents].
  """

  digests: np.ndarray
  signatures: np.ndarray
  have_signature: np.ndarray


class Maker:
  """Makes the fingerprints of texts.

  Args:
    exact: whether equal texts are looked for.
    threshold: the similarity that is looked for; 0 for none.
  """

  def __init__(self, exact: bool, threshold: float):
    self._exact = exact
    self._sign = Signatures() if threshold else None

  def __call__(self, texts: Iterable[str]) -> Fingerprints:
    digests, signatures, have_signature = [], [], []
    for text in texts:
      if self._exact:
        digests.append(_digest(text))
      signature = self._sign(text) if self._sign else None
      have_signature.append(signature is not None)
      if signature is not None:
        signatures.append(signature)
    return Fingerprints(
      np.frombuffer(b''.join(digests), np.uint8).reshape(
        len(have_signature), -1 if digests else 0
      ),
      np.array(signatures, np.uint32).reshape(-1, NUM_VALUES),
      np.array(have_signature, bool),
    )


class Repeats:
  """The documents so far; arguments as of Maker."""

  def __init__(self, exact: bool, threshold: float):
    self._seen: set[bytes] | None = set() if exact else None
    self._near = NearDuplicates(threshold) if threshold else None

  def __call__(self, found: Fingerprints) -> np.ndarray:
    """uint8 [documents]: the place in REASONS of each of the next ones."""
    reasons = np.zeros(len(found.have_signature), np.uint8)
    signatures = iter(found.signatures)
    for number, has_signature in enumerate(found.have_signature):
      signature = next(signatures) if has_signature else None
      if self._seen is not None:
        digest = found.digests[number].tobytes()
        if digest in self._seen:
          reasons[number] = _EXACT
          continue
        self._seen.add(digest)
      if self._near and signature is not None:
        if not self._near.is_new(signature):
          reasons[number] = _NEAR
    return reasons


def _digest(text: str) -> bytes:
  return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
