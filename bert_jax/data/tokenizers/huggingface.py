"""Writes a tokenizer so that transformers' AutoTokenizer gives the same ids.

One thing differs on purpose: a special token that is written out in a text is
ordinary text here, and the special token there.
"""

import json
import os
import pathlib
from typing import Any

from bert_jax import durable_files
from bert_jax.data.tokenizers import (
  added_tokens,
  base,
  probes,
  tokenizer_json,
  wordpiece,
)
from bert_jax.data.tokenizers.added_token_search import AddedToken
from bert_jax.errors import InputError, quoted

_CONFIG_NAME = 'tokenizer_config.json'


def save(
  tokenizer: base.Tokenizer,
  folder: str | os.PathLike[str],
  *,
  max_length: int,
  has_token_types: bool = True,
) -> None:
  """Writes tokenizer.json and tokenizer_config.json beside our own files.

  `load_tokenizer` gives the same tokenizer from them.

  Args:
    tokenizer: A tokenizer of any kind.
    folder: The folder, which is there already.
    max_length: The number of tokens above which users are warned.
    has_token_types: True where the model tells the texts of a pair apart.

  Raises:
    InputError: The `tokenizers` package cannot do the same; nothing is written.
  """
  folder = pathlib.Path(folder)
  names = base.special_names(tokenizer)
  spec = _with_special_tokens(
    tokenizer.tokenizer_json(),
    tokenizer.table,
    names,
    second_type=int(has_token_types),
  )
  _check(tokenizer, spec)
  config = _config(tokenizer, spec, names) | {
    'model_max_length': max_length,
    'model_input_names': [
      'input_ids',
      *(['token_type_ids'] if has_token_types else []),
      'attention_mask',
    ],
  }
  tokenizer.save(folder)
  ours = json.loads((folder / _CONFIG_NAME).read_text('utf-8'))
  # Added tokens stand in tokenizer.json, where other programs may add more.
  ours.pop(added_tokens.KEY, None)
  durable_files.write_json(folder / tokenizer_json.NAME, spec)
  durable_files.write_json(folder / _CONFIG_NAME, config | ours)


def _config(
  tokenizer: base.Tokenizer, spec: dict[str, Any], names: dict[str, str]
) -> dict[str, Any]:
  """The part of tokenizer_config.json that decides ids."""
  inner = added_tokens.inner_of(tokenizer)
  is_bert = (
    isinstance(inner, wordpiece.WordPiece)
    # BertTokenizer has this limit, whatever tokenizer.json says.
    and spec['model']['max_input_chars_per_word'] == 100
    and list(names.values()) == [f'[{name[:-6].upper()}]' for name in names]
  )
  config: dict[str, Any] = {
    'tokenizer_class': 'BertTokenizer'
    if is_bert
    else 'PreTrainedTokenizerFast',
    **names,
  }
  if isinstance(inner, wordpiece.WordPiece):
    normalizer = spec['normalizer']
    config |= {
      'do_lower_case': normalizer['lowercase'],
      'strip_accents': normalizer['strip_accents'],
      'tokenize_chinese_chars': normalizer['handle_chinese_chars'],
    }
  if len(spec['added_tokens']) > len(names):
    # Older versions of transformers read added tokens from this file.
    config['added_tokens_decoder'] = {
      str(token['id']): {k: v for k, v in token.items() if k != 'id'}
      for token in spec['added_tokens']
    }
  return config


def _with_special_tokens(
  spec: dict[str, Any],
  table: base.TokenTable,
  names: dict[str, str],
  *,
  second_type: int,
) -> dict[str, Any]:
  """Registers special tokens, and puts them around and between texts."""
  others = [
    token
    for token in spec.get('added_tokens') or []
    if token['id'] not in table.special_ids
  ]
  ids = {f'{n}_token': getattr(table, f'{n}_id') for n in base.SPECIAL_NAMES}
  special = [
    AddedToken(content=content, id=ids[name], special=True).entry()
    for name, content in names.items()
  ]
  cls, sep = names['cls_token'], names['sep_token']
  single = [
    _piece('SpecialToken', cls, 0),
    _piece('Sequence', 'A', 0),
    _piece('SpecialToken', sep, 0),
  ]
  return spec | {
    'truncation': None,
    'padding': None,
    'added_tokens': sorted(others + special, key=lambda token: token['id']),
    'post_processor': {
      'type': 'TemplateProcessing',
      'single': single,
      'pair': [
        *single,
        *[_piece('SpecialToken', sep, second_type)]
        * (table.pair_separators - 1),
        _piece('Sequence', 'B', second_type),
        _piece('SpecialToken', sep, second_type),
      ],
      'special_tokens': {
        name: {'id': name, 'ids': [ids[key]], 'tokens': [name]}
        for key, name in (('cls_token', cls), ('sep_token', sep))
      },
    },
  }


def _piece(kind: str, name: str, type_id: int) -> dict[str, Any]:
  return {kind: {'id': name, 'type_id': type_id}}


def _check(tokenizer: base.Tokenizer, spec: dict[str, Any]) -> None:
  """Compares the written tokenizer with ours on texts of all kinds."""
  from tokenizers import Tokenizer

  theirs = Tokenizer.from_str(json.dumps(spec))
  texts = probes.texts(tokenizer)
  for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
    if theirs.encode(text, add_special_tokens=False).ids != ids.tolist():
      raise InputError(
        'the tokenizer cannot be written for transformers: it would encode '
        f'{quoted(text)} otherwise'
      )
