"""Curves and held-out figures of a run's objectives, for its report.

Each objective names its own losses and figures (objectives/). The ends of their
names, such as _loss or _accuracy, decide how they are shown.
"""

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
from bert_jax.report.records import Record, Run

_MAX_ROWS = 12
_SHARES = ('_accuracy', '_precision', '_recall')
# Figures that are computed over masked tokens.
_OF_TOKENS = ('mlm_loss', 'perplexity', 'masked_accuracy')
# Entries of a record that are not figures of an objective.
_OTHERS = ('step', 'seed', 'time')


def last_eval(run: Run) -> Record | None:
  return run.metrics.evals[-1] if run.metrics.evals else None


def of_generator(record: Record) -> str:
  """Words that name the generator if the masked-LM figures are its own."""
  return ' of the generator' if 'replaced_loss' in record else ''


def evaluation_lines(run: Run) -> list[str]:
  """The last held-out figures of a pretraining run as a line, if any."""
  last = last_eval(run)
  if last is None:
    return []
  names = _names([last])
  if not any(_is_loss(name) for name in names):
    return []
  figures = []
  for name in names:
    words = 'loss' if name == 'mlm_loss' else name.replace('_', ' ')
    if name in _OF_TOKENS:
      words += of_generator(last)
    figures.append(f'{words} {_shown(name, last[name], ".4f")}')
  return [f'held out at step {last["step"]:,}: {", ".join(figures)}']


def objective_curves(run: Run) -> list[str]:
  """Draws the curves of losses and of shares such as accuracies."""
  names = _names(run.metrics.evals[-1:] + run.metrics.train[-1:])
  losses = [name for name in names if _is_loss(name)]
  # A single loss is the whole loss, so both share one figure.
  whole = losses if len(losses) == 1 else []
  figures = [_two_curves(run, 'Loss', ('loss',), (*whole, 'eval_loss'))]
  figures += [
    _two_curves(run, _title(name), (name,), (name,))
    for name in losses
    if name not in whole
  ]
  return figures + [
    _two_curves(run, _title(name), (name,), (name,), True)
    for name in names
    if name.endswith(_SHARES)
  ]


def evaluation_section(run: Run) -> str:
  evals = run.metrics.evals
  if not evals:
    return section('Evaluation', note('No evaluation has been done yet.'))
  shown = evals
  if len(evals) > _MAX_ROWS:
    # The rows shown are spread evenly over the run and include the last.
    step = (len(evals) - 1) / (_MAX_ROWS - 1)
    shown = [evals[round(i * step)] for i in range(_MAX_ROWS)]
  names = _names(shown)
  rows = [
    [
      number(record['step']),
      escape(record.get('corpus', '')),
      *(_shown(name, record.get(name)) for name in names),
    ]
    for record in shown
  ]
  head = ['Step', 'Corpus', *map(_title, names)]
  text = (
    '<p class="muted">Held-out rows with the same masks each time'
    f'{f"; {len(shown)} of {len(evals)} shown" if shown != evals else ""}.</p>'
  )
  return section('Evaluation', text, table(head, rows))


def _two_curves(
  run: Run,
  title: str,
  train_names: tuple[str, ...],
  eval_names: tuple[str, ...],
  percent_axis: bool = False,
) -> str:
  """Draws training and held-out values in one figure; '' if there are none."""
  lines = [
    (label, points, color)
    for label, kind, names, color in (
      ('training', 'train', train_names, plots.FIRST),
      ('held out', 'eval', eval_names, plots.SECOND),
    )
    for points in run.metrics.series(kind, *names).values()
  ]
  if not lines:
    return ''
  svg = plots.curves(title, lines, smooth='training', percent=percent_axis)
  show = percent if percent_axis else number
  last = {label: points[-1][1] for label, points, _ in lines}
  ends = ', '.join(f'{label} {show(value)}' for label, value in last.items())
  return figure(svg, title, f'At the end: {ends}.')


def _names(records: list[Record]) -> list[str]:
  """Names of the figures in records: MLM's first, then in their order."""
  found = dict.fromkeys(_OF_TOKENS)
  found |= dict.fromkeys(name for record in records for name in record)
  return [
    name
    for name in found
    if name not in _OTHERS
    and any(
      isinstance(record.get(name), int | float)
      and (record['kind'] == 'eval' or _is_loss(name) or name.endswith(_SHARES))
      for record in records
    )
  ]


def _is_loss(name: str) -> bool:
  return name.endswith('_loss') and name != 'eval_loss'


def _title(name: str) -> str:
  words = name.replace('_', ' ').replace('mlm', 'MLM')
  return words[:1].upper() + words[1:]


def _shown(name: str, value: float | None, loss_format: str = '') -> str:
  if name.endswith(_SHARES):
    return percent(value)
  if loss_format and _is_loss(name):
    return format(value, loss_format)
  return number(value)
