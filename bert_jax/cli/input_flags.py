"""The flags that say which documents to read; no verb itself.

Verbs that read a corpus share them, so that a command of one is the command of
the other.
"""

from collections.abc import Callable
from typing import Any

from absl import flags

# define_input() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()


def define_input() -> Callable[[], Any]:
  """Defines the flags; returns what opens the source that they name."""
  spec = flags.DEFINE_string(
    'input',
    'installed_docs:',
    'What to read, comma-separated: text files (*.txt, .gz, .xz, .zst), JSONL '
    '(*.jsonl), Parquet (*.parquet), globs, folders, '
    'tfds:NAME[/CONFIG][:VERSION][:SPLIT] for a prepared TensorFlow data set, '
    'or installed_docs: for the docstrings of the installed packages.',
  )
  document = flags.DEFINE_enum(
    'document',
    'file',
    ['file', 'line', 'paragraph'],
    'What one document is in a text file.',
  )
  text_field = flags.DEFINE_string(
    'text_field',
    'text',
    'The field of a JSONL line, column of a Parquet file or feature of a TFDS '
    'data set that holds the text; a.b is the field b within a (not in JSONL).',
  )
  data_dir = flags.DEFINE_string(
    'data_dir',
    '',
    'Folder of the TFDS data sets; without it $TFDS_DATA_DIR or '
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
