"""The flags that say in which columns the examples of a table are; no verb."""

from collections.abc import Callable
from typing import Any

from absl import flags

from bert_jax.errors import InputError

# define_columns() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()


def define_columns(*, with_label: bool) -> Callable[[Any], dict[str, Any]]:
  """Defines the flags; returns what gives them to `labelled.read_examples`.

  That is a function of a loaded model, whose own columns are the default.

  Args:
    with_label: Whether a label is read, and so a flag for its column defined.
  """
  text_columns = flags.DEFINE_list(
    'text_columns',
    [],
    'One or two columns of texts, by name, or by number from 0 where a .tsv or '
    ".csv has no header; without it the fine-tuning run's.",
  )
  label_column = None
  if with_label:
    label_column = flags.DEFINE_string(
      'label_column',
      '',
      "The column of labels; without it the fine-tuning run's.",
    )
  header = flags.DEFINE_enum(
    'header',
    None,
    ['yes', 'no'],
    'Whether the first line of a .tsv or .csv names its columns although these '
    'are given by number.',
  )

  def columns(model: Any) -> dict[str, Any]:
    task = model.experiment.task
    texts = tuple(text_columns.value) or task.text_columns
    if model.was_tuned and len(texts) != len(task.text_columns):
      raise InputError(
        f'--text_columns={",".join(texts)}: the model was tuned on '
        f'{",".join(task.text_columns)}; give as many'
      )
    if len(texts) > 2:
      raise InputError(
        f'--text_columns={",".join(texts)}: names {len(texts)} columns; give '
        'one or two'
      )
    label = None
    if label_column is not None:
      label = label_column.value or task.label_column
    return {
      'text_columns': texts,
      'label_column': label,
      'header': header.value or ('' if text_columns.value else task.header),
      'flags': '--',
    }

  return columns
