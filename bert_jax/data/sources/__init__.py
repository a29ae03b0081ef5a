"""Where documents come from: `--input` is opened as a source here."""

import os
import pathlib
import re

from bert_jax.data.sources import (
  base,
  files,
  jsonl,
  parquet,
  remote,
  text_files,
)
from bert_jax.data.sources import installed_docs as installed_docs_lib
from bert_jax.data.sources import tfds as tfds_lib
from bert_jax.errors import InputError

KINDS = ('installed_docs', 'text_files', 'jsonl', 'parquet', 'tfds')
_BY_ENDING = {'.jsonl': 'jsonl', '.parquet': 'parquet'}


def open_inputs(
  spec: str,
  *,
  document: str = 'file',
  text_field: str = 'text',
  data_dir: str = '',
) -> base.Source:
  """Opens an `--input` value.

  Args:
    spec: Comma-separated items, read one after the other. Each is a file, a
      folder or a glob, `*.jsonl[.gz|.xz|.zst]` as JSON Lines, `*.parquet` as
      Parquet and all else as text; or `KIND:REST` with one of the KINDS
      (`installed_docs:` alone, `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`).
    document: Text files: what a document is, 'file', 'line' or 'paragraph'.
    text_field: JSON Lines: the key of the text. Parquet: its column. TFDS: the
      feature.
    data_dir: TFDS: the folder of the data sets; '' is TFDS's own.

  Raises:
    InputError: Nothing is named, a file is missing, a glob matches nothing.
  """
  items = [item.strip() for item in spec.split(',')]
  if os.path.exists(spec):  # a path may have a comma in it
    items = [spec]
  sources = []
  for item in filter(None, items):
    sources.extend(_open_item(item, document, text_field, data_dir))
  if not sources:
    raise InputError(
      f'--input={spec}: names nothing; give installed_docs:, a file, a folder '
      'or a glob.'
    )
  return sources[0] if len(sources) == 1 else base.JoinedSource(sources)


def _open_item(
  item: str, document: str, text_field: str, data_dir: str
) -> list[base.Source]:
  kind, colon, rest = item.partition(':')
  is_path = os.path.exists(item) or remote.is_remote(item)
  if not colon or is_path or not re.fullmatch(r'\w+', kind):
    kind, rest = '', item
  if kind == 'installed_docs':
    if rest:
      raise InputError(
        f'--input={item}: nothing may follow; write installed_docs: alone.'
      )
    return [installed_docs_lib.InstalledDocs()]
  if kind and kind not in KINDS:
    raise InputError(
      f'--input={item}: {kind!r} is no kind of input; there are '
      f'{", ".join(KINDS)}.'
    )
  if not rest:
    raise InputError(f'--input={item}: names nothing; give a path or a name.')
  if kind == 'tfds':
    return [
      tfds_lib.TensorFlowDataset(rest, text_field=text_field, data_dir=data_dir)
    ]
  paths = files.find_files(rest)
  by_kind: dict[str, list[pathlib.Path]] = {}
  for path in paths:
    by_ending = _BY_ENDING.get(files.text_ending(path), 'text_files')
    by_kind.setdefault(kind or by_ending, []).append(path)
  sources: list[base.Source] = []
  if texts := by_kind.get('text_files'):
    sources.append(text_files.TextFiles(texts, document=document))
  if lines := by_kind.get('jsonl'):
    sources.append(jsonl.JsonLines(lines, text_field=text_field))
  if tables := by_kind.get('parquet'):
    sources.append(parquet.ParquetFiles(tables, text_field=text_field))
  return sources
