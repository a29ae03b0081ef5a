"""Bytes, memory and time of a pretraining step on 8 to 4,096 chips, estimated.

.venv/bin/python experiments/benchmarks/scaling_table.py

Writes results/scaling_table.json and prints the table; nothing is compiled, and
no chip has confirmed a figure. --show prints the table that is there.

Each model has one batch for all numbers of chips, so that more chips mean fewer
microbatches: 32,768 rows of 512 tokens for BERT (You et al. 2020, for LAMB) and
4,096 of 1,024 for ModernBERT-large, in microbatches of at most as many rows on
a device as its recipe has on eight chips. More chips than 256, the largest
slice of v5e and v6e, are several slices, which `data` alone crosses.

Collectives, memory and time are those of bert_jax/jobs/plan_estimate.py. Bytes
of collectives are the arrays of one device, as bert_jax/parallel/compiled.py
counts them, with the gradient of the table of tokens twice over `data`, for it
comes from the first layer and from the head. Compiled for eight simulated CPU
devices, a small model (tests/scaling_table_test.py) exchanged, in shares of
what is estimated here:

  gradients over data alone, in one microbatch or two   1.00
  gradients over data, beside fsdp=4                    1.07
  gradients over fsdp=4                                 0.97
  parameters over fsdp=4, which it gathers once         0.50
  gradients over data, beside fsdp=2 and tensor=2       1.17
  sums over tensor=2, of four layers and the rest       1.72

libtpu 0.0.50.1, BERT-base on v5e:16x16: 1.00 over data alone; with fsdp=8, 1.32
of the parameters and 1.16 of the gradients, which it sums whole and does not
scatter. XLA for CUDA, ModernBERT-base on h100:8 in 18 microbatches: 0.86.

Seconds are those of the roofline: the larger of arithmetic and memory's
traffic, plus all collectives over the links within a slice, as if nothing
overlapped. The network between slices is slower, by how much no data sheet
says: `gbit_between_slices` is the speed, a device, at which what crosses them
takes as long as arithmetic. It has two numbers: for gradients that are summed
within a slice first, so that its devices share what crosses, and for one ring
through all slices. Which of both libtpu's runtime does was not seen.
"""

import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from absl import app, flags

from bert_jax import durable_files
from bert_jax.config.experiment_file import load_config
from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs import plan_estimate, plans
from bert_jax.parallel import topologies
from bert_jax.parallel.mesh import MeshConfig

_ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPES = _ROOT / 'experiments' / 'pretrain'
RESULTS = pathlib.Path(__file__).parent / 'results' / 'scaling_table.json'


class Model(NamedTuple):
  """rows: of a microbatch on a device, at most; batch_size: rows of a step."""

  recipe: str
  generation: str
  vocab_size: int
  batch_size: int
  rows: int


MODELS = (
  Model('bert_base', 'v5e', 30_522, 32_768, 32),
  Model('bert_large', 'v5e', 30_522, 32_768, 16),
  Model('modernbert_large', 'v6e', 50_368, 4_096, 16),
)
# Chips by the slice's shape and the number of slices.
CHIPS = {
  8: ('2x4', 1),
  64: ('8x8', 1),
  256: ('16x16', 1),
  1024: ('16x16', 4),
  4096: ('16x16', 16),
}
LAYOUTS = {
  'data': {},
  'fsdp=8': {'fsdp': 8},
  'fsdp=4 tensor=2': {'fsdp': 4, 'tensor': 2},
}

_SHOW = flags.DEFINE_bool('show', False, 'Print the table that is there.')


def rows_of(model: Model, chips: int) -> Iterator[dict[str, Any]]:
  """Estimates a step of each layout on so many chips."""
  shape, num_slices = CHIPS[chips]
  experiment = load_config(str(RECIPES / f'{model.recipe}.py'))
  experiment.batch_size, experiment.num_microbatches = model.batch_size, 1
  topology = topologies.named(f'{model.generation}:{shape}', num_slices)
  estimator = plans.Estimator(experiment, topology, model.vocab_size)
  for name, axes in LAYOUTS.items():
    yield {
      'model': model.recipe,
      'topology': str(topology),
      'chips': chips,
      'layout': name,
    } | _figures(estimator, model, MeshConfig(**axes))


