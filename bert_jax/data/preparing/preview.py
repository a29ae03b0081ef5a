"""A preview of preparing a corpus, from a sample; nothing is written.

A wrong field, a wrong unit of documents or a tokenizer of another language
shows in seconds here, and in hours otherwise.
"""

import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bert_jax.data.preparing import blocks, worker_processes
from bert_jax.data.preparing.summary import format_pairs
from bert_jax.data.preparing.unknown_share import UnknownShare
from bert_jax.data.sources import base
from bert_jax.data.sources.base import Document, ReadReport, Source
from bert_jax.data.tokenizers import unknown
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError, quoted

SAMPLE_DOCUMENTS = 4096
SAMPLE_CHARACTERS = 2**21
_SHOWN_CHARACTERS = 64


def preview(
  source: Source,
  tokenizer: Tokenizer,
  *,
  num_workers: int,
  **row_options: Any,
) -> str:
  """Lines of text on the first few thousand documents of a source.

  Args:
    source: the documents.
    tokenizer: encodes them.
    num_workers: the number for `prepare`; divides the estimated time.
    **row_options: likewise; the figures are of both parts together.

  Raises:
    InputError: as `prepare` raises it, where the sample shows the reason.
  """
  options = blocks.BlockOptions(**row_options)
  num_workers = worker_processes.number_of_workers(num_workers)
  worker = blocks.BlockWorker(tokenizer, options)
  report = ReadReport()
  # Asking for the size first finds damaged files before the sample is read.
  total_bytes = source.size_in_bytes()
  started = time.monotonic()
  sample, is_all = _read_sample(source, report)
  read_at = time.monotonic()
  with _single_threaded_tokenizers():
    _, by_part = worker.rows([document.text for document in sample], 'preview')
  packed_at = time.monotonic()
  unknown_lines = _unknown_lines(tokenizer, by_part)
  counts = sum(by_part.values(), Counter())
  if not counts['tokens']:
    raise InputError(
      f'--input: none of the first {len(sample):,} documents has a token; '
      'check --text_field, --document and the tokenizer'
    )
  num_bytes = sum(len(document.text.encode()) for document in sample)
  scale = _scale(num_bytes, total_bytes, is_all)
  # A group is read by a single process; the workers share the rest.
  num_readers = min(num_workers, len(base.groups(source)))
  seconds = scale * max(
    (read_at - started) / num_readers, (packed_at - started) / num_workers
  )
  return '\n'.join(
    [
      *_sample_lines(sample, num_bytes, counts, is_all),
      *_whole_lines(scale, is_all, total_bytes, counts, seconds, num_workers),
      *_row_lines(counts, options, scale),
      *unknown_lines,
      *_finding_lines(report, counts),
      'documents, shortened:',
      *_shown(sample),
      'nothing was written (--dry_run)',
    ]
  )


def _read_sample(
  source: Source, report: ReadReport
) -> tuple[list[Document], bool]:
  """The first documents, and whether these are all."""
  sample: list[Document] = []
  characters = 0
  documents = source.documents(report)
  for document in itertools.islice(documents, SAMPLE_DOCUMENTS):
    sample.append(document)
    characters += len(document.text)
    if characters >= SAMPLE_CHARACTERS:
      break
  else:
    if len(sample) < SAMPLE_DOCUMENTS:
      return sample, True
  return sample, next(documents, None) is None


def _scale(num_bytes: int, total_bytes: int, is_all: bool) -> float:
  """The size of the input in samples; 0 where that is not known."""
  if is_all:
    return 1.0
  # The source's size is an estimate, so it may be below the sample's.
  return max(1.0, total_bytes / num_bytes) if total_bytes else 0.0


def _sample_lines(
  sample: list[Document], num_bytes: int, counts: Counter[str], is_all: bool
) -> list[str]:
  tokens = counts['tokens']
  which = 'all' if is_all else 'the first'
  return [
    f'read: {which} {len(sample):,} documents, {num_bytes:,} bytes',
    f'tokens: {tokens:,}, {tokens / max(1, counts["documents"]):,.1f} a '
    f'document, {num_bytes / tokens:.2f} bytes a token',
  ]


def _whole_lines(
  scale: float,
  is_all: bool,
  total_bytes: int,
  counts: Counter[str],
  seconds: float,
  num_workers: int,
) -> list[str]:
  if not scale:
    return ['the whole input: its size is not known before it is read']
  workers = f'{num_workers} process{"" if num_workers == 1 else "es"}'
  if is_all:
    size = 'that is all of it'
  else:
    size = (
      f'about {total_bytes / 1e6:,.1f} MB, {scale * counts["tokens"]:,.0f} '
      'tokens'
    )
  return [f'the whole input: {size}; {_duration(seconds)} with {workers}']


def _duration(seconds: float) -> str:
  if seconds < 120:
    return f'about {max(1, round(seconds))} s'
  if seconds < 7200:
    return f'about {round(seconds / 60)} min'
  return f'about {seconds / 3600:.1f} h'


def _row_lines(
  counts: Counter[str], options: blocks.BlockOptions, scale: float
) -> Iterator[str]:
  for length in options.row_lengths:
    rows = counts[f'rows_{length}']
    padding = counts[f'padding_{length}'] / max(1, rows * length)
    whole = f', about {scale * rows:,.0f} in all' if scale > 1 else ''
    yield f'rows of {length}: {rows:,}{whole}; {padding:.2%} padding'
    if options.pairs:
      drawn = blocks.pair_facts(length, counts, options.pairs)
      yield f'  {format_pairs(drawn, counts["tokens"])}'


def _unknown_lines(
  tokenizer: Tokenizer, by_part: dict[str, Counter[str]]
) -> list[str]:
  """Lines on unknown tokens, which show a tokenizer of another language."""
  share = UnknownShare(tokenizer, 1.0)
  share.add(by_part.values())
  lines = [share.facts()['line']]
  try:
    share.check(unknown.MAX_SHARE)
  except InputError as error:
    lines.append(f'prepare would refuse it: {error}')
  return lines


def _finding_lines(report: ReadReport, counts: Counter[str]) -> list[str]:
  lines = report.lines()
  if counts['dropped_no_tokens']:
    lines.append(f'documents without a token: {counts["dropped_no_tokens"]:,}')
  if counts['literal_special_tokens']:
    lines.append(
      f'literal special tokens: {counts["literal_special_tokens"]:,} (such as '
      '[SEP]), read as ordinary text'
    )
  return ['met:', *(f'  {line}' for line in lines or ['nothing but text'])]


def _shown(sample: list[Document]) -> Iterator[str]:
  """The first, the middle and the last document, a line each."""
  last = len(sample) - 1
  for number in sorted({0, last // 2, last}):
    document = sample[number]
    text = ' '.join(document.text[: 4 * _SHOWN_CHARACTERS].split())
    yield f'  {document.origin}: {quoted(text, _SHOWN_CHARACTERS)}'


@contextlib.contextmanager
def _single_threaded_tokenizers() -> Iterator[None]:
  """Keeps tokenizers to one thread, so that the time is that of one core."""
  name = 'TOKENIZERS_PARALLELISM'
  before = os.environ.get(name)
  os.environ[name] = 'false'
  try:
    yield
  finally:
    if before is None:
      del os.environ[name]
    else:
      os.environ[name] = before
