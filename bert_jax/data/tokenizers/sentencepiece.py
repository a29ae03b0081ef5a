"""SentencePiece, unigram and BPE: models that we train, and those of others.

The work is done by the `sentencepiece` package. All special tokens become
control symbols of the model in memory, which no text is ever matched with.
"""

import functools
import hashlib
import json
import os
import pathlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.data.tokenizers import (
  base,
  offsets,
  sentencepiece_json,
  vocabulary_case,
)
from bert_jax.errors import InputError

KIND = 'sentencepiece'
MODEL_NAME = 'tokenizer.model'
# File names of models: Llama and ours, ALBERT and T5, DeBERTa.
MODEL_NAMES = (MODEL_NAME, 'spiece.model', 'spm.model')
CONFIG_NAME = 'tokenizer_config.json'
SPACE = '\u2581'
TRAINER_FLAGS = (
  '--pad_id=0 --unk_id=1 --bos_id=2 --eos_id=3 --pad_piece=[PAD] '
  '--unk_piece=[UNK] --bos_piece=[CLS] --eos_piece=[SEP] '
  '--control_symbols=[MASK]'
)


class SentencePiece:
  """A SentencePiece tokenizer; see base.Tokenizer for its methods.

  A word is what stands between spaces, with its punctuation: only pieces with
  U+2581 in front begin one. Pieces of single bytes never do.

  Args:
    model: The bytes of a `.model` file.
    lowercase: Lower the text and strip its accents before the model sees it, as
      ALBERT and XLNet do ("uncased"). Further changes to a text, such as NFKC,
      are rules of the model itself.
    straight_quotes: Make " of `` and '' before the model sees them, as ALBERT
      does with cased text too; always done where text is lowered.

  Raises:
    InputError: It is no such model, or a special token is missing.
  """

  notes: tuple[str, ...] = ()

  def __init__(
    self, model: bytes, *, lowercase: bool, straight_quotes: bool = False
  ):
    self._model = model
    self._options = {'lowercase': lowercase}
    if straight_quotes and not lowercase:
      self._options['straight_quotes'] = True
    proto = _parse(model)
    self._tokens = tuple(piece.piece for piece in proto.pieces)
    types = type(proto.pieces[0])
    token_ids = {token: i for i, token in enumerate(self._tokens)}
    # Any spelling will do, since the model itself names the piece.
    for i, piece in enumerate(proto.pieces):
      if piece.type == types.UNKNOWN:
        token_ids[base.UNK] = i
    special = base.find_special_tokens(
      token_ids, f'train the model with {TRAINER_FLAGS}.'
    )
    special_ids = set(special.values())
    self._is_byte = np.array([p.type == types.BYTE for p in proto.pieces], bool)
    self.table = base.token_table(
      special,
      np.array(
        [
          token.startswith(SPACE) or i in special_ids
          for i, token in enumerate(self._tokens)
        ],
        bool,
      ),
    )
    described = json.dumps([KIND, *self._options.values()]).encode() + model
    self.fingerprint = hashlib.sha256(described).hexdigest()
    # A symbol "defined by the user" would be found in texts.
    for special_id in special_ids - {special[base.UNK]}:
      proto.pieces[special_id].type = types.CONTROL
    self._processor = _processor(proto)
    proto.normalizer_spec.add_dummy_prefix = False
    self._rest_processor = _processor(proto)

  def __reduce__(self):
    return functools.partial(SentencePiece, self._model, **self._options), ()

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [self._encode(text) for text in texts]

  def symbols(self) -> list[str]:
    """Pieces that the model never joins to others, such as ALBERT's ( and -."""
    pieces = _parse(self._model).pieces
    return [
      piece.piece
      for i, piece in enumerate(pieces)
      if piece.type == type(piece).USER_DEFINED
      and i not in self.table.special_ids
    ]

  def encode_with_offsets(
    self, texts: Sequence[str]
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    encoded = []
    for text in texts:
      ready = prepare_text(text, **self._options)
      found = self._processor.encode(ready, return_type='offset_mapping')
      lengths = None
      if any(self._options.values()):
        lengths = _lengths(text, self._options)
      encoded.append(
        (
          np.array(found['ids'], np.int32),
          offsets.in_text(found['offsets'], text, ready, lengths),
        )
      )
    return encoded

  def encode_with_mask(self, text: str) -> np.ndarray:
    return base.encode_around_masks(
      text, self.table.mask_id, self._encode, self.encode_rest
    )

  def decode(self, ids: Sequence[int] | np.ndarray) -> str:
    text = b''
    for i in map(int, ids):
      token = self._tokens[i]
      if self._is_byte[i]:
        text += bytes([int(token[3:-1], 16)])  # of '<0x0A>'
      elif i in self.table.special_ids:
        text += f' {token} '.encode()
      else:
        text += token.replace(SPACE, ' ').encode()
    return ' '.join(text.decode('utf-8', 'replace').split())

  def token(self, token_id: int) -> str:
    return self._tokens[token_id]

  def pieces_of(self, other: 'SentencePiece', token_id: int) -> np.ndarray:
    """A piece is as the model's rules leave a text: it is cut as it stands."""
    text = other.token(token_id).replace(SPACE, ' ')
    return np.array(self._bare_processor.encode(text), np.int32)

  @functools.cached_property
  def _bare_processor(self):
    """A processor that cuts a text without preparing it."""
    proto = _parse(self._model)
    proto.normalizer_spec.Clear()
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return _processor(proto)

  def save(self, folder: str | os.PathLike[str]) -> None:
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with durable_files.new_file(folder / MODEL_NAME) as file:
      file.write(self._model)
    durable_files.write_json(
      folder / CONFIG_NAME, {'kind': KIND, **self._options}
    )

  def tokenizer_json(self) -> dict[str, Any]:
    return sentencepiece_json.tokenizer_json(
      _parse(self._model), self.table, **self._options
    )

  def _encode(self, text: str) -> np.ndarray:
    text = prepare_text(text, **self._options)
    return np.array(self._processor.encode(text), np.int32)

  def encode_rest(self, text: str) -> np.ndarray:
    """int32 [n] ids of a text that follows a mask: no word begins there."""
    if text[:1].isspace():
      return self._encode(text)
    text = prepare_text(text, **self._options)
    return np.array(self._rest_processor.encode(text), np.int32)


# Read from the left, each kind by itself, as prepare_text replaces them.
_TWO_QUOTES = re.compile("``|''")


def prepare_text(
  text: str, lowercase: bool, straight_quotes: bool = False
) -> str:
  """Prepares a text as google-research/albert does for an uncased model."""
  if lowercase or straight_quotes:
    text = text.replace('``', '"').replace("''", '"')
  if not lowercase:
    return text
  if not text.isascii():
    text = unicodedata.normalize('NFKD', text)
    text = ''.join(c for c in text if not unicodedata.combining(c))
  return text.lower()


def _lengths(text: str, options: Mapping[str, bool]) -> list[int]:
  """The length of each character of a text after `prepare_text`.

  Its steps go character by character, except the quotes: each letter is alike
  whatever stands beside it, up to a sigma's form and the order of marks, which
  are dropped.
  """
  lengths = [len(prepare_text(c, **options)) for c in text]
  for quotes in _TWO_QUOTES.finditer(text):
    lengths[quotes.end() - 1] = 0
  return lengths


def case_of(model: bytes) -> vocabulary_case.VocabularyCase:
  """The case and accents that the pieces of a model show."""
  proto = _parse(model)
  return vocabulary_case.of_entries(
    piece.piece.removeprefix(SPACE)
    for piece in proto.pieces
    if piece.type == piece.NORMAL
  )


def _parse(model: bytes) -> Any:
  """The ModelProto of these bytes; protobuf makes its class at run time."""
  from google.protobuf.message import DecodeError

  # Imported here: WordPiece needs no protobuf.
  from bert_jax.data.tokenizers.sentencepiece_model import ModelProto

  try:
    proto = ModelProto.FromString(model)
  except DecodeError:
    proto = ModelProto()
  if not proto.pieces:
    raise InputError(
      'it is no SentencePiece model; give a .model that its trainer wrote.'
    )
  return proto


def _processor(proto: Any):
  import sentencepiece

  processor = sentencepiece.SentencePieceProcessor()
  try:
    processor.LoadFromSerializedProto(proto.SerializeToString())
  except RuntimeError as error:
    reason = str(error).splitlines()[0]
    raise InputError(
      f'the SentencePiece model is damaged ({reason}); restore it.'
    ) from None
  return processor
