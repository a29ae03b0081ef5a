"""Prepares a corpus: source -> tokenizer -> packing -> shards and manifests.

It can be killed at any point: all is written beside the output and renamed at
the end, and a rerun goes on from the blocks that were finished. The same input
gives the same bytes, whatever the number of workers and interruptions.
"""

import json
import os
import pathlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.data import token_rows
from bert_jax.data.preparing import blocks, ending, worker_processes
from bert_jax.data.preparing.completed import RECORD_NAME, complete_summary
from bert_jax.data.preparing.unknown_share import MAX_SHARE, UnknownShare
from bert_jax.data.progress import TextProgress
from bert_jax.data.sources import content
from bert_jax.data.sources.base import ReadReport, Source
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path

_PARTIAL_MARK = 'unfinished.json'
# Findings of a source that leave no document out.
_NOT_DROPPED = ('undecodable_bytes', 'lone_surrogates', 'split_documents')

# Entries of a manifest that the summary shows -> their shorter names.
_IN_SUMMARY = {
  'row_length': 'row_length',
  'documents': 'num_documents',
  'tokens': 'num_tokens',
  'segments': 'num_segments',
  'rows': 'num_rows',
  'padding': 'num_padding',
  'padding_share': 'padding_share',
}
# Further entries, of corpora with side files.
_BESIDE = ('word_segmenter', 'pairs')


def prepare(
  source: Source,
  tokenizer: Tokenizer,
  *,
  output: str | os.PathLike[str],
  num_workers: int,
  progress: bool,
  beam_flags: Sequence[str] | None = None,
  max_unknown: float = MAX_SHARE,
  **row_options: Any,
) -> dict[str, Any]:
  """Writes the prepared corpus of a source as the folder `output`.

  Args:
    source: the documents.
    tokenizer: pickled into each worker.
    output: not there, empty, or the result of the same request, which is left.
    num_workers: processes; 0 takes all cores.
    progress: shows a bar on a terminal, a line now and then elsewhere.
    beam_flags: Apache Beam's own, where it works on the blocks; else None.
    max_unknown: a larger share of unknown tokens is an error; 1: none is.
    **row_options: see blocks.BlockOptions. Where `eval_fraction` hits no
      document, there is no `output/eval`.

  Returns:
    The figures of manifests and the closing table: documents, dropped, rows;
    `already_complete`, or the `blocks` and `seconds` of this run.

  Raises:
    InputError: a value or the folder cannot be used, no document has text, the
      disk is full, or a worker was killed.
    stopping.Stopped: on Ctrl-C and SIGTERM.
  """
  options = blocks.BlockOptions(**row_options)
  num_workers = worker_processes.number_of_workers(num_workers)
  output = _checked_output(output)
  partial = output.with_name(output.name + '.partial')
  work = _Work(UnknownShare(tokenizer, max_unknown))
  started = time.monotonic()
  with ending.guarded(output, partial) as lock:
    contents, source_now = content.of_source(output, lock, source, progress)
    request = _request(source_now, tokenizer, options)
    summary = complete_summary(output, request)
    if summary is not None:
      # A run before may have been killed between the renaming and this.
      _remove_partial(partial)
      return {**summary, 'already_complete': True}
    with _workers(
      num_workers, beam_flags, tokenizer, options, partial, progress
    ) as workers:
      _work_on_blocks(source, workers, partial, request, progress, work)
    summary = _write_output(partial, output, tokenizer, request, work, contents)
  return {
    **summary,
    'already_complete': False,
    'blocks': len(work.paths),
    'blocks_reused': work.num_reused,
    'seconds': time.monotonic() - started,
    'notes': work.report.notes,
  }


def _checked_output(output: str | os.PathLike[str]) -> pathlib.Path:
  path = local_path(output, '--output')
  if not path.name:
    raise InputError(f'--output={output}: give a folder of its own')
  return path


