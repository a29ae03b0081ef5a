"""Finds out of which kind a tokenizer is, and loads it."""

import json
import os
import pathlib
from typing import Any

from bert_jax.data.tokenizers import (
  byte_bpe,
  byte_bpe_files,
  sentencepiece,
  tokenizer_json,
  wordpiece,
)
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError, shown

CONFIG_NAME = 'tokenizer_config.json'
# kind -> the files it may lie in. Where the config names no kind, the first
# file that is there decides: a tokenizer.json comes after those it is made
# from, but for a vocab.json, which needs another file beside it.
FILES = {
  wordpiece.KIND: (wordpiece.VOCAB_NAME, tokenizer_json.NAME),
  sentencepiece.KIND: sentencepiece.MODEL_NAMES,
  byte_bpe.KIND: (tokenizer_json.NAME, byte_bpe_files.VOCAB_NAME),
}
_ANY_KIND = (
  wordpiece.VOCAB_NAME,
  *sentencepiece.MODEL_NAMES,
  tokenizer_json.NAME,
  byte_bpe_files.VOCAB_NAME,
)


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads the tokenizer of a folder, or one of the files it lies in.

  Those are a vocab.txt, a .model, a tokenizer.json, or a vocab.json with
  merges.txt beside it.

  A vocab.txt or .model without a `tokenizer_config.json` beside it is taken as
  uncased where no entry has a capital letter (nor, in a .model, an accent).

  Raises:
    InputError: There is none, its kind is not known, or its vocabulary lacks a
      special token.
  """
  path = pathlib.Path(os.path.expanduser(path))
  config = {}
  if path.is_dir():
    if (path / CONFIG_NAME).is_file():
      config = _read_config(path / CONFIG_NAME)
    path = _find_file(path, config.get('kind'))
  if not path.is_file():
    raise InputError(
      f'{path}: there is no such file; give a folder that train_tokenizer '
      'wrote, or the vocab.txt, .model or tokenizer.json of a model.'
    )
  try:
    return _load_file(path, config)
  except InputError as error:
    message = str(error)
    if message.startswith(f'{path}: '):
      raise
    raise InputError(f'{path}: {message}') from None


def _find_file(folder: pathlib.Path, kind: str | None) -> pathlib.Path:
  """The tokenizer's file; the first name that there could be if none is."""
  names = _ANY_KIND if kind is None else FILES[kind]
  found = [folder / name for name in names if (folder / name).is_file()]
  if found:
    return found[0]
  if kind is not None:
    return folder / names[0]
  raise InputError(
    f'{folder}: there is none of {", ".join(names)} in it; give a folder that '
    'train_tokenizer wrote, or a file of these.'
  )


def _load_file(path: pathlib.Path, config: dict[str, Any]) -> Tokenizer:
  lowercase = config.get('lowercase')
  if path.suffix == '.model':
    model = path.read_bytes()
    if lowercase is None:
      lowercase = sentencepiece.is_lowercase(model)
    return sentencepiece.SentencePiece(model, lowercase=lowercase)
  if path.name == byte_bpe_files.VOCAB_NAME:
    return byte_bpe_files.load(
      path, prefix_space=config.get('add_prefix_space', False)
    )
  if path.suffix == '.json':
    return tokenizer_json.load(path, config.get('kind'), lowercase)
  tokens = wordpiece.read_vocab(path)
  if lowercase is None:
    lowercase = wordpiece.is_lowercase(tokens)
  return wordpiece.WordPiece(
    tokens,
    lowercase=lowercase,
    max_word_characters=config.get(
      'max_word_characters', wordpiece.MAX_WORD_CHARACTERS
    ),
  )


def _read_config(path: pathlib.Path) -> dict[str, Any]:
  """What our config, or Hugging Face's, says of our options and the kind."""
  try:
    config = json.loads(path.read_text('utf-8'))
  except (ValueError, RecursionError) as error:
    raise InputError(
      f'{path}: is not JSON ({error}); restore it, or remove it.'
    ) from error
  if not isinstance(config, dict):
    raise InputError(f'{path}: is no JSON object; restore it, or remove it.')
  known = {}
  if 'kind' in config:
    # A list, which cannot be looked up, is no kind either.
    if config['kind'] not in [*FILES]:
      raise InputError(
        f'{path}: kind {shown(repr(config["kind"]))} is not known; there are '
        f'{", ".join(FILES)}.'
      )
    known['kind'] = config['kind']
  lowercase = config.get('lowercase', config.get('do_lower_case'))
  if lowercase is not None:
    if not isinstance(lowercase, bool):
      raise InputError(
        f'{path}: lowercase is {shown(repr(lowercase))}; it must be true or '
        'false.'
      )
    known['lowercase'] = lowercase
  if 'add_prefix_space' in config:
    if not isinstance(config['add_prefix_space'], bool):
      raise InputError(
        f'{path}: add_prefix_space is '
        f'{shown(repr(config["add_prefix_space"]))}; it must be true or false.'
      )
    known['add_prefix_space'] = config['add_prefix_space']
  if 'max_word_characters' in config:
    limit = config['max_word_characters']
    if not isinstance(limit, int) or limit < 1:
      raise InputError(
        f'{path}: max_word_characters is {shown(repr(limit))}; it must be 1 '
        'or more.'
      )
    known['max_word_characters'] = limit
  return known
