"""Several corpora in one stream: which row is example number g.

A pure function in constant time, as for one corpus: the number of examples that
a corpus has given before g is a closed formula, and is the position within that
corpus's own stream. So neither a new stage nor new weights start an epoch anew.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from bert_jax.data.reading.plan import Plan
from bert_jax.data.reading.stream import Stream, example_number_words
from bert_jax.errors import InputError

# Weights are shares of this many parts.
_PARTS = 2**20
# Examples that are located at once.
_AHEAD = 256


@dataclasses.dataclass(kw_only=True, slots=True)
class MixturePhase:
  """Weights by which corpora are drawn, from example `first_example` on."""

  first_example: int = 0
  weights: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class CorpusStreams:
  """The streams of one corpus, one for each row length that is asked for."""

  name: str
  streams: dict[int, Stream]


@dataclasses.dataclass(frozen=True)
class _Segment:
  """Examples of one stage and one phase.

  draws: the rows of this length that each corpus has given before it.
  """

  first_example: int
  row_length: int
  weights: tuple[int, ...]
  draws: tuple[int, ...]


class MixedStream:
  """The stream of a run: corpora by weights, row lengths by stages.

  Without phases, corpora are drawn in proportion to their rows.
  """

  def __init__(
    self,
    sources: Sequence[CorpusStreams],
    plan: Plan,
    phases: Sequence[MixturePhase] = (),
  ):
    """Raises InputError where the phases, or a corpus's size, do not fit."""
    self.sources = tuple(sources)
    _check_phases(phases, len(self.sources))
    self._segments, draws = _segments(self.sources, plan, phases)
    self._starts = np.array(
      [s.first_example for s in self._segments], np.uint64
    )
    _check_epochs(self.sources, draws)
    self._end = plan.first_examples[-1]
    # Places located ahead, int64 [3, n], of examples from this number on.
    self._ahead = 0, np.empty((3, 0), np.int64)
    # The most of all corpora, so that the mixture of a batch leaves its shape.
    self._max_segments = {
      length: max(s.streams[length].corpus.max_segments for s in self.sources)
      for length in draws
    }

  def read_before(self, example_number: int) -> dict[str, str]:
    """{corpus and row length: how many rows of what} until an example number.

    Equal ones mean that a run can go on there: what lies ahead may differ.
    """
    read = {}
    ends = [s.first_example for s in self._segments[1:]] + [example_number]
    for segment, end in zip(self._segments, ends, strict=True):
      examples = min(example_number, end) - segment.first_example
      if examples <= 0:
        break
      counts = count_draws(examples, segment.weights)
      for corpus, source in enumerate(self.sources):
        stream = source.streams[segment.row_length]
        name = f'corpus {corpus}, row length {segment.row_length}'
        count = segment.draws[corpus] + counts[corpus]
        read[name] = f'{count} rows of {stream.fingerprint[:16]}'
    return read

  def locate(
    self, example_numbers: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(corpus, epoch, row), int64 [n] each, of example numbers uint64 [n]."""
    numbers = np.asarray(example_numbers).astype(np.uint64).reshape(-1)
    found = np.empty((3, len(numbers)), np.int64)
    for corpus, stream, draws, places in self._dealt(numbers):
      found[0, places] = corpus
      found[1:, places] = stream.locate(draws)
    return found[0], found[1], found[2]

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of example numbers uint64 [n] of one stage, as one batch.

    Returns:
      'input_ids' int32 [n, row_length]; 'example_number' uint32 [n, 2]; what
      the corpora have in side files, see TokenRows.arrays: 'pair_labels' are
      of the same width in all batches of a row length.
    """
    numbers = np.asarray(example_numbers).astype(np.uint64).reshape(-1)
    corpora, epochs, rows = self._located(numbers)
    segment = np.searchsorted(self._starts, numbers[:1], side='right')[0] - 1
    length = self._segments[segment].row_length
    batch: dict[str, np.ndarray] = {}
    for corpus, source in enumerate(self.sources):
      places = np.flatnonzero(corpora == corpus)
      if not places.size:
        continue
      arrays = source.streams[length].read(
        epochs[places], rows[places], self._max_segments[length]
      )
      for name, array in arrays.items():
        if name not in batch:
          batch[name] = np.empty((len(numbers), array.shape[1]), array.dtype)
        batch[name][places] = array
    return {**batch, 'example_number': example_number_words(numbers)}

  def _located(self, numbers: np.ndarray) -> np.ndarray:
    """Locates examples as `locate` does, int64 [3, n], and those after them.

    Looking ahead saves time: numpy takes as long for a few rows as for some
    hundred.
    """
    first, last = int(numbers.min()), int(numbers.max())
    ahead_from, ahead = self._ahead
    if not ahead_from <= first <= last < ahead_from + ahead.shape[1]:
      # A corpus may have no rows left beyond the end of the run.
      end = max(last + 1, min(first + _AHEAD, self._end))
      if end - first > max(_AHEAD, len(numbers)):
        return np.stack(self.locate(numbers))  # far apart
      ahead_from = first
      ahead = np.stack(self.locate(np.arange(first, end, dtype=np.uint64)))
      self._ahead = ahead_from, ahead
    return ahead[:, (numbers - np.uint64(ahead_from)).astype(np.int64)]

  def _dealt(
    self, numbers: np.ndarray
  ) -> Iterator[tuple[int, Stream, np.ndarray, np.ndarray]]:
    """(corpus, its stream, its draws, their places among `numbers`)."""
    index = np.searchsorted(self._starts, numbers, side='right') - 1
    for one in np.unique(index):
      segment = self._segments[one]
      inside = np.flatnonzero(index == one)
      local = numbers[inside] - np.uint64(segment.first_example)
      corpora, draws = split(local, segment.weights)
      for corpus, source in enumerate(self.sources):
        mine = np.flatnonzero(corpora == corpus)
        if mine.size:
          before = np.uint64(segment.draws[corpus])
          stream = source.streams[segment.row_length]
          yield corpus, stream, draws[mine] + before, inside[mine]


def split(
  numbers: np.ndarray, weights: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  """Deals numbers out to corpora, as evenly as whole numbers allow.

  The first corpus takes number i where the integer part of its share of i
  grows (Bresenham's line); the rest is dealt out likewise to the others.

  Args:
    numbers: uint64 [n].
    weights: positive integers below 2^32, one for each corpus.

  Returns:
    (corpus int64 [n], how many smaller numbers it has taken uint64 [n]).
  """
  corpora = np.full(numbers.shape, len(weights) - 1, np.int64)
  draws = numbers.copy()
  undecided = np.arange(len(numbers))
  total = sum(weights)
  for corpus, weight in enumerate(weights[:-1]):
    before = _share(draws[undecided], weight, total)
    after = _share(draws[undecided] + np.uint64(1), weight, total)
    taken = after > before
    corpora[undecided[taken]] = corpus
    draws[undecided] = np.where(taken, before, draws[undecided] - before)
    undecided = undecided[~taken]
    total -= weight
  return corpora, draws


def count_draws(num_examples: int, weights: Sequence[int]) -> list[int]:
  """The number of examples of each corpus among the first ones, by `split`."""
  counts = []
  total = sum(weights)
  for weight in weights[:-1]:
    counts.append(num_examples * weight // total)
    num_examples -= counts[-1]
    total -= weight
  return [*counts, num_examples]


def _share(numbers: np.ndarray, weight: int, total: int) -> np.ndarray:
  """numbers * weight // total, without an overflow of 64 bits."""
  factor, divisor = np.uint64(weight), np.uint64(total)
  whole, rest = np.divmod(numbers, divisor)
  return whole * factor + rest * factor // divisor


def _segments(
  sources: Sequence[CorpusStreams], plan: Plan, phases: Sequence[MixturePhase]
) -> tuple[list[_Segment], dict[int, list[int]]]:
  """The segments, and how many rows of each length each corpus gives in all."""
  cuts = {*plan.first_examples[:-1], *(p.first_example for p in phases)}
  cuts = sorted(cut for cut in cuts if cut < plan.first_examples[-1])
  segments = []
  draws: dict[int, list[int]] = {}
  for first, end in itertools.pairwise([*cuts, plan.first_examples[-1]]):
    stage = plan.stage(plan.step_of(first))
    length = stage.row_length
    streams = [source.streams[length] for source in sources]
    shares: Sequence[float] = [s.corpus.num_rows for s in streams]
    for phase in phases:
      if phase.first_example <= first:
        shares = phase.weights
    weights = tuple(
      max(1, round(share / sum(shares) * _PARTS)) for share in shares
    )
    _check_batch(sources, streams, stage.batch_size, weights)
    before = draws.setdefault(length, [0] * len(sources))
    segments.append(_Segment(first, length, weights, tuple(before)))
    for corpus, count in enumerate(count_draws(end - first, weights)):
      before[corpus] += count
  return segments, draws


def _check_phases(phases: Sequence[MixturePhase], num_sources: int) -> None:
  firsts = [phase.first_example for phase in phases]
  if phases and (firsts[0] != 0 or firsts != sorted(set(firsts))):
    raise InputError(
      f'data.mixture: its phases begin at examples {firsts}; the first must '
      'begin at 0 and each later than the one before it'
    )
  for number, phase in enumerate(phases):
    where = f'data.mixture[{number}].weights={phase.weights}'
    if len(phase.weights) != num_sources:
      raise InputError(f'{where}: give one for each of {num_sources} corpora')
    for weight in phase.weights:
      # This also refuses nan.
      if not 0 < weight < float('inf'):
        raise InputError(
          f'{where}: each must be a number above 0; leave a corpus out of '
          'data.corpora that is not to be read'
        )


def _check_batch(
  sources: Sequence[CorpusStreams],
  streams: Sequence[Stream],
  batch_size: int,
  weights: tuple[int, ...],
) -> None:
  for source, stream, weight in zip(sources, streams, weights, strict=True):
    in_a_batch = batch_size * weight // sum(weights)
    if stream.corpus.num_rows < in_a_batch:
      raise InputError(
        f'{source.name}: its {stream.corpus.num_rows} rows of '
        f'{stream.corpus.row_length} tokens are fewer than the {in_a_batch} '
        f'that each batch of {batch_size} takes of it; lower the batch size or '
        'its weight, or prepare it from more text'
      )


def _check_epochs(
  sources: Sequence[CorpusStreams], draws: dict[int, list[int]]
) -> None:
  for length, counts in draws.items():
    for source, count in zip(sources, counts, strict=True):
      stream = source.streams[length]
      num_rows = stream.corpus.num_rows
      if stream.max_epochs and count > stream.max_epochs * num_rows:
        raise InputError(
          f'{source.name}: max_epochs={stream.max_epochs}, but this run reads '
          f'its {num_rows} rows of {length} tokens {count / num_rows:.2f} '
          'times; lower num_steps or its weight, or raise its max_epochs'
        )
