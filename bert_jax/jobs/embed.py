"""Vectors of texts in a file of numpy."""

import io
import itertools
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from jax.experimental import multihost_utils

from bert_jax.data.example_file import ExampleFile
from bert_jax.data.examples import Examples
from bert_jax.embedding import WINDOW, Embedder
from bert_jax.inference import TrainedModel
from bert_jax.jobs import one_run
from bert_jax.jobs.growing_file import grown_by_first
from bert_jax.parallel import distributed
from bert_jax.vector_precision import FLOAT32, Precision, neighbours_kept

# Texts that a precision is fitted to.
_SAMPLE = 1024


def refuse_long_texts(embedder: Embedder, examples: ExampleFile) -> None:
  """Raises InputError on a text that is too long, before any is computed."""
  for window in examples.windows(WINDOW):
    embedder.encode(_texts(window), window.first)


def request_of(
  model: TrainedModel, embedder: Embedder, examples: ExampleFile, name: str
) -> dict[str, str]:
  """Digests and names of all that decides on the bytes of vectors."""
  return {
    'content of --input': examples.digest,
    **model.identity(),
    'form of vectors': str(embedder.form),
    'precision': name,
    **distributed.software(),
  }


def fit_precision(
  embedder: Embedder, examples: ExampleFile, name: str, cut: bool
) -> tuple[Precision, str]:
  """A precision for the vectors of a file, and a line on what it costs.

  It is fitted to, and tried on, the first 1,024 texts.
  """
  if name == FLOAT32:
    return Precision(name, np.zeros((0, embedder.dim), np.float32)), ''
  texts = _texts(next(examples.windows(_SAMPLE)))
  sample, _ = embedder.window(texts, 0, cut)
  precision = Precision(name, sample)
  num_bytes = precision.width * precision.dtype.itemsize
  line = f'{name}: {num_bytes} bytes a vector, {4 * embedder.dim} in float32'
  kept = neighbours_kept(sample, precision.vectors(precision.codes(sample)))
  if kept:
    share, count = kept
    line += (
      f'; of the {count} nearest neighbours of each of the first '
      f'{len(texts):,} texts among these, {share:.1%} stay'
    )
  return precision, line


def write_vectors(
  embedder: Embedder,
  examples: ExampleFile,
  output: pathlib.Path,
  *,
  cut: bool,
  precision: Precision,
  request: Mapping[str, str] | None = None,
) -> dict[str, int]:
  """Writes an .npy file with a row for each text, in order.

  Returns how many texts were 'cut', and how many numbers were 'outside' of the
  ranges of `precision`.

  `cut` drops the ends of texts that are too long, which refuse_long_texts names
  otherwise. All processes compute, and the first one writes.

  The file has its name once it is whole. If a command with an equal `request`
  was stopped, its vectors are taken, and without one never; see
  growing_file.py.
  """
  with grown_by_first(output, request or {}, examples.num_bytes, 'embed') as (
    growing,
    added,
    progress,
  ):
    counts = {'cut': 0, 'outside': 0, **added.counts}
    for window, vectors, num_cut in _rounds(
      embedder, examples, cut, added.num_records
    ):
      counts['cut'] += num_cut
      counts['outside'] += precision.num_outside(vectors)
      if growing:
        data = precision.codes(vectors).tobytes()
        if not growing.added.num_records:
          data = _header(precision, len(examples)) + data
        growing.add(data, len(vectors), counts)
      progress.update(window.num_bytes)
  return counts


def _rounds(
  embedder: Embedder, examples: ExampleFile, cut: bool, num_done: int
) -> Iterator[tuple[Examples, np.ndarray, int]]:
  """Yields windows with their vectors and texts cut, in each process.

  The first `num_done` examples, which end a window, are left out.
  """
  windows = itertools.islice(
    examples.windows(WINDOW), -(-num_done // WINDOW), None
  )
  for together, mine in one_run.in_turn(windows):
    vectors, cut_here = np.zeros((0, embedder.dim), np.float32), 0
    for window in mine:
      texts = _texts(window)
      vectors, cut_here = embedder.window(texts, window.first, cut)
    num_cut = distributed.agree('texts cut', cut_here)
    # The arrays of all processes must have one shape.
    rows = len(together[0])
    filled = np.pad(vectors, [(0, rows - len(vectors)), (0, 0)])
    found = multihost_utils.process_allgather(filled)
    found = found.reshape(-1, *filled.shape)
    for window, part, cut_there in zip(together, found, num_cut, strict=False):
      yield window, part[: len(window)], cut_there


def _header(precision: Precision, num_texts: int) -> bytes:
  """The beginning of an .npy file."""
  file = io.BytesIO()
  header = {
    'descr': np.lib.format.dtype_to_descr(precision.dtype),
    'fortran_order': False,
    'shape': (num_texts, precision.width),
  }
  np.lib.format.write_array_header_1_0(file, header)
  return file.getvalue()


def _texts(window: Examples) -> list[str]:
  return [text for (text,) in window.texts]
