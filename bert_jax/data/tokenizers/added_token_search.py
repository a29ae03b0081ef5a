"""Looks for added tokens in texts, with the flags that transformers gives them.

The search is that of the `tokenizers` package, in a tokenizer that knows
nothing else, so that ids, case and cache stay those of the tokenizer that cuts
what lies between.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

# Only entry of the searching tokenizer's vocabulary: it marks text between
# added tokens.
_TEXT = '\x00text\x00'
_FLAGS = ('single_word', 'lstrip', 'rstrip', 'normalized', 'special')


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddedToken:
  """A token as the `added_tokens` of a tokenizer.json have it.

  Attributes:
    content: the text that it is found by.
    id: its row in the embedding.
    single_word: found only where no letter or digit stands beside it.
    lstrip, rstrip: takes the white space before or after it.
    normalized: looked for after the case and accents of a text were changed.
    special: transformers leaves it out of decoded text on request.
  """

  content: str
  id: int
  single_word: bool = False
  lstrip: bool = False
  rstrip: bool = False
  normalized: bool = False
  special: bool = False

  def flags(self) -> dict[str, bool]:
    return {name: getattr(self, name) for name in _FLAGS}

  def entry(self) -> dict[str, Any]:
    """The token in the `added_tokens` of a tokenizer.json."""
    return {'id': self.id, 'content': self.content, **self.flags()}


def assign_ids(
  vocab: Mapping[str, int], tokens: Sequence[AddedToken]
) -> dict[str, int]:
  """The id that transformers gives each of the tokens, in this order.

  A token of the vocabulary keeps its id; the others follow on the vocabulary.
  """
  from tokenizers import Tokenizer, models

  tokenizer = Tokenizer(models.WordLevel({**vocab}, unk_token=_TEXT))
  tokenizer.add_tokens([_as_theirs(token) for token in tokens])
  added = tokenizer.get_added_tokens_decoder()
  return {token.content: i for i, token in added.items()}


class Part(NamedTuple):
  """A stretch of a text: an added token (`id`), or what is to be encoded."""

  first: int
  end: int
  id: int | None
  text: str
  # False if a normalizer has changed `text`.
  is_original: bool


class Finder:
  """Cuts texts at added tokens: first in the text as it is, then normalized."""

  def __init__(
    self,
    tokens: Sequence[AddedToken],
    normalizer: Callable[[], dict[str, Any] | None],
  ):
    as_they_are = [token for token in tokens if not token.normalized]
    normalized = [token for token in tokens if token.normalized]
    self._as_they_are = _Matcher(as_they_are) if as_they_are else None
    self._normalized = None
    if normalized:
      self._normalizer = _matcher([], normalizer()).normalizer
      self._normalized = _Matcher(
        [
          dataclasses.replace(token, content=self.normalize(token.content))
          for token in normalized
        ]
      )

  def normalize(self, text: str) -> str:
    if self._normalizer is None:
      return text
    return self._normalizer.normalize_str(text)

  def cut(self, texts: Sequence[str]) -> list[list[Part]]:
    cut = [[Part(0, len(text), None, text, True)] for text in texts]
    if self._as_they_are is not None:
      found = self._as_they_are(texts)
      cut = [
        [Part(first, end, i, text[first:end], True) for i, first, end in places]
        for text, places in zip(texts, found, strict=True)
      ]
    normalized = self._normalized
    if normalized is None:
      return cut
    return [
      [
        inner
        for part in parts
        for inner in (
          [part] if part.id is not None else self._cut_again(normalized, part)
        )
      ]
      for parts in cut
    ]

  def _cut_again(self, normalized: '_Matcher', part: Part) -> list[Part]:
    ready = self.normalize(part.text)
    (places,) = normalized([ready])
    if all(i is None for i, _, _ in places):
      return [part]
    changes = _Changes(self._normalizer, part.text)
    parts = []
    for i, first, end in places:
      start, stop = changes.original(first, end)
      text = part.text[start:stop]
      # A character that was normalized to several may be cut in two.
      is_original = self.normalize(text) == ready[first:end]
      parts.append(
        Part(
          part.first + start,
          part.first + stop,
          i,
          text if is_original else ready[first:end],
          is_original,
        )
      )
    return parts


class _Matcher:
  """Maps texts to (id or None, first, end) of the stretches of each."""

  def __init__(self, tokens: Sequence[AddedToken]):
    # The package finds the first of two tokens that are spelt alike.
    once: dict[str, AddedToken] = {}
    for token in tokens:
      once.setdefault(token.content, token)
    plain = [
      dataclasses.replace(t, normalized=False)
      for t in once.values()
      if t.content
    ]
    self._tokenizer = _matcher(plain, None)
    self._ids: list[int | None] = [None, *(token.id for token in plain)]

  def __call__(
    self, texts: Sequence[str]
  ) -> list[list[tuple[int | None, int, int]]]:
    return [
      [
        (self._ids[i], first, end)
        for i, (first, end) in zip(encoding.ids, encoding.offsets, strict=True)
      ]
      for encoding in self._tokenizer.encode_batch(
        texts, add_special_tokens=False
      )
    ]


class _Changes:
  """Maps the characters of a normalized text to places in the text itself."""

  def __init__(self, normalizer: Any, text: str):
    from tokenizers import NormalizedString

    self._changed = NormalizedString(text)
    if normalizer is not None:
      normalizer.normalize(self._changed)
    # The package reports no characters dropped before the first one kept.
    kept = self._part(0, len(self._changed.normalized))
    self._dropped = text.index(kept)

  def original(self, first: int, end: int) -> tuple[int, int]:
    """Maps a stretch of the normalized text to (first, end) in the text."""
    stop = self._dropped + len(self._part(0, end))
    return stop - len(self._part(first, end)), stop

  def _part(self, first: int, end: int) -> str:
    part = self._changed.slice((first, end))
    return '' if part is None else part.original


def _matcher(tokens: Sequence[AddedToken], normalizer: dict[str, Any] | None):
  """A tokenizer of the added tokens, in which all other text is one token."""
  from tokenizers import Tokenizer

  spec = {
    'version': '1.0',
    'added_tokens': [],
    'normalizer': normalizer,
    'model': {'type': 'WordLevel', 'vocab': {_TEXT: 0}, 'unk_token': _TEXT},
  }
  tokenizer = Tokenizer.from_str(json.dumps(spec))
  tokenizer.add_tokens([_as_theirs(token) for token in tokens])
  return tokenizer


def _as_theirs(token: AddedToken):
  import tokenizers

  return tokenizers.AddedToken(token.content, **token.flags())
