"""Examples of a file that is read window by window, so that any size fits."""

import hashlib
import os
from collections.abc import Iterator, Sequence

from bert_jax.data.examples import Column, Examples
from bert_jax.data.labelled import ID_COLUMNS, read_windows
from bert_jax.data.tokenizers import unknown
from bert_jax.errors import InputError

# Examples in memory while a file is only looked through.
_WINDOW = 4096


class ExampleFile:
  """The examples of a file, of which one window at a time is in memory.

  The file is looked through at the start, so that an error in its last line
  ends a command before anything is computed, and read again for each use.

  Attributes:
    num_bytes: Bytes of all texts, for a progress bar.
    notes: Lines on what reading guessed or found odd, to be printed.
    digest: Of all that is read.

  Raises:
    InputError: As `labelled.read_windows`.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    columns: Sequence[Column],
    *,
    header: str = '',
    id_columns: Sequence[str] = ID_COLUMNS,
    flags: str = '--config.task.',
  ):
    self._path = path
    self._read = dict(columns=columns, header=header, flags=flags)
    self._id_columns = list(id_columns)
    self._num_examples = self.num_bytes = 0
    self.notes: list[str] = []
    digest, found = hashlib.sha256(), set()
    for window in self._windows(_WINDOW):
      self._num_examples += len(window)
      self.num_bytes += window.num_bytes
      self.notes += window.notes
      found.add(window.id_column)
      _add(digest, window)
    # The first column of ids that is anywhere in the file.
    self._id_columns = [name for name in id_columns if name in found][:1]
    self.digest = digest.hexdigest()

  def __len__(self) -> int:
    return self._num_examples

  def windows(self, size: int) -> Iterator[Examples]:
    """Yields the examples in order, `size` at a time.

    Raises InputError if the file is no longer what it was at the start.
    """
    digest = hashlib.sha256()
    for window in self._windows(size):
      _add(digest, window)
      yield window
    if digest.hexdigest() != self.digest:
      raise InputError(
        f'{self._path}: has changed while it was read; give the command again'
      )

  def sample(self) -> list[tuple[str, ...]]:
    """The texts of the examples that `unknown.report` looks at."""
    places = iter(unknown.places_to_look_at(len(self)))
    found, place = [], next(places, -1)
    for window in self._windows(_WINDOW):
      while window.first <= place < window.first + len(window):
        found.append(window.texts[place - window.first])
        place = next(places, -1)
    return found

  def _windows(self, size: int) -> Iterator[Examples]:
    return read_windows(
      self._path, id_columns=self._id_columns, size=size, **self._read
    )


def _add(digest: 'hashlib._Hash', window: Examples) -> None:
  """Adds what was read, in the same bytes for windows of any size."""
  # Ids are left out: those of the first look may be of another column.
  lines = window.lines or [0] * len(window)
  for row in zip(lines, *window.columns.values(), strict=True):
    digest.update(repr(row).encode(errors='backslashreplace'))
