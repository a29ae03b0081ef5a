"""Files of others' tokenizers, and the tokens that come of a text."""

import json
import pathlib
from typing import Any


def write_vocabulary(folder: pathlib.Path, entries, **files: Any):
  """Writes vocab.txt, and NAME.json for each NAME=VALUE."""
  folder.mkdir(exist_ok=True)
  (folder / 'vocab.txt').write_text('\n'.join(entries) + '\n', 'utf-8')
  for name, value in files.items():
    (folder / f'{name}.json').write_text(json.dumps(value))
  return folder


def added_token(content: str, **flags: bool) -> dict[str, Any]:
  """An added token as tokenizer.json has it; all flags are false by default."""
  names = ('single_word', 'lstrip', 'rstrip', 'normalized', 'special')
  return {'content': content, **dict.fromkeys(names, False), **flags}


def byte_level(entries, **changes: Any) -> dict[str, Any]:
  """A byte-level tokenizer.json without merges."""
  return {
    'added_tokens': [],
    'normalizer': None,
    'pre_tokenizer': {
      'type': 'ByteLevel',
      'add_prefix_space': False,
      'trim_offsets': True,
      'use_regex': True,
    },
    'model': {
      'type': 'BPE',
      'vocab': {entry: number for number, entry in enumerate(entries)},
      'merges': [],
    },
  } | changes


def tokens_of_text(tokenizer, text: str) -> list[str]:
  (ids,) = tokenizer.encode_batch([text])
  return [tokenizer.token(int(i)) for i in ids]
