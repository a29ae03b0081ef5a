"""What preparing a corpus shows: how far it is, and what came out of it."""

import sys
import time
from typing import Any

from bert_jax.data.pairs import SENTENCE_ORDER

_SECONDS_BETWEEN_LINES = 10.0


class TextProgress:
  """How much is done: a bar on a terminal, lines in a log.

  Args:
    total_bytes: of the whole; 0 where it is not known.
    enabled: False shows nothing.
    what: is done, 'prepare' or 'verify'; begins each line.
  """

  def __init__(self, total_bytes: int, enabled: bool, what: str = 'prepare'):
    self._total = total_bytes
    self._enabled = enabled
    self._what = what
    self._bar = None
    self._done = 0
    self._start = self._last_line = time.monotonic()

  def __enter__(self) -> 'TextProgress':
    if self._enabled and sys.stderr.isatty():
      import tqdm

      self._bar = tqdm.tqdm(
        total=self._total or None,
        unit='B',
        unit_scale=True,
        desc=self._what,
      )
    return self

  def __exit__(self, *unused_exception) -> None:
    if self._bar is not None:
      self._bar.close()

  def update(self, num_bytes: int, tokens: int = 0) -> None:
    """Adds `num_bytes`; `tokens` is the number so far, 0 shows none."""
    self._done += num_bytes
    if self._bar is not None:
      if tokens:
        self._bar.set_postfix_str(f'{tokens / 1e6:.1f}M tokens', refresh=False)
      self._bar.update(num_bytes)
      return
    now = time.monotonic()
    if self._enabled and now - self._last_line >= _SECONDS_BETWEEN_LINES:
      self._last_line = now
      share = (
        f' of {self._total / 1e6:.0f}' if self._total >= self._done else ''
      )
      line = f'{self._what}: {self._done / 1e6:.0f}{share} MB'
      if tokens:
        rate = tokens / (now - self._start)
        line += f', {tokens / 1e6:.1f}M tokens, {rate / 1e6:.2f}M tokens/s'
      print(line, file=sys.stderr, flush=True)


def format_summary(summary: dict[str, Any], output: str) -> str:
  """The result of `prepare.prepare` as lines of text with a table."""
  lines = []
  if summary['already_complete']:
    lines.append(f'{output} is complete already, for the same request:')
  else:
    reused = summary['blocks_reused']
    lines.append(
      f'{output}: {summary["blocks"]} blocks in {summary["seconds"]:.1f} s'
      + (f', {reused} of them from an earlier run' if reused else '')
    )
  header = ('folder', 'documents', 'tokens', 'segments', 'rows', 'padding')
  table = [header] + [
    (
      part['folder'],
      *(f'{part[name]:,}' for name in header[1:5]),
      f'{part["padding_share"]:.2%}',
    )
    for part in summary['parts']
  ]
  widths = [max(len(row[i]) for row in table) for i in range(len(header))]
  for row in table:
    cells = [row[0].ljust(widths[0])]
    cells += [
      cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
    ]
    lines.append('  ' + '  '.join(cells))
  for part in summary['parts']:
    if 'pairs' in part:
      lines.append(
        f'{part["folder"]}: {format_pairs(part["pairs"], part["tokens"])}'
      )
  has_eval = any(part['folder'].startswith('eval') for part in summary['parts'])
  if summary['eval_fraction'] and not has_eval:
    lines.append(
      f'Note: a share of {summary["eval_fraction"]} of '
      f'{summary["documents"]:,} documents: no document fell to eval. Raise '
      '--eval_fraction, or cut the text into more documents, such as by '
      '--document=paragraph.'
    )
  return '\n'.join(lines + _format_findings(summary))


def format_pairs(facts: dict[str, Any], num_tokens: int) -> str:
  """What a manifest says of its pairs, drawn from `num_tokens`, in a line."""
  what = 'with a random B'
  if facts['kind'] == SENTENCE_ORDER:
    what = 'swapped'
  drawn = num_tokens - facts['unpaired_tokens'] + facts['borrowed_tokens']
  truncated = facts['truncated_tokens']
  return (
    f'{facts["num_pairs"]:,} pairs, {facts["label_1"]:,} of them {what}; '
    f'{truncated:,} tokens truncated ({truncated / max(1, drawn):.2%}), '
    f'{facts["unpaired_tokens"]:,} in no pair, '
    f'{facts["borrowed_tokens"]:,} taken twice for a random B'
  )


def _format_findings(summary: dict[str, Any]) -> list[str]:
  """What was dropped, and what was met in the text, each with first places."""
  examples = summary['read_examples']
  lines = []
  if not summary['dropped']:
    lines.append('dropped: nothing')
  for kind, number in summary['dropped'].items():
    lines.append(f'dropped: {number:,} {kind.replace("_", " ")}')
    lines += [f'  {where}' for where in examples.get(kind, [])]
  for kind, number in summary['read_counts'].items():
    if kind not in summary['dropped']:
      lines.append(f'met: {number:,} {kind.replace("_", " ")}')
      lines += [f'  {where}' for where in examples.get(kind, [])]
  lines.append(
    f'met: {summary["literal_special_tokens"]:,} literal special tokens '
    '(such as [SEP]), read as ordinary text'
  )
  return lines
