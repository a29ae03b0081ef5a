"""Flags that say in which columns of a table a model's examples are.

By default they are those of the fine-tuning run; a converted model has none.
"""

from absl import flags as absl_flags

from bert_jax.errors import InputError

TEXT_COLUMNS = absl_flags.DEFINE_list(
  'text_columns',
  [],
  'One or two columns of texts, by name, or by number from 0 where a .tsv or '
  '.csv has no header. Default: those of the fine-tuning run.',
)
HEADER = absl_flags.DEFINE_enum(
  'header',
  '',
  ['', 'yes', 'no'],
  'Whether the first line of a .tsv or .csv names its columns, where columns '
  'go by number. Default: as in the fine-tuning run.',
)


def text_columns(default: tuple[str, ...], was_tuned: bool) -> tuple[str, ...]:
  """The text columns asked for.

  Args:
    default: Those that the model knows.
    was_tuned: The model was tuned here on as many texts as `default` has.

  Raises:
    InputError: There are more than two, or not as many as it was tuned on.
  """
  columns = tuple(TEXT_COLUMNS.value) or default
  wanted = (len(default),) if was_tuned else (1, 2)
  if len(columns) not in wanted:
    raise InputError(
      f'--text_columns={",".join(columns)}: names {len(columns)} columns; give '
      f'{" or ".join(map(str, wanted))}, as the model was trained on'
    )
  return columns
