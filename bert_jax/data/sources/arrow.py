"""Arrow files as a source: a document is a cell of one column of strings.

Both forms of Arrow IPC are read: the stream, which `datasets.save_to_disk`
writes, and the file, which ends in an index.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from bert_jax.data.sources import columns, files, first_bytes

# Cells that are made Python objects at once.
_SLICE_ROWS = 512
# Bytes that a writer puts behind the last batch of a stream.
_STREAM_END = b'\xff\xff\xff\xff\0\0\0\0'


class ArrowFiles(columns.ColumnFiles):
  """Arrow IPC files, read in the order given, one column of each.

  A null is counted and skipped. Files on a disk are memory-mapped, so that
  memory is bounded by a batch of the column if the file is compressed within.
  """

  name = 'arrow'

  def size_in_bytes(self) -> int:
    """The size of the column, by its share in the first batch of each file."""
    total = 0.0
    for path in self._paths:
      with _open(path, self._text_field, whole=True) as batches:
        if (first := next(batches, None)) is not None:
          share = columns.share(first, self._text_field)
          total += share * files.total_size([path])
    return round(total)

  def _cells(self, path: pathlib.Path) -> Iterator[bytes | None]:
    with _open(path, self._text_field) as batches:
      for batch in batches:
        for first in range(0, batch.num_rows, _SLICE_ROWS):
          rows = batch.slice(first, _SLICE_ROWS)
          yield from columns.cells(rows, self._text_field)


@contextlib.contextmanager
def _open(
  path: pathlib.Path, text_field: str, *, whole: bool = False
) -> Iterator[Iterator[Any]]:
  """Opens a file as its record batches; InputError if it is damaged.

  Args:
    path: The file.
    text_field: The column, which is seen to be one of strings.
    whole: Reads all columns, not that one alone.
  """
  import pyarrow as pa

  with contextlib.ExitStack() as stack:
    source = stack.enter_context(columns.opened(path, 'Arrow'))
    if isinstance(source, pathlib.Path):
      file = stack.enter_context(pa.memory_map(os.fspath(source)))
    else:
      file = stack.enter_context(pa.PythonFile(source, mode='r'))
    make = _maker(file)
    reader = stack.enter_context(make(file))
    columns.check(reader.schema, path, text_field)
    names = reader.schema.names
    if names.count(text_field) > 1:
      raise columns.too_many(path, text_field, names.count(text_field))
    if not whole:
      name = text_field if text_field in names else text_field.split('.')[0]
      only = pa.ipc.IpcReadOptions(included_fields=[names.index(name)])
      file.seek(0)
      reader = stack.enter_context(make(file, options=only))
    yield _batches(reader)


def _maker(file: Any) -> Callable[..., Any]:
  """The function that opens a stream or a file, by the first bytes."""
  import pyarrow as pa

  magic = first_bytes.ARROW_FILE_MAGIC
  is_file = file.read(len(magic)) == magic
  if not is_file:
    # A stream that is cut off between two batches lacks this end alone.
    file.seek(max(0, file.size() - len(_STREAM_END)))
    if file.read() != _STREAM_END:
      raise pa.ArrowInvalid('the mark of its end is missing')
  file.seek(0)
  return pa.ipc.open_file if is_file else pa.ipc.open_stream


def _batches(reader: Any) -> Iterator[Any]:
  """The record batches, each seen to be well-formed."""
  import pyarrow as pa

  if isinstance(reader, pa.RecordBatchFileReader):
    batches = map(reader.get_batch, range(reader.num_record_batches))
  else:
    batches = iter(reader)
  for batch in batches:
    # Offsets that point outside the buffer would be followed. Not in full:
    # bytes that are not UTF-8 are counted by who decodes them.
    batch.validate()
    yield batch
