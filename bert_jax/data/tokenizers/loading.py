"""Loads a tokenizer from its folder: the one reader for every verb.

`folder_files` reads what stands beside the vocabulary, `added_token_files`
which tokens were added to it; here they become a tokenizer.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from bert_jax.buckets import BucketPath
from bert_jax.data.tokenizers import (
  added_token_files,
  added_tokens,
  byte_bpe,
  byte_bpe_files,
  folder_files,
  sentencepiece,
  tokenizer_json,
  vocabulary_case,
  wordpiece,
  wordpiece_options,
)
from bert_jax.data.tokenizers.base import Tokenizer, special_names
from bert_jax.data.tokenizers.folder_files import CONFIG_NAME, FolderFiles
from bert_jax.errors import InputError, shown

# Files of each kind. If no file names the kind, the first one present decides.
# A tokenizer.json comes after the files that it is made from, but before a
# vocab.json, which needs another file beside it.
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

  Such a file is a vocab.txt, a .model, a tokenizer.json, or a vocab.json with
  merges.txt beside it. Files beside it are read too (`folder_files`).

  Where no file says whether text is lowered, the vocabulary as a whole decides
  (`vocabulary_case`). `notes` of the tokenizer says what was decided so, and
  why.

  Raises:
    InputError: There is none, its kind is not known, a file beside it asks for
      what ours cannot do, or its vocabulary lacks a special token.
  """
  if not isinstance(path, BucketPath):
    path = pathlib.Path(os.path.expanduser(path))
  if path.is_dir():
    files = folder_files.read(path)
    path = _find_file(path, files)
  elif path.name in _ANY_KIND:
    files = folder_files.read(path.parent)
  else:
    # A file of another name: what lies beside it may belong to other models.
    files = FolderFiles(folder=path.parent)
  if not path.is_file():
    raise InputError(
      f'{path}: there is no such file; give a folder that train_tokenizer '
      'wrote, or the vocab.txt, .model or tokenizer.json of a model.'
    )
  try:
    return _load_file(path, files)
  except InputError as error:
    message = str(error)
    if message.startswith(str(path.parent)):
      raise
    raise InputError(f'{path}: {message}') from None


def _find_file(folder: pathlib.Path, files: FolderFiles) -> pathlib.Path:
  """The tokenizer's file in the folder."""
  names = FILES[files.kind] if files.kind else _ANY_KIND
  found = [folder / name for name in names if (folder / name).is_file()]
  is_only_in_json = files.class_name in folder_files.ANY_KIND and not any(
    path.suffix == '.model' for path in found
  )
  if is_only_in_json and folder / tokenizer_json.NAME in found:
    return folder / tokenizer_json.NAME
  if found:
    return found[0]
  if files.is_ours:
    return folder / names[0]
  if files.kind == sentencepiece.KIND and files.spec is not None:
    raise InputError(
      f'{folder}: {tokenizer_json.NAME} is there, which is all that '
      f'transformers 5 writes, but for {files.class_name} spiece.model is '
      'needed; copy it there from the model that this one was made from'
    )
  raise InputError(
    f'{folder}: there is none of {", ".join(names)} in it; give a folder that '
    'train_tokenizer wrote, or a file of these.'
  )


def _load_file(path: pathlib.Path, files: FolderFiles) -> Tokenizer:
  notes: list[str] = []
  if path.suffix == '.model':
    tokenizer = _sentencepiece(path, files, notes)
    kind = sentencepiece.KIND
  elif path.name == byte_bpe_files.VOCAB_NAME:
    tokenizer = _two_files(path, files)
    kind = byte_bpe.KIND
  elif path.suffix == '.json':
    kind, spec = tokenizer_json.read(path)
    if files.config.get('kind') not in (None, kind):
      raise InputError(
        f'kind is {files.config["kind"]!r}, by the config beside it, but the '
        f'file is of kind {kind!r}; restore them.'
      )
    if kind == byte_bpe.KIND:
      tokenizer = _byte_bpe(path, spec, files)
    else:
      tokenizer = _wordpiece(path, files, spec, notes)
  else:
    spec = files.spec
    if spec is not None and spec['model'].get('type') != 'WordPiece':
      raise InputError(
        f'{tokenizer_json.NAME} beside it is no WordPiece; remove the one that '
        'is not of the model'
      )
    tokenizer = _wordpiece(path, files, spec, notes)
    kind = wordpiece.KIND
  theirs = folder_files.CLASSES.get(files.class_name)
  if theirs not in (None, kind):
    raise InputError(
      f'{files.folder / CONFIG_NAME}: tokenizer_class is '
      f'{files.class_name!r}, but {path.name} is of kind {kind}; they are of '
      'different models'
    )
  added_token_files.check_special_names(files, special_names(tokenizer))
  tokenizer.notes = tuple(notes)
  return tokenizer


