"""The added tokens that the files of transformers list, with their ids.

The order and the flags are those of transformers 5.24: tokens with an id by
it, then named special tokens (bos_token and the like), then the additional
ones. Files that contradict each other, or an id that transformers would not
give, are refused: the rows of the embedding belong to one reading alone.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, TypedDict

from bert_jax.config.json_decoder import Check, Decoder
from bert_jax.data.tokenizers.added_token_search import AddedToken, assign_ids
from bert_jax.data.tokenizers.folder_files import (
  ADDED_NAME,
  CONFIG_NAME,
  JSON_NAME,
  SPECIAL_NAME,
  FolderFiles,
)
from bert_jax.errors import InputError, quoted, shown

DECODER = 'added_tokens_decoder'
_NAMED = tuple(
  f'{name}_token' for name in ('bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask')
)
_LISTS = ('extra_special_tokens', 'additional_special_tokens')
_NO_ID = -1
# Lone surrogate: JSON can write half a character, and no text can hold it.
_SURROGATES = re.compile('[\ud800-\udfff]')

_Id = Annotated[int, Check(lambda number: 0 <= number < 2**31, 'an id')]
_WrittenId = Annotated[str, Check(re.compile(r'\d{1,9}').fullmatch, 'an id')]


class _Numbered(TypedDict):
  id: _Id


def collect(
  files: FolderFiles, vocab: Mapping[str, int], size: int, special: Collection
) -> list[AddedToken]:
  """The added tokens of a folder in the order of their ids.

  Args:
    files: the files that lie in it.
    vocab: the vocabulary of the tokenizer without them.
    size: the rows of that vocabulary, which may have an entry twice.
    special: the five special tokens, which are ordinary text here.

  Raises:
    InputError: a list is damaged, files disagree, or an id cannot be.
  """
  listed = _declared(files, special)
  listed.sort(key=lambda token: token.id)
  known = {token.content for token in listed}
  for token in _without_id(files):
    if token.content not in known:
      known.add(token.content)
      listed.append(token)
  for token in listed:
    if _SURROGATES.search(token.content):
      raise _damaged(str(files.folder), token.content)
  ids = assign_ids(vocab, listed)
  tokens = []
  for token in listed:
    given = ids.get(token.content)
    if given is None:
      continue  # transformers adds no empty token
    _check_id(files, token, given, token.content in vocab, size)
    if token.content not in special:
      tokens.append(dataclasses.replace(token, id=given))
  return sorted(tokens, key=lambda token: token.id)


def check_special_names(files: FolderFiles, found: Mapping[str, str]) -> None:
  """Compares the names of the five ('mask_token') with those found.

  Raises:
    InputError: a file names another token.
  """
  for source, content in (
    (CONFIG_NAME, files.config),
    (SPECIAL_NAME, files.special_map),
  ):
    for name, token in found.items():
      asked = content.get(name)
      if isinstance(asked, Mapping):
        asked = asked.get('content')
      if asked not in (None, token):
        raise InputError(
          f'{files.folder / source}: {name} is {shown(repr(asked))}, but the '
          f'vocabulary is read with {token!r}; only the usual names can be '
          'used, such as [MASK] or <mask>'
        )


def _declared(files: FolderFiles, special: Collection[str]) -> list[AddedToken]:
  """The added tokens to which a file gives an id, each once."""
  decoder = _decoder(files)
  legacy = _legacy(files)
  in_json = _in_json(files)
  found: dict[str, tuple[AddedToken, str]] = {}
  for token in decoder:
    found[token.content] = token, f'{DECODER} of {CONFIG_NAME}'
  for source, tokens in ((JSON_NAME, in_json), (ADDED_NAME, legacy)):
    for token in tokens:
      if token.content in special:
        continue
      if token.content not in found:
        if decoder:
          raise InputError(
            f'{files.folder / source}: the added token '
            f'{quoted(token.content)} is not in {DECODER} of {CONFIG_NAME}; '
            'make them agree'
          )
        found[token.content] = token, source
        continue
      other, where = found[token.content]
      flags = source == ADDED_NAME or other.flags() == token.flags()
      if other.id != token.id or not flags:
        raise InputError(
          f'{files.folder / source}: the added token {quoted(token.content)} '
          f'has another {"flag" if other.id == token.id else "id"} in {where}; '
          'make them agree'
        )
  # The five themselves, which a file may have beyond the vocabulary.
  for token in decoder or in_json:
    if token.content in special:
      found[token.content] = token, ''
  return [token for token, _ in found.values()]


def _decoder(files: FolderFiles) -> list[AddedToken]:
  where = f'{files.folder / CONFIG_NAME}: {DECODER}'
  listed = _checked(where, files.config.get(DECODER) or {}, dict[str, object])
  return [
    _token(where, token, int(_checked(where, written_id, _WrittenId)))
    for written_id, token in listed.items()
  ]


def _in_json(files: FolderFiles) -> list[AddedToken]:
  where = f'{files.folder / JSON_NAME}: added_tokens'
  listed = (files.spec or {}).get('added_tokens') or []
  return [
    _token(where, token, _checked(where, token, _Numbered)['id'])
    for token in _checked(where, listed, list[object])
  ]


def _legacy(files: FolderFiles) -> list[AddedToken]:
  """added_tokens.json, where flags follow from the list of special tokens."""
  special = {token.content for token in _named(files)} | {
    token.content
    for content in (files.config, files.special_map)
    for name in _LISTS
    # transformers does not read the other list of special_tokens_map.json
    # where this file is there.
    if content is files.config or name == _LISTS[0]
    for token in _list(files, content, name)
  }
  tokens = []
  where = str(files.folder / ADDED_NAME)
  for content, token_id in files.added.items():
    _checked(where, {content: token_id}, dict[str, _Id])
    is_special = content in special
    tokens.append(
      AddedToken(
        content=content,
        id=token_id,
        special=is_special,
        normalized=not is_special,
      )
    )
  return tokens


def _without_id(files: FolderFiles) -> Iterator[AddedToken]:
  decoder = {token.content for token in _decoder(files)}
  yield from _named(files)
  for content in (files.config, files.special_map):
    for name in _LISTS:
      for token in _list(files, content, name):
        if decoder and content is files.special_map:
          if token.content not in decoder:
            raise InputError(
              f'{files.folder / SPECIAL_NAME}: {name} has '
              f'{quoted(token.content)}, which is not in {DECODER} of '
              f'{CONFIG_NAME}; make them agree'
            )
        yield token


def _named(files: FolderFiles) -> list[AddedToken]:
  """bos_token and the like; of special_tokens_map.json before the config."""
  where = str(files.folder / CONFIG_NAME)
  values: dict[str, Any] = {
    name: value
    for name, value in files.config.items()
    if name in _NAMED or name.endswith('_token') and isinstance(value, str)
  }
  if not files.config.get(DECODER):
    where = f'{where} or {SPECIAL_NAME}'
    values |= {
      name: value
      for name, value in files.special_map.items()
      if name.endswith('_token')
    }
  for content in (files.config, files.special_map):
    for name in _LISTS:
      if isinstance(content.get(name), Mapping):
        values |= content[name]
  order = [*_NAMED, *(name for name in values if name not in _NAMED)]
  return [
    _special(f'{where}: {name}', values[name])
    for name in order
    if values.get(name) is not None
  ]


def _list(
  files: FolderFiles, content: Mapping[str, Any], name: str
) -> list[AddedToken]:
  value = content.get(name) or []
  source = CONFIG_NAME if content is files.config else SPECIAL_NAME
  where = f'{files.folder / source}: {name}'
  if isinstance(value, Mapping):
    return []  # names of tokens, see _named
  listed = _checked(where, value, list[object])
  return [_special(where, token) for token in listed]


def _special(where: str, value: Any) -> AddedToken:
  if isinstance(value, str):
    return AddedToken(content=value, id=_NO_ID, special=True)
  if isinstance(value, Mapping):
    value = {'special': True, **value}
  return _token(where, value, _NO_ID)


def _token(where: str, value: Any, token_id: int) -> AddedToken:
  given = _checked(where, value, dict[str, object])
  given = {'normalized': not given.get('special'), **given, 'id': token_id}
  # transformers writes more than is read here, such as '__type'.
  known = {field.name for field in dataclasses.fields(AddedToken)}
  fields = {name: given[name] for name in given if name in known}
  return _checked(where, fields, AddedToken, value)


def _check_id(
  files: FolderFiles, token: AddedToken, given: int, in_vocab: bool, size: int
) -> None:
  name = quoted(token.content)
  if not in_vocab and given < size:
    raise InputError(
      f'{files.folder}: the vocabulary has an entry twice, so transformers '
      f'gives the added token {name} the id {given} of another entry; mend the '
      'vocabulary'
    )
  if token.id not in (_NO_ID, given):
    why = 'the vocabulary has it there' if in_vocab else 'the next free one'
    raise InputError(
      f'{files.folder}: the added token {name} has the id {token.id} in the '
      f'files, and transformers gives it {given}, {why}; which row of the '
      'embedding is meant cannot be known: mend the id or the vocabulary'
    )


def _checked(
  where: str, value: Any, annotation: Any, written: Any = None
) -> Any:
  """The decoded value; InputError with what was written if it does not fit."""
  try:
    return Decoder(where=where, fix='').decode(value, annotation)
  except InputError:
    raise _damaged(where, value if written is None else written) from None


def _damaged(where: str, value: Any) -> InputError:
  return InputError(
    f'{where}: {shown(repr(value))} is no added token; restore the file'
  )
