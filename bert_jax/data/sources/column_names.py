"""Names of a table's columns: each there once, and why one is not found."""

from collections import Counter
from collections.abc import Sequence

from bert_jax.errors import InputError, quoted


def check(
  where: str,
  names: Sequence[str],
  *,
  notes: list[str] | None = None,
  way_out: str = '',
) -> None:
  """Raises InputError where a column has no name, or two have the same.

  Args:
    where: 'path:line' of the header.
    names: The names of all columns.
    notes: A list that receives a line where the first column has no name, as
      pandas writes its row numbers; None: that is an error too.
    way_out: Another way to go on, for the message: ', or give ...'.
  """
  for place, name in enumerate(names):
    if name.strip():
      continue
    why = 'give it one'
    if place == 0 and len(names) > 1:
      if notes is not None:
        notes.append(f'{where}: column 1 has no name, as pandas writes it')
        continue
      why = 'pandas writes its row numbers so: to_csv(..., index=False)'
    elif place == len(names) - 1:
      why = 'the line ends in a delimiter, so remove it from every line'
    raise InputError(
      f'{where}: column {place + 1} of the header has no name; {why}{way_out}.'
    )
  for name, count in Counter(names).items():
    if count > 1:
      raise InputError(
        f'{where}: {count} columns are called {quoted(name)}; rename them, or '
        f'add a header if this line is none{way_out}.'
      )


def why_missing(column: str, names: Sequence[str]) -> str:
  """A likely reason why a column is not among `names`: ' (...)' or ''."""
  alike = [name for name in names if bare(name) == bare(column)]
  if alike:
    return f' ({quoted(alike[0])} differs in spaces, quotes or case alone)'
  if len(names) == 1 and any(mark in names[0] for mark in ',;\t|'):
    return (
      ' (is it separated by another character? a .csv has commas, a .tsv tabs)'
    )
  return ''


def bare(name: str) -> str:
  """A name without what is easily written otherwise."""
  return name.strip().strip('"\'').strip().casefold()
