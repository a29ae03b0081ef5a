"""Records of a Parquet file: a row each, of the columns that are asked for."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from bert_jax.data.sources import parquet
from bert_jax.errors import InputError, listed

_BATCH_ROWS = 4096


def column_names(path: pathlib.Path) -> list[str]:
  """The names of all columns. Raises InputError as `rows` does."""
  with parquet.opened(path) as file:
    return list(file.schema_arrow.names)


def rows(
  path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[int, list[Any]]]:
  """Yields (row from 1, values of the columns), a null as None.

  Raises:
    InputError: The file is damaged, or two columns have one name.
  """
  with parquet.opened(path) as file:
    names = file.schema_arrow.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise InputError(
        f'{path}: has several columns of one name ({listed(twice)}); leave one '
        'of each, or rename them.'
      )
    number = 0
    for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
      lists = [batch.column(name).to_pylist() for name in columns]
      for values in zip(*lists, strict=True):
        number += 1
        yield number, list(values)
