"""The unit of work of preparing a corpus: a block of consecutive documents.

A block is tokenised and packed alone and its result is one file, named by what
went in. So the bytes of a corpus depend on its blocks, never on who works on
them or in which order, and a rerun finds the blocks that are done. A block lies
within a group of files (groups.py).
"""

import dataclasses
import hashlib
import json
import pathlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest
from bert_jax.data import side_files, token_rows
from bert_jax.data.preparing import packing, pairs
from bert_jax.data.preparing.block_rows import ROWS, RowMaker, most_pairs
from bert_jax.data.preparing.encoding import EncodedText, Encoder
from bert_jax.data.preparing.unknown_share import BlockSample
from bert_jax.data.preparing.word_segmenter import WordSegmenter
from bert_jax.data.sources.base import ReadReport, Source
from bert_jax.data.tokenizers.base import (
  Tokenizer,
  count_literal_special_tokens,
)
from bert_jax.errors import InputError, quoted

# Large enough that packing has choices, small enough that a few of them fit in
# memory and a rerun loses little.
BLOCK_CHARACTERS = 4_000_000
# Bounds the memory of a block of very short documents.
BLOCK_DOCUMENTS = 2**17
# Change it when the same documents would lead to other rows. Since 2 a block
# ends where its group of files ends.
BLOCK_VERSION = 2
# Texts given to the tokenizer at once: its own result takes some hundred bytes
# a token, so a whole block of them would be large.
_BATCH_CHARACTERS = 2**18
TRAIN, EVAL = 'train', 'eval'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
  """Consecutive documents of a group.

  Attributes:
    index: 0, 1, ... in the order of the group.
    texts: the texts of the documents.
    num_bytes: bytes of the texts in UTF-8.
    digest: sha256 of the texts and of where each ends.
  """

  index: int
  texts: list[str]
  num_bytes: int
  digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockOptions:
  """Options of the work on a block, alike for all blocks of a corpus.

  row_lengths: tokens in a row; a folder is written for each, once.
  eval_fraction: share of documents, chosen by a hash of the text, that is kept
    out of training; 0 for none.
  word_segmenter: see WordSegmenter; '' for none.
  pairs: one of PAIR_KINDS; '' for rows of texts.
  """

  row_lengths: tuple[int, ...]
  eval_fraction: float
  word_segmenter: str = ''
  pairs: str = ''

  def __post_init__(self) -> None:
    if not self.row_lengths:
      raise InputError('--row_length is empty: give one or more, such as 128')
    for row_length in self.row_lengths:
      packing.check_row_length(row_length)
    once = tuple(dict.fromkeys(self.row_lengths))
    object.__setattr__(self, 'row_lengths', once)
    if not 0 <= self.eval_fraction < 1:
      raise InputError(
        f'--eval_fraction={self.eval_fraction}: give a share from 0 up to '
        'below 1'
      )
    pairs.check_kind(self.pairs)
    self.segmenter()

  def segmenter(self) -> WordSegmenter | None:
    """Raises InputError where there is none of this name."""
    return WordSegmenter(self.word_segmenter) if self.word_segmenter else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDone:
  """The result of the work on a block.

  Attributes:
    name: that of its file, in whose order blocks stand in a corpus.
    counts: {part: {what: number}}, see `BlockWorker`.
    num_bytes: bytes of the block's text.
    was_there: an earlier run had finished it.
  """

  name: str
  counts: dict[str, Counter[str]]
  num_bytes: int
  was_there: bool


