"""The interface of tokenizers, and the table that models know of one."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from bert_jax.errors import InputError

PAD, UNK, CLS, SEP, MASK = '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
SPECIAL_NAMES = ('pad', 'unk', 'cls', 'sep', 'mask')
# Spellings in other models, of which the first in a vocabulary counts.
SPELLINGS = {
  PAD: (PAD, '<pad>'),
  UNK: (UNK, '<unk>'),
  CLS: (CLS, '<cls>', '<s>'),
  SEP: (SEP, '<sep>', '</s>'),
  MASK: (MASK, '<mask>'),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
  """The facts that objectives and models know of a tokenizer; numpy only.

  Attributes:
    vocab_size: Entries; ids are below it.
    pad_id, unk_id, cls_id, sep_id, mask_id: Ids of the special tokens.
    special_ids: int32 [5], sorted.
    ordinary_ids: int32 [vocab_size - 5], sorted: all other entries.
    word_starts: bool [vocab_size]: tokens that begin a word; special tokens do.
    pair_separators: How many sep_id stand between the two texts of a labelled
      example: 1 as in BERT, or 2 as RoBERTa was trained. Rows of a corpus have
      one in any case: their pairs are BERT's and ALBERT's.
  """

  vocab_size: int
  pad_id: int
  unk_id: int
  cls_id: int
  sep_id: int
  mask_id: int
  special_ids: np.ndarray
  ordinary_ids: np.ndarray
  word_starts: np.ndarray
  pair_separators: int = 1


class Tokenizer(Protocol):
  """Text to ids and back. Pickled into worker processes."""

  table: TokenTable
  fingerprint: str  # sha256 of kind, options and vocabulary, without paths
  notes: tuple[str, ...]  # what was decided when it was loaded, and why

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    """int32 [n] ids of each text; a literal '[SEP]' is ordinary text."""
    ...

  def encode_with_offsets(
    self, texts: Sequence[str]
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    """The ids of `encode_batch`, and the characters that each stands for.

    Slower than `encode_batch`.

    Returns:
      (ids int32 [n], offsets int64 [n, 2]) of each text: a token stands for
      the characters from its first offset up to its second, one at least.
      Neither of the two ever falls from a token to the next.
    """
    ...

  def encode_with_mask(self, text: str) -> np.ndarray:
    """int32 [n] ids, where a literal '[MASK]' in the text becomes mask_id."""
    ...

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    """The text of ids, with single spaces between words."""
    ...

  def token(self, token_id: int) -> str:
    """The vocabulary's entry."""
    ...

  def pieces_of(self, other: Self, token_id: int) -> np.ndarray:
    """Cuts an entry of `other` into ids of this tokenizer, int32 [n].

    The entry is cut as it stands in a text: one that goes on with a word, or
    has the space before a word in it, is cut as such. Empty where it is no
    text.
    """
    ...

  def save(self, folder: str | os.PathLike[str]) -> None:
    """Writes the files that `load_tokenizer` reads; makes the folder."""
    ...

  def tokenizer_json(self) -> dict[str, Any]:
    """A tokenizer.json that gives the same ids, special tokens aside."""
    ...


def synthetic_table(vocab_size: int) -> TokenTable:
  """A table of ordinary tokens, all of them words, after the special ones."""
  ids = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
  return token_table(ids, np.ones(vocab_size, bool))


def token_table(
  token_ids: Mapping[str, int],
  word_starts: np.ndarray,
  *,
  pair_separators: int = 1,
) -> TokenTable:
  """The table of a vocabulary that has all SPECIAL_TOKENS.

  Args:
    token_ids: Token -> id.
    word_starts: bool [vocab_size].
    pair_separators: The number of sep_id in a pair, see TokenTable.
  """
  special_ids = np.array(
    sorted(token_ids[token] for token in SPECIAL_TOKENS), np.int32
  )
  all_ids = np.arange(len(word_starts), dtype=np.int32)
  return TokenTable(
    vocab_size=len(word_starts),
    pad_id=token_ids[PAD],
    unk_id=token_ids[UNK],
    cls_id=token_ids[CLS],
    sep_id=token_ids[SEP],
    mask_id=token_ids[MASK],
    special_ids=special_ids,
    ordinary_ids=np.setdiff1d(all_ids, special_ids),
    word_starts=word_starts,
    pair_separators=pair_separators,
  )


def find_special_tokens(
  token_ids: Mapping[str, int], advice: str
) -> dict[str, int]:
  """Finds the ids of the special tokens, by any of their SPELLINGS.

  Raises:
    InputError: Some are missing: it names them and ends in `advice`.
  """
  found = {
    special: token_ids[spelling]
    for special, spellings in SPELLINGS.items()
    for spelling in reversed(spellings)
    if spelling in token_ids
  }
  missing = [
    ' or '.join(spellings)
    for special, spellings in SPELLINGS.items()
    if special not in found
  ]
  if missing:
    raise InputError(
      f'the vocabulary lacks the special tokens {", ".join(missing)}; {advice}'
    )
  return found


def encode_around_masks(
  text: str,
  mask_id: int,
  encode: Callable[[str], np.ndarray],
  encode_rest: Callable[[str], np.ndarray],
) -> np.ndarray:
  """The ids of a text in which each literal '[MASK]' becomes `mask_id`.

  For tokenizers whose pieces hold the space before a word: the mask stands for
  a piece, so the space before it is the mask's, and a text that goes on right
  after it has none.

  Args:
    text: Holds any number of '[MASK]'.
    mask_id: The id of the mask.
    encode: Ids of the text before the first mask, that begins a text.
    encode_rest: Ids of a text that follows a mask.
  """
  first, *rest = text.split(MASK)
  if rest:
    first = first.rstrip()
  joined = [encode(first)]
  for number, part in enumerate(rest, 1):
    if number < len(rest):
      part = part.rstrip()
    joined += [np.array([mask_id], np.int32), encode_rest(part)]
  return np.concatenate(joined)


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
  """The special tokens by their names in transformers, such as 'mask_token'."""
  return {
    f'{name}_token': tokenizer.token(getattr(tokenizer.table, f'{name}_id'))
    for name in SPECIAL_NAMES
  }


def count_literal_special_tokens(text: str) -> int:
  """Counts the special tokens that are written out in a text."""
  return sum(text.count(token) for token in SPECIAL_TOKENS)
