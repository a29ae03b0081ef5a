"""Files of records that grow while a run goes on: `metrics/part-N.jsonl`.

A file on a disk takes each line as it comes. An object in a bucket is written
whole, so it takes lines together, and a new part begins when one is large.
"""

import contextlib
import pathlib
import time
from typing import Protocol

from bert_jax.buckets import BucketPath

# A reader elsewhere is behind a run by so much, unless checkpoints come faster.
_WAIT_SECONDS = 30.0
_MAX_BYTES = 1 << 18


class Part(Protocol):
  """A file of records; `path` is where its next records go."""

  @property
  def path(self) -> pathlib.Path: ...

  def write(self, lines: bytes, whole: bool) -> bool:
    """Adds whole lines or nothing; returns whether it has added them.

    False means that they are to be given again, with those that follow, which
    `whole` forbids. Raises OSError.
    """
    ...

  def close(self) -> None: ...


def new_part(metrics: pathlib.Path) -> tuple[Part, int]:
  """The next part in a folder, which is made, and its number."""
  metrics.mkdir(parents=True, exist_ok=True)
  number = 1 + max(
    (int(path.stem[5:]) for path in metrics.glob('part-*.jsonl')), default=-1
  )
  if isinstance(metrics, BucketPath):
    return _BucketPart(metrics, number), number
  return _DiskPart(metrics / f'part-{number}.jsonl'), number


class _DiskPart:
  """A file on a disk, which has every line as soon as it is written."""

  def __init__(self, path: pathlib.Path):
    self.path: pathlib.Path = path
    self._file = open(path, 'xb', buffering=0)
    self._size = 0

  def write(self, lines: bytes, whole: bool) -> bool:
    try:
      written = 0
      while written < len(lines):
        written += self._file.write(lines[written:])
    except OSError:
      # The next try overwrites the part of a line that a full disk took.
      self._file.seek(self._size)
      with contextlib.suppress(OSError):
        self._file.truncate()
      raise
    self._size += len(lines)
    return True

  def close(self) -> None:
    self._file.close()


class _BucketPart:
  """An object that is written whole, no more often than it has to be."""

  def __init__(self, folder: BucketPath, number: int):
    self._folder = folder
    self._number = number
    self._content = b''
    self._generation = 0
    self._last = time.monotonic()

  @property
  def path(self) -> pathlib.Path:
    return self._folder / f'part-{self._number}.jsonl'

  def write(self, lines: bytes, whole: bool) -> bool:
    if not (whole or time.monotonic() - self._last >= _WAIT_SECONDS):
      return False
    self._last = time.monotonic()
    if lines:
      content = self._content + lines
      # A run that lost its lock does not overwrite what another one writes.
      self._generation = BucketPath(self.path).write(content, self._generation)
      self._content = content
    if len(self._content) > _MAX_BYTES:
      self._number += 1
      self._content, self._generation = b'', 0
    return True

  def close(self) -> None:
    pass
