"""Writes and maps the .npy files of one array of a corpus.

An array is cut into shards of a fixed number of rows, so where they end depends
on the rows alone, not on the blocks that they came from.
"""

import hashlib
import mmap
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.errors import InputError

AGAIN = 'prepare the corpus again, or copy it again from where it is whole'


def write_shards(
  folder: pathlib.Path,
  array: str,
  blocks: Iterable[np.ndarray],
  *,
  dtype: np.dtype,
  num_rows: int,
  rows_per_shard: int,
) -> list[dict[str, Any]]:
  """Writes the shards of one array; memory: one shard.

  Args:
    folder: is there.
    array: begins the files' names.
    blocks: [any number, width] each.
    dtype: the dtype of the files.
    num_rows: the rows of all blocks together.
    rows_per_shard: 1 or more.

  Returns:
    {'name', 'rows', 'sha256'} of each shard.
  """
  num_shards = -(-num_rows // rows_per_shard)
  shards = []
  for rows in _regroup(blocks, rows_per_shard):
    name = f'{array}-{len(shards):05d}-of-{num_shards:05d}.npy'
    rows = np.ascontiguousarray(rows, dtype)
    with durable_files.new_file(folder / name) as file:
      # Written as np.save does, whose error does not tell that a disk is full.
      header = np.lib.format.header_data_from_array_1_0(rows)
      np.lib.format.write_array_header_1_0(file, header)
      file.write(rows.data)
    with open(folder / name, 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
    shards.append({'name': name, 'rows': len(rows), 'sha256': digest})
  assert sum(shard['rows'] for shard in shards) == num_rows
  return shards


def map_shard(
  path: pathlib.Path,
  shape: tuple[int, int],
  dtype: np.dtype,
  *,
  alone: bool = False,
) -> np.ndarray:
  """Maps a shard; InputError where it is not of this shape and type.

  `alone` reads the pages of a row and nothing around them, for corpora larger
  than memory. Of a cold corpus of 3,072 MiB on ext4, 5,000 rows of 1 KiB at
  random read 3,052 MiB otherwise and 24 MiB so, in 2.4 and 0.6 s (Linux 6, two
  runs each): the neighbours are gone before they are drawn.
  """
  if not path.is_file():
    raise InputError(f'{path}: the shard is missing; {AGAIN}')
  refuse_link_out(path)
  try:
    rows = np.load(path, mmap_mode='r', allow_pickle=False)
  except (ValueError, EOFError, OSError) as error:
    raise InputError(
      f'{path}: cannot be read, so it is damaged or cut off ({error}); {AGAIN}'
    ) from None
  if (
    not isinstance(rows, np.memmap)
    or rows.shape != shape
    or rows.dtype != dtype
    or not rows.flags.c_contiguous
    or path.stat().st_size != rows.offset + rows.nbytes
  ):
    raise InputError(
      f'{path}: holds {getattr(rows, "dtype", type(rows))} '
      f'{getattr(rows, "shape", "")} in {path.stat().st_size} bytes, the '
      f'manifest has {dtype} {shape}; {AGAIN}'
    )
  if alone and isinstance(rows.base, mmap.mmap):
    rows.base.madvise(mmap.MADV_RANDOM)
  return rows


def check_digest(path: pathlib.Path, expected: str) -> None:
  """Reads all of a shard; InputError where its sha256 is another."""
  try:
    with open(path, 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:  # a bad sector, a share that went away
    raise InputError(
      f'{path}: cannot be read ({error.strerror}); {AGAIN}'
    ) from None
  if digest != expected:
    raise InputError(
      f'{path}: the content has changed since it was prepared '
      f'(sha256 {digest}, the manifest has {expected}); {AGAIN}'
    )


def refuse_link_out(path: pathlib.Path) -> None:
  """Raises InputError where a file of a corpus is a link to another place.

  Who hands on a corpus could read what its user can read otherwise.
  """
  # pathlib's resolve() fails on links in a circle before Python 3.13.
  if os.path.dirname(os.path.realpath(path)) != os.path.realpath(path.parent):
    raise InputError(
      f'{path}: a link that leads out of the corpus; put the file itself there'
    )


def _regroup(
  blocks: Iterable[np.ndarray], rows_per_shard: int
) -> Iterable[np.ndarray]:
  waiting: list[np.ndarray] = []
  num_waiting = 0
  for block in blocks:
    while num_waiting + len(block) >= rows_per_shard:
      taken = rows_per_shard - num_waiting
      yield np.concatenate([*waiting, block[:taken]])
      block, waiting, num_waiting = block[taken:], [], 0
    if len(block):
      waiting.append(block)
      num_waiting += len(block)
  if waiting:
    yield np.concatenate(waiting)
