"""The figures of a report: inline SVG in the page's light or dark colours.

matplotlib draws with marker colours, which are then replaced by the page's CSS
variables; text stays text, in the page's font.
"""

import html
import io
import re
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Maps colours given to matplotlib to variables of the page. Figures use no
# other colours.
_VARIABLES = {
  '#010101': 'var(--ink)',
  '#010102': 'var(--muted)',
  '#010103': 'var(--line)',
  '#010104': 'var(--first)',
  '#010105': 'var(--second)',
  '#010106': 'var(--cell)',
}
INK, MUTED, LINE, FIRST, SECOND, CELL = _VARIABLES
_STYLE = {
  # A user's label may contain a $, which matplotlib would read as TeX.
  'text.parse_math': False,
  'svg.fonttype': 'none',
  'font.size': 9,
  'text.color': INK,
  'axes.edgecolor': LINE,
  'axes.labelcolor': MUTED,
  'axes.facecolor': 'none',
  'axes.grid': True,
  'axes.axisbelow': True,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.spines.left': False,
  'grid.color': LINE,
  'grid.linewidth': 0.8,
  'xtick.color': MUTED,
  'ytick.color': MUTED,
  'xtick.major.size': 0,
  'ytick.major.size': 0,
  'legend.frameon': False,
  'lines.solid_capstyle': 'round',
}
# Most points of a line: more than there are pixels only make the file large.
_MAX_POINTS = 400

Points = Sequence[tuple[float, float]]


def curves(
  title: str,
  lines: Sequence[tuple[str, Points, str]],
  *,
  smooth: str = '',
  percent: bool = False,
  x_label: str = 'step',
  from_zero: bool = False,
) -> str:
  """A figure of curves over steps.

  Args:
    title: names the figure for screen readers.
    lines: (label, [(step, value)], colour); the legend shows each label once.
    smooth: the label of noisy lines, which are drawn faint under their mean.
    percent: the values are shares.
    x_label: label of the horizontal axis.
    from_zero: the vertical axis starts at 0.

  Returns:
    An <svg> element.
  """
  with rc_context(_STYLE):
    figure = Figure(figsize=(4.7, 2.7), layout='constrained')
    axes = figure.add_subplot()
    named = set()
    for label, points, color in lines:
      x, y = _thinned(points)
      few = len(x) <= 25
      shown = label if label not in named else None
      named.add(label)
      if label == smooth and not few:
        axes.plot(x, y, color=color, linewidth=0.8, alpha=0.3)
        axes.plot(x, _smoothed(y), color=color, linewidth=1.8, label=shown)
      else:
        marker = 'o' if few else None
        axes.plot(
          x,
          y,
          color=color,
          marker=marker,
          linewidth=1.8,
          markersize=3.5,
          label=shown,
        )
    _format(axes, x_label, percent)
    if from_zero:
      axes.set_ylim(bottom=0)
    if len(named) > 1:
      axes.legend(loc='best', fontsize=9, labelcolor=MUTED)
    return _svg(figure, title)


def runs_by_start(
  title: str,
  starts: Sequence[tuple[str, Sequence[float], str]],
  *,
  percent: bool = True,
) -> str:
  """Draws every run as a dot and the mean as a bar, in a row for each start.

  Args:
    title: names the measured quantity.
    starts: (label, the value of each run, colour).
    percent: the values are shares.
  """
  with rc_context(_STYLE | {'axes.grid.axis': 'x'}):
    figure = Figure(
      figsize=(4.7, 0.75 + 0.5 * len(starts)), layout='constrained'
    )
    axes = figure.add_subplot()
    for row, (_, values, color) in enumerate(starts):
      axes.plot(
        [np.mean(values)] * 2, [row - 0.3, row + 0.3], color=color, linewidth=3
      )
      axes.plot(
        values,
        [row] * len(values),
        'o',
        color=color,
        alpha=0.5,
        markersize=7,
        markeredgewidth=0,
      )
    axes.set_yticks(range(len(starts)), [label for label, _, _ in starts])
    axes.tick_params(axis='y', labelcolor=INK)
    axes.set_ylim(len(starts) - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    if percent:
      axes.xaxis.set_major_formatter(_percent_formatter())
    return _svg(figure, title)


def parts_of_a_whole(
  title: str, parts: Sequence[tuple[str, float, float]]
) -> str:
  """Draws each part where the one before it ends, in a row of its own.

  Args:
    title: names the whole.
    parts: (label, seconds, share of the whole); the first is what is wanted.
  """
  total = sum(seconds for _, seconds, _ in parts)
  unit, size = next(
    (unit, size)
    for unit, size in (
      ('days', 86400),
      ('hours', 3600),
      ('minutes', 60),
      ('s', 1),
    )
    if total >= 2 * size or size == 1
  )
  with rc_context(_STYLE | {'axes.grid.axis': 'x'}):
    figure = Figure(figsize=(9.6, 0.6 + 0.3 * len(parts)), layout='constrained')
    axes = figure.add_subplot()
    left = 0.0
    for row, (_, seconds, share) in enumerate(parts):
      color = SECOND if row else FIRST
      axes.barh(row, seconds / size, left=left / size, color=color, height=0.7)
      left += seconds
      axes.text(left / size, row, f' {share:.1%}', va='center')
    axes.set_yticks(range(len(parts)), [label for label, _, _ in parts])
    axes.tick_params(axis='y', labelcolor=INK)
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * max(total, 1e-9) / size)
    axes.set_xlabel(unit)
    return _svg(figure, title)


