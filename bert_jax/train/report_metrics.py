"""Reads back what a run wrote: metrics, config, manifests, results.

JSON is taken as it is, without the config classes, so that the report of an
old workdir needs no code of its time.
"""

import dataclasses
import json
import math
import pathlib
import re
from typing import Any

from bert_jax.data.token_rows import MANIFEST_NAME
from bert_jax.errors import InputError
from bert_jax.workdir import Workdir, read_json

_PART = re.compile(r'part-(\d+)\.jsonl')
Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Metrics:
  """The records of all starts of a run, each step once, by seed and step."""

  train: list[Record]
  evals: list[Record]
  num_cut_lines: int

  def series(
    self, kind: str, *names: str
  ) -> dict[Any, list[tuple[int, float]]]:
    """{seed or corpus or None: [(step, value)]} of the first name it has.

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
  """All that a report says of one workdir."""

  workdir: Workdir
  metrics: Metrics
  config: Record
  starts: list[Record]
  manifests: dict[str, Record]  # 'train' and 'eval' of the corpus, where read
  fill_mask: list[Record] | None
  results: Record | None


def read_run(path: str | pathlib.Path) -> Run:
  """Reads a workdir.

  Raises:
    InputError: it is no workdir, has no metrics, or a file in it is no JSON.
  """
  workdir = Workdir(path)
  workdir.require()
  config = read_json(workdir.config)
  return Run(
    workdir=workdir,
    metrics=read_metrics(workdir),
    config=config,
    starts=_read_lines(workdir.starts)[0] if workdir.starts.exists() else [],
    manifests=_read_manifests(config),
    fill_mask=_read_optional(workdir.fill_mask),
    results=_read_optional(workdir.results),
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
      if not isinstance(record.get('step'), int):
        raise InputError(f'{path}: a record has no step; is it a metrics file?')
      names = ('kind', 'corpus', 'seed', 'step')
      records[tuple(record.get(name) for name in names)] = record
  by_kind: dict[str, list[Record]] = {'train': [], 'eval': []}
  for record in sorted(
    records.values(), key=lambda r: (r.get('seed') or 0, r['step'])
  ):
    by_kind.setdefault(record.get('kind'), []).append(record)
  if not by_kind['train'] and not by_kind['eval']:
    raise InputError(
      f'--workdir={workdir.path} has no metrics yet; wait for the first record '
      'of its run, or name another workdir'
    )
  return Metrics(by_kind['train'], by_kind['eval'], num_cut_lines)


def read_results(path: str | pathlib.Path) -> Run:
  """Reads a fine-tuning workdir; InputError when its runs have not ended."""
  run = read_run(path)
  if run.results is None:
    raise InputError(
      f'--finetuned={path} has no results.json; let its fine-tuning end first '
      '(the same finetune command continues it)'
    )
  return run


def training_seconds(metrics: Metrics) -> float:
  """Seconds spent in steps, from their mean duration between two records."""
  total = 0.0
  last: dict[Any, int] = {}
  for record in metrics.train:
    seed = record.get('seed')
    steps = record['step'] - last.get(seed, 0)
    last[seed] = record['step']
    seconds = record.get('step_seconds')
    if isinstance(seconds, int | float) and math.isfinite(seconds):
      total += steps * seconds
  return total


def _read_lines(path: pathlib.Path) -> tuple[list[Record], int]:
  """The records of a JSONL file, and how many last lines were cut (0 or 1)."""
  lines = path.read_bytes().splitlines()
  records = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      record = json.loads(line)
    except ValueError:
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
  """The corpus may have been moved or deleted since; then there are none."""
  data = config.get('data') or {}
  corpus, row_length = data.get('path'), data.get('row_length')
  if not corpus or not row_length:
    return {}
  folders = {
    'train': pathlib.Path(corpus, str(row_length)),
    'eval': pathlib.Path(corpus, 'eval', str(row_length)),
  }
  return {
    part: read_json(folder / MANIFEST_NAME)
    for part, folder in folders.items()
    if (folder / MANIFEST_NAME).exists()
  }
