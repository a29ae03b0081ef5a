"""The figures of preflight as lines of text, and as JSON."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from bert_jax.jobs.preflight import (
  WORST_SHARE_OF_ROOFLINE,
  Figures,
  StageFigures,
)

GIB = 2**30


def lines(figures: Figures, price: float | None = None) -> Iterator[str]:
  """Yields the table; `price` is in dollars for an hour of one chip."""
  topology, chip = figures.topology, figures.topology.chip
  devices = f', {chip.num_devices} devices each' if chip.num_devices > 1 else ''
  yield (
    f'{topology.name}: {topology.num_chips} chips{devices}, products in '
    f'{figures.compute_dtype}, compiled without hardware by '
    + ', '.join(f'{name} {text}' for name, text in figures.versions.items())
  )
  yield _row('vocabulary', f'{figures.vocab_size:,}', figures.vocabulary_from)
  yield _row('parameters', f'{figures.num_parameters:,}')
  for stage in figures.stages:
    yield ''
    yield (
      f'{stage.num_steps:,} steps of {stage.batch_size} rows of '
      f'{stage.row_length} tokens, compiled in {stage.compile_seconds:.0f} s'
    )
    yield from _memory(figures, stage)
    if stage.memory is not None:
      yield from _collectives(stage)
      yield from _estimate(figures, stage)
  if figures.all_fit:
    yield ''
    yield from _whole_run(figures, price)


def as_json(figures: Figures, price: float | None = None) -> dict[str, Any]:
  """All figures and what follows from them; ranges are [best, worst]."""
  value: dict[str, Any] = dataclasses.asdict(figures)
  for fields, stage in zip(value['stages'], figures.stages, strict=True):
    fields['fits'] = figures.fits(stage)
    if stage.memory is not None:
      fields['memory']['total'] = stage.memory.total
      fields['step_seconds'] = _step_seconds(figures, stage)
  value['fits'] = figures.all_fit
  if value['fits']:
    value['hours'] = _hours(figures)
    if price is not None:
      value['dollars'] = _dollars(figures, price)
  return value


def change_line(figures: Figures) -> str:
  """One line for a step that does not fit."""
  return (
    f'the step does not fit a chip of {figures.topology.name}; try in turn, or '
    f'together: {", ".join(figures.changes)}'
  )


def _memory(figures: Figures, stage: StageFigures) -> Iterator[str]:
  of = 'chip' if figures.topology.chip.num_devices == 1 else 'device'
  limit = f'of {figures.device_memory / GIB:.4g} GiB a {of}'
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


def _estimate(figures: Figures, stage: StageFigures) -> Iterator[str]:
  tokens = stage.batch_size * stage.row_length
  peak = figures.num_devices * figures.peak_flops
  yield _row(
    '  model FLOPs',
    f'{stage.flops:.3g}',
    f'a step, {stage.flops / tokens:.3g} a token (bert_jax/models/flops.py)',
  )
  yield _row('  memory traffic', _gib(stage.traffic), 'a step and device')
  best, worst = _step_seconds(figures, stage)
  by_flops = stage.flops / peak
  side = 'arithmetic' if best == by_flops else 'memory'
  yield _row(
    '  a step, estimated',
    f'{best * 1e3:,.0f} ms',
    f'to {worst * 1e3:,.0f} ms; the roofline is of {side}: '
    f'{by_flops * 1e3:.3g} ms of FLOPs at {figures.peak_flops / 1e12:.4g} '
    f'TFLOP/s, {stage.traffic / figures.bandwidth * 1e3:.3g} ms of traffic at '
    f'{figures.bandwidth / 1e9:.4g} GB/s',
  )
  yield _row(
    '  tokens/s', f'{tokens / best:,.0f}', f'down to {tokens / worst:,.0f}'
  )
  yield _row(
    '  MFU',
    f'{stage.flops / peak / best:.1%}',
    f'down to {stage.flops / peak / worst:.1%}',
  )


def _whole_run(figures: Figures, price: float | None) -> Iterator[str]:
  steps = sum(stage.num_steps for stage in figures.stages)
  best, worst = _hours(figures)
  yield _row(
    'hours, estimated',
    f'{best:,.1f}',
    f'to {worst:,.1f} for {steps:,} steps without evaluation and saves',
  )
  if price is not None:
    best, worst = _dollars(figures, price)
    yield _row(
      'cost, estimated',
      f'${best:,.0f}',
      f'to ${worst:,.0f} at ${price:g} for an hour of a chip',
    )
  yield (
    'Estimates run from the roofline, the larger of FLOPs / peak and traffic / '
    f'bandwidth, to the roofline / {WORST_SHARE_OF_ROOFLINE}. No accelerator '
    'was asked.'
  )


def _step_seconds(figures: Figures, stage: StageFigures) -> tuple[float, float]:
  best = figures.roofline_seconds(stage)
  return best, best / WORST_SHARE_OF_ROOFLINE


def _hours(figures: Figures) -> tuple[float, float]:
  best = sum(
    stage.num_steps * figures.roofline_seconds(stage) / 3600
    for stage in figures.stages
  )
  return best, best / WORST_SHARE_OF_ROOFLINE


def _dollars(figures: Figures, price: float) -> tuple[float, float]:
  best, worst = _hours(figures)
  chips = figures.topology.num_chips
  return best * chips * price, worst * chips * price


def _gib(num_bytes: float) -> str:
  return f'{num_bytes / GIB:.3f} GiB'


def _row(name: str, value: str, rest: str = '') -> str:
  return f'{name:20}{value:>15}  {rest}'.rstrip()
