"""Finds the files of a folder that are data; the rest is named, not read.

A cloned data-set repository holds a README, a licence and descriptions beside
its data, and must be read as the data alone.
"""

import collections
import copy
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bert_jax.data.remote import storage
from bert_jax.data.sources import (
  base,
  files,
  first_bytes,
  forms,
  json_records,
)
from bert_jax.errors import InputError

# Names of files that lie beside data and are about it.
_COMPANIONS = re.compile(
  r'(?:read[-_ ]?me|licen[cs]e|copying|notice|change[-_ ]?log|contributing'
  r'|contributors|authors|citation|requirements|code_of_conduct|cmakelists'
  r'|checksums?|md5sums?|sha\d*sums?|file[-_]?list|filenames)'
  r'(?:[^a-z].*)?'
  r'|dataset_infos?\.json|dataset_dict\.json|state\.json|croissant\.json'
  r'|package(?:-lock)?\.json|tsconfig\.json|(?:\w+_)?config\.json'
  r'|tokenizer\.json|special_tokens_map\.json|added_tokens\.json'
  r'|vocab\.(?:txt|json)|merges\.txt'
  r'|_success|_metadata|_common_metadata|_(?:committed|started)_\d+'
  r'|makefile|dockerfile'
  r'|.*\.(?:crc|md5|sha\d+|lock)|.*[-_.](?:md5|sha\d+)(?:sums?)?\.txt'
)
# Caches that map() and filter() of `datasets` leave beside the shards of
# a save_to_disk folder: its rows once more.
_CACHES = re.compile(r'cache-[0-9a-f]{16}(?:_\d+_of_\d+)?\.arrow')
# A larger .json file is data, or is refused when it is read.
_MAX_DESCRIPTION_BYTES = 2**20
# The number of files in object storage, without an ending, whose form is
# taken for that of all.
_REMOTE_SNIFFED = 4
# Below it, what is left out is not worth an error.
_MIN_LOST_BYTES = 2**20
_SPLIT_NAMES = re.compile(
  r'(?:^|[^a-z])(?:test|valid|validation|val|dev|eval|evaluation)(?:[^a-z]|$)'
)


class Choice(NamedTuple):
  """The files of a folder that are read.

  Attributes:
    kind: Their form, one of forms.TITLES.
    paths: In order.
    left_out: (file, why) of the others.
  """

  kind: str
  paths: list[pathlib.Path]
  left_out: list[tuple[pathlib.Path, str]]


def choose(
  pattern: str, below: list[pathlib.Path], *, kind: str, text_field: str
) -> Choice:
  """Chooses the data files among those below a folder.

  Args:
    pattern: The name of the folder as given, for messages.
    below: The files, in order.
    kind: A stated form, or '' for the one that the files have. 'text' takes
      every file that is text; another one takes the files of that form, or if
      there is none those of no known form.
    text_field: Tells a record from a description in a .json file.

  Raises:
    InputError: There is no data, there are data of several forms, or most of
      what is there would be left out.
  """
  if kind == 'text':
    return _all_text(pattern, below)
  left_out: list[tuple[pathlib.Path, str]] = []
  by_form: dict[str, list[pathlib.Path]] = {}
  for path, form in _forms(below, text_field):
    if form in forms.TITLES:
      by_form.setdefault(form, []).append(path)
    else:
      left_out.append((path, form))
  if kind:
    chosen = by_form.pop(kind, [])
    if not chosen:
      chosen = [path for path, why in left_out if why == _UNKNOWN]
      left_out = [pair for pair in left_out if pair[1] != _UNKNOWN]
    for form, paths in by_form.items():
      left_out += [(path, forms.TITLES[form]) for path in paths]
  elif len(by_form) > 1:
    raise _mixture(pattern, by_form)
  else:
    kind, chosen = next(iter(by_form.items()), ('', []))
    if chosen:
      _check_loss(pattern, kind, chosen, left_out)
  if not chosen:
    raise _no_data(pattern, left_out)
  return Choice(kind, chosen, sorted(left_out))


class FolderSource:
  """A source whose report names the files that were chosen for it.

  Args:
    source: Reads the chosen files.
    pattern: The name of the folder as given, for the report.
    choice: The files.
    hidden: Hidden files, left out unseen.
  """

  def __init__(
    self,
    source: base.Source,
    pattern: str,
    choice: Choice,
    hidden: list[pathlib.Path],
  ):
    self._source = source
    self._pattern = pattern
    self._choice = choice
    self._hidden = hidden
    self.name = source.name

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    self._add_notes(report)
    yield from self._source.documents(report)

  def groups(self) -> list[base.Group]:
    first, *others = base.groups(self._source)
    noting = copy.copy(self)
    noting._source = first.source
    return [first._replace(source=noting), *others]

  def describe(self) -> dict:
    return self._source.describe()

  def size_in_bytes(self) -> int:
    return self._source.size_in_bytes()

  def _add_notes(self, report: base.ReadReport) -> None:
    choice = self._choice
    report.notes.append(
      f'{self._pattern}: read as {forms.TITLES[choice.kind]}: '
      f'{_files(choice.paths)} ({forms.summary(choice.paths)})'
    )
    held_out = list(filter(_is_held_out, choice.paths))
    if 0 < len(held_out) < len(choice.paths):
      report.notes.append(
        f'  of a test or validation split by name: {_files(held_out)}, read as '
        'the others; a glob leaves them out'
      )
      report.notes += _shown([str(path) for path in held_out])
    left_out = [f'{path}: {why}' for path, why in choice.left_out]
    left_out += [f'{path}: hidden' for path in self._hidden]
    if left_out:
      report.notes.append(f'  left out: {_files(left_out)}')
      report.notes += _shown(left_out)


