"""Reads back what a run wrote: metrics, config, manifests, starts.

JSON is read without the config classes, so that the report of an old workdir
needs no code of its time. All content is checked against the shapes below, so
that a damaged file is named here and does not look like a bug of the page.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count, Number, Text
from bert_jax.data.remote.corpus import COPIES_PATH, local_folder
from bert_jax.data.token_rows import MANIFEST_NAME, refuse_link_out
from bert_jax.errors import InputError, shown
from bert_jax.report.results import REMOVE, Record, read_results_json
from bert_jax.train.goodput import Goodput, goodput_of, read_starts
from bert_jax.workdir import Workdir, read_json

# Kinds of records with figures; others note events, such as a checkpoint.
_SHOWN = ('train', 'eval')
_PART = re.compile(r'part-(\d+)\.jsonl')


class _Model(TypedDict, total=False):
  num_layers: Count
  embed_dim: Count
  num_heads: Count


class _Corpus(TypedDict):
  path: Text


class _Stage(TypedDict):
  row_length: Count


class _Data(TypedDict, total=False):
  path: Text
  corpora: list[_Corpus]
  staging_path: Text
  row_length: Count
  stages: list[_Stage]


class _Optimizer(TypedDict, total=False):
  learning_rate: Number


class _Config(TypedDict, total=False):
  num_steps: Count
  init_from: Text
  model: _Model
  data: _Data
  optimizer: _Optimizer
  seed: Count
  num_epochs: Count
  batch_size: Count
  max_length: Count
  dropout: Number


class _Start(TypedDict):
  time: Number
  host: NotRequired[Text]
  command: NotRequired[list[Text]]
  devices: NotRequired[list[Text]]
  versions: NotRequired[dict[str, Text]]


class _Manifest(TypedDict):
  num_documents: Count
  num_tokens: Count
  num_rows: Count
  row_length: Count
  num_segments: Count
  padding_share: Number
  read_counts: NotRequired[dict[str, Count]]
  dropped: NotRequired[dict[str, Count]]
  literal_special_tokens: NotRequired[Count]


class _AnyRecord(TypedDict):
  step: Count
  kind: Text


class _Guess(TypedDict):
  token: Text
  probability: Number


class _FillMask(TypedDict):
  text: Text
  answer: NotRequired[Text]
  predictions: list[list[_Guess]]


@dataclasses.dataclass(frozen=True)
class Metrics:
  """The records of all starts of a run, each step once, by seed and step."""

  train: list[Record]
  evals: list[Record]
  num_cut_lines: int

  def series(
    self, kind: str, *names: str
  ) -> dict[Any, list[tuple[int, float]]]:
    """Returns {seed or corpus or None: [(step, value)]} for one metric.

    Args:
      kind: 'train' or 'eval'.
      *names: metrics; the first one that a record has is taken.
    """
    found: dict[Any, list[tuple[int, float]]] = {}
    for record in self.train if kind == 'train' else self.evals:
      name = next((name for name in names if name in record), None)
      if name is not None and isinstance(record[name], int | float):
        key = record.get('corpus', record.get('seed'))
        found.setdefault(key, []).append((record['step'], record[name]))
    return found


@dataclasses.dataclass(frozen=True)
class Run:
  """The records of one workdir that a report shows."""

  workdir: Workdir
  metrics: Metrics
  config: Record
  starts: list[Record]
  manifests: dict[str, Record]  # 'train', 'eval', with the corpus if several
  fill_mask: list[Record] | None
  results: Record | None
  goodput: Goodput | None


def read_run(path: str | os.PathLike) -> Run:
  """Reads a workdir.

  Raises:
    InputError: it is no workdir, has no metrics, or holds a damaged file.
  """
  workdir = Workdir(path)
  workdir.require()
  config = read_json(workdir.config)
  _check(config, _Config, workdir.config)
  starts = _read_lines(workdir.starts)[0] if workdir.starts.exists() else []
  _check(starts, list[_Start], workdir.starts)
  if any(not 0 <= start['time'] < 1e11 for start in starts):
    raise InputError(f'{workdir.starts}: a time is not one; remove the file')
  fill_mask = _read_optional(workdir.fill_mask)
  if fill_mask is not None:
    _check(fill_mask, list[_FillMask], workdir.fill_mask)
  return Run(
    workdir=workdir,
    metrics=read_metrics(workdir),
    config=config,
    starts=starts,
    manifests=_read_manifests(config),
    fill_mask=fill_mask,
    results=read_results_json(workdir, config)
    if workdir.results.exists()
    else None,
    goodput=goodput_of(read_starts(workdir.goodput)),
  )


def read_metrics(workdir: Workdir) -> Metrics:
  """Reads `metrics/part-N.jsonl`; for a repeated step the latest part wins."""
  parts = sorted(
    (int(match[1]), path)
    for path in workdir.metrics.glob('part-*.jsonl')
    if (match := _PART.fullmatch(path.name))
  )
  records: dict[tuple, Record] = {}
  num_cut_lines = 0
  for _, path in parts:
    part, num_cut = _read_lines(path)
    num_cut_lines += num_cut
    for record in part:
      _check_record(record, path)
      if record['kind'] in _SHOWN:
        names = ('kind', 'corpus', 'seed', 'step')
        records[tuple(record.get(name) for name in names)] = record
  by_kind: dict[str, list[Record]] = {kind: [] for kind in _SHOWN}
  for record in sorted(
    records.values(), key=lambda r: (r.get('seed') or 0, r['step'])
  ):
    by_kind[record['kind']].append(record)
  if not by_kind['train'] and not by_kind['eval']:
    # Reading the config first gives a clearer error for another kind of folder.
    workdir.read_config()
    raise InputError(
      f'--workdir={workdir.path} has no metrics yet; wait for the first record '
      'of its run, or name another workdir'
    )
  return Metrics(by_kind['train'], by_kind['eval'], num_cut_lines)


def read_results(path: str | os.PathLike) -> Run:
  """Reads a fine-tuning workdir; InputError if its runs have not ended."""
  run = read_run(path)
  if run.results is None:
    raise InputError(
      f'--finetuned={path} has no results.json; let its fine-tuning end first '
      '(the same finetune command continues it)'
    )
  return run


def training_seconds(metrics: Metrics) -> float:
  """Seconds spent in steps, from their mean duration between two records."""
  return sum(seconds for _, seconds in _windows(metrics))


def tokens_read(metrics: Metrics) -> float:
  """Tokens of text read, over all steps of a pretraining run."""
  return sum(
    seconds * (record.get('tokens_per_second') or 0)
    for record, seconds in _windows(metrics)
  )


def _windows(metrics: Metrics) -> Iterator[tuple[Record, float]]:
  """Training records, each with the seconds of the steps since the last."""
  last: dict[Any, int] = {}
  for record in metrics.train:
    seed = record.get('seed')
    steps = record['step'] - last.get(seed, 0)
    last[seed] = record['step']
    seconds = record.get('step_seconds')
    if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
      yield record, steps * seconds


def _read_lines(path: pathlib.Path) -> tuple[list[Record], int]:
  """The records of a JSONL file, and the number of cut last lines (0 or 1)."""
  lines = path.read_bytes().splitlines()
  records = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      record = json.loads(line)
    except (ValueError, RecursionError):
      # A process killed while writing leaves half a line, always the last.
      if number == len(lines):
        return records, 1
      raise InputError(
        f'{path}:{number}: not JSON; remove the line, or the file'
      ) from None
    if not isinstance(record, dict):
      raise InputError(f'{path}:{number}: not a record; remove the line')
    records.append(record)
  return records, 0


def _read_optional(path: pathlib.Path) -> Any:
  return read_json(path) if path.exists() else None


def _read_manifests(config: Record) -> dict[str, Record]:
  """Reads the manifests of the corpora that have not been moved or deleted."""
  data = config.get('data') or {}
  row_length = data.get('row_length')
  corpora = data.get('corpora') or [{'path': data.get('path')}]
  stages = [stage['row_length'] for stage in data.get('stages') or []]
  manifests = {}
  for corpus in corpora:
    url = corpus['path'] or ''
    folder = local_folder(url, data.get('staging_path') or COPIES_PATH)
    name = f' {pathlib.Path(url).name}' if len(corpora) > 1 else ''
    parts = {
      f'train{name} {length}'.removesuffix(f' {row_length}'): str(length)
      for length in dict.fromkeys([row_length, *filter(None, stages)])
    }
    parts[f'eval{name}'] = f'eval/{row_length}'
    for part, inner in parts.items():
      if not (url and folder and row_length):
        continue
      path = folder / inner / MANIFEST_NAME
      if path.exists():
        refuse_link_out(path)
        manifests[part] = read_json(path)
        _check(manifests[part], _Manifest, path)
  return manifests


def _check_record(record: Record, path: pathlib.Path) -> None:
  if type(record.get('step')) is not int:
    raise InputError(f'{path}: a record has no step; is it a metrics file?')
  where = f'{path}: step {shown(str(record["step"]))}'
  _check(record, _AnyRecord, where)
  if record['kind'] not in _SHOWN:
    return
  shapes = {'corpus': Text, 'nonfinite_steps': list[Count], 'seed': Count}
  if 'perplexity' in record:
    shapes |= {'mlm_loss': Number, 'perplexity': Number}
  for name, value in record.items():
    # The mean of a window without a finite step is null.
    if name not in ('kind', 'step') and (value is not None or name in shapes):
      _check(value, shapes.get(name, Number), where, name)
  if 'perplexity' in record and 'mlm_loss' not in record:
    raise InputError(f'{where}: mlm_loss is missing; {REMOVE}')


def _check(value: Any, shape: Any, where: Any, field: str = '') -> None:
  """Raises InputError unless a value of the file `where` has the shape."""
  Decoder(where=str(where), fix=REMOVE).decode(value, shape, field)
