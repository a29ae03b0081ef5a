"""Parquet files as a source: a document is a cell of one column of strings."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from bert_jax.data.sources import base, files, remote
from bert_jax.errors import InputError, quoted

# Of text that is unpacked at once. A single longer cell is still read whole.
_BATCH_BYTES = 2**23
# Sizes are those of the encoding, which may have left repeats out.
_MAX_BATCH_ROWS = 512
_BUFFER_BYTES = 2**20
_NAMES_SHOWN = 20


class ParquetFiles:
  """Parquet files, read in the order given, one column of each.

  A null is counted and skipped. Memory: some ten megabytes, whatever the size
  of the row groups, unless single cells are larger.

  Args:
    paths: The files.
    text_field: The column whose cells are the documents; 'a.b' for the field
      'b' of the structs in 'a'.
  """

  name = 'parquet'

  def __init__(self, paths: list[pathlib.Path], *, text_field: str = 'text'):
    self._paths = paths
    self._text_field = text_field

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    what = files.named(self._paths)
    return base.require_documents(self._documents(report), what)

  def describe(self) -> dict:
    return {
      'kind': self.name,
      'text_field': self._text_field,
      'files': files.describe_files(self._paths),
    }

  def size_in_bytes(self) -> int:
    """Of the column before compression, as large a share as at the beginning.

    Where the writer left repeats out, the text is larger.
    """
    total = 0.0
    for path in self._paths:
      with _open(path) as file:
        column = _column(file, path, self._text_field)
        metadata = file.metadata
        groups = [metadata.row_group(g) for g in range(file.num_row_groups)]
        if not groups:
          continue
        # Of damaged metadata `column` ends the process, but reading does not.
        name = file.schema.column(column).path
        next(file.iter_batches(1, row_groups=[0], columns=[name]), None)
        size = groups[0].column(column).total_uncompressed_size
        share = size / max(1, groups[0].total_byte_size)
        total += share * sum(group.total_byte_size for group in groups)
    return round(total)

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in self._paths:
      row = 0
      for cell in _cells(path, self._text_field):
        row += 1
        origin = f'{path}:row {row}'
        if cell is None:
          detail = f'{quoted(self._text_field)} is null'
          report.add('missing_field', origin, detail)
          continue
        yield from files.bounded_bytes(cell, origin, report)


def _cells(path: pathlib.Path, text_field: str) -> Iterator[bytes | None]:
  """The column as UTF-8, which pyarrow does not check when it reads."""
  import pyarrow as pa

  with _open(path) as file:
    column = _column(file, path, text_field)
    name = file.schema.column(column).path
    for group in range(file.num_row_groups):
      metadata = file.metadata.row_group(group)
      # Of all columns: that of one cannot be asked for safely, see above.
      size = metadata.total_byte_size
      bytes_per_row = max(1, size // max(1, metadata.num_rows))
      batches = file.iter_batches(
        batch_size=max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // bytes_per_row)),
        row_groups=[group],
        columns=[name],
        use_threads=False,
      )
      for batch in batches:
        cells = _within(batch, text_field)
        if pa.types.is_dictionary(cells.type):
          cells = cells.dictionary_decode()
        yield from cells.cast(pa.large_binary()).to_pylist()


def _column(file: Any, path: pathlib.Path, text_field: str) -> int:
  """The number of the column, once it is seen to be one of strings."""
  schema = file.schema_arrow
  kind = _type_of(schema, text_field)
  names = ', '.join(map(quoted, schema.names[:_NAMES_SHOWN])) or 'none'
  if len(schema.names) > _NAMES_SHOWN:
    names += f' and {len(schema.names) - _NAMES_SHOWN} more'
  if kind is None:
    raise InputError(
      f'{path}: has no column {quoted(text_field)}; name one of these with '
      f'--text_field: {names}.'
    )
  if not _is_string(kind):
    raise InputError(
      f'{path}: the column {quoted(text_field)} is {_short(kind)}, not a '
      f'string; name one of strings with --text_field; there are {names}.'
    )
  columns = range(len(file.schema))
  found = [i for i in columns if file.schema.column(i).path == text_field]
  if len(found) != 1:
    raise InputError(
      f'{path}: has {len(found)} columns that are called '
      f'{quoted(text_field)}; leave one of them, or rename it.'
    )
  return found[0]


def _type_of(schema: Any, text_field: str) -> Any:
  """Of a column or, by a dotted name, a field within; None where none is."""
  import pyarrow as pa

  if text_field in schema.names:
    # By number: a name may be there twice.
    return schema.field(schema.names.index(text_field)).type
  kind = pa.struct(schema)
  for part in text_field.split('.'):
    index = kind.get_field_index(part) if pa.types.is_struct(kind) else -1
    if index < 0:
      return None
    kind = kind.field(index).type
  return kind


def _within(batch: Any, text_field: str) -> Any:
  """The column of `batch`, or the field of one that the name leads to."""
  import pyarrow.compute

  names = batch.schema.names
  if text_field in names:
    return batch.column(names.index(text_field))
  outer, *inner = text_field.split('.')
  return pyarrow.compute.struct_field(batch.column(names.index(outer)), inner)


def _is_string(kind: Any) -> bool:
  import pyarrow as pa

  types = pa.types
  if types.is_dictionary(kind):
    kind = kind.value_type
  return (
    types.is_string(kind)
    or types.is_large_string(kind)
    or types.is_string_view(kind)
    # What a writer makes of a column that holds nothing but nulls.
    or types.is_null(kind)
  )


def _short(kind: Any) -> str:
  return ' '.join(str(kind).split())[:60]


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[Any]:
  """Opens a file; InputError, also out of the `with` block, if it is damaged.

  Checksums of pages are compared where the writer made any.
  """
  import pyarrow as pa
  import pyarrow.parquet

  try:
    with contextlib.ExitStack() as stack:
      source = path
      if remote.is_remote(path):
        stack.enter_context(remote.explained(path))
        source = stack.enter_context(path.open('rb'))
      file = pyarrow.parquet.ParquetFile(
        source,
        # Streams a column through a small buffer instead of reading all of it.
        buffer_size=_BUFFER_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
      )
      yield stack.enter_context(file)
  except InputError:
    raise
  except (pa.ArrowException, OSError, EOFError, ValueError) as error:
    why = ' '.join(str(error).split())[:200]
    raise InputError(
      f'{path}: cannot be read as Parquet ({why}); it may be cut short or '
      'damaged, so copy it again.'
    ) from error
