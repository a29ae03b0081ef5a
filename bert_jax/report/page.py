"""Writes `report.html`, which shows what a run learned, from its workdir.

This file decides what is shown and in which words; the page's style is in
html.py, the figures in plots.py.
"""

import datetime
import os
import pathlib
import re
import statistics
from collections.abc import Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.local_paths import local_path
from bert_jax.report import plots
from bert_jax.report.compared import check_comparable, comparison_lines
from bert_jax.report.conditions import padding_words
from bert_jax.report.evaluation import (
  evaluation_lines,
  evaluation_section,
  last_eval,
  objective_curves,
  of_generator,
)
from bert_jax.report.finetuning import finetuning_sections
from bert_jax.report.goodput import goodput_card, goodput_section
from bert_jax.report.html import (
  card,
  duration,
  escape,
  figure,
  large,
  note,
  number,
  page,
  percent,
  section,
  table,
)
from bert_jax.report.records import (
  Record,
  Run,
  read_results,
  read_run,
  tokens_read,
  training_seconds,
)

# Names of Google's model sizes, by layers and width.
_SIZES: dict[tuple[Any, Any], str] = {
  (2, 128): 'BERT tiny',
  (4, 256): 'BERT mini',
  (4, 512): 'BERT small',
  (8, 512): 'BERT medium',
  (12, 768): 'BERT base',
  (24, 1024): 'BERT large',
}
_DEVICE_KIND = re.compile(r'[A-Za-z_]*')
_MAX_GUESSES = 5


def write_report(
  workdir: str | os.PathLike,
  finetuned: Sequence[str | os.PathLike] = (),
  output: str | os.PathLike | None = None,
) -> pathlib.Path:
  """Writes the report of a run as one self-contained HTML file.

  Args:
    workdir: the workdir of a pretraining or fine-tuning run.
    finetuned: workdirs of fine-tuning runs to show beside it.
    output: the file; None means `report.html` in the workdir.

  Returns:
    The file's path.

  Raises:
    InputError: a path is no workdir, or it has no metrics, or a fine-tuning
      run has no results yet, or two of them have other tasks or metrics.
  """
  path = local_path(output, '--output') if output else None
  run, finetuned_runs = _read(workdir, finetuned)
  path = path or run.workdir.report
  # A browser that reloads meanwhile sees the old file or the new one.
  with durable_files.new_file(path) as file:
    file.write(_render(run, finetuned_runs).encode())
  return path


def summary(
  workdir: str | os.PathLike, finetuned: Sequence[str | os.PathLike] = ()
) -> str:
  """The report's main figures as lines for a terminal; see `write_report`."""
  run, finetuned_runs = _read(workdir, finetuned)
  return '\n'.join(evaluation_lines(run) + comparison_lines(finetuned_runs))


def _read(
  workdir: str | os.PathLike, finetuned: Sequence[str | os.PathLike]
) -> tuple[Run, list[Run]]:
  run = read_run(workdir)
  finetuned_runs = [read_results(path) for path in finetuned]
  if run.results is not None:
    finetuned_runs.insert(0, run)
  check_comparable(finetuned_runs)
  return run, finetuned_runs


def _render(run: Run, finetuned: Sequence[Run]) -> str:
  name = run.workdir.path.name
  blocks = [_header(run), _notes(run), _curves(run)]
  if run.results is None:
    blocks += [evaluation_section(run), _packing(run), _fill_mask(run)]
  blocks += [*finetuning_sections(finetuned), goodput_section(run)]
  blocks.append(_footer(run))
  return page(f'{name}: bert_jax report', *filter(None, blocks))


def _header(run: Run) -> str:
  train = run.metrics.train
  cards = [card('Model', *_model(run.config))]
  if train:
    steps = max(record['step'] for record in train)
    total = run.config.get('num_steps')
    share = f'of {total:,}' if total else ''
    cards.append(card('Steps', f'{steps:,}', share))
    cards += _tokens_and_time(run)
  cards += goodput_card(run)
  if run.starts:
    devices = run.starts[-1].get('devices') or []
    cards.append(card('Devices', *_devices(devices)))
  best = last_eval(run)
  if best and 'perplexity' in best:
    accuracy = percent(best.get('masked_accuracy'))
    below = f'loss {best["mlm_loss"]:.3f}, masked accuracy {accuracy}'
    title = f'Held-out perplexity{of_generator(best)}'
    cards.append(card(title, number(best['perplexity']), below))
  return (
    f'<header><h1>{escape(run.workdir.path.name)}</h1>'
    f'<div class="muted">{escape(_when(run))}</div>'
    f'<div class="cards">{"".join(cards)}</div></header>'
  )


