"""Sources of documents: opens the value of `--input` as one."""

import os
import pathlib
import re
from collections.abc import Iterator

from bert_jax.data.remote import storage
from bert_jax.data.sources import (
  arrow,
  base,
  finding,
  folders,
  forms,
  jsonl,
  parquet,
  table_files,
  text_files,
  user_source,
  wiki,
)
from bert_jax.data.sources import installed_docs as installed_docs_lib
from bert_jax.data.sources import tfds as tfds_lib
from bert_jax.errors import InputError, quoted, shown

KINDS = ('installed_docs', *forms.TITLES, 'tfds', 'python')
_DEFAULT_FIELD = 'text'
# flag -> the kinds of source that use it.
_FLAGS_USED = {
  'document': ('text',),
  'text_field': ('jsonl', 'csv', 'tsv', 'tab', 'parquet', 'arrow', 'tfds'),
  'data_dir': ('tfds',),
}


def open_inputs(
  spec: str,
  *,
  document: str | None = None,
  text_field: str | None = None,
  data_dir: str | None = None,
) -> base.Source:
  """Opens an `--input` value.

  Args:
    spec: Comma-separated items, read one after the other. Each is a file, a
      folder or a glob, read by its ending (see forms.py); or `KIND:REST` with
      one of the KINDS (`installed_docs:` alone, a path for a stated form,
      `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`, `python:MODULE:FUNCTION`). Of a
      folder the data files are read, which must be of one form.
    document: Plain text: what a document is, 'file' (None), 'line' or
      'paragraph'.
    text_field: JSON lines: the key of the text. Tables: its column. TFDS: the
      feature. None is 'text'.
    data_dir: TFDS: the folder of the data sets; None is TFDS's own.

  Raises:
    InputError: Nothing is named, a file is missing, a glob matches nothing, a
      form is not known, or an argument is given that no source uses.
  """
  items = [item.strip() for item in spec.split(',')]
  if os.path.exists(spec):  # a path may have a comma in it
    items = [spec]
  given = {
    'document': document,
    'text_field': text_field,
    'data_dir': data_dir,
  }
  opened = [
    pair for item in filter(None, items) for pair in _open_item(item, given)
  ]
  if not opened:
    raise InputError(
      f'--input={shown(spec)}: names nothing; give installed_docs:, a file, a '
      'folder or a glob.'
    )
  _check_flags_used(spec, given, [kind for kind, _ in opened])
  sources = [source for _, source in opened]
  return sources[0] if len(sources) == 1 else base.JoinedSource(sources)


_Given = dict[str, str | None]
_Opened = Iterator[tuple[str, base.Source]]  # with its kind


def _open_item(item: str, given: _Given) -> _Opened:
  kind, rest = _stated_kind(item)
  if kind == 'installed_docs':
    if rest:
      raise InputError(
        f'--input={shown(item)}: nothing may follow; write installed_docs: '
        'alone.'
      )
    yield kind, installed_docs_lib.InstalledDocs()
  elif kind == 'tfds':
    yield (
      kind,
      tfds_lib.TensorFlowDataset(
        rest,
        text_field=_field(given),
        data_dir=given['data_dir'] or '',
      ),
    )
  elif kind == 'python':
    yield kind, user_source.UserSource(rest)
  else:
    yield from _open_files(rest, kind, given)


def _stated_kind(item: str) -> tuple[str, str]:
  """The kind that an item states, '' for none, and what follows it."""
  kind, colon, rest = item.partition(':')
  is_path = os.path.exists(item) or storage.is_remote(item)
  if not colon or is_path or not re.fullmatch(r'\w+', kind):
    return '', item
  kind = forms.ALIASES.get(kind, kind)
  if kind not in KINDS:
    raise InputError(
      f'--input={shown(item)}: {quoted(kind)} is no kind of input; there are '
      f'{", ".join(KINDS)}.'
    )
  if not rest and kind != 'installed_docs':
    raise InputError(f'--input={item}: names nothing; give a path or a name.')
  return kind, rest


def _open_files(pattern: str, kind: str, given: _Given) -> _Opened:
  """The sources of the files that are named, and of those in folders."""
  found = finding.find(pattern)
  by_kind: dict[str, list[pathlib.Path]] = {}
  for path in found.named:
    form = kind or forms.form_of(path)
    if not form:
      raise forms.unknown_form(path)
    by_kind.setdefault(form, []).append(path)
  is_stated = bool(kind)
  # Files in the order of the forms, whatever that of the names is.
  for form in forms.TITLES:
    if paths := by_kind.get(form):
      source = _source(form, paths, given, is_stated)
      if form == 'text' and is_stated:
        choice = folders.Choice(form, paths, [])
        source = folders.FolderSource(source, pattern, choice, [])
      yield form, source
  if found.below:
    choice = folders.choose(
      pattern, found.below, kind=kind, text_field=_field(given)
    )
    source = _source(choice.kind, choice.paths, given, is_stated)
    yield (
      choice.kind,
      folders.FolderSource(source, pattern, choice, found.hidden),
    )


def _source(
  kind: str, paths: list[pathlib.Path], given: _Given, is_stated: bool
) -> base.Source:
  field = _field(given)
  if kind == 'text':
    return text_files.TextFiles(
      paths, document=given['document'] or 'file', is_stated=is_stated
    )
  if kind == 'jsonl':
    return jsonl.JsonLines(paths, text_field=field)
  if kind == 'parquet':
    return parquet.ParquetFiles(paths, text_field=field)
  if kind == 'arrow':
    return arrow.ArrowFiles(paths, text_field=field)
  if kind == 'wiki':
    return wiki.WikiFiles(paths)
  return table_files.TableFiles(paths, kind=kind, text_field=field)


def _field(given: _Given) -> str:
  field = given['text_field']
  return _DEFAULT_FIELD if field is None else field


def _check_flags_used(spec: str, given: _Given, kinds: list[str]) -> None:
  """Raises InputError for an argument that would change nothing."""
  for name, value in given.items():
    if value is None or any(kind in _FLAGS_USED[name] for kind in kinds):
      continue
    titles = forms.TITLES | {
      'tfds': 'TFDS',
      'installed_docs': 'docstrings',
      'python': 'a source of your own',
    }
    read = ', '.join(dict.fromkeys(titles[kind] for kind in kinds))
    users = ', '.join(titles[kind] for kind in _FLAGS_USED[name])
    raise InputError(
      f'--{name}={shown(value)}: is not used by --input={shown(spec)}, which '
      f'is read as {read}; leave it out (it belongs to {users}).'
    )