class BlockWorker:
  """Tokenises and packs blocks, each into a file; lives in a worker process.

  A file has the arrays of RowMaker for each part and row length, and counts:
  documents, tokens, unknown_tokens and the commonest unknown words (see
  BlockSample), literal_special_tokens, dropped_no_tokens, and for each row
  length N what RowMaker counts, such as rows_N.
  """

  def __init__(self, tokenizer: Tokenizer, options: BlockOptions):
    self._tokenizer = tokenizer
    self._options = options
    self._encode_texts = Encoder(
      tokenizer, options.segmenter(), sentences=bool(options.pairs)
    )
    table = tokenizer.table
    self._make_rows = RowMaker(
      table,
      word_starts=bool(options.word_segmenter),
      pairs_kind=options.pairs,
    )
    # The ids from which a row's structure is derived.
    self._structural = np.zeros(table.vocab_size, bool)
    self._structural[
      [table.pad_id, table.cls_id, table.sep_id, table.mask_id]
    ] = True

  def __call__(self, task: tuple[Block, pathlib.Path]) -> BlockDone:
    block, path = task
    was_there = is_whole(path)
    if not was_there:
      self._write(path, *self.rows(block.texts, block.digest))
    return BlockDone(
      name=path.name,
      counts=_read_counts(path),
      num_bytes=block.num_bytes,
      was_there=was_there,
    )

  def rows(
    self, texts: list[str], digest: str
  ) -> tuple[dict[str, np.ndarray], dict[str, Counter[str]]]:
    """The arrays and the counts of a block of these texts, in memory.

    The block's `digest`, the part and the row length decide which pairs are
    drawn, and nothing else does.
    """
    documents, counts = self._encode(texts)
    arrays: dict[str, np.ndarray] = {}
    for part, encoded in documents.items():
      for row_length in self._options.row_lengths:
        made, counted = self._make_rows(
          encoded, row_length, pairs.seed(digest, part, row_length)
        )
        for name, array in made.items():
          arrays[_array_name(part, row_length, name)] = array
        counts[part].update(
          {f'{k}_{row_length}': n for k, n in counted.items()}
        )
    return arrays, counts

  def _encode(
    self, texts: list[str]
  ) -> tuple[dict[str, list[EncodedText]], dict[str, Counter[str]]]:
    documents: dict[str, list[EncodedText]] = {TRAIN: [], EVAL: []}
    counts: dict[str, Counter[str]] = {TRAIN: Counter(), EVAL: Counter()}
    sample = BlockSample(self._tokenizer)
    for batch in _batches(texts, _BATCH_CHARACTERS, len(texts)):
      for text, encoded in zip(batch, self._encode_texts(batch), strict=True):
        part = _part(text, self._options.eval_fraction)
        count = counts[part]
        count['literal_special_tokens'] += count_literal_special_tokens(text)
        if not len(encoded.ids):
          count['dropped_no_tokens'] += 1
          continue
        if self._structural[encoded.ids].any():
          raise RuntimeError(
            'the tokenizer gave a special token for plain text, which would '
            f'cut the row there: {quoted(text, 80)}'
          )
        count['documents'] += 1
        count['tokens'] += len(encoded.ids)
        sample.add(part, text, encoded.ids, count)
        documents[part].append(encoded)
    sample.write_words(counts)
    return documents, counts

  def _write(
    self,
    path: pathlib.Path,
    arrays: dict[str, np.ndarray],
    counts: dict[str, Counter[str]],
  ) -> None:
    encoded = np.frombuffer(json.dumps(counts).encode(), np.uint8)
    stored: dict[str, Any] = {'counts': encoded, **arrays}
    with durable_files.new_file(path) as file:
      np.savez(file, **stored)


def read_blocks(
  source: Source,
  report: ReadReport,
  max_characters: int = BLOCK_CHARACTERS,
  max_documents: int = BLOCK_DOCUMENTS,
) -> Iterator[Block]:
  """The documents of a source in blocks; one block in memory at a time."""
  every_text = (document.text for document in source.documents(report))
  batches = _batches(every_text, max_characters, max_documents)
  for index, texts in enumerate(batches):
    digest, num_bytes = hashlib.sha256(), 0
    for text in texts:
      encoded = text.encode()
      num_bytes += len(encoded)
      digest.update(len(encoded).to_bytes(8, 'little'))
      digest.update(encoded)
    yield Block(
      index=index, texts=texts, num_bytes=num_bytes, digest=digest.hexdigest()
    )


def block_file_name(group: int, block: Block, work: dict[str, Any]) -> str:
  """Names the result of a block by place, text and `describe_work`.

  Sorted by their names, blocks stand in the order of the source.
  """
  key = json_digest([work, block.digest], sort_keys=True)
  return f'block-{group:06d}-{block.index:08d}-{key[:32]}.npz'


def read_rows(
  path: pathlib.Path, part: str, row_length: int, name: str = ROWS
) -> np.ndarray:
  """The rows of a finished block [rows, row_length], or what lies beside them.

  `name`: 'rows', or that of a side file.
  """
  with np.load(path, allow_pickle=False) as arrays:
    return arrays[_array_name(part, row_length, name)]


