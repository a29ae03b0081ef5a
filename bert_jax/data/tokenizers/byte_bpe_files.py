"""Reads vocab.json and merges.txt, byte-level BPE as RoBERTa came with it.

Both files together say what a tokenizer.json says.
"""

import json
import pathlib
from typing import Any

from bert_jax.data.tokenizers import base
from bert_jax.data.tokenizers.added_token_search import AddedToken
from bert_jax.errors import InputError, quoted

VOCAB_NAME, MERGES_NAME = 'vocab.json', 'merges.txt'


def read(path: pathlib.Path, *, prefix_space: bool) -> dict[str, Any]:
  """A vocab.json and the merges.txt beside it, as a tokenizer.json has them.

  Args:
    path: The vocab.json.
    prefix_space: Whether a text's first word is taken as one inside of a text.

  Raises:
    InputError: One of them is missing or damaged, or lacks a special token.
  """
  vocab = _read_vocab(path)
  merges = _read_merges(path.with_name(MERGES_NAME))
  special = base.find_special_tokens(
    vocab, 'give the folder of a model that was trained with masks.'
  )
  level = {'type': 'ByteLevel', 'trim_offsets': True, 'use_regex': True}
  level['add_prefix_space'] = prefix_space
  names = {i: name for name, i in vocab.items()}
  return {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': [
      AddedToken(content=names[i], id=i, special=True).entry()
      for i in sorted(special.values())
    ],
    'normalizer': None,
    'pre_tokenizer': level,
    'post_processor': _around_texts(names, special, prefix_space),
    'decoder': level,
    'model': {
      'type': 'BPE',
      'dropout': None,
      'unk_token': None,
      'continuing_subword_prefix': None,
      'end_of_word_suffix': None,
      'fuse_unk': False,
      'byte_fallback': False,
      'ignore_merges': False,
      'vocab': vocab,
      'merges': merges,
    },
  }


def _around_texts(
  names: dict[int, str], special: dict[str, int], prefix_space: bool
) -> dict[str, Any] | None:
  """RoBERTa's two separators between texts; None where [CLS] is not <s>."""
  cls_id, sep_id = special[base.CLS], special[base.SEP]
  if names[cls_id] != '<s>':
    return None
  return {
    'type': 'RobertaProcessing',
    'sep': [names[sep_id], sep_id],
    'cls': [names[cls_id], cls_id],
    'trim_offsets': True,
    'add_prefix_space': prefix_space,
  }


def _read_vocab(path: pathlib.Path) -> dict[str, int]:
  try:
    vocab: Any = json.loads(path.read_text('utf-8'))
  except (ValueError, RecursionError) as error:
    raise InputError(f'it is not JSON ({error}); restore it.') from None
  if not isinstance(vocab, dict) or not all(
    type(value) is int for value in vocab.values()
  ):
    raise InputError('it does not give each token an id; restore it.')
  return vocab


def _read_merges(path: pathlib.Path) -> list[list[str]]:
  if not path.is_file():
    raise InputError(
      f'{path.name} is missing beside it; fetch it too, or tokenizer.json.'
    )
  try:
    lines = path.read_text('utf-8').split('\n')
  except ValueError as error:
    raise InputError(
      f'{path.name} beside it is not UTF-8 ({error}); restore it.'
    ) from None
  if lines[0].startswith('#version'):
    del lines[0]
  merges = [line.rstrip('\r').split(' ') for line in lines if line.strip()]
  for pair in merges:
    if len(pair) != 2:
      raise InputError(
        f'{path.name} beside it has {quoted(" ".join(pair))}, which is no '
        'pair; restore it.'
      )
  return merges
