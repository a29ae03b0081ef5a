"""A sample of documents for trainers that keep their text in memory."""

import random
import re
from collections.abc import Iterable

from bert_jax.data.sources.base import Document

# About 64 MB of English; more text hardly changes a vocabulary. A trainer takes
# about twenty times that.
MAX_CHARACTERS = 2**26
# Short enough that a few long documents are not the whole sample.
CHUNK_CHARACTERS = 1000

# Ends before white space where there is any.
_CHUNK = re.compile(
  rf'.{{1,{CHUNK_CHARACTERS}}}(?=\s|\Z)|.{{1,{CHUNK_CHARACTERS}}}', re.DOTALL
)


def draw(documents: Iterable[Document]) -> list[str]:
  """Chunks of the documents in their order, MAX_CHARACTERS at most in all.

  Each chunk has the same chance. The draw depends on nothing but the documents;
  the concatenation of all chunks is the text, as long as it fits.
  """
  rng = random.Random(0)
  kept: list[tuple[float, str]] = []
  characters = 0
  share = 1.0
  for document in documents:
    for match in _CHUNK.finditer(document.text):
      chance = rng.random()
      if chance >= share:
        continue
      kept.append((chance, match[0]))
      characters += len(match[0])
      while characters > MAX_CHARACTERS:
        share /= 2
        kept = [(chance, chunk) for chance, chunk in kept if chance < share]
        characters = sum(len(chunk) for _, chunk in kept)
  return [chunk for _, chunk in kept]
