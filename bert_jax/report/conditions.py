"""The conditions of fine-tuning runs: what was run, on which rows."""

from collections.abc import Sequence
from typing import Any

from bert_jax.errors import shown
from bert_jax.report.html import escape, number, percent, table
from bert_jax.report.records import Record, Run

# Parts of the examples by their names in results.json.
_PARTS = {'train': 'training', 'eval': 'held out'}


def conditions_table(names: Sequence[str], runs: Sequence[Run]) -> str:
  """A table with a column for each run, under `names`.

  A row that no run has is left out; results of earlier versions have fewer.
  """
  found = [_conditions(run) for run in runs]
  rows = [
    [title, *(of_run[title] or '–' for of_run in found)]
    for title in found[0]
    if any(of_run[title] for of_run in found)
  ]
  texts = range(1, len(names) + 1)
  return f'<h3>What was run</h3>{table(["", *names], rows, texts)}'


def padding_words(run: Run) -> str:
  """A sentence on the padding in a throughput; '' where nothing records it."""
  share = _rows(run).get('padding_share', {}).get('train')
  if share is None:
    return ''
  return (
    f' Tokens are those of texts; MFU counts padding as well, {percent(share)} '
    'of the training rows or a little more.'
  )


def _conditions(run: Run) -> dict[str, str]:
  """HTML of each condition by its title; '' where it is not known."""
  config, results = run.config, run.results or {}
  earlier = results.get('config') or {}  # of results without a whole config
  optimizer = config.get('optimizer') or {}
  task = config.get('task')
  pooling = task.get('pooling') if isinstance(task, dict) else None
  rows = _rows(run)
  lengths = ', '.join(map(number, rows.get('lengths', ())))
  values: dict[str, Any] = {
    'Seeds': len(results['runs']),
    'Epochs': config.get('num_epochs', earlier.get('num_epochs')),
    'Batch': config.get('batch_size', earlier.get('batch_size')),
    'Peak of the learning rate': optimizer.get(
      'learning_rate', earlier.get('learning_rate')
    ),
    'Dropout': config.get('dropout'),
    'Longest row': config.get('max_length'),
    'Training examples': results.get('num_train'),
    'Held-out examples': results['num_eval'],
  }
  return {
    'Start': escape(results['init_from'] or 'from scratch'),
    **{
      title: '' if value is None else number(value)
      for title, value in values.items()
    },
    'Lengths of rows': lengths,
    'Padding in rows': _padding(rows),
    'Long examples': _cut(rows, results),
    'Pooling': escape(shown(pooling)) if isinstance(pooling, str) else '',
  }


def _rows(run: Run) -> Record:
  return (run.results or {}).get('rows', {})


def _padding(rows: Record) -> str:
  """HTML such as 'training 12.0%<br>held out 10.1%'."""
  shares = rows.get('padding_share', {})
  return '<br>'.join(
    f'{title} {percent(shares[part])}'
    for part, title in _PARTS.items()
    if part in shares
  )


def _cut(rows: Record, results: Record) -> str:
  """HTML such as 'training 3 of 96 cut to max_length=32 tokens'."""
  return '<br>'.join(
    f'{title} {count:,} of {number(results.get(f"num_{part}"))} '
    f'{escape(shown(what))}'
    for part, title in _PARTS.items()
    for what, count in rows.get('cut', {}).get(part, {}).items()
  )
