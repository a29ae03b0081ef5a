"""The result of preparing a corpus, as lines of text."""

from typing import Any

from bert_jax.data.side_files import SENTENCE_ORDER


def format_summary(summary: dict[str, Any], output: str) -> str:
  """The result of `prepare.prepare` as lines of text with a table."""
  if 'part' in summary:
    return _format_part(summary, output)
  lines = []
  if summary['already_complete']:
    lines.append(f'{output} is complete already, for the same request:')
  else:
    lines.append(f'{output}: {_format_blocks(summary)}')
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
  # Corpora of before have no such count.
  if 'unknown' in summary:
    lines.append(summary['unknown']['line'])
  return '\n'.join(lines + _format_findings(summary))


def _format_part(summary: dict[str, Any], output: str) -> str:
  what = f'{output}: part {summary["part"]}'
  if summary['is_finished']:
    first = (
      f'{what}: {_format_blocks(summary)}; once all parts are finished, the '
      'same command without --part joins them'
    )
  else:
    first = (
      f'{what}: was looked through for repeats; once all other parts were, the '
      'same command goes on'
    )
  return '\n'.join([first, *summary['notes']])


def _format_blocks(summary: dict[str, Any]) -> str:
  reused = summary['blocks_reused']
  return f'{summary["blocks"]} blocks in {summary["seconds"]:.1f} s' + (
    f', {reused} of them from an earlier run' if reused else ''
  )


def format_pairs(facts: dict[str, Any], num_tokens: int) -> str:
  """One line about the pairs of a manifest, drawn from `num_tokens` tokens."""
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
  """Lines on dropped documents and findings, each with its first places."""
  examples = summary['read_examples']
  # A corpus that was complete already was not read: it has no findings.
  lines = list(summary.get('notes', ()))
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