def _workers(
  num_workers: int,
  beam_flags: Sequence[str] | None,
  tokenizer: Tokenizer,
  options: blocks.BlockOptions,
  partial: pathlib.Path,
  progress: bool,
) -> Any:
  if beam_flags is None:
    return worker_processes.WorkerProcesses(
      num_workers, blocks.BlockWorker, (tokenizer, options)
    )
  from bert_jax.data.preparing import prepare_beam

  return prepare_beam.BeamWorkers(
    blocks.BlockWorker,
    (tokenizer, options),
    flags=beam_flags,
    num_workers=num_workers,
    partial=partial,
    progress=TextProgress(0, progress, 'prepare, reading'),
  )


def _request(
  source: dict[str, Any], tokenizer: Tokenizer, options: blocks.BlockOptions
) -> dict[str, Any]:
  """The settings that decide the output, with lists for tuples as in JSON."""
  work = blocks.describe_work(tokenizer, options)
  return {'source': source, 'work': json.loads(json.dumps(work))}


class _Work:
  """The blocks of a corpus together, once each has its file."""

  def __init__(self, unknown_share: UnknownShare) -> None:
    self.unknown = unknown_share
    self.paths: list[pathlib.Path] = []
    self.counts = {blocks.TRAIN: Counter(), blocks.EVAL: Counter()}
    self.num_reused = 0
    self.report = ReadReport()

  def add(self, done: blocks.BlockDone) -> None:
    self.unknown.add(done.counts.values())
    for part, count in done.counts.items():
      self.counts[part].update(count)
    self.num_reused += done.was_there

  @property
  def num_tokens(self) -> int:
    return sum(count['tokens'] for count in self.counts.values())


def _work_on_blocks(
  source: Source,
  workers: worker_processes.WorkerProcesses,
  partial: pathlib.Path,
  request: dict[str, Any],
  progress: bool,
  work: _Work,
) -> None:
  def tasks() -> Iterator[tuple[blocks.Block, pathlib.Path]]:
    for block in blocks.read_blocks(source, work.report):
      # Made only now: an input that cannot be read leaves no folder.
      if not work.paths:
        _open_partial(partial, request)
      name = blocks.block_file_name(block.index, block.digest, request['work'])
      work.paths.append(partial / name)
      yield block, work.paths[-1]

  with TextProgress(source.size_in_bytes(), progress) as shown:
    for done in workers.map(tasks()):
      work.add(done)
      shown.update(done.num_bytes, work.num_tokens)
  if not work.counts[blocks.TRAIN]['documents']:
    _remove_partial(partial)
    raise InputError(
      f'--input: no document has a token for training; dropped: '
      f'{_dropped(work) or "nothing"}, for evaluation: '
      f'{work.counts[blocks.EVAL]["documents"]} documents'
    )
  for length in request['work']['row_lengths']:
    if not work.counts[blocks.TRAIN][f'rows_{length}']:
      _remove_partial(partial)
      raise InputError(
        f'--pairs: no document gives a pair in rows of {length}; a pair needs '
        'two sentences, or two documents in a block: see --document'
      )
  work.unknown.check()


