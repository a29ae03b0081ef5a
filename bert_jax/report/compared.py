"""Two fine-tuning runs compared: a difference in plain words."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from bert_jax.errors import InputError, shown
from bert_jax.report.html import escape, note, number
from bert_jax.report.records import Run
from bert_jax.report.results import task_of
from bert_jax.report.tuned_runs import (
  main_figure,
  main_metric,
  name_of,
  results_of,
  start_name,
  values_of,
)
from bert_jax.tasks.base import NUMBER


def comparison_lines(runs: Sequence[Run]) -> list[str]:
  """The comparison for a terminal: a line for each start, the difference."""
  lines = []
  for run in runs:
    metric = main_metric(runs)
    values = values_of(run, metric)
    line = f'{name_of(run, runs)}: {main_figure(runs).title} '
    line += f'{statistics.fmean(values):.4f}'
    if len(values) > 1:
      line += f' ± {statistics.stdev(values):.4f} over {len(values)} seeds'
    lines.append(line)
  pair = _comparable(runs)
  if pair:
    difference, in_deviations = pooled_difference(
      *(values_of(run, main_metric(runs)) for run in pair)
    )
    line = f'difference: {difference:+.4f}'
    if not math.isnan(in_deviations):
      line += f', {in_deviations:.1f} pooled standard deviations'
    lines.append(line)
  return lines


def check_comparable(runs: Sequence[Run]) -> None:
  """Raises InputError if runs that have ended share no task or no metric."""
  for run in runs[1:]:
    for what, first, other in (
      ('task', *(task_of(one.config).name for one in (runs[0], run))),
      ('metric', main_metric(runs), main_metric([run])),
    ):
      if first != other:
        raise InputError(
          f'--finetuned: the {what} of {run.workdir.path} is {shown(other)}, '
          f'that of {runs[0].workdir.path} is {shown(first)}; write a report '
          'of each, with another --output'
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


def verdict(runs: Sequence[Run]) -> str:
  """A sentence that compares the first pretrained start with scratch."""
  first = results_of(runs[0])
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
  metric = main_metric(runs)
  difference, in_deviations = pooled_difference(
    values_of(a, metric), values_of(b, metric)
  )
  spread = (
    'with one seed each there is no spread to compare it with'
    if math.isnan(in_deviations)
    else f'<b>{abs(in_deviations):.1f} pooled standard deviations</b>'
  )
  word = 'above' if difference >= 0 else 'below'
  shown = main_figure(runs)
  size = f'{100 * abs(difference):.1f} points'
  if shown.kind == NUMBER:
    size = number(abs(difference))
  return (
    '<p class="verdict">The pretrained start is '
    f'<b>{size}</b> {word} scratch in '
    f'{escape(shown.title)}: {spread}.</p>'
    f'<p class="muted">Measured on {task}</p>'
  )


def _comparable(runs: Sequence[Run]) -> tuple[Run, Run] | None:
  """The first pretrained and first scratch run, if their examples agree."""
  pretrained = [run for run in runs if results_of(run)['init_from']]
  scratch = [run for run in runs if not results_of(run)['init_from']]
  if not pretrained or not scratch:
    return None
  a, b = pretrained[0], scratch[0]
  return (a, b) if _measured_on(a) == _measured_on(b) else None


def _measured_on(run: Run) -> list[Any]:
  """The facts that must be equal for two runs to be compared."""
  task = task_of(run.config)
  results = results_of(run)
  facts = task.read_facts(results, f'{run.workdir.results}:')
  return [task, facts, results['eval_path'], results['num_eval']]
