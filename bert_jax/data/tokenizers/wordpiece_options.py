"""Reads the options of a WordPiece, and sees where its files disagree.

tokenizer_config.json and tokenizer.json both have them. Which of the two
transformers reads depends on the class; where they differ without one of them
deciding, the folder is refused.
"""

from collections.abc import Sequence

from bert_jax.data.tokenizers import wordpiece
from bert_jax.data.tokenizers.folder_files import (
  ANY_KIND,
  CONFIG_NAME,
  JSON_NAME,
  FolderFiles,
)
from bert_jax.data.tokenizers.tokenizer_json import WordPieceSpec
from bert_jax.errors import InputError, quoted

# Defaults of BertTokenizer in transformers.
DEFAULTS: dict[str, bool | None] = {
  'lowercase': True,
  'strip_accents': None,
  'tokenize_chinese_chars': True,
}
_BERT_MAX_WORD_CHARACTERS = 100


def option(
  files: FolderFiles,
  in_json: WordPieceSpec | None,
  name: str,
) -> bool | None:
  """The value in the config or in tokenizer.json; None where neither has one.

  Raises:
    InputError: They differ, and which of them counts is not certain.
  """
  names = (name, 'do_lower_case') if name == 'lowercase' else (name,)
  asked = files.flag(*names)
  if in_json is None:
    return asked
  there = getattr(in_json, name)
  if files.class_name in ANY_KIND:
    if asked in (None, there) or there is None:
      return there
  elif asked is not None:
    return asked
  elif not files.class_name or there == DEFAULTS[name]:
    return there
  said = 'no' if asked is None else f'{asked} for'
  raise InputError(
    f'{files.folder / CONFIG_NAME}: it says {said} {names[-1]}, and '
    f'{JSON_NAME} {there}; say in {CONFIG_NAME} what the model was '
    'trained with'
  )


def max_word_characters(
  files: FolderFiles, in_json: WordPieceSpec | None
) -> int:
  asked = files.config.get('max_word_characters')
  if asked is not None:
    return asked
  is_bert = files.class_name not in ('', *ANY_KIND)
  if in_json is not None and not is_bert:
    return in_json.max_word_characters
  if in_json is not None and (
    in_json.max_word_characters != _BERT_MAX_WORD_CHARACTERS
  ):
    raise InputError(
      f'{files.folder / JSON_NAME}: model.max_input_chars_per_word '
      f'is {in_json.max_word_characters}, and {files.class_name} of '
      f'transformers takes {_BERT_MAX_WORD_CHARACTERS}; name '
      f'PreTrainedTokenizerFast as tokenizer_class in {CONFIG_NAME}, or change '
      'the number'
    )
  if files.is_transformers:
    return _BERT_MAX_WORD_CHARACTERS
  return wordpiece.MAX_WORD_CHARACTERS


def check_same_vocab(tokens: Sequence[str], in_json: Sequence[str]) -> None:
  ids = {token: i for i, token in enumerate(tokens)}
  for token_id, token in enumerate(in_json):
    if ids.get(token.strip()) != token_id:
      raise InputError(
        f'its entry {quoted(token)} is {ids.get(token.strip())} there and '
        f'{token_id} in {JSON_NAME} beside it; remove the one that '
        'is not of the model'
      )
