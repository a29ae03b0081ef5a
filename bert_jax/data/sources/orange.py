"""Orange's .tab: a table whose second and third line tell what columns are."""

import re

# Types, or the values of a discrete column.
_KEYWORD = re.compile('d|discrete|c|continuous|s|string|t|time|basket')
_TYPE = re.compile(rf'{_KEYWORD.pattern}|\S+(?: \S+)+|')
# Flags such as 'class', and attributes such as 'a=b'.
_FLAGS = re.compile(
  r'(?:(?:class|c|meta|m|ignore|i|weight|w|instance_id|multiclass|[^\s=]+=\S*)'
  r'(?:\s+|$))*'
)


def tells_types(header: list[str], cells: list[str]) -> bool:
  """Returns whether the cells of the second line may be types of columns."""
  return (
    len(cells) == len(header)
    and any(map(_KEYWORD.fullmatch, cells))
    and all(map(_TYPE.fullmatch, cells))
  )


def are_all_types(types: list[str]) -> bool:
  """Returns whether all are keywords; lists of values could be a data row."""
  return all(map(_KEYWORD.fullmatch, filter(None, types)))


def tells_flags(header: list[str], types: list[str], cells: list[str]) -> bool:
  """Returns whether the cells of the third line are flags below these types."""
  if not cells:
    return are_all_types(types)
  return len(cells) == len(header) and all(map(_FLAGS.fullmatch, cells))
