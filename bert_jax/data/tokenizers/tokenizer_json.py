"""Reads tokenizer.json, the one file of Hugging Face's fast tokenizers."""

import json
import pathlib
from typing import Any

from bert_jax.data.tokenizers import byte_bpe, wordpiece
from bert_jax.errors import InputError

NAME = 'tokenizer.json'
_KINDS = (
  f'{wordpiece.KIND} (model.type WordPiece) and {byte_bpe.KIND} (model.type '
  'BPE with a ByteLevel pre_tokenizer)'
)

# What a file of another content, or nested without end, leads to.
_NOT_ONE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def load(
  path: pathlib.Path, kind: str | None, lowercase: bool | None
) -> wordpiece.WordPiece | byte_bpe.ByteBpe:
  """The tokenizer of the file.

  Args:
    path: The file.
    kind: What the folder's config says that it is, if it does.
    lowercase: Likewise; for a WordPiece it wins over the file.

  Raises:
    InputError: It is of another kind, or does what ours cannot.
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
    found = byte_bpe.KIND
  elif model_type == 'WordPiece':
    found = wordpiece.KIND
  else:
    raise _unknown(model_type)
  if kind not in (None, found):
    raise InputError(
      f'kind is {kind!r}, by the config beside it, but the file is of kind '
      f'{found!r}; restore them.'
    )
  if found == byte_bpe.KIND:
    return byte_bpe.ByteBpe(spec)
  return _wordpiece(spec, lowercase)


def _unknown(model_type: Any) -> InputError:
  is_sentencepiece = model_type in ('Unigram', 'BPE')
  advice = '; give its .model file' if is_sentencepiece else ''
  return InputError(
    f'model.type {model_type!r} as it stands there is not known; there are '
    f'{_KINDS}{advice}.'
  )


def _wordpiece(
  spec: dict[str, Any], lowercase: bool | None
) -> wordpiece.WordPiece:
  """Ours, after a look at whether it can do what the file asks for."""
  model = spec['model']
  normalizer = spec.get('normalizer') or {}
  if lowercase is None:
    lowercase = normalizer.get('lowercase', True)
  accents = normalizer.get('strip_accents')
  found = {
    'normalizer.type': normalizer.get('type'),
    'normalizer.clean_text': normalizer.get('clean_text'),
    'normalizer.handle_chinese_chars': normalizer.get('handle_chinese_chars'),
    'normalizer.strip_accents': lowercase if accents is None else accents,
    'pre_tokenizer.type': (spec.get('pre_tokenizer') or {}).get('type'),
    'model.continuing_subword_prefix': model.get('continuing_subword_prefix'),
  }
  needed = {
    'normalizer.type': 'BertNormalizer',
    'normalizer.clean_text': True,
    'normalizer.handle_chinese_chars': True,
    'normalizer.strip_accents': lowercase,
    'pre_tokenizer.type': 'BertPreTokenizer',
    'model.continuing_subword_prefix': wordpiece.CONTINUATION,
  }
  for name, value in needed.items():
    if found[name] != value:
      raise InputError(
        f'{name} is {found[name]!r}; a WordPiece here must have {value!r}.'
      )
  tokens = sorted(model['vocab'], key=model['vocab'].__getitem__)
  ids = [model['vocab'][token] for token in tokens]
  extra = [
    token['content']
    for token in spec.get('added_tokens') or []
    if token['content'] not in model['vocab']
  ]
  if extra or ids != list(range(len(ids))):
    raise InputError(
      'its ids are not those of a vocab.txt, each once and without added '
      f'tokens{f" such as {extra[0]!r}" if extra else ""}; give the vocab.txt.'
    )
  return wordpiece.WordPiece(
    tokens,
    lowercase=lowercase,
    max_word_characters=model.get('max_input_chars_per_word', 100),
  )
