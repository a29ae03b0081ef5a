"""A tokenizer with all entries of another, in their order, and then more."""

from typing import Any

import numpy as np

from bert_jax.data.tokenizers.added_tokens import inner_of
from bert_jax.data.tokenizers.base import SPECIAL_NAMES, Tokenizer
from bert_jax.errors import InputError, listed, quoted, shown


def pieces_of_new(
  old: Tokenizer, new: Tokenizer, name: str
) -> list[np.ndarray]:
  """The ids into which `old` cuts each entry that `new` alone has.

  WordPiece: an entry ##ing is cut into pieces with ##. SentencePiece and
  byte-level BPE: the space mark of an entry counts as the space it stands for,
  and one without it is cut as the rest of a word. The token of unknown texts is
  left out: it says nothing of any. So an entry of which `old` knows no part has
  no ids, as has one that is a part of a letter.

  Raises:
    InputError: `new` would cut what `old` knows by other rules, or into other
      ids. It begins with `name`, and names what differs first.
  """
  old_size, new_size = old.table.vocab_size, new.table.vocab_size
  rules, others = _rules(old), _rules(new)
  differing = [
    f'{field} is {shown(str(others.get(field)))}, of the model '
    f'{shown(str(rules.get(field)))}'
    for field in rules | others
    if rules.get(field) != others.get(field)
  ]
  if differing:
    raise InputError(
      f'{name}: its {"; its ".join(differing)}; begin with a copy of the '
      'tokenizer of the model, with what lies beside it'
    )
  for token_id in range(min(old_size, new_size)):
    ours, theirs = old.token(token_id), new.token(token_id)
    if ours != theirs:
      raise InputError(
        f'{name}: its entry {token_id} is {quoted(theirs)}, that of the model '
        f'{quoted(ours)}; all {old_size:,} old entries must come first, in '
        f'their order{_where_more_go(old)}'
      )
  if new_size <= old_size:
    raise InputError(
      f'{name}: it has {new_size:,} entries, the model {old_size:,}; append '
      'some to those of the model'
    )
  for field in (f'{name}_id' for name in SPECIAL_NAMES):
    ours, theirs = getattr(old.table, field), getattr(new.table, field)
    if ours != theirs:
      raise InputError(
        f'{name}: its {field} is {theirs}, that of the model {ours}; leave out '
        f'the entry {quoted(new.token(theirs))}'
      )
  _check_each_once(new, old_size, name)
  _check_added(old, new, name)
  return [
    ids[ids != old.table.unk_id]
    for ids in (old.pieces_of(new, i) for i in range(old_size, new_size))
  ]


def never_drawn(new: Tokenizer, first: int) -> list[str]:
  """The entries from `first` on that no longer stand for their own text.

  Examples: one with a capital letter where text is lowered; one of two words.
  """
  return [
    new.token(i)
    for i in range(first, new.table.vocab_size)
    if new.pieces_of(new, i).tolist() != [i]
  ]


def _rules(tokenizer: Tokenizer) -> dict[str, Any]:
  """Rules by which a tokenizer cuts texts, by name; not its entries."""
  tokenizer = inner_of(tokenizer)
  spec = tokenizer.tokenizer_json()
  rules = {
    'kind': type(tokenizer).__name__,
    'max_word_characters': spec['model'].get('max_input_chars_per_word'),
  }
  for part in ('normalizer', 'pre_tokenizer'):
    for field, value in (spec.get(part) or {}).items():
      rules[f'{part}.{field}'] = value
  # `split` follows from the entries: it says whether one has two words.
  rules.pop('pre_tokenizer.split', None)
  return rules


def _check_added(old: Tokenizer, new: Tokenizer, name: str) -> None:
  """Raises InputError unless `new` has the added tokens of `old`."""
  theirs = {t['content']: t for t in _added(new)}
  for token in _added(old):
    other = theirs.get(token['content'])
    if other != token:
      raise InputError(
        f'{name}: the added token {quoted(token["content"])} of the model is '
        f'{"another" if other else "missing"} there; copy added_tokens.json '
        'and the lists of tokenizer_config.json too'
      )


def _added(tokenizer: Tokenizer) -> list[dict[str, Any]]:
  """The added tokens of its tokenizer.json but the five special ones."""
  return [
    token
    for token in tokenizer.tokenizer_json().get('added_tokens') or []
    if token['id'] not in tokenizer.table.special_ids
  ]


def _check_each_once(new: Tokenizer, first: int, name: str) -> None:
  entries = {new.token(i) for i in range(first)}
  repeated = []
  for token_id in range(first, new.table.vocab_size):
    entry = new.token(token_id)
    if entry in entries:
      repeated.append(entry)
    entries.add(entry)
  if repeated:
    raise InputError(
      f'{name}: {len(repeated):,} of its new entries are there already, '
      f'{listed(repeated)}; leave them out'
    )


def _where_more_go(old: Tokenizer) -> str:
  if not getattr(old, 'added', ()):
    return ''
  return (
    ': its last ones are added tokens, so new ones go to the end of '
    'added_tokens in tokenizer_config.json, with the ids that follow'
  )
