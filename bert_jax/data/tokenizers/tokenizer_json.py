"""Reads tokenizer.json, the one file of Hugging Face's fast tokenizers."""

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bert_jax.data.tokenizers import byte_bpe, wordpiece
from bert_jax.errors import InputError, shown

NAME = 'tokenizer.json'
_KINDS = (
  f'{wordpiece.KIND} (model.type WordPiece) and {byte_bpe.KIND} (model.type '
  'BPE with a ByteLevel pre_tokenizer)'
)

# Errors that a file of another content, or nested without end, leads to.
_NOT_ONE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class WordPieceSpec(NamedTuple):
  """The options of a WordPiece in a tokenizer.json.

  strip_accents: None where it goes with lowercase.
  """

  tokens: list[str]
  lowercase: bool
  strip_accents: bool | None
  tokenize_chinese_chars: bool
  max_word_characters: int


def read(path: pathlib.Path) -> tuple[str, dict[str, Any]]:
  """(kind, content) of a file that holds a WordPiece or a byte-level BPE.

  Raises:
    InputError: It is of another kind, or no such file.
  """
  try:
    spec = json.loads(path.read_text('utf-8'))
    model_type = spec['model']['type']
    is_byte_bpe = byte_bpe.is_byte_bpe(spec)
  except _NOT_ONE as error:
    raise InputError(
      f'it is no tokenizer.json ({type(error).__name__}: {error}); restore it.'
    ) from None
  if is_byte_bpe:
    return byte_bpe.KIND, spec
  if model_type == 'WordPiece':
    return wordpiece.KIND, spec
  raise _unknown(model_type)


def _unknown(model_type: Any) -> InputError:
  is_sentencepiece = model_type in ('Unigram', 'BPE')
  advice = '; give its .model file' if is_sentencepiece else ''
  return InputError(
    f'model.type {shown(repr(model_type))} as it stands there is not known; '
    f'there are {_KINDS}{advice}.'
  )


def wordpiece_spec(spec: Mapping[str, Any]) -> WordPieceSpec:
  """The parts of the file that a WordPiece needs.

  Raises:
    InputError: It asks for what ours cannot do, by name.
  """
  model, normalizer = spec['model'], _part(spec, 'normalizer')
  vocab, limit = model.get('vocab'), model.get('max_input_chars_per_word', 100)
  if (
    not isinstance(vocab, Mapping)
    or re.search('[\ud800-\udfff]', ''.join(vocab))
    or type(limit) is not int
    or not 0 < limit < 2**31
  ):
    raise InputError(f'its model of {NAME} is damaged; restore it.')
  found = {
    'normalizer.type': normalizer.get('type'),
    'normalizer.clean_text': normalizer.get('clean_text'),
    'pre_tokenizer.type': _part(spec, 'pre_tokenizer').get('type'),
    'model.continuing_subword_prefix': model.get('continuing_subword_prefix'),
  }
  needed = {
    'normalizer.type': 'BertNormalizer',
    'normalizer.clean_text': True,
    'pre_tokenizer.type': 'BertPreTokenizer',
    'model.continuing_subword_prefix': wordpiece.CONTINUATION,
  }
  for name, value in needed.items():
    if found[name] != value:
      raise InputError(
        f'{name} is {shown(repr(found[name]))}; a WordPiece here must have '
        f'{value!r}.'
      )
  flags = {
    'lowercase': normalizer.get('lowercase', True),
    'handle_chinese_chars': normalizer.get('handle_chinese_chars', True),
    'strip_accents': normalizer.get('strip_accents'),
  }
  for name, value in flags.items():
    if not isinstance(value, bool) and (name, value) != ('strip_accents', None):
      raise InputError(
        f'normalizer.{name} is {shown(repr(value))}; it must be true or false.'
      )
  ids = {i: token for token, i in vocab.items() if type(i) is int}
  if len(ids) != len(vocab) or ids.keys() != set(range(len(ids))):
    raise InputError(
      'its ids are not those of a vocab.txt, each once; give the vocab.txt.'
    )
  return WordPieceSpec(
    tokens=[ids[i] for i in range(len(ids))],
    lowercase=flags['lowercase'],
    strip_accents=(
      None
      if flags['strip_accents'] == flags['lowercase']
      else flags['strip_accents']
    ),
    tokenize_chinese_chars=flags['handle_chinese_chars'],
    max_word_characters=limit,
  )


def _part(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
  part = spec.get(name) or {}
  if not isinstance(part, Mapping):
    raise InputError(f'{name} of {NAME} is {shown(repr(part))}; restore it.')
  return part