def _model(config: Record) -> tuple[str, str]:
  model = config.get('model') or {}
  if not model:
    return 'fine-tuned' if config.get('init_from') else 'encoder', ''
  layers, width = model.get('num_layers'), model.get('embed_dim')
  name = _SIZES.get((layers, width), 'Encoder')
  return name, f'{layers} layers × {width}, {model.get("num_heads")} heads'


def _tokens_and_time(run: Run) -> list[str]:
  train = run.metrics.train
  cards = []
  examples = train[-1].get('examples')
  if examples and (tokens := tokens_read(run.metrics)):
    below = f'{large(examples)} rows'
    if run.results and len(run.results['runs']) > 1:
      below += f' of each of {len(run.results["runs"])} seeds'
    cards.append(card('Tokens read', large(tokens), below))
  seconds = training_seconds(run.metrics)
  starts = len(run.starts)
  below = f'in {starts} starts' if starts > 1 else 'in steps'
  cards.append(card('Training time', duration(seconds), below))
  return cards


def _devices(devices: Sequence[Any]) -> tuple[str, str]:
  """Turns jax's names, such as TPU_0(process=0,...), into ('8 × TPU', '')."""
  found = [_DEVICE_KIND.match(str(device)) for device in devices]
  kinds = [match[0].rstrip('_:') for match in found if match]
  counts = ', '.join(f'{kinds.count(k)} × {k}' for k in dict.fromkeys(kinds))
  return counts or '–', ''


def _when(run: Run) -> str:
  if not run.starts:
    return str(run.workdir.path)
  start = run.starts[0]
  time = datetime.datetime.fromtimestamp(start['time'], datetime.UTC)
  versions = run.starts[-1].get('versions') or {}
  shown = [
    f'{name} {versions[name]}' for name in ('jax', 'flax') if name in versions
  ]
  return ' · '.join(
    [f'started {time:%Y-%m-%d %H:%M} UTC', f'on {start.get("host")}', *shown]
  )


def _notes(run: Run) -> str:
  """Notes that a reader of the curves must know; none if all is well."""
  notes = []
  skipped = sum(
    record.get('skipped_updates') or 0 for record in run.metrics.train[-1:]
  )
  if skipped:
    notes.append(
      f'{skipped:,} updates were skipped because a loss or gradient was not '
      'finite.'
    )
  cut = run.metrics.num_cut_lines
  if cut:
    notes.append(
      f'{cut} of the metrics files {"ends" if cut == 1 else "end"} in half a '
      'line (the process was killed while writing it); that record is left out.'
    )
  total = run.config.get('num_steps')
  train = run.metrics.train
  if total and train and run.results is None and train[-1]['step'] < total:
    notes.append(
      f'The run is not complete: the last record is of step '
      f'{train[-1]["step"]:,} of {total:,}.'
    )
  return ''.join(
    f'<div style="margin-top:16px">{note(text)}</div>' for text in notes
  )


def _curves(run: Run) -> str:
  metrics = run.metrics
  figures = objective_curves(run)
  shown: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ('Learning rate', 'learning_rate', {'from_zero': True}),
    ('Throughput', 'tokens_per_second', {'from_zero': True, 'smooth': ''}),
    ('Gradient norm', 'gradient_norm', {'smooth': 'training'}),
  )
  for title, name, options in shown:
    series = metrics.series('train', name)
    if not series:
      continue
    lines = [('training', points, plots.FIRST) for points in series.values()]
    svg = plots.curves(title, lines, **options)
    figures.append(figure(svg, title, _caption(run, name)))
  return section('Training', f'<div class="grid">{"".join(figures)}</div>')


