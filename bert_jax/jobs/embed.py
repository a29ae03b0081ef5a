"""Vectors of texts in a file of numpy."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jax.experimental import multihost_utils

from bert_jax import durable_files
from bert_jax.data.progress import TextProgress
from bert_jax.embedding import WINDOW, Embedder, check_texts
from bert_jax.jobs import one_run
from bert_jax.parallel import distributed


def write_vectors(
  embedder: Embedder, texts: Sequence[str], output: pathlib.Path, *, cut: bool
) -> int:
  """Writes f32 [n, D] as .npy, or no file; returns how many texts were cut.

  Process 0 writes what all have computed.
  """
  check_texts(texts)
  windows = _windows_of_all(embedder, texts, cut)
  if not distributed.is_first():
    return sum(cut_here for _, cut_here in windows)
  header = {
    'descr': '<f4',
    'fortran_order': False,
    'shape': (len(texts), embedder.dim),
  }
  num_bytes = [len(text.encode(errors='replace')) for text in texts]
  done = num_cut = 0
  with (
    durable_files.new_file(output) as file,
    TextProgress(sum(num_bytes), True, 'embed') as progress,
  ):
    np.lib.format.write_array_header_1_0(file, header)
    for vectors, cut_here in windows:
      file.write(vectors.astype('<f4').tobytes())
      progress.update(sum(num_bytes[done : done + len(vectors)]))
      done += len(vectors)
      num_cut += cut_here
  return num_cut


def _windows_of_all(
  embedder: Embedder, texts: Sequence[str], cut: bool
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (vectors, texts cut) of the next texts, in each process.

  The processes take windows in turn.
  """
  for mine in one_run.in_turn(len(texts), WINDOW):
    vectors, cut_here = embedder.window(texts, mine, cut)
    sizes = distributed.agree('vectors', [len(vectors), cut_here])
    # The arrays of all processes must have one shape.
    longest = max(size for size, _ in sizes)
    filled = np.pad(vectors, [(0, longest - len(vectors)), (0, 0)])
    found = multihost_utils.process_allgather(filled)
    for part, (size, num_cut) in zip(found, sizes, strict=True):
      yield part[:size], num_cut
