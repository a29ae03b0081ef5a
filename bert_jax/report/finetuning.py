"""The fine-tuning part of a report: every run, the spread, the conditions.

One run proves little, so every run is shown.
"""

from collections.abc import Sequence
from typing import Any

from bert_jax.report import plots
from bert_jax.report.compared import verdict
from bert_jax.report.conditions import conditions_table
from bert_jax.report.html import escape, figure, number, section, table
from bert_jax.report.records import Run
from bert_jax.report.results import task_of
from bert_jax.report.spread import failed_seeds, spread_table
from bert_jax.report.task_sections import task_sections
from bert_jax.report.tuned_runs import (
  capital,
  color_of,
  main_figure,
  main_metric,
  name_of,
  results_of,
  shared_figures,
  show,
  values_of,
)
from bert_jax.tasks.base import NUMBER


def finetuning_sections(runs: Sequence[Run]) -> list[str]:
  """The sections for fine-tuned workdirs, in the order given."""
  if not runs:
    return []
  blocks = [
    verdict(runs),
    spread_table(runs),
    f'<div class="grid">{_dots(runs)}{_learning_curves(runs)}</div>',
    _all_runs(runs),
    conditions_table([name_of(run, runs) for run in runs], runs),
  ]
  return [section('Fine-tuning', *blocks), *task_sections(runs)]


def _dots(runs: Sequence[Run]) -> str:
  metric, shown = main_metric(runs), main_figure(runs)
  name = capital(shown.title)
  svg = plots.runs_by_start(
    f'{name} of every run',
    [
      (name_of(run, runs), values_of(run, metric), color_of(run, runs))
      for run in runs
    ],
    percent=shown.kind != NUMBER,
  )
  return figure(
    svg, f'{name} of every run', 'A dot a seed; the bar is the mean.'
  )


def _learning_curves(runs: Sequence[Run]) -> str:
  metric = main_metric(runs)
  lines = []
  for run in runs:
    by_seed: dict[Any, list[tuple[float, float]]] = {}
    for record in run.metrics.evals:
      if metric in record and 'epoch' in record:
        points = by_seed.setdefault(record.get('seed'), [])
        points.append((record['epoch'], record[metric]))
    for points in by_seed.values():
      lines.append((name_of(run, runs), points, color_of(run, runs)))
  if not lines:
    return ''
  shown = main_figure(runs)
  name = capital(shown.title)
  svg = plots.curves(
    f'{name} by epoch', lines, percent=shown.kind != NUMBER, x_label='epoch'
  )
  return figure(
    svg, f'{name} by epoch', 'On the held-out examples, a line a seed.'
  )


def _all_runs(runs: Sequence[Run]) -> str:
  figures = shared_figures(runs)
  failed = {
    run.workdir.path: failed_seeds(results_of(run), task_of(run.config)) or ()
    for run in runs
  }
  rows = [
    [
      escape(name_of(run, runs)),
      number(result['seed'])
      + (' (failed)' if result['seed'] in failed[run.workdir.path] else ''),
      number(result.get('best_epoch')),
      *(show(shown.kind, result[name]) for name, shown in figures.items()),
      number(result.get('eval_loss')),
    ]
    for run in runs
    for result in results_of(run)['runs']
  ]
  titles = [capital(shown.title) for shown in figures.values()]
  head = ['Start', 'Seed', 'Best epoch', *titles, 'Held-out loss']
  return f'<h3>Each run</h3>{table(head, rows)}'
