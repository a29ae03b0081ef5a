"""The flags that say which documents to read; no verb itself.

Verbs that read a corpus share them, so that a command of one is the command of
the other.
"""

from collections.abc import Callable
from typing import Any

from absl import flags

# define_input() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()

_INPUT_HELP = """
What to read, comma-separated: files, folders and globs, here, on gs:// or \
s3://. The ending of a file says its form; .gz, .xz or .zst may follow it:
  .txt .text             plain text
  .jsonl .ndjson .json   JSON: an object a line, or one array of objects
  .csv                   a table with a header, quoted as in RFC 4180
  .tsv .tab              a table with a header, no quotes; Orange's too
  .parquet .arrow        tables; save_to_disk's folders too
  no ending (wiki_00)    what WikiExtractor writes, also by --json
Other endings are refused. KIND:PATH states the form of files of any ending, \
with KIND one of text (such as code, TeX, Markdown), jsonl, csv, tsv, tab, \
parquet, arrow and wiki. Of a folder its data files are read, which have to be \
of one form; the rest is named.
tfds:NAME[/CONFIG][:VERSION][:SPLIT] is a prepared TensorFlow data set, \
installed_docs: the docstrings of the installed packages, \
python:MODULE:FUNCTION a source of your own.
""".strip()


def define_input() -> Callable[[], Any]:
  """Defines the flags; returns what opens the source that they name."""
  spec = flags.DEFINE_string(
    'input',
    'installed_docs:',
    _INPUT_HELP,
  )
  document = flags.DEFINE_enum(
    'document',
    None,
    ['file', 'line', 'paragraph'],
    'Plain text: what one document is, a file where this is not given.',
  )
  text_field = flags.DEFINE_string(
    'text_field',
    None,
    'JSON, tables, Parquet, Arrow, TFDS: the field, column or feature that '
    'holds the text, "text" where this is not given; a.b is the field b within '
    'a (not in tables).',
  )
  data_dir = flags.DEFINE_string(
    'data_dir',
    None,
    'TFDS: the folder of the data sets; without it $TFDS_DATA_DIR or '
    '~/tensorflow_datasets.',
  )

  def open_source() -> Any:
    from bert_jax.data import sources

    return sources.open_inputs(
      spec.value,
      document=document.value,
      text_field=text_field.value,
      data_dir=data_dir.value,
    )

  return open_source