def _sentencepiece(
  path: pathlib.Path, files: FolderFiles, notes: list[str]
) -> Tokenizer:
  model = path.read_bytes()
  lowercase = files.flag('lowercase', 'do_lower_case')
  if lowercase is None:
    case = sentencepiece.case_of(model)
    lowercase = case.lowercase and case.strip_accents
    notes.append(_decided(path, lowercase, lowercase, case.reason))
  keeps = files.flag('keep_accents')
  # A folder without a class has no known rule: cased text stays as it is.
  default = not lowercase and files.class_name != 'AlbertTokenizer'
  if (default if keeps is None else keeps) == lowercase:
    raise InputError(
      f'{files.folder / CONFIG_NAME}: keep_accents is {keeps} and '
      f'do_lower_case {lowercase}; a SentencePiece here changes case and '
      'accents together, or neither (do_lower_case false, keep_accents true)'
    )
  tokenizer = sentencepiece.SentencePiece(
    model,
    lowercase=lowercase,
    straight_quotes=files.class_name == 'AlbertTokenizer'
    or files.flag('straight_quotes') is True,
  )
  vocab = {tokenizer.token(i): i for i in range(tokenizer.table.vocab_size)}
  return _with_added(tokenizer, files, vocab)


def _wordpiece(
  path: pathlib.Path,
  files: FolderFiles,
  spec: Mapping[str, Any] | None,
  notes: list[str],
) -> Tokenizer:
  """`spec`: the tokenizer.json, be it `path` or beside it."""
  in_json = tokenizer_json.wordpiece_spec(spec) if spec is not None else None
  if in_json is not None and path.suffix == '.json':
    tokens = in_json.tokens
  else:
    tokens = wordpiece.read_vocab(path)
    if in_json is not None:
      wordpiece_options.check_same_vocab(tokens, in_json.tokens)
  options: dict[str, Any] = {
    name: wordpiece_options.option(files, in_json, name)
    for name in wordpiece_options.DEFAULTS
  }
  if not files.is_ours or options['lowercase'] is None:
    case = vocabulary_case.of_entries(
      token.removeprefix(wordpiece.CONTINUATION) for token in tokens
    )
    _decide_case(path, files, case, options, notes)
  if options['tokenize_chinese_chars'] is None:
    options['tokenize_chinese_chars'] = True
  tokenizer = wordpiece.WordPiece(
    tokens,
    max_word_characters=wordpiece_options.max_word_characters(files, in_json),
    **options,
  )
  vocab = {token: i for i, token in enumerate(tokens)}
  return _with_added(tokenizer, files, vocab)


def _decide_case(
  path: pathlib.Path,
  files: FolderFiles,
  case: vocabulary_case.VocabularyCase,
  options: dict[str, bool | None],
  notes: list[str],
) -> None:
  """Decides on case if no file does; notes what the vocabulary contradicts."""
  lowercase = options['lowercase']
  if lowercase is not None:
    if lowercase != case.lowercase:
      notes.append(
        f'{path.name}: do_lower_case is {str(lowercase).lower()} by the files '
        f'beside it, although {case.reason}'
      )
    return
  options['lowercase'] = case.lowercase
  if options['strip_accents'] is None and not files.is_transformers:
    options['strip_accents'] = case.strip_accents
  strips = options['strip_accents']
  strips = case.lowercase if strips is None else strips
  notes.append(_decided(path, case.lowercase, strips, case.reason))
  if files.is_transformers and (case.lowercase, case.strip_accents) != (
    True,
    strips,
  ):
    notes.append(_other_default(path, case.lowercase))


