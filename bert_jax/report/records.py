"""Reads back what a run wrote: metrics, config, manifests, results.

JSON is taken as it is, without the config classes, so that the report of an
old workdir needs no code of its time. What is read is held against the shapes
below, so that a damaged file is named here and is no bug of the page's.
"""

import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from bert_jax.data.reading.staging import STAGING_PATH, local_folder
from bert_jax.data.token_rows import MANIFEST_NAME, refuse_link_out
from bert_jax.errors import InputError, shown
from bert_jax.workdir import Workdir, read_json

# Kinds of records; others tell of what was done, such as a checkpoint.
_SHOWN = ('train', 'eval')
_PART = re.compile(r'part-(\d+)\.jsonl')
Record = dict[str, Any]
# Above every loss, perplexity and count, and not too large for any arithmetic.
_MAX_NUMBER = 1e305


@dataclasses.dataclass(frozen=True)
class _Maybe:
  """A shape that need not be there."""

  shape: Any


@dataclasses.dataclass(frozen=True)
class _Each:
  """An object of any names, whose values have the shape."""

  shape: Any


# float: any number. A list has one shape for all of its items.
_CONFIG = {
  'num_steps': _Maybe(int),
  'init_from': _Maybe(str),
  'model': _Maybe(
    {name: _Maybe(int) for name in ('num_layers', 'embed_dim', 'num_heads')}
  ),
  'data': _Maybe(
    {
      'path': _Maybe(str),
      'corpora': _Maybe([{'path': str}]),
      'staging_path': _Maybe(str),
      'row_length': _Maybe(int),
      'stages': _Maybe([{'row_length': int}]),
    }
  ),
}
_START = {
  'time': float,
  'host': _Maybe(str),
  'command': _Maybe([str]),
  'devices': _Maybe([str]),
  'versions': _Maybe(_Each(str)),
}
_MANIFEST = {
  'num_documents': int,
  'num_tokens': int,
  'num_rows': int,
  'row_length': int,
  'num_segments': int,
  'padding_share': float,
  'read_counts': _Maybe(_Each(int)),
  'dropped': _Maybe(_Each(int)),
  'literal_special_tokens': _Maybe(int),
}
_GUESS = {'token': str, 'probability': float}
_FILL_MASK = [
  {'text': str, 'answer': _Maybe(str), 'predictions': [[_GUESS]]},
]
_FIGURES = ('accuracy', 'macro_f1', 'matthews')
_RESULTS = {
  'labels': [str],
  'label_counts': _Maybe({'train': _Each(int), 'eval': _Each(int)}),
  'notes': _Maybe([str]),
  'init_from': str,
  'eval_path': str,
  'num_eval': int,
  'metric': _Maybe(str),
  'config': _Maybe({'learning_rate': _Maybe(float), 'num_epochs': _Maybe(int)}),
  'runs': [
    {
      'seed': int,
      'best_epoch': _Maybe(int),
      'eval_loss': _Maybe(float),
      **dict.fromkeys(_FIGURES, float),
      'per_class': _Each(
        dict.fromkeys(('precision', 'recall', 'f1', 'support'), float)
      ),
      'confusion': [[int]],
    }
  ],
  'summary': _Each({'mean': float, 'std': float}),
}


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
  manifests: dict[str, Record]  # 'train', 'eval', with the corpus if several
  fill_mask: list[Record] | None
  results: Record | None


