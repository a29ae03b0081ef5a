"""The flags that say in which columns the examples of a table are; no verb."""

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags

from bert_jax.errors import InputError

# define_columns() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()


def define_columns(*, with_answers: bool) -> Callable[[Any], dict[str, Any]]:
  """Defines the flags; returns what gives them to `labelled.read_examples`.

  That is a function of a loaded model, whose own columns are the default. Each
  flag takes the place of the field of its name in the model's task.

  Args:
    with_answers: Whether answers are read, and so a flag for them defined.
  """
  text_columns = flags.DEFINE_list(
    'text_columns',
    [],
    'One or two columns of texts, by name, or by number from 0 where a .tsv or '
    ".csv has no header; without it the fine-tuning run's.",
  )
  choice_columns = flags.DEFINE_list(
    'choice_columns',
    [],
    'For multiple choice, the column with a list of choices, or a column for '
    "each choice; without it the fine-tuning run's.",
  )
  label_column = None
  if with_answers:
    label_column = flags.DEFINE_string(
      'label_column',
      '',
      "The column of labels; without it the fine-tuning run's.",
    )
  header = define_header()

  def columns(model: Any) -> dict[str, Any]:
    task = model.experiment.task
    texts, fields = tuple(text_columns.value), {}
    if texts:
      fields['text_columns'] = texts
    if choice_columns.value:
      fields['choice_columns'] = tuple(choice_columns.value)
    if label_column is not None and label_column.value:
      fields['label_column'] = label_column.value
    changed = with_fields(task, fields)
    if texts and model.was_tuned and len(texts) != len(task.text_columns):
      raise InputError(
        f'--text_columns={",".join(texts)}: the model was tuned on '
        f'{",".join(task.text_columns)}; give as many'
      )
    if len(texts) > 2:
      raise InputError(
        f'--text_columns={",".join(texts)}: names {len(texts)} columns; give '
        'one or two'
      )
    chosen = changed.columns()
    return {
      'columns': [c for c in chosen if with_answers or not c.is_answer],
      'header': header.value or ('' if texts else task.header),
      'flags': '--',
    }

  return columns


def define_header() -> flags.FlagHolder:
  return flags.DEFINE_enum(
    'header',
    None,
    ['yes', 'no'],
    'Whether the first line of a .tsv or .csv names its columns although these '
    'are given by number.',
  )


def with_fields(task: Any, fields: dict[str, Any]) -> Any:
  """A task's config with other fields; InputError where it has no such."""
  for name in fields:
    if not hasattr(task, name):
      raise InputError(
        f'--{name}: the task {task.name} has no {name}; leave it out, as '
        'it is fixed in the model'
      )
  return dataclasses.replace(task, **fields)