def _with_added(
  tokenizer: wordpiece.WordPiece | sentencepiece.SentencePiece,
  files: FolderFiles,
  vocab: Mapping[str, int],
) -> Tokenizer:
  if files.is_ours:
    added = added_tokens.from_config(files.config.get(added_tokens.KEY, []))
  else:
    table = tokenizer.table
    special = {tokenizer.token(int(i)) for i in table.special_ids}
    added = added_token_files.collect(files, vocab, table.vocab_size, special)
  if not added:
    return tokenizer
  return added_tokens.WithAddedTokens(tokenizer, added)


def _two_files(path: pathlib.Path, files: FolderFiles) -> byte_bpe.ByteBpe:
  spec = byte_bpe_files.read(
    path, prefix_space=files.flag('add_prefix_space') or False
  )
  return _byte_bpe_with_added(spec, files)


def _byte_bpe(
  path: pathlib.Path, spec: dict[str, Any], files: FolderFiles
) -> byte_bpe.ByteBpe:
  """The tokenizer of a tokenizer.json, checked against the files beside it."""
  if files.is_ours:
    return byte_bpe.ByteBpe(
      spec, special_in_text=files.config.get('special_in_text') is True
    )
  if path.name != tokenizer_json.NAME:
    return byte_bpe.ByteBpe(spec, special_in_text=True)
  there = byte_bpe.prefix_space(spec)
  asked = files.flag('add_prefix_space')
  is_roberta = files.class_name not in ('', *folder_files.ANY_KIND)
  if is_roberta:
    _check_roberta(files, spec)
    if asked is None and there:
      raise InputError(
        f'{files.folder / CONFIG_NAME}: it says no add_prefix_space, and '
        f'{path.name} True; say in {CONFIG_NAME} what the model was trained '
        'with'
      )
    if asked is not None and asked != there:
      spec = byte_bpe.with_prefix_space(spec, asked)
  elif asked not in (None, there):
    raise InputError(
      f'{files.folder / CONFIG_NAME}: add_prefix_space is {asked}, and in '
      f'{path.name} {there}; make them agree'
    )
  return _byte_bpe_with_added(spec, files)


def _check_roberta(files: FolderFiles, spec: Mapping[str, Any]) -> None:
  """RobertaTokenizer has rules of its own: others in the file are not read."""
  split = spec['pre_tokenizer']
  found = {
    'normalizer': (spec.get('normalizer'), None),
    'pre_tokenizer.type': (split.get('type'), 'ByteLevel'),
    'pre_tokenizer.use_regex': (split.get('use_regex', True), True),
    'model.ignore_merges': (bool(spec['model'].get('ignore_merges')), False),
  }
  for name, (there, expected) in found.items():
    if there != expected:
      raise InputError(
        f'{files.folder / tokenizer_json.NAME}: {name} is '
        f'{shown(repr(there))}, and '
        f'{files.class_name} of transformers takes {expected!r}; name '
        f'PreTrainedTokenizerFast as tokenizer_class in {CONFIG_NAME}, if the '
        'model was trained with this file'
      )


def _byte_bpe_with_added(
  spec: dict[str, Any], files: FolderFiles
) -> byte_bpe.ByteBpe:
  plain = byte_bpe.ByteBpe(spec)
  special = {plain.token(int(i)) for i in plain.table.special_ids}
  vocab = spec['model']['vocab']
  added = added_token_files.collect(files, vocab, len(vocab), special)
  there = spec.get('added_tokens') or []
  known = {token['content'] for token in there}
  more = [token.entry() for token in added if token.content not in known]
  if more:
    spec = {**spec, 'added_tokens': [*there, *more]}
  return byte_bpe.ByteBpe(spec, special_in_text=True)


def _decided(
  path: pathlib.Path, lowercase: bool, strips: bool, reason: str
) -> str:
  case = 'cased'
  if lowercase:
    case = 'uncased' if strips else 'uncased, accents kept'
  return (
    f'{path.name}: taken as {case}: {reason}; say do_lower_case (and '
    f'strip_accents) in {CONFIG_NAME} beside it to decide otherwise'
  )


def _other_default(path: pathlib.Path, lowercase: bool) -> str:
  """A note if the default of transformers does not suit the vocabulary."""
  if lowercase:
    return (
      f'{path.name}: accents are stripped as transformers does where no file '
      'says otherwise, so its entries with one are never used; say '
      f'strip_accents false in {CONFIG_NAME} if the model was trained with them'
    )
  return (
    f'{path.name}: transformers takes do_lower_case true where no file says '
    f'otherwise; say false in {CONFIG_NAME} for it to give these ids'
  )