def _write_output(
  partial: pathlib.Path,
  output: pathlib.Path,
  tokenizer: Tokenizer,
  request: dict[str, Any],
  work: _Work,
  contents: content.Contents,
) -> dict[str, Any]:
  """Blocks into shards, in a folder that gets its name when it is complete."""
  result = partial / 'output'
  if result.exists():
    shutil.rmtree(result)
  result.mkdir()
  tokenizer.save(result / 'tokenizer')
  parts = [(blocks.TRAIN, '')]
  if work.counts[blocks.EVAL]['documents']:
    parts.append((blocks.EVAL, 'eval/'))
    (result / 'eval').mkdir()
  summary: dict[str, Any] = {
    'documents': sum(count['documents'] for count in work.counts.values()),
    'eval_fraction': request['work']['eval_fraction'],
    **_findings(work),
    'literal_special_tokens': sum(
      count['literal_special_tokens'] for count in work.counts.values()
    ),
    'unknown': work.unknown.facts(),
    'parts': [],
  }
  for part, prefix in parts:
    for length in request['work']['row_lengths']:
      manifest = token_rows.write_token_rows(
        result / f'{prefix}{length}',
        (blocks.read_rows(path, part, length) for path in work.paths),
        num_rows=work.counts[part][f'rows_{length}'],
        row_length=length,
        vocab_size=tokenizer.table.vocab_size,
        tokenizer_fingerprint=tokenizer.fingerprint,
        facts=_facts(part, length, work, request),
        beside=blocks.read_beside(
          work.paths, part, length, work.counts[part], request['work']
        ),
      )
      summary['parts'].append(
        {
          'folder': f'{prefix}{length}',
          'shards': len(manifest['shards']),
          **{name: manifest[field] for name, field in _IN_SUMMARY.items()},
          **{name: manifest[name] for name in _BESIDE if name in manifest},
        }
      )
  durable_files.write_json(
    result / RECORD_NAME, {'request': request, 'summary': summary}
  )
  contents.require_unchanged()
  durable_files.publish_folder(result, output)
  _remove_partial(partial)
  return summary


def _facts(
  part: str, row_length: int, work: _Work, request: dict[str, Any]
) -> dict[str, Any]:
  """Manifest entries for people, beyond those that reading the rows needs."""
  counts = work.counts[part]
  padding = counts[f'padding_{row_length}']
  places = counts[f'rows_{row_length}'] * row_length
  return {
    'part': part,
    'num_documents': counts['documents'],
    'num_tokens': counts['tokens'],
    'num_segments': counts[f'segments_{row_length}'],
    'num_padding': padding,
    'padding_share': padding / places if places else 0.0,
    'literal_special_tokens': counts['literal_special_tokens'],
    # The entries below are about the whole input, both parts together.
    **_findings(work),
    'eval_fraction': request['work']['eval_fraction'],
    'source': request['source'],
    **blocks.facts_beside(row_length, counts, request['work']),
  }


def _findings(work: _Work) -> dict[str, Any]:
  return {
    'dropped': _dropped(work),
    'read_counts': dict(work.report.counts),
    'read_examples': {k: list(v) for k, v in work.report.examples.items()},
  }


def _dropped(work: _Work) -> dict[str, int]:
  dropped = {
    kind: number
    for kind, number in work.report.counts.items()
    if kind not in _NOT_DROPPED
  }
  no_tokens = sum(c['dropped_no_tokens'] for c in work.counts.values())
  return {**dropped, **({'no_tokens': no_tokens} if no_tokens else {})}


def _open_partial(partial: pathlib.Path, request: dict[str, Any]) -> None:
  """Makes the folder for finished blocks, or takes that of a run before."""
  mark = partial / _PARTIAL_MARK
  if partial.exists() and not mark.exists():
    # A folder of our own holds at most the temporary file of its mark.
    if not partial.is_dir() or not all(
      path.name.startswith(f'.{_PARTIAL_MARK}') for path in partial.iterdir()
    ):
      raise InputError(
        f'{partial}: it is there and was not made by `prepare`; move it away'
      )
  partial.mkdir(exist_ok=True)
  try:
    same = json.loads(mark.read_text('utf-8')) == request['work']
  except (FileNotFoundError, ValueError, RecursionError):
    same = False
  if not same:
    for path in partial.glob('block-*.npz'):
      path.unlink()
    durable_files.write_json(mark, request['work'])


def _remove_partial(partial: pathlib.Path) -> None:
  """Removes the folder of blocks, its mark last, so that a rest is known."""
  if not (partial / _PARTIAL_MARK).exists():
    return
  for path in partial.iterdir():
    if path.is_dir():
      shutil.rmtree(path)
    elif path.name != _PARTIAL_MARK:
      path.unlink()
  shutil.rmtree(partial)
