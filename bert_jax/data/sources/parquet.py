"""Parquet files as a source: a document is a cell of one column of strings."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from bert_jax.data.sources import columns

# Bytes of text unpacked at once; a single longer cell is still read whole.
_BATCH_BYTES = 2**23
# Sizes are those of the encoding, which may have left repeats out.
_MAX_BATCH_ROWS = 512
_BUFFER_BYTES = 2**20


class ParquetFiles(columns.ColumnFiles):
  """Parquet files, read in the order given, one column of each.

  A null is counted and skipped. Memory: some ten megabytes, whatever the size
  of the row groups, unless single cells are larger.
  """

  name = 'parquet'

  def size_in_bytes(self) -> int:
    """The size of the column before compression, by its share at the beginning.

    Where the writer left repeats out, the text is larger.
    """
    total = 0.0
    for path in self._paths:
      with opened(path) as file:
        column = _column(file, path, self._text_field)
        metadata = file.metadata
        groups = [metadata.row_group(g) for g in range(file.num_row_groups)]
        if not groups:
          continue
        # `column` ends the process on damaged metadata; reading does not.
        name = file.schema.column(column).path
        next(file.iter_batches(1, row_groups=[0], columns=[name]), None)
        size = groups[0].column(column).total_uncompressed_size
        share = size / max(1, groups[0].total_byte_size)
        total += share * sum(group.total_byte_size for group in groups)
    return round(total)

  def _cells(self, path: pathlib.Path) -> Iterator[bytes | None]:
    with opened(path) as file:
      column = _column(file, path, self._text_field)
      name = file.schema.column(column).path
      for group in range(file.num_row_groups):
        metadata = file.metadata.row_group(group)
        # The size of all columns, since that of one cannot be asked for safely.
        size = metadata.total_byte_size
        bytes_per_row = max(1, size // max(1, metadata.num_rows))
        num_rows = min(_MAX_BATCH_ROWS, _BATCH_BYTES // bytes_per_row)
        batches = file.iter_batches(
          batch_size=max(1, num_rows),
          row_groups=[group],
          columns=[name],
          use_threads=False,
        )
        for batch in batches:
          yield from columns.cells(batch, self._text_field)


def _column(file: Any, path: pathlib.Path, text_field: str) -> int:
  """The number of the column, once it is seen to be one of strings."""
  columns.check(file.schema_arrow, path, text_field)
  numbers = range(len(file.schema))
  found = [i for i in numbers if file.schema.column(i).path == text_field]
  if len(found) != 1:
    raise columns.too_many(path, text_field, len(found))
  return found[0]


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
  """Opens a file; InputError, also out of the `with` block, if it is damaged.

  Checksums of pages are compared where the writer made any.
  """
  import pyarrow.parquet

  with columns.opened(path, 'Parquet') as source:
    with pyarrow.parquet.ParquetFile(
      source,
      # Streams a column through a small buffer instead of reading all of it.
      buffer_size=_BUFFER_BYTES,
      pre_buffer=False,
      page_checksum_verification=True,
    ) as file:
      yield file
