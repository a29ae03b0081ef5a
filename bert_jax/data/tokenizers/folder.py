"""Trains a tokenizer into a folder, once: the work of `train_tokenizer`."""

import json
import os
import pathlib
import time
from collections.abc import Iterable

from bert_jax import durable_files
from bert_jax.data.sources import content
from bert_jax.data.sources.base import Document, ReadReport, Source
from bert_jax.data.sources.content_changes import EARLIER_VERSION, difference
from bert_jax.data.tokenizers import (
  Tokenizer,
  byte_bpe,
  byte_bpe_training,
  load_tokenizer,
  sentencepiece_training,
  training,
  wordpiece,
)
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path

RECORD_NAME = 'training.json'
_SENTENCEPIECE = {
  f'sentencepiece_{model_type}': model_type
  for model_type in sentencepiece_training.MODEL_TYPES
}
KINDS = (wordpiece.KIND, *_SENTENCEPIECE, byte_bpe.KIND)


def train_folder(
  source: Source,
  *,
  kind: str,
  vocab_size: int,
  lowercase: bool,
  output: str | os.PathLike[str],
) -> str:
  """Writes a trained tokenizer as the folder `output`, whole or not at all.

  Besides the tokenizer's files it holds training.json: what was asked for, and
  what reading met.

  Returns:
    A summary of one or more lines to print.

  Raises:
    InputError: The folder holds something else, or another process is writing
      it; the text or the vocab_size cannot be used.
  """
  if kind not in KINDS:
    raise InputError(f'--kind={kind}: choose one of {", ".join(KINDS)}.')
  if kind == byte_bpe.KIND and lowercase:
    raise InputError(
      f'--lowercase: {kind} leaves text as it is; give --nolowercase.'
    )
  output = local_path(output, '--output')
  with durable_files.output_lock(output) as lock:
    contents, source_now = content.of_source(output, lock, source, False)
    request = {
      'kind': kind,
      'vocab_size': vocab_size,
      'lowercase': lowercase,
      'source': source_now,
    }
    if _is_done(output, request):
      return f'{output}: this tokenizer is there already; nothing to do'
    started = time.monotonic()
    report = ReadReport()
    documents = source.documents(report)
    tokenizer = train_tokenizer(kind, documents, vocab_size, lowercase)
    contents.require_unchanged()
    _publish(tokenizer, request, report, output)
  size = tokenizer.table.vocab_size
  lines = [
    f'{output}: {kind}, {size:,} entries, '
    f'{"uncased" if lowercase else "cased"}, '
    f'{time.monotonic() - started:.0f} s',
    *report.lines(),
  ]
  if size < vocab_size:
    lines.append(
      f'--vocab_size={vocab_size}: the text gives no more than {size:,} entries'
    )
  return '\n'.join(lines)


def train_tokenizer(
  kind: str, documents: Iterable[Document], vocab_size: int, lowercase: bool
) -> Tokenizer:
  """Returns a tokenizer of one of KINDS; byte_bpe ignores `lowercase`."""
  if kind == wordpiece.KIND:
    return training.train_wordpiece(
      documents, vocab_size=vocab_size, lowercase=lowercase
    )
  if kind == byte_bpe.KIND:
    return byte_bpe_training.train_byte_bpe(documents, vocab_size=vocab_size)
  return sentencepiece_training.train_sentencepiece(
    documents,
    model_type=_SENTENCEPIECE[kind],
    vocab_size=vocab_size,
    lowercase=lowercase,
  )


def _publish(
  tokenizer: Tokenizer,
  request: dict,
  report: ReadReport,
  output: pathlib.Path,
) -> None:
  record = {
    'request': request,
    'read_counts': report.counts,
    'read_examples': report.examples,
  }
  with durable_files.whole_folder(output) as folder:
    tokenizer.save(folder)
    durable_files.write_json(folder / RECORD_NAME, record)


def _is_done(output: pathlib.Path, request: dict) -> bool:
  """Returns whether the folder holds the result; False if it is free."""
  if not output.exists() or (output.is_dir() and not any(output.iterdir())):
    return False
  try:
    record = json.loads((output / RECORD_NAME).read_text('utf-8'))
    there = dict(record['request'])
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    raise InputError(
      f'--output={output}: it is there and was not written by '
      'train_tokenizer; choose another folder.'
    ) from None
  differing = [
    name
    for name in request
    if name != 'source' and there.get(name) != request[name]
  ]
  if differing:
    raise InputError(
      f'--output={output}: it was trained with another {differing[0]}; choose '
      'another folder, or remove this one.'
    )
  found = difference(there.get('source'), request['source'])
  if found == EARLIER_VERSION:
    raise InputError(
      f'--output={output}: {found}; remove it or choose another folder to '
      'train it anew. Corpora can go on using it as it is.'
    )
  if found:
    raise InputError(
      f'--output={output}: it was trained with another source: {found}; choose '
      'another folder, or remove this one.'
    )
  load_tokenizer(output)  # a damaged one is an error here, not much later
  return True
