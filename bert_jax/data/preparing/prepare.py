"""Prepares a corpus: source -> tokenizer -> packing -> shards and manifests.

It can be killed at any point: all is written beside the output and renamed at
the end, and a rerun goes on from the blocks that were finished. The same input
gives the same bytes, whatever the number of workers, parts and interruptions.
"""

import json
import os
import pathlib
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.data import token_rows
from bert_jax.data.preparing import (
  blocks,
  group_work,
  parts,
  reading_workers,
  unfinished,
  worker_processes,
)
from bert_jax.data.preparing.completed import RECORD_NAME, complete_summary
from bert_jax.data.preparing.groups import GroupDone
from bert_jax.data.preparing.unknown_share import MAX_SHARE, UnknownShare
from bert_jax.data.sources import base, content
from bert_jax.data.sources.base import ReadReport, Source
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path

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
  part: parts.Part | None = None,
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
    part: the part to prepare, beside the output; None for all, with what parts
      have finished.
    **row_options: see blocks.BlockOptions. Where `eval_fraction` hits no
      document, there is no `output/eval`.

  Returns:
    The figures of manifests and the closing table: documents, dropped, rows;
    `already_complete`, or the `blocks` and `seconds` of this run. Of a part:
    `part`, `is_finished`, `blocks` and `seconds`.

  Raises:
    InputError: a value or the folder cannot be used, no document has text, the
      disk is full, or a worker was killed.
    stopping.Stopped: on Ctrl-C and SIGTERM.
  """
  run = _Run(
    source,
    tokenizer,
    options=blocks.BlockOptions(**row_options),
    num_workers=worker_processes.number_of_workers(num_workers),
    beam_flags=beam_flags,
    max_unknown=max_unknown,
    output=_checked_output(output),
    progress=progress,
  )
  with parts.guarded(run.output, part) as lock:
    if part and not _is_there(run.output):
      return run.prepare_part(part, lock)
    return run.prepare_all(lock)


class _Run:
  """The arguments of `prepare`, and what it made of them so far."""

  def __init__(
    self,
    source: Source,
    tokenizer: Tokenizer,
    *,
    options: blocks.BlockOptions,
    num_workers: int,
    beam_flags: Sequence[str] | None,
    max_unknown: float,
    output: pathlib.Path,
    progress: bool,
  ):
    self._started = time.monotonic()
    self._source = source
    self._tokenizer = tokenizer
    self._options = options
    self._num_workers = num_workers
    self._beam_flags = beam_flags
    self._max_unknown = max_unknown
    self._progress = progress
    self._partial = unfinished.folder_of(output)
    self._corpus = _Corpus(UnknownShare(tokenizer, max_unknown))
    work = blocks.describe_work(tokenizer, options)
    # With lists for tuples, as JSON gives it back.
    self._work = json.loads(json.dumps(work))
    self.output = output

  def prepare_part(
    self, part: parts.Part, lock: pathlib.Path
  ) -> dict[str, Any]:
    stamps = part.stamps_in(self._partial)
    contents = content.open_contents(stamps, lock, progress=self._progress)
    is_finished = self._work_on_groups(contents, part)
    content.write_stamps(stamps, contents)
    return {'part': part, 'is_finished': is_finished, **self._facts()}

  def prepare_all(self, lock: pathlib.Path) -> dict[str, Any]:
    contents, source_now = content.of_source(
      self.output,
      lock,
      self._source,
      self._progress,
      list(self._partial.glob('stamps-*.json')),
    )
    # The settings that decide the output.
    request = {'source': source_now, 'work': self._work}
    summary = complete_summary(self.output, request)
    if summary is not None:
      # A run before may have been killed between the renaming and this.
      unfinished.remove_folder(self._partial)
      return {**summary, 'already_complete': True}
    self._work_on_groups(contents, None)
    _check(self._corpus, self._work, self._partial)
    summary = _write_output(
      self._partial,
      self.output,
      self._tokenizer,
      request,
      self._corpus,
      contents,
    )
    return {**summary, 'already_complete': False, **self._facts()}

  def _work_on_groups(
    self, contents: content.Contents, part: parts.Part | None
  ) -> bool:
    """Returns whether it is finished; see group_work.GroupWork."""
    with self._workers() as workers:
      done = group_work.GroupWork(
        source=self._source,
        unknown=UnknownShare(self._tokenizer, self._max_unknown),
        work=self._work,
        partial=self._partial,
        contents=contents,
        workers=workers,
        progress=self._progress,
      )(part)
    for group in done or ():
      self._corpus.add(group, self._partial)
    return done is not None

  def _workers(self) -> Any:
    arguments = blocks.BlockWorker, (self._tokenizer, self._options)
    if self._beam_flags is None:
      return reading_workers.ReadingWorkers(self._num_workers, *arguments)
    from bert_jax.data.preparing import prepare_beam

    return prepare_beam.BeamWorkers(
      *arguments,
      flags=self._beam_flags,
      num_workers=self._num_workers,
      partial=self._partial,
    )

  def _facts(self) -> dict[str, Any]:
    return {
      'blocks': len(self._corpus.paths),
      'blocks_reused': self._corpus.num_reused,
      'seconds': time.monotonic() - self._started,
      'notes': self._corpus.report.notes,
    }


def _checked_output(output: str | os.PathLike[str]) -> pathlib.Path:
  path = local_path(output, '--output')
  if not path.name:
    raise InputError(f'--output={output}: give a folder of its own')
  return path


def _is_there(output: pathlib.Path) -> bool:
  return output.is_dir() and any(output.iterdir())


class _Corpus:
  """The groups of a corpus together, in their order."""

  def __init__(self, unknown_share: UnknownShare) -> None:
    self.unknown = unknown_share
    self.paths: list[pathlib.Path] = []
    self.counts = {blocks.TRAIN: Counter(), blocks.EVAL: Counter()}
    self.num_reused = 0
    self.report = ReadReport()
    self.has_documents: list[tuple[str, bool]] = []

  def add(self, group: GroupDone, partial: pathlib.Path) -> None:
    self.unknown.add(group.counts.values())
    for part, count in group.counts.items():
      self.counts[part].update(count)
    self.paths += [partial / name for name in group.names]
    self.num_reused += group.num_reused
    self.report.merge(group.report)
    self.has_documents.append((group.what, group.report.has_documents))


def _check(
  corpus: _Corpus, work: dict[str, Any], partial: pathlib.Path
) -> None:
  """Raises InputError where there is nothing to train on, or too much unknown.

  What was finished is no use then, unless the user allows what is unknown.
  """
  try:
    base.require_text(corpus.has_documents)
    _require_rows(corpus, work)
  except InputError:
    unfinished.remove_folder(partial)
    raise
  corpus.unknown.check()


def _require_rows(corpus: _Corpus, work: dict[str, Any]) -> None:
  counts = corpus.counts[blocks.TRAIN]
  if not counts['documents']:
    raise InputError(
      f'--input: no document has a token for training; dropped: '
      f'{_dropped(corpus) or "nothing"}, for evaluation: '
      f'{corpus.counts[blocks.EVAL]["documents"]} documents'
    )
  for length in work['row_lengths']:
    if not counts[f'rows_{length}']:
      raise InputError(
        f'--pairs: no document gives a pair in rows of {length}; a pair needs '
        'two sentences, or two documents in a block: see --document'
      )


def _write_output(
  partial: pathlib.Path,
  output: pathlib.Path,
  tokenizer: Tokenizer,
  request: dict[str, Any],
  corpus: _Corpus,
  contents: content.Contents,
) -> dict[str, Any]:
  """Blocks into shards, in a folder that gets its name when it is complete."""
  result = partial / 'output'
  if result.exists():
    shutil.rmtree(result)
  result.mkdir()
  tokenizer.save(result / 'tokenizer')
  folders = [(blocks.TRAIN, '')]
  if corpus.counts[blocks.EVAL]['documents']:
    folders.append((blocks.EVAL, 'eval/'))
    (result / 'eval').mkdir()
  summary: dict[str, Any] = {
    'documents': sum(count['documents'] for count in corpus.counts.values()),
    'eval_fraction': request['work']['eval_fraction'],
    **_findings(corpus),
    'literal_special_tokens': sum(
      count['literal_special_tokens'] for count in corpus.counts.values()
    ),
    'unknown': corpus.unknown.facts(),
    'parts': [],
  }
  for part, prefix in folders:
    for length in request['work']['row_lengths']:
      manifest = token_rows.write_token_rows(
        result / f'{prefix}{length}',
        (blocks.read_rows(path, part, length) for path in corpus.paths),
        num_rows=corpus.counts[part][f'rows_{length}'],
        row_length=length,
        vocab_size=tokenizer.table.vocab_size,
        tokenizer_fingerprint=tokenizer.fingerprint,
        facts=_facts(part, length, corpus, request),
        beside=blocks.read_beside(
          corpus.paths, part, length, corpus.counts[part], request['work']
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
  unfinished.remove_folder(partial)
  return summary


def _facts(
  part: str, row_length: int, corpus: _Corpus, request: dict[str, Any]
) -> dict[str, Any]:
  """Manifest entries for people, beyond those that reading the rows needs."""
  counts = corpus.counts[part]
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
    **_findings(corpus),
    'eval_fraction': request['work']['eval_fraction'],
    'source': request['source'],
    **blocks.facts_beside(row_length, counts, request['work']),
  }


def _findings(corpus: _Corpus) -> dict[str, Any]:
  return {
    'dropped': _dropped(corpus),
    'read_counts': dict(corpus.report.counts),
    'read_examples': {k: list(v) for k, v in corpus.report.examples.items()},
  }


def _dropped(corpus: _Corpus) -> dict[str, int]:
  dropped = {
    kind: number
    for kind, number in corpus.report.counts.items()
    if kind not in _NOT_DROPPED
  }
  no_tokens = sum(c['dropped_no_tokens'] for c in corpus.counts.values())
  return {**dropped, **({'no_tokens': no_tokens} if no_tokens else {})}
