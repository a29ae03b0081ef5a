"""The forms that files are read in: how each is called, and how it is known.

A form is known by the ending below the compression, a file without an ending
by its first bytes. Nothing is read as plain text because it is nothing else.
"""

import pathlib
import re

from bert_jax.data.remote import storage
from bert_jax.data.sources import files, first_bytes
from bert_jax.errors import InputError, cut, quoted

# kind -> how it is called in messages.
TITLES = {
  'text': 'plain text',
  'jsonl': 'JSON lines',
  'csv': 'CSV',
  'tsv': 'TSV',
  'tab': "Orange's .tab",
  'parquet': 'Parquet',
  'arrow': 'Arrow',
  'wiki': "WikiExtractor's",
}
# Further names for a kind; corpora were made with the first.
ALIASES = {'text_files': 'text', 'json': 'jsonl', 'ndjson': 'jsonl'}
BY_ENDING = {
  '.txt': 'text',
  '.text': 'text',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.jsonlines': 'jsonl',
  '.json': 'jsonl',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.tab': 'tab',
  '.parquet': 'parquet',
  '.arrow': 'arrow',
}

# 'wiki_00', 'part-00000', 'c4-train.00000-of-00002': numbers are no ending.
_NUMBER = re.compile(r'\.\d+(-of-\d+)?')
_PACKED = frozenset(
  ('.bz2', '.lz4', '.lzma', '.br', '.z', '.lzo', '.snappy', '.sz', '.gzip')
)
_ARCHIVES = frozenset(
  ('.zip', '.tar', '.tgz', '.tbz', '.tbz2', '.txz', '.7z', '.rar', '.jar')
)
_DOCUMENTS = frozenset(
  ('.html', '.htm', '.xhtml', '.xml', '.sgm', '.sgml', '.pdf', '.epub', '.doc')
  + ('.docx', '.odt', '.rtf', '.ppt', '.pptx', '.mobi', '.djvu', '.ps')
  + ('.warc', '.wet', '.wat')
)
_TABLES = frozenset(
  ('.xls', '.xlsx', '.ods', '.db', '.sqlite', '.sqlite3', '.feather', '.orc')
  + ('.avro', '.h5', '.hdf5', '.pkl', '.pickle', '.npy', '.npz', '.arff')
)
_TFDS = re.compile(r'\.(array_record|tfrecord|riegeli)')


def ending_of(path: pathlib.Path) -> str:
  """The ending below the compression, '' for none and for a number."""
  ending = files.text_ending(path)
  return '' if _NUMBER.fullmatch(ending) else ending


def form_of(path: pathlib.Path) -> str:
  """The kind of a file, one of TITLES; '' where none is known.

  Raises:
    InputError: A file without an ending cannot be read.
  """
  ending = ending_of(path)
  if ending:
    return BY_ENDING.get(ending, '')
  return first_bytes.form_of_content(first_bytes.read_beginning(path))


def unknown_form(path: pathlib.Path) -> InputError:
  """The refusal of a file that has none of the forms, with the way out."""
  ending = ending_of(path)
  if ending:
    what = f'the ending {quoted(ending)} is of no form that is read'
  else:
    what = 'it has no ending that says its form'
  kinds = ', '.join(kind for kind in TITLES if kind != 'text')
  advice = way_out(path) or (
    f'read it by text:{path} as plain text, or by KIND:PATH with KIND one of '
    f'{kinds}'
  )
  return InputError(f'{path}: {what}; {advice}.')


def summary(paths: list[pathlib.Path], limit: int = 20) -> str:
  """The endings of files with counts: '.md 12, .py 3, none 1'."""
  counts: dict[str, int] = {}
  for path in paths:
    ending = path.suffix.lower()
    if ending in files.COMPRESSED_ENDINGS:
      ending = path.with_suffix('').suffix.lower() + ending
    ending = cut(ending, 20) or 'none'
    counts[ending] = counts.get(ending, 0) + 1
  ordered = sorted(counts, key=lambda ending: (-counts[ending], ending))
  parts = [f'{ending} {counts[ending]:,}' for ending in ordered[:limit]]
  if rest := ordered[limit:]:
    number = sum(counts[ending] for ending in rest)
    parts.append(f'{len(rest)} other endings {number:,}')
  return ', '.join(parts)


def way_out(path: pathlib.Path) -> str:
  """Advice on a file of this ending or content; '' for none in particular."""
  ending = ending_of(path)
  if _TFDS.match(ending):
    return 'read the data set as tfds:NAME, with --data_dir for its folder'
  if '.xml' in (suffix.lower() for suffix in path.suffixes[-3:]):
    return (
      'extract its text first; that of a Wikipedia dump by WikiExtractor, '
      f'whose output is read (text:{path} reads it with its tags)'
    )
  if ending in _ARCHIVES:
    return 'unpack it, and name what is in it'
  if ending in _DOCUMENTS:
    return f'extract its text first, or read it as it stands by text:{path}'
  if ending in _TABLES:
    return 'write it as .parquet, .csv or .jsonl first'
  if found := _content(path):
    return f'its first bytes are {found.what}: {found.remedy}'
  if ending in _PACKED:
    return 'unpack it, or pack it as .gz, .xz or .zst'
  return ''


def _content(path: pathlib.Path) -> first_bytes.Signature | None:
  if storage.is_remote(path):
    return None
  try:
    data = first_bytes.read_beginning(path)
  except InputError:
    return None
  if form := first_bytes.form_of_content(data):
    return first_bytes.Signature(TITLES[form], f'read it as {form}:{path}')
  found = first_bytes.signature(data)
  return found and found._replace(remedy=first_bytes.remedy(found, path))
