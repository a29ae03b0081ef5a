"""Tokens that a tokenizer got after its training, such as [E1] or COVID-19.

They are found in a text before it is cut: what lies between two of them is
encoded by itself, as transformers does.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_files import json_digest
from bert_jax.data.tokenizers import base
from bert_jax.data.tokenizers.added_token_search import (
  AddedToken,
  Finder,
  Part,
)
from bert_jax.data.tokenizers.sentencepiece import SentencePiece
from bert_jax.data.tokenizers.wordpiece import WordPiece
from bert_jax.errors import InputError, quoted

CONFIG_NAME = 'tokenizer_config.json'
# Key of the added tokens in our own tokenizer_config.json.
KEY = 'added_tokens'


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
    self.fingerprint = json_digest(
      ['added_tokens', inner.fingerprint, _listed(self.added)]
    )

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
    """Ids int32 [n] of a text that follows a mask."""
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
    """The token as transformers shows it, a normalized one normalized."""
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
    inner: Any = getattr(other, 'inner', other)
    return self.inner.pieces_of(inner, token_id)

  def save(self, folder: str | os.PathLike[str]) -> None:
    self.inner.save(folder)
    path = pathlib.Path(folder) / CONFIG_NAME
    config = json.loads(path.read_text('utf-8'))
    listed = [dataclasses.asdict(token) for token in self.added]
    durable_files.write_json(path, config | {KEY: listed})

  def tokenizer_json(self) -> dict[str, Any]:
    spec = self.inner.tokenizer_json()
    if any(token.normalized for token in self.added):
      spec['pre_tokenizer'] = _without_outer_spaces(spec['pre_tokenizer'])
    listed = [dataclasses.asdict(token) for token in self.added]
    return spec | {KEY: listed}

  @functools.cached_property
  def _finder(self) -> Finder:
    return Finder(
      self.added, lambda: self.inner.tokenizer_json().get('normalizer')
    )

  def _with_offsets(
    self, parts: Sequence[Part]
  ) -> tuple[np.ndarray, np.ndarray]:
    ids, offsets = [], []
    for part in parts:
      if part.id is not None:
        ids.append(np.array([part.id], np.int32))
        offsets.append(np.array([[part.first, part.end]], np.int64))
        continue
      ((found, places),) = self.inner.encode_with_offsets([part.text])
      if not part.is_original:
        # Changed text has no places: each token gets the whole stretch.
        places = np.full_like(places, part.first)
        places[:, 1] = part.end
      else:
        places = places + part.first
      ids.append(found)
      offsets.append(places)
    places = np.concatenate([np.zeros((0, 2), np.int64), *offsets])
    return _joined(ids), places


def inner_of(tokenizer: base.Tokenizer) -> base.Tokenizer:
  """The tokenizer without its added tokens; itself if it has none."""
  return getattr(tokenizer, 'inner', tokenizer)


def from_config(value: Any) -> list[AddedToken]:
  """The added tokens that `save` wrote into our tokenizer_config.json.

  Raises:
    InputError: it is something else.
  """
  decoder = Decoder(where=CONFIG_NAME, fix='restore the file')
  return decoder.decode(value, list[AddedToken], KEY)


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


def _without_outer_spaces(pre_tokenizer: dict[str, Any]) -> dict[str, Any]:
  """Drops the spaces that a normalized token leaves beside it.

  The outer spaces of a text go before its normalized tokens are looked for.
  Metaspace puts a space before each part again.
  """
  if (
    pre_tokenizer['type'] != 'Metaspace'
    or pre_tokenizer['prepend_scheme'] != 'always'
    or not pre_tokenizer['split']
  ):
    return pre_tokenizer
  split = {
    'type': 'Split',
    'pattern': {'Regex': ' +'},
    'behavior': 'Removed',
    'invert': False,
  }
  return {'type': 'Sequence', 'pretokenizers': [split, pre_tokenizer]}


def _ids(part: Part, encoded: Any) -> np.ndarray:
  if part.id is None:
    return next(encoded)
  return np.array([part.id], np.int32)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
  return np.concatenate([np.zeros(0, np.int32), *arrays])


def _listed(tokens: Sequence[AddedToken]) -> list[list[Any]]:
  return [[t.content, t.id, *t.flags().values()] for t in tokens]
