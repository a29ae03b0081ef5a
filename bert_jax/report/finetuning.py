"""The fine-tuning part of a report: a pretrained start against scratch.

One run proves little, so every run is shown, and a difference is given in
pooled standard deviations over the seeds.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from bert_jax.errors import InputError, shown
from bert_jax.report import plots
from bert_jax.report.conditions import conditions_table
from bert_jax.report.html import (
  escape,
  figure,
  note,
  number,
  percent,
  section,
  table,
)
from bert_jax.report.records import Record, Run
from bert_jax.report.results import metric_of, task_of
from bert_jax.tasks.base import (
  CORRELATION,
  NUMBER,
  SHARE,
  Figure,
  ReportMatrix,
  ReportTable,
)


def pooled_difference(
  first: Sequence[float], second: Sequence[float]
) -> tuple[float, float]:
  """The difference of two means, and the same in pooled standard deviations.

  Args:
    first: one value for each seed; at least one.
    second: one value for each seed; at least one.

  Returns:
    (mean of first - mean of second, that divided by the pooled sample standard
    deviation); the latter is nan if there is no spread to compare with.
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
    conditions_table([_start(run, runs) for run in runs], runs),
  ]
  return [section('Fine-tuning', *blocks), *_task_sections(runs)]


def comparison_lines(runs: Sequence[Run]) -> list[str]:
  """The comparison for a terminal: a line for each start, the difference."""
  lines = []
  for run in runs:
    metric = _metric(runs)
    values = _values(run, metric)
    line = f'{_start(run, runs)}: {_figure(runs).title} '
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


def check_comparable(runs: Sequence[Run]) -> None:
  """Raises InputError if runs that have ended share no task or no metric."""
  for run in runs[1:]:
    for what, first, other in (
      ('task', *(task_of(one.config).name for one in (runs[0], run))),
      ('metric', _metric(runs), _metric([run])),
    ):
      if first != other:
        raise InputError(
          f'--finetuned: the {what} of {run.workdir.path} is {shown(other)}, '
          f'that of {runs[0].workdir.path} is {shown(first)}; write a report '
          'of each, with another --output'
        )


def start_name(run: Run) -> str:
  """Names the start of a run: 'pretrained' or 'from scratch'."""
  return 'pretrained' if _results(run)['init_from'] else 'from scratch'


def _comparable(runs: Sequence[Run]) -> tuple[Run, Run] | None:
  """The first pretrained and first scratch run, if their examples agree."""
  pretrained = [run for run in runs if _results(run)['init_from']]
  scratch = [run for run in runs if not _results(run)['init_from']]
  if not pretrained or not scratch:
    return None
  a, b = pretrained[0], scratch[0]
  return (a, b) if _measured_on(a) == _measured_on(b) else None


def _measured_on(run: Run) -> list[Any]:
  """The facts that must be equal for two runs to be compared."""
  task = task_of(run.config)
  facts = task.read_facts(_results(run), f'{run.workdir.results}:')
  return [task, facts, _results(run)['eval_path'], _results(run)['num_eval']]


def _results(run: Run) -> Record:
  """The content of results.json; all runs in these sections have ended."""
  assert run.results is not None
  return run.results


def _capital(text: str) -> str:
  return text[:1].upper() + text[1:]


def _values(run: Run, metric: str) -> list[float]:
  return [result[metric] for result in _results(run)['runs']]


def _color(run: Run) -> str:
  pretrained = _results(run)['init_from']
  return plots.FIRST if pretrained else plots.SECOND


def _metric(runs: Sequence[Run]) -> str:
  return metric_of(_results(runs[0]), task_of(runs[0].config))


def _figure(runs: Sequence[Run]) -> Figure:
  """The metric of the runs, with its name and form."""
  return _figures(runs)[_metric(runs)]


def _figures(runs: Sequence[Run]) -> dict[str, Figure]:
  """The figures of the first run's task that all runs have."""
  found = task_of(runs[0].config).figures
  return {
    name: figure
    for name, figure in found.items()
    if all(name in result for run in runs for result in _results(run)['runs'])
  }


def _summary(runs: Sequence[Run]) -> str:
  rows = []
  for run in runs:
    rows.append(
      [
        f'<b>{escape(start_name(run))}</b>'
        f'<div class="muted">{escape(run.workdir.path.name)}</div>',
        number(len(_results(run)['runs'])),
        *(
          _spread(figure, _values(run, name))
          for name, figure in _figures(runs).items()
        ),
      ]
    )
  titles = [_capital(figure.title) for figure in _figures(runs).values()]
  return _verdict(runs) + table(['Start', 'Seeds', *titles], rows)


