"""A prepared corpus in figures: its manifests, and the segments' lengths."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from bert_jax.data.preparing.summary import format_pairs
from bert_jax.data.preparing.verify import part_names
from bert_jax.data.remote.storage import refuse_remote
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers import TokenTable, load_tokenizer
from bert_jax.errors import InputError

# Number of rows to sample for a histogram.
_SAMPLE_ROWS = 4096
_BAR = 40


def describe_corpus(folder: str | os.PathLike[str]) -> Iterator[str]:
  """Lines of a table of the parts, and of a histogram of segments for each.

  Raises InputError where the folder is no prepared corpus.
  """
  refuse_remote('corpus', str(folder))
  root = pathlib.Path(folder)
  names = part_names(root)
  if not names:
    raise InputError(
      f'--corpus={folder}: it is no prepared corpus; give the --output of '
      'bert-jax prepare'
    )
  tokenizer = load_tokenizer(root / 'tokenizer')
  for name in names:
    corpus = TokenRows(root / name)
    facts = corpus.manifest
    yield (
      f'{name or root}: {facts["num_documents"]:,} documents, '
      f'{facts["num_tokens"]:,} tokens, {corpus.num_rows:,} rows of '
      f'{corpus.row_length} in {len(corpus.shard_sizes)} shard(s), '
      f'{facts["padding_share"]:.2%} padding'
    )
    dropped = ', '.join(f'{n:,} {why}' for why, n in facts['dropped'].items())
    yield f'  dropped: {dropped or "nothing"}'
    yield from _side_files(corpus)
    yield from _histogram(corpus, tokenizer.table)


def _side_files(corpus: TokenRows) -> Iterator[str]:
  facts = corpus.manifest
  for side_file in corpus.side_files.values():
    yield (
      f'  {side_file.name}: {side_file.dtype} [{corpus.num_rows:,}, '
      f'{side_file.width}]'
    )
  if 'word_segmenter' in facts:
    segmenter = facts['word_segmenter'].items()
    yield f'  word segmenter: {", ".join(f"{k} {v}" for k, v in segmenter)}'
  if 'pairs' in facts:
    drawn = format_pairs(facts['pairs'], facts['num_tokens'])
    yield f'  {facts["pairs"]["kind"]}: {drawn}'


def _histogram(corpus: TokenRows, table: TokenTable) -> Iterator[str]:
  """A histogram of segments, or parts of pairs, by their ordinary tokens."""
  count = min(corpus.num_rows, _SAMPLE_ROWS)
  # Evenly spaced, so that it is a sample of the whole.
  rows = corpus.rows(np.arange(count) * corpus.num_rows // max(count, 1))
  lengths = []
  for row in rows:
    ends = np.flatnonzero(row == table.sep_id)
    starts = np.append(0, ends[:-1] + 1)[: len(ends)]
    lengths.append(ends - starts - (row[starts] == table.cls_id))
  lengths = np.concatenate([*lengths, np.empty(0, np.int64)])
  edges = [0, *(2**power for power in range(2, 30))]
  counts, _ = np.histogram(lengths, edges)
  what = 'parts of pairs' if corpus.max_segments else 'segments'
  yield f'  {what} of {count:,} rows by their tokens:'
  for number in range(np.flatnonzero(counts).max(initial=-1) + 1):
    bar = '#' * round(_BAR * counts[number] / counts.max())
    where = f'{edges[number]}-{edges[number + 1] - 1}'
    yield f'  {where:>11} {counts[number]:>9,} {bar}'.rstrip()