def shares(title: str, points: Points, x_label: str, y_label: str) -> str:
  """Draws shares over shares in a square, beside the line y = x.

  Args:
    title: names the figure for screen readers.
    points: (x, y), each in [0, 1].
    x_label, y_label: what the axes show.
  """
  with rc_context(_STYLE):
    figure = Figure(figsize=(3.6, 3.4), layout='constrained')
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle='--')
    x, y = np.asarray(points, np.float64).reshape(-1, 2).T
    axes.plot(x, y, color=FIRST, marker='o', linewidth=1.8, markersize=5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_aspect('equal')
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_locator(ticker.MultipleLocator(0.2))
      axis.set_major_formatter(_percent_formatter())
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return _svg(figure, title)


def confusion(title: str, labels: Sequence[str], counts: np.ndarray) -> str:
  """Draws a confusion matrix.

  Args:
    title: names the model it belongs to.
    labels: the n class names.
    counts: int [n, n], true class by predicted class; a cell is as strong as
      its share of the true class.
  """
  counts = np.asarray(counts)
  n = len(labels)
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  side = min(max(0.42 * n, 2.2), 9)
  with rc_context(_STYLE | {'axes.grid': False, 'axes.spines.bottom': False}):
    figure = Figure(figsize=(side + 1.5, side + 1.1), layout='constrained')
    axes = figure.add_subplot()
    for row in range(n):
      for column in range(n):
        share = float(shares[row, column])
        axes.bar(
          column,
          0.94,
          bottom=row - 0.47,
          width=0.94,
          color=CELL,
          alpha=max(share, 0.04),
          linewidth=0,
        )
        if n <= 16 and counts[row, column]:
          axes.text(
            column,
            row,
            f'{counts[row, column]}',
            ha='center',
            va='center',
            fontsize=8,
            color='#ffffff' if share > 0.5 else INK,
          )
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_aspect('equal')
    names = [name if len(name) <= 20 else f'{name[:19]}…' for name in labels]
    size = 9 if n <= 30 else 5
    axes.set_yticks(range(n), names, fontsize=size)
    axes.set_xticks(
      range(n),
      names,
      fontsize=size,
      rotation=45,
      ha='right',
      rotation_mode='anchor',
    )
    axes.set_xlabel('predicted')
    axes.set_ylabel('true')
    return _svg(figure, title)


def _format(axes: Axes, x_label: str, percent: bool) -> None:
  axes.set_xlabel(x_label)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))
  axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
  low, high = axes.get_ylim()
  if percent:
    axes.yaxis.set_major_formatter(_percent_formatter())
  elif max(abs(low), abs(high)) >= 1e4:
    axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=''))
  elif max(abs(low), abs(high)) < 0.01:
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter('{x:.3g}'))


def _percent_formatter() -> ticker.Formatter:
  return ticker.PercentFormatter(xmax=1)


def _thinned(points: Points) -> tuple[np.ndarray, np.ndarray]:
  """Thins points to means of equal bins, in which a spike still shows."""
  x, y = np.asarray(points, np.float64).reshape(-1, 2).T
  finite = np.isfinite(y)
  x, y = x[finite], y[finite]
  if len(x) <= _MAX_POINTS:
    return x, y
  bins = np.array_split(np.arange(len(x)), _MAX_POINTS)
  return (
    np.array([x[b].mean() for b in bins]),
    np.array([y[b].mean() for b in bins]),
  )


def _smoothed(values: np.ndarray) -> np.ndarray:
  """The mean over a twentieth of the values around each, fewer at the ends."""
  half = max(len(values) // 40, 1)
  sums = np.concatenate([[0.0], np.cumsum(values)])
  index = np.arange(len(values))
  first = np.maximum(index - half, 0)
  end = np.minimum(index + half + 1, len(values))
  return (sums[end] - sums[first]) / (end - first)


def _svg(figure: Figure, title: str) -> str:
  """The figure as an element that scales with its column."""
  buffer = io.StringIO()
  # Ids come from a hash with a fixed salt, so equal data gives an equal file.
  with rc_context({**_STYLE, 'svg.hashsalt': title}):
    figure.savefig(
      buffer,
      format='svg',
      transparent=True,
      metadata={name: None for name in ('Date', 'Creator', 'Format', 'Type')},
    )
  svg = buffer.getvalue()
  for marker, variable in _VARIABLES.items():
    svg = svg.replace(marker, variable)
  match = re.search(r'viewBox="([^"]*)"[^>]*>', svg)
  assert match, 'matplotlib gives each figure a view box'
  label = html.escape(title, quote=True)
  return (
    f'<svg viewBox="{match[1]}" role="img" aria-label="{label}">'
    f'{svg[match.end() :]}'
  )
