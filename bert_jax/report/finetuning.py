"""The fine-tuning part of a report: a pretrained start against scratch.

One run proves little: every run is shown, and a difference is told in pooled
standard deviations over the seeds.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_jax.report import plots
from bert_jax.report.html import (
  escape,
  figure,
  note,
  number,
  percent,
  section,
  table,
)
from bert_jax.report.records import Run

METRICS = {
  'accuracy': 'accuracy',
  'macro_f1': 'macro F1',
  'matthews': 'Matthews',
}
# Wider tables than this are no longer read, but scrolled.
_MAX_CONFUSION_CLASSES = 60


def pooled_difference(
  first: Sequence[float], second: Sequence[float]
) -> tuple[float, float]:
  """The difference of two means, and the same in pooled standard deviations.

  Args:
    first: one value for each seed; at least one.
    second: likewise.

  Returns:
    (mean of first - mean of second, that over the pooled sample standard
    deviation); the latter is nan where there is no spread to compare with.
  """
  difference = statistics.fmean(first) - statistics.fmean(second)
  freedom = len(first) + len(second) - 2
  if freedom < 1:
    return difference, math.nan
  squares = sum(
    sum((value - statistics.fmean(values)) ** 2 for value in values)
    for values in (first, second)
  )
  deviation = math.sqrt(squares / freedom)
  return difference, difference / deviation if deviation else math.nan


def finetuning_sections(runs: Sequence[Run]) -> list[str]:
  """The sections for fine-tuned workdirs, in the order given."""
  if not runs:
    return []
  blocks = [
    _summary(runs),
    f'<div class="grid">{_dots(runs)}{_learning_curves(runs)}</div>',
    _all_runs(runs),
  ]
  classes = ''.join(_per_class(run) for run in runs)
  return [
    section('Fine-tuning', *blocks),
    section('Classes', f'<div class="halves">{classes}</div>'),
    section('Confusion', _confusions(runs)),
  ]


def comparison_lines(runs: Sequence[Run]) -> list[str]:
  """The comparison as lines for a terminal: a start each, the difference."""
  lines = []
  for run in runs:
    metric = _metric(runs)
    values = _values(run, metric)
    line = f'{_label(run, runs)}: {METRICS.get(metric, metric)} '
    line += f'{statistics.fmean(values):.4f}'
    if len(values) > 1:
      line += f' ± {statistics.stdev(values):.4f} over {len(values)} seeds'
    lines.append(line)
  pair = _comparable(runs)
  if pair:
    difference, in_deviations = pooled_difference(
      *(_values(run, _metric(runs)) for run in pair)
    )
    lines.append(
      f'difference: {difference:+.4f}, {in_deviations:.1f} pooled standard '
      'deviations'
    )
  return lines


def start_name(run: Run) -> str:
  """'pretrained' or 'from scratch'."""
  return 'pretrained' if run.results['init_from'] else 'from scratch'


def _comparable(runs: Sequence[Run]) -> tuple[Run, Run] | None:
  """The first pretrained and the first scratch run, if of the same examples."""
  pretrained = [run for run in runs if run.results['init_from']]
  scratch = [run for run in runs if not run.results['init_from']]
  if not pretrained or not scratch:
    return None
  a, b = pretrained[0], scratch[0]
  same = ('labels', 'eval_path', 'num_eval')
  if any(a.results[name] != b.results[name] for name in same):
    return None
  return a, b


def _title(metric: str) -> str:
  name = METRICS.get(metric, metric)
  return name[:1].upper() + name[1:]


def _values(run: Run, metric: str) -> list[float]:
  return [result[metric] for result in run.results['runs']]


def _color(run: Run) -> str:
  pretrained = run.results['init_from']
  return plots.FIRST if pretrained else plots.SECOND


def _metric(runs: Sequence[Run]) -> str:
  return runs[0].results.get('metric', 'accuracy')


def _summary(runs: Sequence[Run]) -> str:
  rows = []
  for run in runs:
    config = run.results.get('config') or {}
    rows.append(
      [
        f'<b>{escape(start_name(run))}</b>'
        f'<div class="muted">{escape(run.workdir.path.name)}</div>',
        number(len(run.results['runs'])),
        *(_spread(metric, _values(run, metric)) for metric in METRICS),
        number(config.get('learning_rate')),
        number(config.get('num_epochs')),
      ]
    )
  head = ['Start', 'Seeds', *map(_title, METRICS), 'Learning rate', 'Epochs']
  return _verdict(runs) + table(head, rows)


def _verdict(runs: Sequence[Run]) -> str:
  """One sentence that compares the first pretrained start with scratch."""
  first = runs[0].results
  task = (
    f'{number(first["num_eval"])} held-out examples, '
    f'{len(first["labels"])} classes ({escape(first["eval_path"])}).'
  )
  kinds = {start_name(run) for run in runs}
  if len(kinds) == 1:
    return f'<p>Measured on {task}</p>'
  pair = _comparable(runs)
  if pair is None:
    return note(
      'The two starts were measured on different examples: their numbers do '
      'not compare.'
    )
  a, b = pair
  metric = _metric(runs)
  difference, in_deviations = pooled_difference(
    _values(a, metric), _values(b, metric)
  )
  spread = (
    'with one seed each there is no spread to compare it with'
    if math.isnan(in_deviations)
    else f'<b>{abs(in_deviations):.1f} pooled standard deviations</b>'
  )
  word = 'above' if difference >= 0 else 'below'
  return (
    '<p class="verdict">The pretrained start is '
    f'<b>{100 * abs(difference):.1f} points</b> {word} scratch in '
    f'{escape(METRICS.get(metric, metric))}: {spread}.</p>'
    f'<p class="muted">Measured on {task}</p>'
  )


def _spread(metric: str, values: Sequence[float]) -> str:
  mean = _show(metric, statistics.fmean(values))
  if len(values) < 2:
    return mean
  deviation = _show(metric, statistics.stdev(values))
  return f'{mean} <span class="muted">± {deviation}</span>'


def _show(metric: str, value: float) -> str:
  # A correlation, from -1 to 1, is no share of anything.
  return f'{value:.3f}' if metric == 'matthews' else percent(value)


def _dots(runs: Sequence[Run]) -> str:
  metric = _metric(runs)
  name = _title(metric)
  svg = plots.runs_by_start(
    f'{name} of every run',
    [(_label(run, runs), _values(run, metric), _color(run)) for run in runs],
  )
  return figure(
    svg, f'{name} of every run', 'A dot a seed; the bar is the mean.'
  )


def _label(run: Run, runs: Sequence[Run]) -> str:
  """The start, or the folder where two runs have the same start."""
  name = start_name(run)
  alone = sum(start_name(other) == name for other in runs) == 1
  return name if alone else run.workdir.path.name


def _learning_curves(runs: Sequence[Run]) -> str:
  metric = _metric(runs)
  lines = []
  for run in runs:
    by_seed: dict[Any, list[tuple[float, float]]] = {}
    for record in run.metrics.evals:
      if metric in record and 'epoch' in record:
        points = by_seed.setdefault(record.get('seed'), [])
        points.append((record['epoch'], record[metric]))
    for points in by_seed.values():
      lines.append((_label(run, runs), points, _color(run)))
  if not lines:
    return ''
  name = _title(metric)
  svg = plots.curves(f'{name} by epoch', lines, percent=True, x_label='epoch')
  return figure(
    svg, f'{name} by epoch', 'On the held-out examples, a line a seed.'
  )


def _all_runs(runs: Sequence[Run]) -> str:
  rows = [
    [
      escape(_label(run, runs)),
      number(result['seed']),
      number(result.get('best_epoch')),
      *(_show(metric, result[metric]) for metric in METRICS),
      number(result.get('eval_loss')),
    ]
    for run in runs
    for result in run.results['runs']
  ]
  head = ['Start', 'Seed', 'Best epoch', *map(_title, METRICS), 'Held-out loss']
  return f'<h3>Each run</h3>{table(head, rows)}'


def _per_class(run: Run) -> str:
  results = run.results
  # Results of earlier versions do not have them.
  counts = results.get('label_counts', {'train': {}})
  rows = []
  for label in results['labels']:
    scores = [result['per_class'][label] for result in results['runs']]
    rows.append(
      [
        escape(label),
        *(
          percent(statistics.fmean(score[name] for score in scores))
          for name in ('precision', 'recall', 'f1')
        ),
        number(scores[0]['support']),
        number(counts['train'].get(label)),
      ]
    )
  head = ['Class', 'Precision', 'Recall', 'F1', 'Held-out', 'Training']
  title = f'<h3>{escape(start_name(run).capitalize())}</h3>'
  notes = ''.join(map(note, results.get('notes', ())))
  return f'<div>{title}{table(head, rows)}{notes}</div>'


def _confusions(runs: Sequence[Run]) -> str:
  figures = []
  for run in runs:
    labels = run.results['labels']
    if len(labels) > _MAX_CONFUSION_CLASSES:
      return note(
        f'{len(labels)} classes are too many for a picture; results.json has '
        'the counts.'
      )
    counts = sum(
      np.array(result['confusion']) for result in run.results['runs']
    )
    title = f'Confusion matrix, {start_name(run)}'
    figures.append(
      figure(
        plots.confusion(title, list(map(str, labels)), counts),
        start_name(run).capitalize(),
        'Counts summed over the seeds; a cell is as strong as its share of the '
        'true class.',
      )
    )
  return f'<div class="grid">{"".join(figures)}</div>'
