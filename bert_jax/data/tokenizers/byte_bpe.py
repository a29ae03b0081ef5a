"""Byte-level BPE as RoBERTa and ModernBERT have it: no text is unknown to it.

The work is done by the `tokenizers` package. The special tokens are taken out
of what it is given, so that text can never turn into one.
"""

import copy
import functools
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest
from bert_jax.data.tokenizers import base, offsets, word_cache
from bert_jax.errors import InputError

KIND = 'byte_bpe'
FILE_NAME = 'tokenizer.json'
CONFIG_NAME = 'tokenizer_config.json'
_WHITE_SPACE = b' \t\n\r\x0b\x0c'
# White space and what follows it: GPT-2's splitting never goes on from another
# character into white space, so what lies between has ids of its own.
_WORDS = re.compile(r'\s*\S+|\s+')
# White space to Python that GPT-2's splitting takes for other characters.
_DISPUTED = re.compile('[\x1c-\x1f]')


class ByteBpe:
  """A byte-level BPE tokenizer; see base.Tokenizer for its methods.

  A word is what stands between white space, with its punctuation: tokens that
  begin with a white space byte begin one (a space is U+0120 in the vocabulary).
  The first word of a text has no space before it: objectives take a segment's
  first token for a start. Text and case are left as they are.

  Args:
    spec: The content of a `tokenizer.json`, ours or Hugging Face's. Its added
      tokens, such as ModernBERT's runs of spaces, are found in texts.
    special_in_text: Whether added tokens that are marked as special are found
      too, as transformers does. The five of base.SPECIAL_TOKENS never are.

  Raises:
    InputError: It is of another kind, or a special token is missing.
  """

  notes: tuple[str, ...] = ()

  def __init__(self, spec: dict[str, Any], *, special_in_text: bool = False):
    if not is_byte_bpe(spec):
      raise InputError(
        'it is no byte-level BPE; give a tokenizer.json with model.type BPE '
        'and a ByteLevel pre_tokenizer.'
      )
    self._spec = spec
    added = spec.get('added_tokens') or []
    token_ids = dict(spec['model']['vocab'])
    token_ids |= {token['content']: token['id'] for token in added}
    special = base.find_special_tokens(
      token_ids, 'add each to added_tokens, marked as special.'
    )
    special_ids = set(special.values())
    self._tokens = _by_id(token_ids)
    self._bytes = _bytes_of_tokens(self._tokens, added)
    hidden = special_ids | {t['id'] for t in added if t.get('special')}
    # The fingerprint of a tokenizer without such tokens does not depend on it.
    self._special_in_text = special_in_text and hidden != special_ids
    starts = special_ids
    if self._special_in_text:
      hidden = special_ids
      starts = special_ids | {t['id'] for t in added}
    self._hidden = hidden
    self.table = base.token_table(
      special,
      np.array(
        [
          i in starts or text[:1] in _WHITE_SPACE and text != b''
          for i, text in enumerate(self._bytes)
        ],
        bool,
      ),
      pair_separators=_pair_separators(spec.get('post_processor'), special),
    )
    reduced = _without_special_tokens(spec, hidden)
    self.fingerprint = json_digest(
      [KIND, reduced, special, self._tokens], sort_keys=True
    )
    self._tokenizer = _build(reduced)
    self._cache = None
    if _words_stand_alone(reduced):
      self._cache = word_cache.WordCache(self._encode_words, _WORDS)
    _set_prefix_space(reduced['pre_tokenizer'], False)
    self._rest_tokenizer = _build(reduced)

  def __reduce__(self):
    options = {'special_in_text': self._special_in_text}
    return functools.partial(ByteBpe, self._spec, **options), ()

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    if self._cache and not any(map(_DISPUTED.search, texts)):
      return self._cache.encode_batch(texts)
    return [np.array(ids, np.int32) for ids in self._encode_words(texts)]

  def encode_with_offsets(
    self, texts: Sequence[str]
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
    return [
      (
        np.array(encoding.ids, np.int32),
        offsets.in_text(encoding.offsets, text, text, None),
      )
      for text, encoding in zip(texts, encodings, strict=True)
    ]

  def _encode_words(self, words: Sequence[str]) -> list[list[int]]:
    encodings = self._tokenizer.encode_batch_fast(
      words, add_special_tokens=False
    )
    return [encoding.ids for encoding in encodings]

  def encode_with_mask(self, text: str) -> np.ndarray:
    def encode(part: str) -> np.ndarray:
      return self.encode_batch([part])[0]

    def encode_rest(part: str) -> np.ndarray:
      encoding = self._rest_tokenizer.encode(part, add_special_tokens=False)
      return np.array(encoding.ids, np.int32)

    return base.encode_around_masks(
      text, self.table.mask_id, encode, encode_rest
    )

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    special_ids = set(self.table.special_ids.tolist())
    text = b''.join(
      b' %b ' % self._bytes[i] if i in special_ids else self._bytes[i]
      for i in map(int, ids)
    )
    return ' '.join(text.decode('utf-8', 'replace').split())

  def token(self, token_id: int) -> str:
    return self._tokens[token_id]

  def pieces_of(self, other: 'ByteBpe', token_id: int) -> np.ndarray:
    """Cuts an entry with no space before it but its own.

    An entry that is part of a letter is no text, and has no pieces.
    """
    try:
      text = other._bytes[token_id].decode()
    except UnicodeDecodeError:
      text = ''
    encoding = self._rest_tokenizer.encode(text, add_special_tokens=False)
    return np.array(encoding.ids, np.int32)

  def save(self, folder: str | os.PathLike[str]) -> None:
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    durable_files.write_json(folder / FILE_NAME, self._spec)
    config: dict[str, Any] = {'kind': KIND}
    if self._special_in_text:
      config['special_in_text'] = True
    durable_files.write_json(folder / CONFIG_NAME, config)

  def tokenizer_json(self) -> dict[str, Any]:
    spec = copy.deepcopy(self._spec)
    added = spec.get('added_tokens') or []
    # A hidden token is ordinary text, but keeps its id.
    spec['added_tokens'] = [t for t in added if t['id'] not in self._hidden]
    if len(spec['added_tokens']) < len(added):
      # The vocabulary gets all of them: the package gives a token that it lacks
      # the number of entries as id, which the hidden ones have raised.
      spec['model']['vocab'] |= {t['content']: t['id'] for t in added}
    return spec


def is_byte_bpe(spec: dict[str, Any]) -> bool:
  """Returns whether a tokenizer.json is of this kind."""
  return spec['model'].get('type') == 'BPE' and any(
    part.get('type') == 'ByteLevel'
    for part in _parts(spec.get('pre_tokenizer'))
  )


def bytes_of_characters() -> dict[str, int]:
  """Characters for bytes, as in GPT-2: printable ones, others from U+0100."""
  printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  others = [byte for byte in range(256) if byte not in printable]
  names = {chr(byte): byte for byte in printable}
  return names | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def prefix_space(spec: Mapping[str, Any]) -> bool:
  """Returns whether a tokenizer.json puts a space before a text."""
  return any(
    part['type'] == 'ByteLevel' and part.get('add_prefix_space', False)
    for part in _parts(spec['pre_tokenizer'])
  )


def with_prefix_space(spec: Mapping[str, Any], value: bool) -> dict[str, Any]:
  """A copy of a tokenizer.json that puts a space before a text, or none."""
  changed = copy.deepcopy({**spec})
  _set_prefix_space(changed['pre_tokenizer'], value)
  return changed


def _parts(pre_tokenizer: dict[str, Any] | None) -> list[dict[str, Any]]:
  if not pre_tokenizer:
    return []
  return pre_tokenizer.get('pretokenizers', [pre_tokenizer])


def _by_id(token_ids: dict[str, int]) -> tuple[str, ...]:
  tokens = sorted(token_ids, key=token_ids.__getitem__)
  ids = [token_ids[token] for token in tokens]
  if ids != list(range(len(ids))):
    raise InputError(
      f'the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}, each '
      'once; restore the file.'
    )
  return tuple(tokens)


def _bytes_of_tokens(
  tokens: Sequence[str], added: Sequence[dict[str, Any]]
) -> list[bytes]:
  """The bytes that each token stands for; added tokens are plain text."""
  names = bytes_of_characters()
  as_they_are = {token['content'] for token in added}
  return [
    bytes(names[c] for c in token)
    if token not in as_they_are and all(c in names for c in token)
    else token.encode()
    for token in tokens
  ]


def _without_special_tokens(
  spec: dict[str, Any], hidden: set[int]
) -> dict[str, Any]:
  """A tokenizer.json for plain text alone, with the same ids.

  `hidden`: the ids that no text may turn into.
  """
  added = spec.get('added_tokens') or []
  ordinary = [token for token in added if token['id'] not in hidden]
  vocab = spec['model']['vocab'] | {t['content']: t['id'] for t in ordinary}
  model = spec['model'] | {
    'vocab': {token: i for token, i in vocab.items() if i not in hidden},
    'merges': [
      # Older files have 'a b' for a pair.
      pair.split(' ') if isinstance(pair, str) else pair
      for pair in spec['model']['merges']
    ],
    'dropout': None,
    'unk_token': None,
  }
  return {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': ordinary,
    'normalizer': spec.get('normalizer'),
    'pre_tokenizer': copy.deepcopy(spec['pre_tokenizer']),
    'post_processor': None,
    'decoder': None,
    'model': model,
  }


def _pair_separators(
  post_processor: dict[str, Any] | None, special: dict[str, int]
) -> int:
  """The separators that the file's own rule puts between two empty texts."""
  if post_processor is None:
    return 1
  rule = {
    'version': '1.0',
    'added_tokens': [],
    'post_processor': post_processor,
    'model': {'type': 'BPE', 'vocab': {}, 'merges': []},
  }
  cls_id, sep_id = special[base.CLS], special[base.SEP]
  ids = _build(rule).encode('', '').ids
  return 2 if ids == [cls_id, sep_id, sep_id, sep_id] else 1


def _words_stand_alone(spec: dict[str, Any]) -> bool:
  """Returns whether the ids of a text are those of its _WORDS, in order."""
  split = spec['pre_tokenizer']
  return (
    (spec['normalizer'] or {'type': 'NFC'}) == {'type': 'NFC'}
    and split['type'] == 'ByteLevel'
    and split.get('use_regex', True)
    and not split['add_prefix_space']
    and not any(
      token.get('lstrip')
      or token.get('rstrip')
      or token.get('single_word')
      or not re.fullmatch(r'\s+|\S+', token['content'])
      for token in spec['added_tokens']
    )
  )


def _set_prefix_space(pre_tokenizer: dict[str, Any], value: bool) -> None:
  for part in _parts(pre_tokenizer):
    if part['type'] == 'ByteLevel':
      part['add_prefix_space'] = value


def _build(spec: dict[str, Any]):
  from tokenizers import Tokenizer

  try:
    return Tokenizer.from_str(json.dumps(spec))
  except Exception as error:  # the package raises nothing narrower
    reason = str(error).splitlines()[0]
    raise InputError(
      f'the tokenizers package cannot read it ({reason}); restore the file.'
    ) from None