def read_beside(
  paths: Sequence[pathlib.Path],
  part: str,
  row_length: int,
  counts: Counter[str],
  work: dict[str, Any],
) -> dict[side_files.SideFile, Iterator[np.ndarray]]:
  """The side files of the rows of finished blocks, for `write_token_rows`.

  Args:
    paths: the files of all blocks.
    part, row_length: which rows.
    counts: the counts of the part, of all blocks together.
    work: see `describe_work`.
  """
  found = []
  if 'word_segmenter' in work:
    found.append(side_files.word_starts(row_length))
  if 'pairs' in work:
    found.append(side_files.pair_labels(most_pairs(counts, row_length)))

  def read(side_file: side_files.SideFile) -> Iterator[np.ndarray]:
    for path in paths:
      stored = read_rows(path, part, row_length, side_file.name)
      if side_file.name == side_files.PAIR_LABELS:
        # A block stores labels as wide as its own rows need.
        stored = side_files.pad_labels(stored, side_file.width)
      yield stored

  return {side_file: read(side_file) for side_file in found}


def facts_beside(
  row_length: int, counts: Counter[str], work: dict[str, Any]
) -> dict[str, Any]:
  """Manifest entries about the side files; {} where there are none."""
  facts: dict[str, Any] = {}
  if 'word_segmenter' in work:
    facts['word_segmenter'] = work['word_segmenter']
  if 'pairs' in work:
    facts['pairs'] = pair_facts(row_length, counts, work['pairs'][0])
  return facts


def pair_facts(
  row_length: int, counts: Counter[str], kind: str
) -> dict[str, Any]:
  """The counts of pairs of one row length; see `pairs.Pairs`."""
  return {
    'kind': kind,
    'num_pairs': counts[f'segments_{row_length}'],
    **{name: counts[f'{name}_{row_length}'] for name in pairs.COUNTED},
  }


def describe_work(
  tokenizer: Tokenizer, options: BlockOptions
) -> dict[str, Any]:
  """A JSON object of all that decides the bytes of a corpus, but its text."""
  segmenter = options.segmenter()
  return {
    'tokenizer_fingerprint': tokenizer.fingerprint,
    'row_lengths': list(options.row_lengths),
    'eval_fraction': options.eval_fraction,
    'block': [BLOCK_VERSION, BLOCK_CHARACTERS, BLOCK_DOCUMENTS],
    'format_version': token_rows.FORMAT_VERSION,
    # Entries only where they are asked for: other requests stay as they were.
    **({'word_segmenter': segmenter.describe()} if segmenter else {}),
    **({'pairs': [options.pairs, pairs.VERSION]} if options.pairs else {}),
  }


def _batches(
  texts: Iterable[str], max_characters: int, max_texts: int
) -> Iterator[list[str]]:
  """Consecutive texts, each batch full once it reaches one of the limits."""
  batch: list[str] = []
  characters = 0
  for text in texts:
    batch.append(text)
    characters += len(text)
    if characters >= max_characters or len(batch) >= max_texts:
      yield batch
      batch, characters = [], 0
  if batch:
    yield batch


def _part(text: str, eval_fraction: float) -> str:
  """The part that a text belongs to, by a hash of it.

  So a repeated document is never on both sides."""
  head = hashlib.sha256(text.encode()).digest()[:8]
  is_eval = int.from_bytes(head, 'big') < int(eval_fraction * 2**64)
  return EVAL if is_eval else TRAIN


def _array_name(part: str, row_length: int, name: str) -> str:
  return f'{part}_{row_length}' + (f'_{name}' if name != ROWS else '')


def _read_counts(path: pathlib.Path) -> dict[str, Counter[str]]:
  with np.load(path, allow_pickle=False) as arrays:
    counts: dict[str, dict[str, int]] = json.loads(arrays['counts'].tobytes())
  return {part: Counter(count) for part, count in counts.items()}


def is_whole(path: pathlib.Path) -> bool:
  """Returns whether the file is there and its checksums hold."""
  if not path.is_file():
    return False
  try:
    with zipfile.ZipFile(path) as archive:
      return archive.testzip() is None
  except (zipfile.BadZipFile, zlib.error, EOFError):
    return False