def _figures(
  estimator: plans.Estimator, model: Model, mesh: MeshConfig
) -> dict[str, Any]:
  experiment: PretrainExperiment = estimator.experiment
  topology = estimator.topology
  rows = model.batch_size * mesh.tensor // topology.num_devices
  microbatches = max(1, rows // model.rows)
  data = topology.num_devices // (mesh.fsdp * mesh.tensor)
  layout = plan_estimate.Layout(data, mesh.fsdp, mesh.tensor, microbatches)
  plan = plans.Plan(
    model.batch_size, layout, experiment.remat, experiment.attention
  )
  [stage] = plan.of(experiment).plan().stages
  estimate = estimator.estimate(plan)
  assert estimate is not None  # every layout divides every model
  [part] = estimator.stages(plan)
  exchanged = exchanges(experiment, layout, stage, estimator.num_parameters)
  tokens = stage.batch_size * stage.row_length
  arithmetic = tokens * estimator.seconds(plan, [(0, 0)])
  crossing = _crossing(exchanged, layout, topology.num_slices)
  return {
    'microbatches': microbatches,
    'rows': layout.rows(stage.batch_size),
    'gib': _gib(estimate.memory),
    'fits': estimate.memory <= estimator.device_memory,
    'gib_exchanged': {
      f'{x.axis} {x.kind}': _gib(x.num_bytes) for x in exchanged
    },
    'mib_sent_between_slices': [_short(x / 2**20) for x in crossing],
    'gbit_between_slices': [_short(8e-9 * x / arithmetic) for x in crossing],
    'arithmetic_seconds': _short(arithmetic),
    'memory_seconds': _short(part.traffic / estimator.bandwidth),
    'step_seconds': _short(tokens * estimate.seconds),
  }


def _crossing(
  exchanged: list[plan_estimate.Exchange],
  layout: plan_estimate.Layout,
  num_slices: int,
) -> tuple[float, float]:
  """Bytes that a device sends to other slices, at least and at most."""
  if num_slices == 1:
    return 0.0, 0.0
  [summed] = [x for x in exchanged if x.axis == 'data']
  # The devices of a slice that sum the same gradients share the sums.
  part = summed.num_bytes * num_slices / layout.data
  return part * 2 * (num_slices - 1) / num_slices, summed.sent


def exchanges(
  experiment: PretrainExperiment,
  layout: plan_estimate.Layout,
  stage: Any,
  num_parameters: int,
) -> list[plan_estimate.Exchange]:
  """Arrays that are exchanged, with the table's gradient in two parts."""
  config = experiment.model
  return plan_estimate.exchanges(
    layout,
    stage,
    config,
    num_parameters,
    jnp.dtype(experiment.compute_dtype).itemsize,
    summed_again=config.table_size * config.table_dim,
  )


def _gib(num_bytes: float) -> float:
  return round(num_bytes / 2**30, 3)


def _short(number: float) -> float:
  return float(f'{number:.3g}')


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
  """Yields the short form of the table, as docs/scale.md has it."""
  yield (
    '| model | chips | microbatches | GiB of memory | GiB exchanged | Gbit/s '
    'between slices | seconds of arithmetic | seconds of a step |'
  )
  yield '|---|---|---|---|---|---|---|---|'
  for start in range(0, len(rows), len(LAYOUTS)):
    layouts = rows[start : start + len(LAYOUTS)]
    one = layouts[0]

    cells = (
      one['model'],
      f'{one["chips"]:,}: {one["topology"]}',
      _cell(layouts, lambda row: str(row['microbatches'])),
      _cell(layouts, lambda row: f'{row["gib"]:.1f}'),
      _cell(layouts, lambda row: f'{sum(row["gib_exchanged"].values()):.2f}'),
      _cell(layouts, _between_slices),
      f'{one["arithmetic_seconds"]:g}',
      _cell(layouts, lambda row: f'{row["step_seconds"]:g}'),
    )
    yield f'| {" | ".join(cells)} |'


def _between_slices(row: dict[str, Any]) -> str:
  least, most = row['gbit_between_slices']
  return f'{least:g} to {most:g}' if most else '-'


def _cell(
  layouts: Sequence[dict[str, Any]], text: Callable[[dict[str, Any]], str]
) -> str:
  return ' · '.join(map(text, layouts))


def main(unused_argv: Sequence[str]) -> None:
  if not _SHOW.value:
    rows = [
      row
      for model in MODELS
      for chips in CHIPS
      for row in rows_of(model, chips)
    ]
    durable_files.write_json(RESULTS, {'rows': rows})
  print('\n'.join(table(json.loads(RESULTS.read_text())['rows'])))


if __name__ == '__main__':
  app.run(main)
