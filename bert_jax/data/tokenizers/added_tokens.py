"""Tokens that a tokenizer got after its training, such as [E1] or COVID-19.

They are found in a text before it is cut: what lies between two of them is
encoded by itself, as transformers does. The search is that of the `tokenizers`
package, so that its flags mean the same here.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax import durable_files
from bert_jax.data.tokenizers import base
from bert_jax.data.tokenizers.sentencepiece import SentencePiece
from bert_jax.data.tokenizers.wordpiece import WordPiece
from bert_jax.errors import InputError, quoted

CONFIG_NAME = 'tokenizer_config.json'
# The key of our own tokenizer_config.json that lists them.
KEY = 'added_tokens'
# The only entry of the vocabulary that stands for text between added tokens.
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
    special: what transformers leaves out of decoded text on request.
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


class WithAddedTokens:
  """A WordPiece or SentencePiece tokenizer with added tokens; see Tokenizer.

  An added token begins a word, and so does what an uncased or SentencePiece
  tokenizer makes of the text after it. Masks treat it as any other entry: none
  of base.SPECIAL_TOKENS can be one.

  Args:
    inner: cuts the text between them.
    tokens: with ids; those that are no entries of `inner` follow on its own.

  Raises:
    InputError: an id is used twice or skips some.
  """

  notes: tuple[str, ...] = ()

  def __init__(
    self, inner: WordPiece | SentencePiece, tokens: Sequence[AddedToken]
  ):
    self.inner = inner
    self.added = tuple(tokens)
    table = inner.table
    new = sorted(
      (t for t in self.added if t.id >= table.vocab_size), key=lambda t: t.id
    )
    _check_ids(self.added, new, table.vocab_size)
    self._by_id = {token.id: token for token in self.added}
    self._is_new = {token.id for token in new}
    self.table = dataclasses.replace(
      table,
      vocab_size=table.vocab_size + len(new),
      ordinary_ids=np.append(
        table.ordinary_ids, np.array([t.id for t in new], np.int32)
      ),
      word_starts=np.append(table.word_starts, np.ones(len(new), bool)),
    )
    self.table.word_starts[[token.id for token in self.added]] = True
    described = ['added_tokens', inner.fingerprint, _listed(self.added)]
    self.fingerprint = hashlib.sha256(
      json.dumps(described).encode()
    ).hexdigest()

  def __reduce__(self):
    return WithAddedTokens, (self.inner, self.added)

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    cut = self._finder.cut(texts)
    encoded = iter(
      self.inner.encode_batch(
        [part.text for parts in cut for part in parts if part.id is None]
      )
    )
    return [_joined([_ids(part, encoded) for part in parts]) for parts in cut]

  def encode_with_offsets(
    self, texts: Sequence[str]
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    return [self._with_offsets(parts) for parts in self._finder.cut(texts)]

  def encode_with_mask(self, text: str) -> np.ndarray:
    return base.encode_around_masks(
      text,
      self.table.mask_id,
      lambda part: self.encode_batch([part])[0],
      self.encode_rest,
    )

  def encode_rest(self, text: str) -> np.ndarray:
    """int32 [n] ids of a text that follows a mask."""
    (parts,) = self._finder.cut([text])
    if not parts or parts[0].id is not None:
      return self.encode_batch([text])[0]
    encoded = iter(
      [
        self.inner.encode_rest(parts[0].text),
        *self.inner.encode_batch(
          [part.text for part in parts[1:] if part.id is None]
        ),
      ]
    )
    return _joined([_ids(part, encoded) for part in parts])

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    parts: list[str] = []
    run: list[int] = []
    for token_id in map(int, ids):
      if token_id not in self._by_id:
        run.append(token_id)
        continue
      parts += [self.inner.decode(run), self.token(token_id)]
      run = []
    parts.append(self.inner.decode(run))
    return ' '.join(part for part in parts if part)

  def token(self, token_id: int) -> str:
    """As transformers shows it: one that is normalized, as it is looked for."""
    if token_id not in self._is_new:
      return self.inner.token(token_id)
    token = self._by_id[token_id]
    if token.normalized:
      return self._finder.normalize(token.content)
    return token.content

  def pieces_of(self, other: base.Tokenizer, token_id: int) -> np.ndarray:
    theirs = {token.id: token for token in getattr(other, 'added', ())}
    if token_id in theirs:
      return self.encode_batch([theirs[token_id].content])[0]
    return self.inner.pieces_of(getattr(other, 'inner', other), token_id)

  def save(self, folder: str | os.PathLike[str]) -> None:
    self.inner.save(folder)
    path = pathlib.Path(folder) / CONFIG_NAME
    config = json.loads(path.read_text('utf-8'))
    listed = [dataclasses.asdict(token) for token in self.added]
    durable_files.write_json(path, config | {KEY: listed})

  def tokenizer_json(self) -> dict[str, Any]:
    listed = [dataclasses.asdict(token) for token in self.added]
    return self.inner.tokenizer_json() | {KEY: listed}

  @functools.cached_property
  def _finder(self) -> '_Finder':
    return _Finder(
      self.added, lambda: self.inner.tokenizer_json().get('normalizer')
    )

  def _with_offsets(
    self, parts: 'Sequence[_Part]'
  ) -> tuple[np.ndarray, np.ndarray]:
    ids, offsets = [], []
    for part in parts:
      if part.id is not None:
        ids.append(np.array([part.id], np.int32))
        offsets.append(np.array([[part.first, part.end]], np.int64))
        continue
      ((found, places),) = self.inner.encode_with_offsets([part.text])
      if not part.is_original:
        # The places are those of changed text: all of the stretch is meant.
        places = np.full_like(places, part.first)
        places[:, 1] = part.end
      else:
        places = places + part.first
      ids.append(found)
      offsets.append(places)
    places = np.concatenate([np.zeros((0, 2), np.int64), *offsets])
    return _joined(ids), places


def inner_of(tokenizer: base.Tokenizer) -> base.Tokenizer:
  """The tokenizer without its added tokens; itself where it has none."""
  return getattr(tokenizer, 'inner', tokenizer)


def from_config(value: Any) -> list[AddedToken]:
  """What `save` wrote into our tokenizer_config.json.

  Raises:
    InputError: it is something else.
  """
  try:
    tokens = [AddedToken(**token) for token in value]
  except TypeError:
    raise InputError(f'{KEY} in {CONFIG_NAME} is damaged; restore it') from None
  for token in tokens:
    if not isinstance(token.content, str) or type(token.id) is not int:
      raise InputError(f'{KEY} in {CONFIG_NAME} is damaged; restore it')
  return tokens


def _check_ids(
  tokens: Sequence[AddedToken], new: Sequence[AddedToken], size: int
) -> None:
  by_id: dict[int, AddedToken] = {}
  for token in tokens:
    if token.id in by_id:
      raise InputError(
        f'the added tokens {quoted(by_id[token.id].content)} and '
        f'{quoted(token.content)} have one id, {token.id}; give each its own'
      )
    by_id[token.id] = token
  for expected, token in enumerate(new, size):
    if token.id != expected:
      raise InputError(
        f'the added token {quoted(token.content)} has the id {token.id}, and '
        f'none has {expected}; give them ids that follow on the vocabulary'
      )


class _Part(NamedTuple):
  """A stretch of a text: an added token (`id`), or what is to be encoded."""

  first: int
  end: int
  id: int | None
  text: str
  # Whether `text` is what stands there, not what a normalizer made of it.
  is_original: bool


class _Finder:
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

  def cut(self, texts: Sequence[str]) -> list[list[_Part]]:
    cut = [[_Part(0, len(text), None, text, True)] for text in texts]
    if self._as_they_are is not None:
      found = self._as_they_are(texts)
      cut = [
        [
          _Part(first, end, i, text[first:end], True)
          for i, first, end in places
        ]
        for text, places in zip(texts, found, strict=True)
      ]
    if self._normalized is None:
      return cut
    return [
      [
        inner
        for part in parts
        for inner in ([part] if part.id is not None else self._cut_again(part))
      ]
      for parts in cut
    ]

  def _cut_again(self, part: _Part) -> list[_Part]:
    ready = self.normalize(part.text)
    (places,) = self._normalized([ready])
    if all(i is None for i, _, _ in places):
      return [part]
    changes = _Changes(self._normalizer, part.text)
    parts = []
    for i, first, end in places:
      start, stop = changes.original(first, end)
      text = part.text[start:stop]
      # A character that became several may lie on both sides of a cut.
      is_original = self.normalize(text) == ready[first:end]
      parts.append(
        _Part(
          part.first + start,
          part.first + stop,
          i,
          text if is_original else ready[first:end],
          is_original,
        )
      )
    return parts


class _Matcher:
  """Texts -> (id or None, first, end) of the stretches of each."""

  def __init__(self, tokens: Sequence[AddedToken]):
    # Of two that are looked for alike the first is found.
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
  """Where in a text the characters of its normalized form come from."""

  def __init__(self, normalizer: Any, text: str):
    from tokenizers import NormalizedString

    self._changed = NormalizedString(text)
    if normalizer is not None:
      normalizer.normalize(self._changed)
    # The package leaves out what was dropped before the first character kept.
    kept = self._part(0, len(self._changed.normalized))
    self._dropped = text.index(kept)

  def original(self, first: int, end: int) -> tuple[int, int]:
    """First and end in the text of a stretch of the normalized form."""
    stop = self._dropped + len(self._part(0, end))
    return stop - len(self._part(first, end)), stop

  def _part(self, first: int, end: int) -> str:
    part = self._changed.slice((first, end))
    return '' if part is None else part.original


def _matcher(tokens: Sequence[AddedToken], normalizer: dict[str, Any] | None):
  """A tokenizer that knows the added tokens, and makes one of all else."""
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


def _ids(part: _Part, encoded: Any) -> np.ndarray:
  if part.id is None:
    return next(encoded)
  return np.array([part.id], np.int32)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
  return np.concatenate([np.zeros(0, np.int32), *arrays])


def _listed(tokens: Sequence[AddedToken]) -> list[list[Any]]:
  return [[t.content, t.id, *t.flags().values()] for t in tokens]