def _caption(run: Run, name: str) -> str:
  train = run.metrics.train
  values = [record[name] for record in train if record.get(name) is not None]
  if name == 'learning_rate':
    peak = (run.config.get('optimizer') or {}).get('learning_rate')
    if peak is None:
      return f'Peak {number(max(values))} of the logged steps.'
    return (
      f'Peak {number(peak)} (optimizer.learning_rate); the highest of the '
      f'logged steps is {number(max(values))}.'
    )
  if name != 'tokens_per_second':
    return f'Median {number(statistics.median(values))}.'
  text = f'Median {large(statistics.median(values))} tokens/s'
  for key, words in (('mfu', 'MFU'), ('input_wait_share', 'waiting for input')):
    shares = [r[key] for r in train if isinstance(r.get(key), int | float)]
    if shares:
      text += f', {words} {percent(statistics.median(shares))}'
  return f'{text}.{padding_words(run) if "MFU" in text else ""}'


def _packing(run: Run) -> str:
  if not run.manifests:
    return section(
      'Packing',
      note(
        'The prepared corpus is no longer at the path in config.json, or there '
        'is no copy of it on this machine.'
      ),
    )
  blocks = []
  rows = []
  for part, manifest in run.manifests.items():
    share = manifest['padding_share']
    rows.append(
      [
        part.replace('train', 'training', 1).replace('eval', 'held out', 1),
        number(manifest['num_documents']),
        number(manifest['num_tokens']),
        f'{number(manifest["num_rows"])} × {manifest["row_length"]}',
        f'{manifest["num_segments"] / max(manifest["num_rows"], 1):.2f}',
        f'{share:.2%}',
      ]
    )
  train = next(iter(run.manifests.values()))
  used = 1 - train['padding_share']
  blocks.append(
    f'<p>{used:.2%} of the places hold text and its [CLS] and [SEP]; '
    f'{train["padding_share"]:.2%} is padding. Nothing was truncated.</p>'
    f'<div class="bar"><i style="width:{100 * used:.2f}%"></i></div>'
  )
  head = ['Part', 'Documents', 'Tokens', 'Rows', 'Pieces a row', 'Padding']
  blocks.append(table(head, rows))
  met = {**train.get('read_counts', {}), **train.get('dropped', {})}
  met['literal_special_tokens'] = train.get('literal_special_tokens', 0)
  listed = ', '.join(
    f'{name.replace("_", " ")} {count:,}'
    for name, count in met.items()
    if count
  )
  if listed:
    blocks.append(f'<p class="muted">Met while reading: {escape(listed)}.</p>')
  return section('Packing', *blocks)


def _fill_mask(run: Run) -> str:
  if run.fill_mask == []:
    return section(
      'Fill-mask samples',
      '<p>None: the corpus has no held-out text with a word to hide, or the '
      'objective predicts no tokens.</p>',
    )
  if run.fill_mask is None:
    command = f'bert-jax report --workdir={run.workdir.path}'
    return section(
      'Fill-mask samples',
      '<p>There is no fill_mask.json; this writes it from the last checkpoint: '
      f'<code>{escape(command)}</code></p>',
    )
  samples = ''.join(_sample(sample) for sample in run.fill_mask)
  return section('Fill-mask samples', f'<div class="grid">{samples}</div>')


def _sample(sample: Record) -> str:
  text = escape(sample['text']).replace('[MASK]', '<mark>[MASK]</mark>')
  lists = []
  for guesses in sample['predictions']:
    rows = ''.join(
      f'<div class="guess"><span>{escape(guess["token"])}</span>'
      '<span class="track"><i style="width:'
      f'{100 * guess["probability"]:.1f}%"></i></span>'
      f'<span class="share">{percent(guess["probability"])}</span></div>'
      for guess in guesses[:_MAX_GUESSES]
    )
    lists.append(f'<div style="margin-bottom:8px">{rows}</div>')
  answer = ''
  if 'answer' in sample:
    answer = f'<p class="muted">Hidden: {escape(sample["answer"])}</p>'
  return f'<div><p>{text}</p>{"".join(lists)}{answer}</div>'


def _footer(run: Run) -> str:
  command = ''
  if run.starts:
    words = ' '.join(map(str, run.starts[-1].get('command') or []))
    command = f' Last start: <code>{escape(words)}</code>'
  return f'<footer class="muted">{escape(run.workdir.path)}.{command}</footer>'
