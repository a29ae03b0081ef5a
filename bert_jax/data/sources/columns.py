"""Files with an Arrow schema: one column of strings, read as UTF-8."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from bert_jax.data.remote import storage
from bert_jax.data.sources import base, files, first_bytes
from bert_jax.data.sources.file_source import FieldSource
from bert_jax.errors import InputError, one_line, quoted

_NAMES_SHOWN = 20


class ColumnFiles(FieldSource):
  """Files read in the order given, one column of each; a null is skipped.

  A form is a subclass with a `name`, `size_in_bytes` and `_cells`. The text
  field 'a.b' is the field 'b' of the structs in the column 'a'.
  """

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in self._paths:
      for row, cell in enumerate(self._cells(path), 1):
        origin = f'{path}:row {row}'
        if cell is None:
          why = f'{quoted(self._text_field)} is null'
          report.add('missing_field', origin, why)
        else:
          yield from files.bounded_bytes(cell, origin, report)

  def _cells(self, path: pathlib.Path) -> Iterator[bytes | None]:
    """The column of a file as UTF-8."""
    raise NotImplementedError


def check(schema: Any, path: pathlib.Path, text_field: str) -> None:
  """Raises InputError where a schema has no one column of strings so named.

  Args:
    schema: A pyarrow.Schema.
    path: The file, for the message.
    text_field: 'a.b' for the field 'b' of the structs in 'a'.
  """
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
      f'{path}: the column {quoted(text_field)} is {one_line(kind, 60)}, not a '
      f'string; name one of strings with --text_field; there are {names}.'
    )


def too_many(path: pathlib.Path, text_field: str, number: int) -> InputError:
  """The refusal of a file with several columns of the name."""
  return InputError(
    f'{path}: has {number} columns that are called {quoted(text_field)}; leave '
    'one of them, or rename it.'
  )


def cells(batch: Any, text_field: str) -> Iterator[bytes | None]:
  """The column of a record batch as UTF-8, which pyarrow does not check."""
  import pyarrow as pa

  column = _within(batch, text_field)
  if pa.types.is_dictionary(column.type):
    # from_arrays checks that the indices are within the dictionary.
    column = pa.DictionaryArray.from_arrays(
      column.indices, _as_bytes(column.dictionary)
    ).dictionary_decode()
  yield from _as_bytes(column).to_pylist()


def share(batch: Any, text_field: str) -> float:
  """The share of the column in the bytes of a record batch."""
  return _within(batch, text_field).nbytes / max(1, batch.nbytes)


def _as_bytes(column: Any) -> Any:
  """A column of strings as binary, whose offsets are seen to be within it."""
  import pyarrow as pa

  if pa.types.is_string_view(column.type):
    column = column.cast(pa.binary_view())
    column.validate(full=True)
  column = column.cast(pa.large_binary())
  column.validate(full=True)
  return column


@contextlib.contextmanager
def opened(path: pathlib.Path, form: str) -> Iterator[Any]:
  """Yields what pyarrow can open, as _seekable does.

  Raises InputError, also out of the `with` block, where the file cannot be read
  as `form`.
  """
  import pyarrow as pa

  try:
    with _seekable(path) as source:
      yield source
  except InputError:
    raise
  except (pa.ArrowException, OSError, EOFError, ValueError) as error:
    refusal = InputError(
      f'{path}: cannot be read as {form} ({one_line(error)}); it may be cut '
      'short or damaged, so copy it again.'
    )
    raise first_bytes.foreign(path, form, refusal) from error


@contextlib.contextmanager
def _seekable(path: pathlib.Path) -> Iterator[Any]:
  """Yields what pyarrow can open: the path, or a file object.

  A file that is packed from outside is unpacked into a temporary one.
  """
  with contextlib.ExitStack() as stack:
    # Writers may name a file by the compression within it.
    if path.suffix.lower() in files.COMPRESSED_ENDINGS and not _begins_as(
      path, (first_bytes.PARQUET_MAGIC, first_bytes.ARROW_FILE_MAGIC)
    ):
      copy = stack.enter_context(tempfile.TemporaryFile())
      with files.open_bytes(path) as file:
        shutil.copyfileobj(file, copy, 2**20)
      copy.seek(0)
      yield copy
    elif storage.is_remote(path):
      stack.enter_context(storage.explained(path))
      yield stack.enter_context(path.open('rb'))
    else:
      yield path


def _begins_as(path: pathlib.Path, magics: tuple[bytes, ...]) -> bool:
  with path.open('rb') as file:
    return file.read(16).startswith(magics)


def _type_of(schema: Any, text_field: str) -> Any:
  """The type of a column or, by a dotted name, of a field in it; or None."""
  import pyarrow as pa

  if text_field in schema.names:
    # Looked up by number: a name may be there twice.
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

  compute: Any = pyarrow.compute  # its functions are made as it is imported

  names = batch.schema.names
  if text_field in names:
    return batch.column(names.index(text_field))
  outer, *inner = text_field.split('.')
  return compute.struct_field(batch.column(names.index(outer)), inner)


def _is_string(kind: Any) -> bool:
  import pyarrow as pa

  types = pa.types
  if types.is_dictionary(kind):
    kind = kind.value_type
  return (
    types.is_string(kind)
    or types.is_large_string(kind)
    or types.is_string_view(kind)
    # The type that writers give a column of nulls alone.
    or types.is_null(kind)
  )
