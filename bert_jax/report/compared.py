"""Two fine-tuning runs compared: a difference in plain words, with its test.

Runs of the same seeds on the same examples are paired, since a pair of seeds,
and an example, share much of what is chance. Others are compared by the pooled
spread of their seeds.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from bert_jax.errors import InputError, shown
from bert_jax.report.html import escape, note, number
from bert_jax.report.records import Run
from bert_jax.report.results import task_of
from bert_jax.report.tuned_runs import (
  capital,
  main_figure,
  main_metric,
  name_of,
  results_of,
  start_name,
  values_of,
)
from bert_jax.tasks.base import CORRELATION, SHARE


class PairedSeeds(NamedTuple):
  """First less second over the same seeds, two or more.

  Attributes:
    difference: the mean over the seeds.
    low, high: its 95 % interval, by Student's t over the seeds' differences.
    p: of the two-sided paired t test; nan if all seeds differ by the same.
  """

  difference: float
  low: float
  high: float
  p: float


class PairedExamples(NamedTuple):
  """Examples that one of two models alone gets right.

  `p` is that of McNemar's exact two-sided test, a binomial test of the two
  numbers against one half.
  """

  first: int
  second: int
  p: float


def paired_seeds(
  first: Sequence[float], second: Sequence[float]
) -> PairedSeeds:
  """Compares a figure of two runs, one value for each seed of both."""
  # Imported only when used, because it changes the warnings of a process.
  import scipy.stats

  gaps = [a - b for a, b in zip(first, second, strict=True)]
  mean = statistics.fmean(gaps)
  # Rounding leaves a spread of 1e-17 in equal differences.
  if max(gaps) - min(gaps) < 1e-12:
    return PairedSeeds(mean, mean, mean, math.nan)
  found = scipy.stats.ttest_rel(first, second)
  low, high = found.confidence_interval(0.95)
  return PairedSeeds(mean, float(low), float(high), float(found.pvalue))


def paired_examples(first: str, second: str) -> PairedExamples:
  """Compares the 'hits' of two models; see tasks.base.DetailedTask."""
  import scipy.stats

  pairs = [*zip(first, second, strict=True)]
  alone = pairs.count(('1', '0')), pairs.count(('0', '1'))
  p = 1.0
  if sum(alone):
    p = float(scipy.stats.binomtest(alone[0], sum(alone)).pvalue)
  return PairedExamples(*alone, p)


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


def comparison_lines(runs: Sequence[Run]) -> list[str]:
  """The comparison for a terminal: a line for each run, the difference."""
  lines = []
  for run in runs:
    metric = main_metric(runs)
    values = values_of(run, metric)
    line = f'{name_of(run, runs)}: {main_figure(runs).title} '
    line += f'{statistics.fmean(values):.4f}'
    if len(values) > 1:
      line += f' ± {statistics.stdev(values):.4f} over {len(values)} seeds'
    lines.append(line)
  pair = _pair(runs)
  if not pair or not _same_examples(*pair):
    return lines
  figures = [values_of(run, main_metric(runs)) for run in pair]
  if _same_seeds(*pair):
    found = paired_seeds(*figures)
    lines.append(
      f'difference: {found.difference:+.4f}, 95 % interval {found.low:+.4f} to '
      f'{found.high:+.4f} over {len(figures[0])} paired seeds, {_p(found.p)}'
    )
  else:
    difference, in_deviations = pooled_difference(*figures)
    line = f'difference: {difference:+.4f}'
    if not math.isnan(in_deviations):
      line += f', {in_deviations:.1f} pooled standard deviations'
    lines.append(line)
  if words := _examples_words(pair, runs):
    lines.append(words)
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


def verdict(runs: Sequence[Run]) -> str:
  """Sentences that compare a pretrained start with scratch, or two runs."""
  first = results_of(runs[0])
  what = [f'{number(first["num_eval"])} held-out examples']
  what += filter(None, [task_of(runs[0].config).measured_on(first)])
  task = f'{", ".join(map(escape, what))} ({escape(first["eval_path"])}).'
  measured = f'<p class="muted">Measured on {task}</p>'
  pair = _pair(runs)
  if pair is None:
    return f'<p>Measured on {task}</p>'
  starts = len({start_name(run) for run in pair}) > 1
  if not _same_examples(*pair):
    kind = 'starts' if starts else 'runs'
    return note(
      f'The two {kind} were measured on different examples: their numbers do '
      'not compare.'
    )
  difference, spread = _difference(pair, runs)
  word = 'above' if difference >= 0 else 'below'
  names = [escape(name_of(run, runs)) for run in pair]
  if starts and len(runs) == 2:
    names = ['The pretrained start', 'scratch']
  figure = main_figure(runs)
  size = _size(figure.kind, abs(difference))
  words = (
    f'{names[0]} is <b>{size}</b> {word} {names[1]} in '
    f'{escape(figure.title)}: {spread}.'
  )
  if examples := _examples_words(pair, runs):
    words += f'</p><p class="muted">{escape(capital(examples))}.'
  return f'<p class="verdict">{words}</p>{measured}'


def _difference(
  pair: tuple[Run, Run], runs: Sequence[Run]
) -> tuple[float, str]:
  """The difference in the main figure, and HTML of what it is worth."""
  metric, kind = main_metric(runs), main_figure(runs).kind
  figures = [values_of(run, metric) for run in pair]
  if not _same_seeds(*pair):
    difference, in_deviations = pooled_difference(*figures)
    if math.isnan(in_deviations):
      return difference, 'there is no spread of seeds to compare it with'
    size = abs(in_deviations)
    return difference, f'<b>{size:.1f} pooled standard deviations</b>'
  found = paired_seeds(*figures)
  seeds = f'over {len(figures[0])} paired seeds'
  if math.isnan(found.p):
    return found.difference, f'the same for each {seeds}'
  ends = f'{_size(kind, found.low)} to {_size(kind, found.high)}'
  if kind == SHARE:  # the unit once
    ends = ends.replace(' points', '', 1)
  return found.difference, (
    f'<b>95 % interval of the difference {ends}</b> {seeds}, '
    f'{_p(found.p)} (paired t test)'
  )


def _examples_words(pair: tuple[Run, Run], runs: Sequence[Run]) -> str:
  """A sentence on the best seeds' examples; '' where they are not recorded."""
  hits = []
  for run in pair:
    results = results_of(run)
    best = results['runs'][results.get('best_seed', 0)]
    # The order of examples is known to be the same by a digest alone.
    if 'eval_sha256' not in results or 'hits' not in best.get('details', {}):
      return ''
    hits.append(best['details']['hits'])
  found = paired_examples(*hits)
  first, second = (name_of(run, runs) for run in pair)
  return (
    f'examples that one best seed alone gets right: {first} {found.first:,}, '
    f'{second} {found.second:,}, {_p(found.p)} (exact McNemar test)'
  )


