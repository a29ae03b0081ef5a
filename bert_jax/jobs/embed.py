"""Vectors of texts in a file of numpy."""

import pathlib
from collections.abc import Sequence

import numpy as np

from bert_jax import durable_files
from bert_jax.data.progress import TextProgress
from bert_jax.embedding import Embedder


def write_vectors(
  embedder: Embedder, texts: Sequence[str], output: pathlib.Path, *, cut: bool
) -> int:
  """Writes f32 [n, D] as .npy, or no file; returns how many texts were cut."""
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
    for vectors, cut_here in embedder.windows(texts, cut=cut):
      file.write(vectors.astype('<f4').tobytes())
      progress.update(sum(num_bytes[done : done + len(vectors)]))
      done += len(vectors)
      num_cut += cut_here
  return num_cut