def _verdict(runs: Sequence[Run]) -> str:
  """A sentence that compares the first pretrained start with scratch."""
  first = _results(runs[0])
  what = [f'{number(first["num_eval"])} held-out examples']
  what += filter(None, [task_of(runs[0].config).measured_on(first)])
  task = f'{", ".join(map(escape, what))} ({escape(first["eval_path"])}).'
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
  shown = _figure(runs)
  size = f'{100 * abs(difference):.1f} points'
  if shown.kind == NUMBER:
    size = number(abs(difference))
  return (
    '<p class="verdict">The pretrained start is '
    f'<b>{size}</b> {word} scratch in '
    f'{escape(shown.title)}: {spread}.</p>'
    f'<p class="muted">Measured on {task}</p>'
  )


def _spread(shown: Figure, values: Sequence[float]) -> str:
  mean = _show(shown.kind, statistics.fmean(values))
  if len(values) < 2:
    return mean
  deviation = _show(shown.kind, statistics.stdev(values))
  return f'{mean} <span class="muted">± {deviation}</span>'


def _show(kind: str, value: Any) -> str:
  # A correlation, from -1 to 1, is not shown as a percentage.
  if kind == CORRELATION:
    return f'{value:.3f}'
  return percent(value) if kind == SHARE else number(value)


def _dots(runs: Sequence[Run]) -> str:
  metric, shown = _metric(runs), _figure(runs)
  name = _capital(shown.title)
  svg = plots.runs_by_start(
    f'{name} of every run',
    [(_start(run, runs), _values(run, metric), _color(run)) for run in runs],
    percent=shown.kind != NUMBER,
  )
  return figure(
    svg, f'{name} of every run', 'A dot a seed; the bar is the mean.'
  )


def _start(run: Run, runs: Sequence[Run]) -> str:
  """Names a run by its start, or by its folder if two runs share the start."""
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
      lines.append((_start(run, runs), points, _color(run)))
  if not lines:
    return ''
  shown = _figure(runs)
  name = _capital(shown.title)
  svg = plots.curves(
    f'{name} by epoch', lines, percent=shown.kind != NUMBER, x_label='epoch'
  )
  return figure(
    svg, f'{name} by epoch', 'On the held-out examples, a line a seed.'
  )


def _all_runs(runs: Sequence[Run]) -> str:
  figures = _figures(runs)
  rows = [
    [
      escape(_start(run, runs)),
      number(result['seed']),
      number(result.get('best_epoch')),
      *(_show(shown.kind, result[name]) for name, shown in figures.items()),
      number(result.get('eval_loss')),
    ]
    for run in runs
    for result in _results(run)['runs']
  ]
  titles = [_capital(shown.title) for shown in figures.values()]
  head = ['Start', 'Seed', 'Best epoch', *titles, 'Held-out loss']
  return f'<h3>Each run</h3>{table(head, rows)}'


def _task_sections(runs: Sequence[Run]) -> list[str]:
  """The sections of the runs' own tasks; equal titles share a section."""
  tables: dict[str, list[str]] = {}
  pictures: dict[str, list[str]] = {}
  for run in runs:
    for one in task_of(run.config).sections(_results(run)):
      if isinstance(one.content, ReportTable):
        table_html = _table(run, one.content, one.notes)
        tables.setdefault(one.title, []).append(table_html)
      else:
        picture = _picture(run, one.content, one.notes)
        pictures.setdefault(one.title, []).append(picture)
  return [
    *(
      section(title, f'<div class="halves">{"".join(blocks)}</div>')
      for title, blocks in tables.items()
    ),
    *(
      section(title, f'<div class="grid">{"".join(blocks)}</div>')
      for title, blocks in pictures.items()
    ),
  ]


def _table(run: Run, content: ReportTable, notes: Sequence[str]) -> str:
  rows = [
    [
      escape(name),
      *(_show(kind, x) for kind, x in zip(content.kinds, values, strict=True)),
    ]
    for name, *values in content.rows
  ]
  title = f'<h3>{escape(start_name(run).capitalize())}</h3>'
  below = ''.join(map(note, notes))
  return f'<div>{title}{table(content.head, rows)}{below}</div>'


def _picture(
  run: Run, content: ReportMatrix | None, notes: Sequence[str]
) -> str:
  """A picture, or the notes in its place."""
  if content is None:
    return ''.join(map(note, notes))
  start = start_name(run)
  return figure(
    plots.confusion(
      f'{content.title}, {start}',
      list(map(str, content.names)),
      content.counts,
    ),
    start.capitalize(),
    content.caption,
  )