def _p(p: float) -> str:
  if math.isnan(p):
    return 'no spread'
  return 'p < 0.001' if p < 0.001 else f'p = {p:.2g}'


def _size(kind: str, value: float) -> str:
  if kind == SHARE:
    return f'{100 * value:.1f} points'
  return f'{value:.3f}' if kind == CORRELATION else number(value)


def _pair(runs: Sequence[Run]) -> tuple[Run, Run] | None:
  """The first pretrained and scratch run, or else the first two."""
  by_start = {start_name(run): run for run in reversed(runs)}
  if len(by_start) > 1:
    return by_start['pretrained'], by_start['from scratch']
  return (runs[0], runs[1]) if len(runs) > 1 else None


def _same_seeds(first: Run, second: Run) -> bool:
  """True if two or more seeds of both began with the same random numbers."""
  seeds, others = (
    [(run.config.get('seed'), one['seed']) for one in results_of(run)['runs']]
    for run in (first, second)
  )
  return 'seed' in first.config and seeds == others and len(seeds) > 1


def _same_examples(first: Run, second: Run) -> bool:
  """True if both were scored on the same examples: by digest, if recorded."""
  digests = [results_of(run).get('eval_sha256') for run in (first, second)]
  if None in digests:
    return _measured_on(first) == _measured_on(second)
  return digests[0] == digests[1]


def _measured_on(run: Run) -> list[Any]:
  """Facts that are equal for equal examples, of results without a digest."""
  task, results = task_of(run.config), results_of(run)
  facts = task.read_facts(results, f'{run.workdir.results}:')
  return [task, facts, results['eval_path'], results['num_eval']]
