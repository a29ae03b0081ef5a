"""Records of a Parquet file: a row each, of the columns that are asked for."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from bert_jax.data.sources import first_bytes
from bert_jax.errors import InputError, listed

_BATCH_ROWS = 4096


def column_names(path: pathlib.Path) -> list[str]:
  """The names of all columns. Raises InputError as `rows` does."""
  with _open(path) as file:
    return list(file.schema_arrow.names)


def rows(
  path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[int, list[Any]]]:
  """Yields (row from 1, values of the columns), a null as None.

  Raises:
    InputError: The file is damaged, or two columns have one name.
  """
  import pyarrow as pa

  with _open(path) as file:
    names = file.schema_arrow.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise InputError(
        f'{path}: has several columns of one name ({listed(twice)}); leave one '
        'of each, or rename them.'
      )
    number = 0
    try:
      for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
        lists = [batch.column(name).to_pylist() for name in columns]
        for values in zip(*lists, strict=True):
          number += 1
          yield number, list(values)
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
      raise _damaged(path, error) from error


def _open(path: pathlib.Path) -> Any:
  import pyarrow as pa
  import pyarrow.parquet

  try:
    return pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
  except (pa.ArrowException, OSError, EOFError, ValueError) as error:
    raise _damaged(path, error) from error


def _damaged(path: pathlib.Path, error: Exception) -> InputError:
  why = ' '.join(str(error).split())[:200]
  damaged = InputError(
    f'{path}: cannot be read as Parquet ({why}); it may be cut short or '
    'damaged, so copy it again.'
  )
  return first_bytes.foreign(path, 'Parquet', damaged)
