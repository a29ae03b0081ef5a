"""Says in a sentence how two descriptions differ in their files' content.

Names of files are used to say which one it is; what is compared is content and
order, so that renamed and moved files are the same.
"""

import json
from collections import Counter
from typing import Any

from bert_jax.errors import cut

EARLIER_VERSION = (
  'it was made by an earlier version, which did not record the content of '
  'what it read, so that whether that is the same now is not known'
)
# Digests, any of which says what a file holds.
_DIGESTS = ('sha256', 'md5', 'crc32c', 'etag')


def difference(then: Any, now: Any, where: str = '') -> str:
  """The first difference between two descriptions, '' where there is none.

  Args:
    then, now: descriptions of one kind of input, by `Contents.identify`.
    where: the field, 'filters.keep' or the like.
  """
  if isinstance(then, list) and isinstance(now, list):
    if _are_files(now) and _are_files(then):
      return _difference_of_files(then, now)
    if len(then) == len(now):
      pairs = zip(then, now, strict=True)
      found = (difference(old, new, where) for old, new in pairs)
      return next(filter(None, found), '')
  if isinstance(then, dict) and isinstance(now, dict):
    if _is_file(then) and _is_file(now):
      return _difference_of_files([then], [now])
    if 'sha256' in now and then.get('sha256') != now['sha256']:
      if 'sha256' not in then:
        return EARLIER_VERSION
      what = f'the content of {where}' if where else 'its content'
      return f'{what} has changed'
    # Keys that come first say more than the digests at the end.
    for name in dict.fromkeys((*now, *then)):
      inner = f'{where}.{name}' if where else name
      if name in now and name not in then and _holds_digests(now[name]):
        return EARLIER_VERSION
      if found := difference(then.get(name), now.get(name), inner):
        return found
    return ''
  if then == now:
    return ''
  return f'{where or "it"} was {_shown(then)}, now {_shown(now)}'


def _difference_of_files(then: list[dict], now: list[dict]) -> str:
  is_recorded = all(map(_has_digest, then))
  if not is_recorded:
    then, now = ([_by_size(file) for file in side] for side in (then, now))
  keys_then, keys_now = (list(map(_content, side)) for side in (then, now))
  if keys_then == keys_now:
    return '' if is_recorded else EARLIER_VERSION
  if Counter(keys_then) == Counter(keys_now):
    pairs = zip(now, keys_now, keys_then, strict=True)
    first = next(file for file, key, old in pairs if key != old)
    return f'the same files come in another order, from {first["name"]} on'
  return _named(then, now)


def _named(then: list[dict], now: list[dict]) -> str:
  """A sentence that names the first file that changed, came or went."""
  gone = _without(then, now)
  new = _without(now, then)
  names_gone = {file['name']: file for file in gone}
  changed = [file for file in new if file['name'] in names_gone]
  if changed:
    old = names_gone[changed[0]['name']]
    what = f'{changed[0]["name"]}{_more(changed)}'
    kinds = _digest_kind(old), _digest_kind(changed[0])
    if old['bytes'] != changed[0]['bytes']:
      return f'the content of {what} has changed'
    if kinds[0] != kinds[1]:
      return (
        f'{what} was known by its {kinds[0]}, and now there is its {kinds[1]}, '
        'which cannot be compared'
      )
    if kinds[1] == 'etag':
      return (
        f'{what} has another ETag: its content has changed, or it was uploaded '
        'in other parts'
      )
    return f'the content of {what} has changed'
  if new:
    return f'{new[0]["name"]}{_more(new)} was not among its files'
  return f'{gone[0]["name"]}{_more(gone)} is not among its files any more'


def _more(files: list[dict]) -> str:
  return f' and {len(files) - 1} more' if files[1:] else ''


def _without(files: list[dict], others: list[dict]) -> list[dict]:
  left = Counter(map(_content, others))
  found = []
  for file in files:
    key = _content(file)
    if left[key]:
      left[key] -= 1
    else:
      found.append(file)
  return found


def _content(file: dict) -> str:
  return json.dumps(
    {k: v for k, v in file.items() if k != 'name'}, sort_keys=True
  )


def _is_file(value: Any) -> bool:
  return isinstance(value, dict) and {'name', 'bytes'} <= value.keys()


def _are_files(value: list) -> bool:
  return bool(value) and all(map(_is_file, value))


def _has_digest(file: dict) -> bool:
  return any(name in file for name in _DIGESTS)


def _digest_kind(file: dict) -> str:
  return next((name for name in _DIGESTS if name in file), 'size')


def _by_size(file: dict) -> dict:
  return {name: file[name] for name in ('name', 'bytes')}


def _holds_digests(value: Any) -> bool:
  """Returns whether a field is one that earlier versions did not have."""
  if isinstance(value, list):
    return bool(value) and all(map(_holds_digests, value))
  if not isinstance(value, dict) or not value:
    return False
  return _has_digest(value) or all(map(_holds_digests, value.values()))


def _shown(value: Any) -> str:
  return cut(json.dumps(value), 100)
