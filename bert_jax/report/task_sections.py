"""The sections that tasks make of their own runs, as HTML."""

from collections.abc import Sequence

from bert_jax.report import plots
from bert_jax.report.html import escape, figure, note, section, table
from bert_jax.report.records import Run
from bert_jax.report.results import task_of
from bert_jax.report.tuned_runs import heading_of, results_of, show
from bert_jax.tasks.base import TEXT, ReportCurve, ReportMatrix, ReportTable


def task_sections(runs: Sequence[Run]) -> list[str]:
  """The sections of the runs' own tasks; equal titles share a section."""
  tables: dict[str, list[str]] = {}
  of_texts: dict[str, list[str]] = {}  # too wide to stand side by side
  pictures: dict[str, list[str]] = {}
  for run in runs:
    name = heading_of(run, runs)
    for one in task_of(run.config).sections(results_of(run)):
      if isinstance(one.content, ReportTable):
        table_html = _table(name, one.content, one.notes)
        kind = of_texts if TEXT in one.content.kinds else tables
        kind.setdefault(one.title, []).append(table_html)
      else:
        picture = _picture(name, one.content, one.notes)
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
    *(section(title, *blocks) for title, blocks in of_texts.items()),
  ]


def _table(name: str, content: ReportTable, notes: Sequence[str]) -> str:
  rows = [
    [
      escape(row),
      *(show(kind, x) for kind, x in zip(content.kinds, values, strict=True)),
    ]
    for row, *values in content.rows
  ]
  title = f'<h3>{escape(name)}</h3>'
  below = ''.join(map(note, notes))
  texts = [n for n, kind in enumerate(content.kinds, 1) if kind == TEXT]
  return f'<div>{title}{table(content.head, rows, texts)}{below}</div>'


def _picture(
  name: str, content: ReportMatrix | ReportCurve | None, notes: Sequence[str]
) -> str:
  """A picture, or the notes in its place."""
  if content is None:
    return ''.join(map(note, notes))
  title = f'{content.title}, {name}'
  if isinstance(content, ReportCurve):
    labels = content.x_label, content.y_label
    svg = plots.shares(title, content.points, *labels)
  else:
    svg = plots.confusion(title, list(map(str, content.names)), content.counts)
  return figure(svg, name, content.caption)
