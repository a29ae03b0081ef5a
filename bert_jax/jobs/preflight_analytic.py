"""A pretraining step estimated for GPUs for which nothing can be compiled.

XLA compiles for a GPU by a specification of it. For others, memory and bytes
are those of plan_estimate.py, and peaks those of NVIDIA's data sheets.
"""

import dataclasses
from typing import Any

from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs import preflight as compiling
from bert_jax.jobs.measured_speed import measured_speed
from bert_jax.jobs.plans import Estimator, Plan
from bert_jax.jobs.preflight_figures import Figures, StageFigures
from bert_jax.jobs.preflight_lints import lints
from bert_jax.jobs.pretrain import flops_before
from bert_jax.parallel import topologies
from bert_jax.parallel.chips import DataSheetGpu
from bert_jax.parallel.mesh import check_batch_size
from bert_jax.workdir import versions_of


def preflight(
  experiment: PretrainExperiment,
  topology_name: str,
  *,
  vocab_size: int | None = None,
  num_slices: int = 1,
  measured: dict[str, Any] | None = None,
) -> Figures:
  """Estimates the step of each stage; the arguments are those of compiling.

  Raises InputError on a config that cannot be.
  """
  compiling.check_kind(experiment)
  topology = topologies.named(topology_name, num_slices)
  chip = topology.chip
  assert isinstance(chip, DataSheetGpu)
  speed = None if measured is None else measured_speed(measured, topology)
  estimator = Estimator(experiment, topology, vocab_size)
  experiment, table = estimator.experiment, estimator.table
  mesh, plan = estimator.mesh(experiment.mesh), estimator.plan_of(experiment)
  for stage in experiment.plan().stages:
    check_batch_size(stage.batch_size, mesh, experiment.num_microbatches)
  figures = Figures(
    topology=topology,
    compute_dtype=experiment.compute_dtype,
    vocab_size=table.vocab_size,
    vocabulary_from=estimator.origin,
    num_parameters=estimator.num_parameters,
    state_bytes=estimator.state_bytes(*plan.layout[:3]),
    num_devices=topology.num_devices,
    stages=_stages(estimator, plan),
    versions=versions_of(('jax',)),
    analytic=f'{topologies.WITHOUT_SPECIFICATION}; its figures are those of '
    f'{chip.source}',
    **compiling.device_fields(chip),
  )
  return dataclasses.replace(
    figures,
    **compiling.speed_fields(figures, speed),
    warnings=tuple(lints(experiment, table.vocab_size, figures)),
    changes=compiling.changes(experiment, mesh, figures),
  )


def _stages(estimator: Estimator, plan: Plan) -> tuple[StageFigures, ...]:
  experiment = estimator.experiment
  flops = flops_before(experiment, estimator.objective)
  steps = experiment.plan()
  return tuple(
    StageFigures(
      num_steps=stage.num_steps,
      row_length=stage.row_length,
      batch_size=stage.batch_size,
      flops=flops(first + 1) - flops(first),
      compile_seconds=0.0,
      memory=part.memory,
      traffic=part.traffic,
      exchanged=part.collectives,
    )
    for stage, first, part in zip(
      steps.stages, steps.first_steps, estimator.stages(plan), strict=False
    )
  )