def _files(paths: Sequence[object]) -> str:
  return '1 file' if len(paths) == 1 else f'{len(paths):,} files'


def _shown(lines: list[str]) -> list[str]:
  return [f'    {line}' for line in lines[: base.EXAMPLES_PER_KIND]]


_UNKNOWN = 'of no known form'
_DESCRIPTION = 'about the data'
_CACHE = 'a cache of map() or filter()'


def _forms(
  below: list[pathlib.Path], text_field: str
) -> Iterator[tuple[pathlib.Path, str]]:
  """Yields each file with its form, or why it is left out."""
  sniffed: list[str] = []
  for path in below:
    name = path.name.lower()
    if _COMPANIONS.fullmatch(name):
      yield path, _DESCRIPTION
      continue
    if _CACHES.fullmatch(name):
      yield path, _CACHE
      continue
    is_unnamed = not forms.ending_of(path)
    if (
      is_unnamed
      and storage.is_remote(path)
      and (len(sniffed) == _REMOTE_SNIFFED and len(set(sniffed)) == 1)
    ):
      yield path, sniffed[0]
      continue
    if is_unnamed and not files.total_size([path]):
      yield path, 'empty'
      continue
    form = forms.form_of(path) or _UNKNOWN
    if is_unnamed:
      sniffed = [*sniffed[1 - _REMOTE_SNIFFED :], form]
    if forms.ending_of(path) == '.json' and (
      files.total_size([path]) < _MAX_DESCRIPTION_BYTES
      and json_records.is_no_data(path, text_field)
    ):
      form = 'no JSON lines and no array of objects'
    yield path, form


def _all_text(pattern: str, below: list[pathlib.Path]) -> Choice:
  chosen, left_out = [], []
  for path in below:
    # A look into object storage costs a request, and reading looks anyway.
    data = b'' if storage.is_remote(path) else first_bytes.read_beginning(path)
    found = first_bytes.signature(data)
    if found and not found.is_pointer:
      left_out.append((path, found.what))
    elif b'\0' in data and not data.startswith((b'\xff\xfe', b'\xfe\xff')):
      left_out.append((path, 'no text: it holds NUL bytes'))
    else:
      chosen.append(path)
  if not chosen:
    raise _no_data(pattern, left_out)
  return Choice('text', chosen, left_out)


def _is_held_out(path: pathlib.Path) -> bool:
  return bool(
    _SPLIT_NAMES.search(path.name.lower())
    or _SPLIT_NAMES.search(path.parent.name.lower())
  )


def _mixture(
  pattern: str, by_form: dict[str, list[pathlib.Path]]
) -> InputError:
  found = ', '.join(
    f'{len(paths):,} of {forms.TITLES[form]} ({paths[0].name})'
    for form, paths in by_form.items()
  )
  kind = max(by_form, key=lambda form: len(by_form[form]))
  ending = forms.ending_of(by_form[kind][0])
  folder = pattern.rstrip('/')
  ways = f"a glob such as '{folder}/**/*{ending}*'" if ending else 'a glob'
  if kind != 'text':
    ways += f' or {kind}:{pattern}'
  return InputError(
    f'{pattern}: holds data of several forms: {found}; name those of one by '
    f'{ways}.'
  )


def _no_data(
  pattern: str, left_out: list[tuple[pathlib.Path, str]]
) -> InputError:
  whys = collections.Counter(why for _, why in left_out)
  shown = ', '.join(f'{count:,} {why}' for why, count in whys.most_common(3))
  endings = forms.summary([path for path, _ in left_out], limit=6)
  advice = f'read them by text:{pattern} as plain text, or by a glob'
  unknown = [path for path, why in left_out if why == _UNKNOWN]
  if len(set(map(forms.ending_of, unknown))) == 1:
    advice = forms.way_out(unknown[0]) or advice
  return InputError(
    f'{pattern}: there is no data file in it; left out: {shown} ({endings}); '
    f'{advice}.'
  )


def _check_loss(
  pattern: str,
  kind: str,
  chosen: list[pathlib.Path],
  left_out: list[tuple[pathlib.Path, str]],
) -> None:
  """Raises InputError where most bytes there are of no form that is read."""
  unknown = [path for path, why in left_out if why == _UNKNOWN]
  lost = files.total_size(unknown)
  if lost < _MIN_LOST_BYTES or lost < files.total_size(chosen):
    return
  stated = f', or write {kind}:{pattern} if that is all'
  if kind == 'text':
    stated = f', or write text:{pattern} to read all as plain text'
  raise InputError(
    f'{pattern}: most of it would be left out, {lost / 1e6:,.1f} MB of no form '
    f'that is read ({forms.summary(unknown, limit=6)}) beside '
    f'{len(chosen):,} files of {forms.TITLES[kind]}; name what to read by a '
    f'glob{stated}.'
  )
