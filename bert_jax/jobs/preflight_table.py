"""The figures of preflight as lines of text, and as JSON."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from bert_jax.jobs import published_runs
from bert_jax.jobs.preflight_figures import (
  WORST_SHARE_OF_ROOFLINE,
  Figures,
  StageFigures,
)

GIB = 2**30
# The word for figures of a step that no compiler has seen.
ANALYTIC = 'analytic, nothing was compiled'
# Lines of published runs.
_MOST_PUBLISHED = 2


def lines(figures: Figures, price: float | None = None) -> Iterator[str]:
  """Yields the table; `price` is in dollars for an hour of one chip."""
  topology, chip = figures.topology, figures.topology.chip
  devices = f', {chip.num_devices} devices each' if chip.num_devices > 1 else ''
  units = chip.unit if topology.num_chips == 1 else f'{chip.unit}s'
  by = ', '.join(f'{name} {text}' for name, text in figures.versions.items())
  yield (
    f'{topology}: {topology.num_chips} {units}{devices}, products in '
    f'{figures.compute_dtype}, '
    + (ANALYTIC if figures.analytic else f'compiled without hardware by {by}')
  )
  if figures.analytic:
    yield (
      f'{figures.analytic}; memory and bytes are those of '
      'bert_jax/jobs/plan_estimate.py'
    )
  yield _row('vocabulary', f'{figures.vocab_size:,}', figures.vocabulary_from)
  yield _row('parameters', f'{figures.num_parameters:,}')
  for stage in figures.stages:
    yield ''
    how = f'compiled in {stage.compile_seconds:.0f} s'
    yield (
      f'{stage.num_steps:,} steps of {stage.batch_size} rows of '
      f'{stage.row_length} tokens, {ANALYTIC if figures.analytic else how}'
    )
    yield from _memory(figures, stage)
    if stage.memory is not None:
      if figures.analytic:
        yield _row('  exchanged', _gib(stage.exchanged), 'a step and device')
      else:
        yield from _collectives(stage)
        yield _kernels(stage)
      yield from _estimate(figures, stage)
  if figures.all_fit:
    yield ''
    yield from _whole_run(figures, price)
  yield from _published(figures)
  for warning in figures.warnings:
    yield f'warning: {warning}'


def as_json(figures: Figures, price: float | None = None) -> dict[str, Any]:
  """All figures and what follows from them; ranges are [best, worst]."""
  value: dict[str, Any] = dataclasses.asdict(figures)
  for fields, stage in zip(value['stages'], figures.stages, strict=True):
    fields['fits'] = figures.fits(stage)
    if stage.memory is not None:
      fields['memory']['total'] = stage.memory.total
      fields['step_seconds'] = figures.step_seconds(stage)
  value['fits'] = figures.all_fit
  value['published_runs'] = [
    dataclasses.asdict(run) for run in published_runs.PUBLISHED_RUNS
  ]
  if value['fits']:
    value['hours'] = _hours(figures)
    if price is not None:
      value['dollars'] = _dollars(figures, price)
  return value


def change_line(figures: Figures) -> str:
  """One line for a step that does not fit."""
  unit = figures.topology.chip.unit
  by = ' by the estimate' if figures.analytic else ''
  return (
    f'the step does not fit a {unit} of {figures.topology.name}{by}; try in '
    f'turn, or together: {", ".join(figures.changes)}'
  )


def _memory(figures: Figures, stage: StageFigures) -> Iterator[str]:
  chip = figures.topology.chip
  of = chip.unit if chip.num_devices == 1 else 'device'
  limit = f'of {figures.device_memory / GIB:.4g} GiB a {of}'
  if figures.memory_share < 1:
    limit += f' ({figures.memory_share:.4g} of its memory is taken)'
  if stage.memory is None:
    for name, size in zip(
      ('parameters', 'optimizer'), figures.state_bytes, strict=True
    ):
      yield _row(f'  {name}', _gib(size))
    yield _row('  does not fit', '', f'{limit}: {stage.refusal}')
    return
  for name, size in dataclasses.asdict(stage.memory).items():
    yield _row(f'  {name.replace("_", " ")}', _gib(size))
  verdict = 'fits' if figures.fits(stage) else 'does not fit'
  yield _row('  memory in all', _gib(stage.memory.total), f'{limit}: {verdict}')


def _collectives(stage: StageFigures) -> Iterator[str]:
  if not stage.collectives:
    yield _row('  collectives', 'none')
  for kind, found in stage.collectives.items():
    yield _row(
      f'  {kind}', _gib(found.num_bytes), f'in {found.count} a step and device'
    )
  crossing = [x.crossing_bytes for x in stage.collectives.values()]
  if None in crossing:
    yield '  which of them cross slices, the program does not say'
  elif any(crossing):
    size = sum(x or 0 for x in crossing)
    yield _row('  of it across slices', _gib(size), 'a step and device')


def _kernels(stage: StageFigures) -> str:
  if not stage.kernels:
    return _row('  kernels', 'none', 'of Pallas, Triton, cuDNN or cuBLAS')
  names = ', '.join(f'{count} {name}' for name, count in stage.kernels.items())
  count = f'{sum(stage.kernels.values()):,}'
  return _row('  kernels', count, f'a step and device: {names}')


def _estimate(figures: Figures, stage: StageFigures) -> Iterator[str]:
  tokens = stage.batch_size * stage.row_length
  peak = figures.num_devices * figures.peak_flops
  yield _row(
    '  model FLOPs',
    f'{stage.flops:.3g}',
    f'a step, {stage.flops / tokens:.3g} a token (bert_jax/models/flops.py)',
  )
  if products := sum(stage.products.values()):
    shares = ', '.join(
      f'{flops / products:.2%} {dtypes}'
      for dtypes, flops in stage.products.items()
    )
    yield _row('  products', f'{products:.3g}', f'a step and device: {shares}')
  yield _row('  memory traffic', _gib(stage.traffic), 'a step and device')
  best, worst = figures.step_seconds(stage)
  by_flops = stage.flops / peak
  is_flops = figures.roofline_seconds(stage) == by_flops
  side = 'arithmetic' if is_flops else 'memory'
  yield _row(
    '  a step, estimated',
    f'{best * 1e3:,.0f} ms',
    _until(figures, f'to {worst * 1e3:,.0f} ms; ')
    + f'the roofline is of {side}: {by_flops * 1e3:.3g} ms of FLOPs at '
    f'{figures.peak_flops / 1e12:.4g} TFLOP/s, '
    f'{stage.traffic / figures.bandwidth * 1e3:.3g} ms of traffic at '
    f'{figures.bandwidth / 1e9:.4g} GB/s',
  )
  yield _row(
    '  tokens/s',
    f'{tokens / best:,.0f}',
    _until(figures, f'down to {tokens / worst:,.0f}'),
  )
  yield _row(
    '  MFU',
    f'{stage.flops / peak / best:.1%}',
    _until(figures, f'down to {stage.flops / peak / worst:.1%}'),
  )


def _whole_run(figures: Figures, price: float | None) -> Iterator[str]:
  steps = sum(stage.num_steps for stage in figures.stages)
  best, worst = _hours(figures)
  yield _row(
    'hours, estimated',
    f'{best:,.1f}',
    _until(figures, f'to {worst:,.1f} ')
    + f'for {steps:,} steps without evaluation and saves',
  )
  if price is not None:
    unit = figures.topology.chip.unit
    best, worst = _dollars(figures, price)
    yield _row(
      'cost, estimated',
      f'${best:,.0f}',
      _until(figures, f'to ${worst:,.0f} ')
      + f'at ${price:g} for an hour of a {unit}',
    )
  if figures.measured_on:
    how = (
      f'are the roofline / {figures.shares_of_roofline[0]:.3g}, as measured on '
      f'{figures.measured_on}'
    )
  else:
    how = f'run from the roofline to the roofline / {WORST_SHARE_OF_ROOFLINE}'
  yield (
    f'Estimates {how}; the roofline is the larger of FLOPs / peak and traffic '
    f'/ bandwidth. No {"compiler or " * bool(figures.analytic)}accelerator was '
    'asked.'
  )


def _published(figures: Figures) -> Iterator[str]:
  length = max(stage.row_length for stage in figures.stages)
  runs = published_runs.comparable(figures.num_parameters, length)
  for run in itertools.islice(runs, _MOST_PUBLISHED):
    mfu = '' if run.mfu is None else f', MFU {run.mfu:.1%}'
    yield (
      f'published, with other software: {run.model}, {run.row_length} tokens, '
      f'{run.hardware}: {run.speed}{mfu} ({run.source})'
    )


def _hours(figures: Figures) -> tuple[float, float]:
  times = [figures.step_seconds(stage) for stage in figures.stages]
  best, worst = (
    sum(
      stage.num_steps * time[end] / 3600
      for stage, time in zip(figures.stages, times, strict=True)
    )
    for end in (0, 1)
  )
  return best, worst


def _dollars(figures: Figures, price: float) -> tuple[float, float]:
  best, worst = _hours(figures)
  chips = figures.topology.num_chips
  return best * chips * price, worst * chips * price


def _until(figures: Figures, words: str) -> str:
  """The words for the end of a range; a measured speed has none."""
  return '' if figures.measured_on else words


def _gib(num_bytes: float) -> str:
  return f'{num_bytes / GIB:.3f} GiB'


def _row(name: str, value: str, rest: str = '') -> str:
  return f'{name:20}{value:>15}  {rest}'.rstrip()
