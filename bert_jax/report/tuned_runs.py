"""Facts of ended runs, for the fine-tuning parts of a report."""

from collections.abc import Sequence
from typing import Any

from bert_jax.report import plots
from bert_jax.report.html import escape, number, percent
from bert_jax.report.records import Record, Run
from bert_jax.report.results import metric_of, task_of
from bert_jax.tasks.base import CORRELATION, SHARE, TEXT, Figure


def results_of(run: Run) -> Record:
  """The content of results.json, which a run that has ended has."""
  assert run.results is not None
  return run.results


def values_of(run: Run, name: str) -> list[float]:
  """A figure of every seed."""
  return [result[name] for result in results_of(run)['runs']]


def main_metric(runs: Sequence[Run]) -> str:
  """The figure that chose the best epochs; the same for all runs."""
  return metric_of(results_of(runs[0]), task_of(runs[0].config))


def main_figure(runs: Sequence[Run]) -> Figure:
  """The title and form of `main_metric`."""
  return shared_figures(runs)[main_metric(runs)]


def shared_figures(runs: Sequence[Run]) -> dict[str, Figure]:
  """The figures of the first run's task that all runs have, by name."""
  return {
    name: figure
    for name, figure in task_of(runs[0].config).figures.items()
    if all(name in result for run in runs for result in results_of(run)['runs'])
  }


def start_name(run: Run) -> str:
  """Names the start of a run: 'pretrained' or 'from scratch'."""
  return 'pretrained' if results_of(run)['init_from'] else 'from scratch'


def name_of(run: Run, runs: Sequence[Run]) -> str:
  """Names a run by its start, or its folder, or its path: what is its own."""
  kinds = (
    start_name,
    lambda one: one.workdir.path.name,
    lambda one: str(one.workdir.path),
  )
  for kind in kinds[:-1]:
    if sum(kind(other) == kind(run) for other in runs) == 1:
      return kind(run)
  return kinds[-1](run)


def heading_of(run: Run, runs: Sequence[Run]) -> str:
  """`name_of` as a heading; the name of a folder stays as it is."""
  name = name_of(run, runs)
  return capital(name) if name == start_name(run) else name


def color_of(run: Run, runs: Sequence[Run]) -> str:
  """The colour of a start; that of the first run against others of its kind."""
  if len({start_name(one) for one in runs}) > 1:
    return plots.FIRST if results_of(run)['init_from'] else plots.SECOND
  return plots.FIRST if run is runs[0] else plots.SECOND


def capital(text: str) -> str:
  return text[:1].upper() + text[1:]


def show(kind: str, value: Any) -> str:
  """The HTML of a value of a kind of tasks/base.py."""
  if kind == TEXT:
    return escape(value)
  # A correlation, from -1 to 1, is not shown as a percentage.
  if kind == CORRELATION:
    return f'{value:.3f}'
  return percent(value) if kind == SHARE else number(value)
