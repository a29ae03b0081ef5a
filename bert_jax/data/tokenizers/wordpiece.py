"""WordPiece as BERT has it: the same ids as Google's tokenization.py.

The work is done by the `tokenizers` package. No special token is registered
with it, so that text can never turn into one.
"""

import functools
import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest
from bert_jax.data.tokenizers import base, offsets, word_cache
from bert_jax.errors import InputError

KIND = 'wordpiece'
VOCAB_NAME = 'vocab.txt'
CONFIG_NAME = 'tokenizer_config.json'
CONTINUATION = '##'

# Google's limit; Hugging Face's is 100.
MAX_WORD_CHARACTERS = 200

# BERT splits at these characters whatever stands beside them, and nothing in
# its cleaning looks across them, so what lies between has ids of its own.
_WORDS = re.compile(r'[^ \t\n\r!-/:-@\[-`{-~]+|[!-/:-@\[-`{-~]')
_MISSED_CHINESE = re.compile('[\U0002b820-\U0002b91f]')


class WordPiece:
  """A WordPiece tokenizer; see base.Tokenizer for its methods.

  Equal to Google's BERT tokenizer except for private-use characters
  (dropped, where Google makes the word [UNK]) and punctuation and marks added
  to Unicode after version 10: for these Google's result depends on the version
  of Python, whereas this one has fixed tables.

  Args:
    tokens: The vocabulary in the order of ids. The last of entries that
      are alike counts, as with Google.
    lowercase: Lower the text, as "uncased" models do.
    max_word_characters: A longer word is [UNK].
    strip_accents: Strip the text's accents, and all other marks that Unicode
      calls nonspacing; None: where it is lowered, as Google does.
    tokenize_chinese_chars: Make a word of each Chinese character.

  Raises:
    InputError: A special token is missing.
  """

  notes: tuple[str, ...] = ()

  def __init__(
    self,
    tokens: Sequence[str],
    *,
    lowercase: bool,
    max_word_characters: int = MAX_WORD_CHARACTERS,
    strip_accents: bool | None = None,
    tokenize_chinese_chars: bool = True,
  ):
    from tokenizers import Tokenizer, models, pre_tokenizers

    self._tokens = tuple(tokens)
    self._options: dict[str, Any] = {'lowercase': lowercase}
    self._lowercase = lowercase
    self._splits_chinese = tokenize_chinese_chars
    if max_word_characters != MAX_WORD_CHARACTERS:
      self._options['max_word_characters'] = max_word_characters
    described: list[Any] = [KIND, *self._options.values(), self._tokens]
    # Options that Google lacks are described only where they are set, so that
    # the fingerprints of all other tokenizers stay as they were.
    rare: dict[str, bool] = {}
    if strip_accents not in (None, lowercase):
      rare['strip_accents'] = not lowercase
    if not tokenize_chinese_chars:
      rare['tokenize_chinese_chars'] = False
    if rare:
      self._options |= rare
      described.append(rare)
    token_ids = {token: i for i, token in enumerate(self._tokens)}
    if missing := [t for t in base.SPECIAL_TOKENS if t not in token_ids]:
      raise InputError(
        f'the vocabulary lacks the special tokens {", ".join(missing)}; add '
        'each as a line of its own.'
      )
    self.table = base.token_table(
      token_ids,
      np.array([not t.startswith(CONTINUATION) for t in self._tokens], bool),
    )
    self.fingerprint = json_digest(described)
    self._tokenizer = Tokenizer(
      models.WordPiece(
        token_ids,
        unk_token=base.UNK,
        max_input_chars_per_word=max_word_characters,
        continuing_subword_prefix=CONTINUATION,
      )
    )
    self._tokenizer.normalizer = normalizer(
      lowercase,
      strip_accents=lowercase if strip_accents is None else strip_accents,
      tokenize_chinese_chars=tokenize_chinese_chars,
    )
    self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    self._cache = word_cache.WordCache(self._encode_words, _WORDS)

  def __reduce__(self):
    return functools.partial(WordPiece, self._tokens, **self._options), ()

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return self._cache.encode_batch([self._prepare(text) for text in texts])

  def encode_with_offsets(
    self, texts: Sequence[str]
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    prepared = [self._prepare(text) for text in texts]
    encodings = self._tokenizer.encode_batch(prepared, add_special_tokens=False)
    return [
      (
        np.array(encoding.ids, np.int32),
        offsets.in_text(
          encoding.offsets, text, ready, _lengths(text, ready, self._prepare)
        ),
      )
      for text, ready, encoding in zip(texts, prepared, encodings, strict=True)
    ]

  def _prepare(self, text: str) -> str:
    return prepare_text(text, self._lowercase, self._splits_chinese)

  def _encode_words(self, words: Sequence[str]) -> list[list[int]]:
    encodings = self._tokenizer.encode_batch_fast(
      words, add_special_tokens=False
    )
    return [encoding.ids for encoding in encodings]

  def encode_with_mask(self, text: str) -> np.ndarray:
    # Pieces hold no space, so a text after a mask is like any other.
    return base.encode_around_masks(
      text, self.table.mask_id, self.encode_rest, self.encode_rest
    )

  def encode_rest(self, text: str) -> np.ndarray:
    """int32 [n] ids of a text that follows a mask."""
    return self.encode_batch([text])[0]

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    text = ' '.join(self._tokens[int(i)] for i in ids)
    return text.replace(f' {CONTINUATION}', '')

  def token(self, token_id: int) -> str:
    return self._tokens[token_id]

  def pieces_of(self, other: 'WordPiece', token_id: int) -> np.ndarray:
    """Cuts an entry; the pieces of '##ing' all begin with ##."""
    text = other.token(token_id)
    if not text.startswith(CONTINUATION):
      return self.encode_batch([text])[0]
    encoding = self._inside_words.encode(
      text.removeprefix(CONTINUATION), add_special_tokens=False
    )
    return np.array(encoding.ids, np.int32)

  @functools.cached_property
  def _inside_words(self):
    """Cuts a text as if a word had begun before it."""
    from tokenizers import Tokenizer, models

    spec = json.loads(self._tokenizer.to_str())
    continuations = {
      token: i
      for i, token in enumerate(self._tokens)
      if token.startswith(CONTINUATION)
    }
    tokenizer = Tokenizer(
      models.WordPiece(
        {base.UNK: self.table.unk_id}
        | continuations
        | {token[len(CONTINUATION) :]: i for token, i in continuations.items()},
        unk_token=base.UNK,
        max_input_chars_per_word=spec['model']['max_input_chars_per_word'],
        continuing_subword_prefix=CONTINUATION,
      )
    )
    tokenizer.normalizer = self._tokenizer.normalizer
    tokenizer.pre_tokenizer = self._tokenizer.pre_tokenizer
    return tokenizer

  def save(self, folder: str | os.PathLike[str]) -> None:
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with durable_files.new_file(folder / VOCAB_NAME) as file:
      file.write(''.join(f'{token}\n' for token in self._tokens).encode())
    durable_files.write_json(
      folder / CONFIG_NAME, {'kind': KIND, **self._options}
    )

  def tokenizer_json(self) -> dict[str, Any]:
    spec = json.loads(self._tokenizer.to_str())
    decoder = {'type': 'WordPiece', 'prefix': CONTINUATION, 'cleanup': True}
    return spec | {'decoder': decoder}


def normalizer(
  lowercase: bool,
  *,
  strip_accents: bool | None = None,
  tokenize_chinese_chars: bool = True,
):
  """Google's cleaning of text: control characters, Chinese, case, accents."""
  from tokenizers import normalizers

  return normalizers.BertNormalizer(
    clean_text=True,
    handle_chinese_chars=tokenize_chinese_chars,
    strip_accents=lowercase if strip_accents is None else strip_accents,
    lowercase=lowercase,
  )


def prepare_text(
  text: str, lowercase: bool, tokenize_chinese_chars: bool = True
) -> str:
  """Mends what the `tokenizers` package does otherwise than Google."""
  if text.isascii():
    return text
  # BERT lowers a capital sigma alike everywhere in a word; in Python, as in
  # Greek, it depends on what follows.
  if lowercase and 'Σ' in text:
    text = text.lower()
  if not tokenize_chinese_chars:
    return text
  # BERT's list of Chinese characters lacks the first 256 of Extension E.
  return _MISSED_CHINESE.sub(r' \g<0> ', text)


def _lengths(
  text: str, prepared: str, prepare: Callable[[str], str]
) -> list[int] | None:
  """The number of characters that each becomes; None: all stay one."""
  if len(text) == len(prepared):
    # Lower case never makes a text shorter, nor do the added spaces.
    return None
  lowered = 'Σ' in text and prepare('Σ') != 'Σ'
  return [len(prepare(c.lower() if lowered else c)) for c in text]


def read_vocab(path: pathlib.Path) -> list[str]:
  """The lines of a vocab.txt, read as Google does: an id is a line number."""
  try:
    text = path.read_text('utf-8')
  except UnicodeDecodeError as error:
    raise InputError(
      f'{path}: is not UTF-8 ({error}); give the vocab.txt of a BERT model.'
    ) from error
  # Split at \n alone: some tokens are line separators of Unicode.
  lines = text.split('\n')
  if not lines[-1]:
    lines.pop()
  return [line.strip() for line in lines]
