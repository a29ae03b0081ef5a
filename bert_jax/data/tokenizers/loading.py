"""Finds out of which kind a tokenizer is, and loads it."""

import json
import os
import pathlib
from typing import Any

from bert_jax.data.tokenizers import sentencepiece, wordpiece
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError

CONFIG_NAME = 'tokenizer_config.json'
# kind -> the files it may lie in. Where the config names no kind, the first
# file that is there decides.
FILES = {
  wordpiece.KIND: (wordpiece.VOCAB_NAME,),
  sentencepiece.KIND: sentencepiece.MODEL_NAMES,
}


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads the tokenizer of a folder, or of a plain vocab.txt or .model file.

  One of these without a `tokenizer_config.json` beside it is taken as uncased
  where no entry has a capital letter (nor, in a .model, an accent).

  Raises:
    InputError: There is none, its kind is not known, or its vocabulary lacks a
      special token.
  """
  path = pathlib.Path(path).expanduser()
  config = {}
  if path.is_dir():
    if (path / CONFIG_NAME).is_file():
      config = _read_config(path / CONFIG_NAME)
    path = _find_file(path, config.get('kind'))
  if not path.is_file():
    raise InputError(
      f'{path}: there is no such file; give a folder that train_tokenizer '
      'wrote, or the vocab.txt or .model of a model.'
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
  names = [
    name
    for file_kind, file_names in FILES.items()
    if kind in (None, file_kind)
    for name in file_names
  ]
  found = [folder / name for name in names if (folder / name).is_file()]
  if found:
    return found[0]
  if kind is not None:
    return folder / names[0]
  raise InputError(
    f'{folder}: there is none of {", ".join(names)} in it; give a folder that '
    'train_tokenizer wrote, or the vocab.txt or .model of a model.'
  )


def _load_file(path: pathlib.Path, config: dict[str, Any]) -> Tokenizer:
  lowercase = config.get('lowercase')
  if path.suffix == '.model':
    model = path.read_bytes()
    if lowercase is None:
      lowercase = sentencepiece.is_lowercase(model)
    return sentencepiece.SentencePiece(model, lowercase=lowercase)
  tokens = wordpiece.read_vocab(path)
  if lowercase is None:
    lowercase = wordpiece.is_lowercase(tokens)
  return wordpiece.WordPiece(tokens, lowercase=lowercase)


def _read_config(path: pathlib.Path) -> dict[str, Any]:
  """'kind' and 'lowercase', as far as our config or Hugging Face's has them."""
  try:
    config = json.loads(path.read_text('utf-8'))
  except ValueError as error:
    raise InputError(
      f'{path}: is not JSON ({error}); restore it, or remove it.'
    ) from error
  if not isinstance(config, dict):
    raise InputError(f'{path}: is no JSON object; restore it, or remove it.')
  known = {}
  if 'kind' in config:
    if config['kind'] not in FILES:
      raise InputError(
        f'{path}: kind {config["kind"]!r} is not known; there are '
        f'{", ".join(FILES)}.'
      )
    known['kind'] = config['kind']
  lowercase = config.get('lowercase', config.get('do_lower_case'))
  if lowercase is not None:
    if not isinstance(lowercase, bool):
      raise InputError(
        f'{path}: lowercase is {lowercase!r}; it must be true or false.'
      )
    known['lowercase'] = lowercase
  return known
