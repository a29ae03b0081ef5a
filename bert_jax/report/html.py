"""The HTML of a report: the page's style, and the pieces it is made of.

The page is one file without scripts or outside resources, so that it can be
mailed and opens anywhere. All text goes through `escape`.
"""

import html
import math
from collections.abc import Collection, Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1c2430; --muted: #5b6675;
  --line: #e1e5ea; --first: #2563c9; --second: #c7641a; --cell: #2563c9;
  --soft: #eaf0fb; --warn: #fdf3e3; }
@media (prefers-color-scheme: dark) { :root {
  --page: #11141a; --card: #191e26; --ink: #e7eaf0; --muted: #9ba6b5;
  --line: #2c343f; --first: #7aabff; --second: #f0a060; --cell: #3b78dd;
  --soft: #1f2a3d; --warn: #33290f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans',
    'DejaVu Sans', sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 36px 20px 60px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px;
  letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 14px; }
h3 { font-size: 15px; margin: 20px 0 8px; }
p { margin: 0 0 12px; }
code { font: 0.92em ui-monospace, 'DejaVu Sans Mono', monospace;
  background: var(--soft); border-radius: 4px; padding: 1px 5px;
  overflow-wrap: anywhere; }
.muted, figcaption { color: var(--muted); font-size: 13px; }
section { background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 22px 24px; margin-top: 20px; }
.cards { display: grid; gap: 12px; margin-top: 22px;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 13px 16px; }
.card b { display: block; font-size: 21px; line-height: 1.25;
  font-weight: 650; margin: 1px 0; overflow-wrap: anywhere; }
.grid { display: grid; gap: 26px 32px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.halves { display: grid; gap: 0 32px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
section > :last-child, .scroll:last-child { margin-bottom: 0; }
.halves h3 { margin-top: 4px; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; margin: 6px 0 4px; }
figure svg text { font-family: inherit !important; }
figure b { font-weight: 600; }
.scroll { overflow-x: auto; margin: 6px 0 12px; }
table { border-collapse: collapse; width: 100%;
  font-variant-numeric: tabular-nums; }
th { color: var(--muted); font-size: 13px; font-weight: 500; }
th, td { text-align: right; padding: 6px 10px; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
th.text, td.text { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 60px;
  max-width: 460px; }
tr:last-child td { border-bottom: 0; }
.bar { height: 12px; border-radius: 6px; overflow: hidden; margin: 4px 0 6px;
  background: var(--second); }
.bar i { display: block; height: 100%; background: var(--first); }
.verdict { font-size: 17px; background: var(--soft); border-radius: 8px;
  padding: 10px 14px; }
.note { background: var(--warn); border-radius: 8px; padding: 8px 14px; }
mark { background: var(--soft); color: var(--first); font-weight: 600;
  border-radius: 4px; padding: 1px 6px; }
.guess { display: grid; gap: 10px; align-items: center; font-size: 14px;
  grid-template-columns: minmax(90px, 170px) 1fr 56px; }
.guess span:first-child { overflow-wrap: anywhere; }
.guess .track { height: 8px; border-radius: 4px; background: var(--soft); }
.guess .track i { display: block; height: 100%; border-radius: 4px;
  background: var(--first); min-width: 2px; }
.guess .share { text-align: right; color: var(--muted);
  font-variant-numeric: tabular-nums; }
footer { margin-top: 24px; }
@media (max-width: 520px) { main { padding: 22px 12px 40px; }
  section { padding: 16px 14px; } h1 { font-size: 24px; }
  .cards { grid-template-columns: 1fr 1fr; } .card b { font-size: 18px; } }
@media print { section, figure { break-inside: avoid; } }
"""


def escape(text: Any) -> str:
  return html.escape(str(text), quote=True)


def page(title: str, *blocks: str) -> str:
  """Makes the whole file from blocks of HTML."""
  body = '\n'.join(blocks)
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n'
    f'<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
  )


def section(title: str, *blocks: str) -> str:
  body = '\n'.join(blocks)
  return f'<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>'


def card(name: str, value: str, below: str = '') -> str:
  """A card with one figure for the header; takes plain text."""
  return (
    f'<div class="card"><span class="muted">{escape(name)}</span>'
    f'<b>{escape(value)}</b><span class="muted">{escape(below)}</span></div>'
  )


def figure(svg: str, title: str, caption: str) -> str:
  return (
    f'<figure><b>{escape(title)}</b>{svg}'
    f'<figcaption>{escape(caption)}</figcaption></figure>'
  )


def table(
  head: Sequence[str],
  rows: Sequence[Sequence[str]],
  texts: Collection[int] = (),
) -> str:
  """A table; the cells are HTML already.

  `texts`: the columns, from 0, that stand left and may have several lines.
  """
  opened = [' class="text"' if n in texts else '' for n in range(len(head))]
  cells = ''.join(
    f'<th{kind}>{escape(name)}</th>'
    for kind, name in zip(opened, head, strict=True)
  )
  body = '\n'.join(
    '<tr>'
    + ''.join(
      f'<td{kind}>{cell}</td>' for kind, cell in zip(opened, row, strict=True)
    )
    + '</tr>'
    for row in rows
  )
  return (
    f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>\n'
    f'<tbody>{body}</tbody></table></div>'
  )


def note(text: str) -> str:
  return f'<p class="note">{escape(text)}</p>'


def number(value: Any) -> str:
  """Formats as 1,234 or 0.0123 or 1e-05; a dash for a missing value."""
  if not isinstance(value, int | float) or isinstance(value, bool):
    return '–' if value is None else escape(value)
  if isinstance(value, int):
    return f'{value:,}'
  if not math.isfinite(value):
    return str(value)
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def large(value: float) -> str:
  """Formats a large number shortly: 1.23 M for 1,234,567."""
  for size, unit in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if abs(value) >= size:
      return f'{value / size:.3g} {unit}'
  return f'{value:.3g}'


def percent(share: Any) -> str:
  return f'{share:.1%}' if isinstance(share, int | float) else '–'


def duration(seconds: float) -> str:
  """Formats as '45 s', '12 min 5 s', '3 h 20 min' or '2 d 4 h'."""
  seconds = round(seconds)
  units = [('d', 86400), ('h', 3600), ('min', 60), ('s', 1)]
  for (unit, size), (smaller, small_size) in zip(
    units, units[1:], strict=False
  ):
    if seconds >= size:
      rest = seconds % size // small_size
      return f'{seconds // size} {unit}' + (
        f' {rest} {smaller}' if rest else ''
      )
  return f'{seconds} s'
