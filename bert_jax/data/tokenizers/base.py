"""What the rest of the project knows of a tokenizer."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

PAD, UNK, CLS, SEP, MASK = '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
  """All that objectives and models know of a tokenizer; numpy only.

  Attributes:
    vocab_size: Entries; ids are below it.
    pad_id, unk_id, cls_id, sep_id, mask_id: Of the special tokens.
    special_ids: int32 [5], sorted.
    ordinary_ids: int32 [vocab_size - 5], sorted: all other entries.
    word_starts: bool [vocab_size]: tokens that begin a word; special tokens do.
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


class Tokenizer(Protocol):
  """Text to ids and back. Pickled into worker processes."""

  table: TokenTable
  fingerprint: str  # sha256 of kind, options and vocabulary: no paths

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    """int32 [n] ids of each text; a literal '[SEP]' is ordinary text."""
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

  def save(self, folder: str | os.PathLike[str]) -> None:
    """Writes the files that `load_tokenizer` reads; makes the folder."""
    ...


def token_table(
  token_ids: Mapping[str, int], word_starts: np.ndarray
) -> TokenTable:
  """The table of a vocabulary that has all SPECIAL_TOKENS.

  Args:
    token_ids: Token -> id.
    word_starts: bool [vocab_size].
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
  )


def count_literal_special_tokens(text: str) -> int:
  """How often a special token is written out in a text."""
  return sum(text.count(token) for token in SPECIAL_TOKENS)