def read_run(path: str | os.PathLike) -> Run:
  """Reads a workdir.

  Raises:
    InputError: it is no workdir, has no metrics, or a file in it is no JSON.
  """
  workdir = Workdir(path)
  workdir.require()
  config = read_json(workdir.config)
  _require(config, _CONFIG, f'{workdir.config}:')
  starts = _read_lines(workdir.starts)[0] if workdir.starts.exists() else []
  _require(starts, [_START], f'{workdir.starts}:')
  if any(not 0 <= start['time'] < 1e11 for start in starts):
    raise InputError(f'{workdir.starts}: a time is not one; remove the file')
  fill_mask = _read_optional(workdir.fill_mask)
  if fill_mask is not None:
    _require(fill_mask, _FILL_MASK, f'{workdir.fill_mask}:')
  return Run(
    workdir=workdir,
    metrics=read_metrics(workdir),
    config=config,
    starts=starts,
    manifests=_read_manifests(config),
    fill_mask=fill_mask,
    results=read_results_json(workdir) if workdir.results.exists() else None,
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
    # A folder of another kind is told of by name.
    workdir.read_config()
    raise InputError(
      f'--workdir={workdir.path} has no metrics yet; wait for the first record '
      'of its run, or name another workdir'
    )
  return Metrics(by_kind['train'], by_kind['eval'], num_cut_lines)


def read_results(path: str | os.PathLike) -> Run:
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
  return sum(seconds for _, seconds in _windows(metrics))


def tokens_read(metrics: Metrics) -> float:
  """Of text, over all steps of a pretraining run."""
  return sum(
    seconds * (record.get('tokens_per_second') or 0)
    for record, seconds in _windows(metrics)
  )


def _windows(metrics: Metrics) -> Iterator[tuple[Record, float]]:
  """Each training record, and the seconds of the steps since the one before."""
  last: dict[Any, int] = {}
  for record in metrics.train:
    seed = record.get('seed')
    steps = record['step'] - last.get(seed, 0)
    last[seed] = record['step']
    seconds = record.get('step_seconds')
    if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
      yield record, steps * seconds


def read_results_json(workdir: Workdir) -> Record:
  """results.json; InputError where it is not what finetune writes."""
  results = read_json(workdir.results)
  where = f'{workdir.results}:'
  _require(results, _RESULTS, where)
  labels, runs = results['labels'], results['runs']
  metric = results.get('metric', _FIGURES[0])
  if not labels or not runs or metric not in _FIGURES:
    raise InputError(
      f'{where} it has {len(labels)} labels, {len(runs)} runs and the metric '
      f'{shown(metric)}; {_AGAIN}'
    )
  for run in runs:
    if (
      any(
        len(row) != len(labels) for row in [run['confusion'], *run['confusion']]
      )
      or any(count < 0 for row in run['confusion'] for count in row)
      or any(label not in run['per_class'] for label in labels)
      or any(not -1 <= run[figure] <= 1 for figure in _FIGURES)
      or any(not _is_number(run.get(name)) for name in results['summary'])
    ):
      raise InputError(
        f'{where} the run of seed {run["seed"]} lacks figures; {_AGAIN}'
      )
  return results


def _read_lines(path: pathlib.Path) -> tuple[list[Record], int]:
  """The records of a JSONL file, and how many last lines were cut (0 or 1)."""
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
  """A corpus may have been moved or deleted since; then it has none."""
  data = config.get('data') or {}
  row_length = data.get('row_length')
  corpora = data.get('corpora') or [{'path': data.get('path')}]
  stages = [stage['row_length'] for stage in data.get('stages') or []]
  manifests = {}
  for corpus in corpora:
    url = corpus['path'] or ''
    folder = local_folder(url, data.get('staging_path') or STAGING_PATH)
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
        _require(manifests[part], _MANIFEST, f'{path}:')
  return manifests


def _check_record(record: Record, path: pathlib.Path) -> None:
  if type(record.get('step')) is not int:
    raise InputError(f'{path}: a record has no step; is it a metrics file?')
  where = f'{path}: step {shown(str(record["step"]))}:'
  _require(record, {'step': int, 'kind': str}, where)
  if record['kind'] not in _SHOWN:
    return
  shapes = {'corpus': str, 'nonfinite_steps': [int], 'seed': int}
  if 'perplexity' in record:
    shapes |= {'mlm_loss': float, 'perplexity': float}
  for name, value in record.items():
    # A mean without a single finite step is null.
    if name not in ('kind', 'step') and (value is not None or name in shapes):
      _require(value, shapes.get(name, float), f'{where} {shown(name)}')
  if 'perplexity' in record and 'mlm_loss' not in record:
    raise InputError(f'{where} mlm_loss is missing; {_REMOVE}')


_AGAIN = 'remove it, and give the finetune command of its workdir again'
_REMOVE = 'restore the file, or remove it'


def _require(value: Any, shape: Any, where: str) -> None:
  """Raises InputError unless a JSON value has the shape.

  Args:
    value: as json gives it.
    shape: str, int or float; [shape] for a list; {name: shape} for an object,
      which may have other names too; or an _Each.
    where: the file and the field, for the message.
  """
  if isinstance(shape, dict | _Each):
    if not isinstance(value, dict):
      raise _misfit(value, 'an object', where)
    if isinstance(shape, _Each):
      shape = dict.fromkeys(value, shape.shape)
    for name, inner in shape.items():
      if name in value:
        inner = inner.shape if isinstance(inner, _Maybe) else inner
        _require(value[name], inner, f'{where} {shown(name)}')
      elif not isinstance(inner, _Maybe):
        raise InputError(f'{where} {name} is missing; {_REMOVE}')
  elif isinstance(shape, list):
    if not isinstance(value, list):
      raise _misfit(value, 'a list', where)
    for item in value:
      _require(item, shape[0], where)
  elif shape is str:
    # Half of a surrogate pair cannot be written.
    if not isinstance(value, str) or re.search('[\ud800-\udfff]', value):
      raise _misfit(value, 'a text', where)
  elif shape is int:
    if type(value) is not int or abs(value) > 2**53:
      raise _misfit(value, 'a whole number', where)
  elif not _is_number(value):
    raise _misfit(value, 'a number', where)


def _is_number(value: Any) -> bool:
  return type(value) in (int, float) and not _MAX_NUMBER < abs(value) < math.inf


def _misfit(value: Any, expected: str, where: str) -> InputError:
  # Not repr of it all: it may be nested without end.
  found = f'a {type(value).__name__}'
  if value is None or isinstance(value, str | int | float):
    found = shown(repr(value))
  return InputError(f'{where} {found} is not {expected}; {_REMOVE}')
