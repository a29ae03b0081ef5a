"""Tokenizers: load one from its folder, or from the vocab.txt of a model."""

import json
import os
import pathlib

from bert_jax.data.tokenizers import wordpiece
from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.errors import InputError, shown

__all__ = ['Tokenizer', 'TokenTable', 'load_tokenizer']


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads the tokenizer of a folder, or of a plain vocab.txt.

  A vocab.txt without a `tokenizer_config.json` beside it is taken as uncased
  where no entry has a capital letter.

  Raises:
    InputError: There is none, or its vocabulary lacks a special token.
  """
  path = pathlib.Path(os.path.expanduser(path))
  config = {}
  if path.is_dir():
    if (path / wordpiece.CONFIG_NAME).is_file():
      config = _read_config(path / wordpiece.CONFIG_NAME)
    path = path / wordpiece.VOCAB_NAME
  if not path.is_file():
    raise InputError(
      f'{path}: there is no such file; give a folder that train_tokenizer '
      'wrote, or the vocab.txt of a BERT model.'
    )
  tokens = wordpiece.read_vocab(path)
  lowercase = config.get('lowercase', wordpiece.is_lowercase(tokens))
  try:
    return wordpiece.WordPiece(tokens, lowercase=lowercase)
  except InputError as error:
    raise InputError(f'{path}: {error}') from None


def _read_config(path: pathlib.Path) -> dict:
  """{'lowercase': ...} of our config file, or of Hugging Face's."""
  try:
    config = json.loads(path.read_text('utf-8'))
  except (ValueError, RecursionError) as error:
    raise InputError(
      f'{path}: is not JSON ({error}); restore it, or remove it.'
    ) from error
  if not isinstance(config, dict):
    raise InputError(f'{path}: is no JSON object; restore it, or remove it.')
  kind = config.get('kind', wordpiece.KIND)
  if kind != wordpiece.KIND:
    raise InputError(
      f'{path}: kind {shown(repr(kind))} is not known; there is '
      f'{wordpiece.KIND!r}.'
    )
  lowercase = config.get('lowercase', config.get('do_lower_case'))
  if lowercase is None:
    return {}
  if not isinstance(lowercase, bool):
    raise InputError(
      f'{path}: lowercase is {shown(repr(lowercase))}; it must be true or '
      'false.'
    )
  return {'lowercase': lowercase}
