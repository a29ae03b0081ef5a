"""The spread of figures over the seeds of a run, and its failed seeds.

One seed has no spread, so none is shown.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.report.html import escape, table
from bert_jax.report.records import Record, Run
from bert_jax.report.results import task_of
from bert_jax.report.tuned_runs import (
  capital,
  results_of,
  shared_figures,
  show,
  start_name,
  values_of,
)
from bert_jax.tasks.base import Figure, Guess, GuessedTask, TaskConfig
from bert_jax.tasks.metrics import mean_and_std


class Spread(NamedTuple):
  """A figure over several seeds, in its own unit.

  Attributes:
    mean, std: mean and sample standard deviation (n - 1).
    smallest, largest: the extremes of the seeds.
    low, high: the 95 % interval of the mean, by Student's t over the seeds. The
      held-out examples are those of all seeds, so it says nothing of others.
  """

  mean: float
  std: float
  smallest: float
  largest: float
  low: float
  high: float


def spread_of(values: Sequence[float]) -> Spread:
  """The spread of a figure; ValueError for fewer than two values."""
  # Imported only when used, because it changes the warnings of a process.
  import scipy.stats

  if len(values) < 2:
    raise ValueError(f'{len(values)} values have no spread; give two or more')
  # The loss of a run that diverged may be infinite.
  with np.errstate(invalid='ignore'):
    mean, std = mean_and_std(values)
  quantile = float(scipy.stats.t.ppf(0.975, len(values) - 1))
  half = quantile * std / math.sqrt(len(values))
  ends = float(np.min(values)), float(np.max(values))
  return Spread(mean, std, *ends, mean - half, mean + half)


def failed_seeds(results: Record, task: type[TaskConfig]) -> list[int] | None:
  """The seeds that learned nothing; None if the task does not know.

  A seed has failed if its held-out loss is not finite, or a figure is not above
  that of an answer that needs no learning; see tasks.base.GuessedTask.
  """
  guess = _guess(results, task)
  if guess is None:
    return None
  return [
    run['seed']
    for run in results['runs']
    if not math.isfinite(run.get('eval_loss', 0.0))
    or not run.get(guess.figure, math.inf) > guess.value
  ]


def spread_table(runs: Sequence[Run]) -> str:
  """The figures of each run over its seeds, and what counts as failed."""
  several = any(len(results_of(run)['runs']) > 1 for run in runs)
  rows = []
  for run in runs:
    name = _name_cell(run)
    for figure_name, figure in shared_figures(runs).items():
      cells = _cells(figure, values_of(run, figure_name))
      rows.append([name, escape(capital(figure.title)), *cells])
      name = ''
  head = ['Start', 'Figure', 'Mean', '95 % interval', 'Smallest', 'Largest']
  if not several:
    head[2:], rows = ['Of the one seed'], [row[:3] for row in rows]
  notes = [
    'Figures are those of the best epoch of each seed, which was chosen on '
    'these held-out examples.'
  ]
  if several:
    notes.append(
      '± is the sample standard deviation over the seeds; the interval is '
      "Student's t for their mean on these examples."
    )
  notes += dict.fromkeys(filter(None, map(_failure_words, runs)))
  below = ''.join(f'<p class="muted">{escape(note)}</p>' for note in notes)
  return table(head, rows, texts=(1,)) + below


def results_lines(results: dict[str, Any], task: type[TaskConfig]) -> str:
  """The figures of results.json, and their spread, as lines for a terminal."""
  names = list(results['summary'])
  lines = ['  '.join(['seed', 'best epoch', *names])]
  for run in results['runs']:
    cells = [f'{run["seed"]:4d}', f'{run["best_epoch"]:10d}']
    cells += [f'{run[name]:{len(name)}.4f}' for name in names]
    lines.append('  '.join(cells))
  if len(results['runs']) > 1:
    spreads = {
      name: spread_of([run[name] for run in results['runs']]) for name in names
    }
    for field, title in (
      ('mean', 'mean'),
      ('std', 'std'),
      ('smallest', 'min'),
      ('largest', 'max'),
      ('low', '95 % from'),
      ('high', '95 % to'),
    ):
      cells = [f'{title:16s}']
      cells += [
        f'{getattr(spreads[name], field):{len(name)}.4f}' for name in names
      ]
      lines.append('  '.join(cells))
  if failed := failed_seeds(results, task):
    guess = _guess(results, task)
    assert guess is not None
    lines.append(
      f'{_count(len(failed))} failed ({", ".join(map(str, failed))}): '
      f'{guess.figure} not above {guess.value:.4f}, {guess.words}, or a loss '
      'that is not finite'
    )
  return '\n'.join(lines)


def _guess(results: Record, task: type[TaskConfig]) -> Guess | None:
  return task.guess(results) if isinstance(task, GuessedTask) else None


def _count(number_of: int) -> str:
  return '1 seed' if number_of == 1 else f'{number_of} seeds'


def _name_cell(run: Run) -> str:
  """The start of a run, its folder, and how many of its seeds failed."""
  below = [run.workdir.path.name, _count(len(results_of(run)['runs']))]
  failed = failed_seeds(results_of(run), task_of(run.config))
  if failed is not None:
    below.append(f'{len(failed)} failed' if failed else 'none failed')
  name = start_name(run)
  return (
    f'<b>{escape(name)}</b><div class="muted">{escape(", ".join(below))}</div>'
  )


def _cells(figure: Figure, values: Sequence[float]) -> list[str]:
  if len(values) < 2:
    return [show(figure.kind, values[0]), '', '', '']
  found = spread_of(values)
  mean, std, *others = (show(figure.kind, value) for value in found)
  smallest, largest, low, high = others
  return [
    f'{mean} <span class="muted">± {std}</span>',
    f'{low} to {high}',
    smallest,
    largest,
  ]


def _failure_words(run: Run) -> str:
  task = task_of(run.config)
  guess = _guess(results_of(run), task)
  if guess is None:
    return ''
  figure = task.figures[guess.figure]
  return (
    'A seed counts as failed if its held-out loss is not finite, or its '
    f'{figure.title} not above {show(figure.kind, guess.value)}, '
    f'{guess.words}.'
  )
