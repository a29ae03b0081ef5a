"""Documents that are nearly the same as an earlier one, found by MinHash.

Two documents are as similar as the share of their runs of five words that both
have (Jaccard). It is estimated from signatures, and only for documents that
share a band of them, so that no document is compared with all others. Source:
Broder 1997, "On the resemblance and containment of documents"; the signatures
and the bands are datasketch's.
"""

import hashlib
import re
import zlib
from typing import Any

import numpy as np

from bert_jax.errors import InputError, require_package

# Memory for each document kept, at 0.8 (measured in the tests).
BYTES_PER_DOCUMENT = 6_000
NUM_VALUES = 128
_RUN = 5
# A character that is written without spaces around it counts as a word.
_UNSPACED = '\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff'
_WORD = re.compile(rf'[^\W{_UNSPACED}]+|[{_UNSPACED}]')


def check_threshold(threshold: float) -> None:
  """Raises InputError unless `threshold` is a similarity, or 0 for none.

  Raises it too where the package that compares documents is missing.
  """
  # Written as a range, since nan is neither below nor above one.
  if not (threshold == 0 or 0.1 <= threshold <= 1):
    raise InputError(
      f'--near_duplicates={threshold}: give the similarity from which on a '
      'document is left out, 0.1 to 1, such as 0.8; 0 keeps all'
    )
  if threshold:
    require_package('datasketch', '--near_duplicates', 'near_duplicates')


class Signatures:
  """Makes the signature of a text: uint32 [NUM_VALUES]."""

  def __init__(self):
    self._empty = _min_hash()

  def __call__(self, text: str) -> np.ndarray | None:
    """The signature; None of a text without a word."""
    runs = _runs(text)
    if not runs:
      return None
    signature = self._empty.copy()
    signature.update_batch(runs)
    return signature.hashvalues.astype(np.uint32)


class NearDuplicates:
  """The documents so far, by their signatures."""

  def __init__(self, threshold: float):
    from datasketch import MinHashLSH

    self._threshold = threshold
    # Bands may find a candidate too many, since each is compared below. A
    # single band of all values, which 1.0 would ask for, datasketch has not.
    self._bands = MinHashLSH(
      threshold=min(threshold, 0.95),
      num_perm=NUM_VALUES,
      weights=(0.05, 0.95),
      hashfunc=_short_key,
    )
    self._hash = _min_hash()
    self._signatures: list[bytes] = []

  def is_new(self, values: np.ndarray) -> bool:
    """Returns whether no earlier document is that similar, and keeps it if so.

    `values` is the document's signature, which one without a word has not: it
    is always new.
    """
    signature = self._hash.copy()
    signature.hashvalues = values.astype(signature.hashvalues.dtype)
    similar: list[Any] = self._bands.query(signature)
    for number in similar:
      earlier = np.frombuffer(self._signatures[number], np.uint32)
      if np.mean(earlier == values) >= self._threshold:
        return False
    self._bands.insert(len(self._signatures), signature)
    self._signatures.append(values.tobytes())
    return True


def _min_hash() -> Any:
  from datasketch import MinHash

  # The finaliser of affine32 scrambles the similar values of a CRC.
  return MinHash(
    num_perm=NUM_VALUES, seed=1, scheme='affine32', hashfunc=zlib.crc32
  )


def _short_key(band: bytes) -> bytes:
  """A key of half the size; bands with equal keys are compared in full."""
  return hashlib.blake2b(band, digest_size=8).digest()


def _runs(text: str) -> list[bytes]:
  """The different runs of five words; all words where there are fewer."""
  words = _WORD.findall(text.lower())
  last = max(1, len(words) - _RUN + 1) if words else 0
  runs = {' '.join(words[i : i + _RUN]).encode() for i in range(last)}
  return list(runs)
