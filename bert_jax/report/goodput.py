"""Where a run's time went: the section of the report, and its card."""

from bert_jax.report import plots
from bert_jax.report.html import (
  card,
  duration,
  figure,
  percent,
  section,
  table,
)
from bert_jax.report.records import Run
from bert_jax.train.goodput import CATEGORIES

_MEANINGS = {
  'step': 'steps that count',
  'input_wait': 'waiting for the next batch',
  'evaluation': 'on held-out examples',
  'save': 'saving while no step ran',
  'start_up': 'from the start of the process: data, mesh, restore',
  'compile': 'the first call of each program',
  'lost': 'steps after the last save, taken again',
  'idle': 'between two starts',
}


def goodput_card(run: Run) -> list[str]:
  """The share of all time in steps that count; none of earlier versions."""
  if not run.goodput:
    return []
  below = f'of {duration(run.goodput.total)} since the start'
  return [card('Goodput', percent(run.goodput.share('step')), below)]


def goodput_section(run: Run) -> str:
  """A picture and a table of all time; '' for a run of an earlier version."""
  found = run.goodput
  if not found:
    return ''
  bars, rows = [], []
  for category, words in CATEGORIES.items():
    seconds, share = found.seconds[category], found.share(category)
    bars.append((words, seconds, share))
    rows.append([words, _MEANINGS[category], f'{seconds:,.1f}', percent(share)])
  rows.append(['all', '', f'{found.total:,.1f}', percent(1.0)])
  title = 'Where the time went'
  starts = (
    'one start' if found.num_starts == 1 else f'{found.num_starts} starts'
  )
  caption = (
    f'{duration(found.total)} in {starts}, from the first start to the last '
    'sign of life.'
  )
  svg = plots.parts_of_a_whole(title, bars)
  return section(
    'Goodput',
    figure(svg, title, caption),
    table(['', 'What it is', 'Seconds', 'Share'], rows),
  )
