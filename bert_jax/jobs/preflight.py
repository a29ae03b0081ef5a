"""A pretraining step compiled for TPU chips or GPUs that are not there.

The program is the one that a run compiles. Its memory is what the compiler
says; its speed is an estimate.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.tokenizers.base import (
  SPECIAL_TOKENS,
  TokenTable,
  synthetic_table,
)
from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment, model_of, program_of
from bert_jax.jobs.measured_speed import MeasuredSpeed, measured_speed
from bert_jax.jobs.preflight_figures import (
  Figures,
  Memory,
  StageFigures,
)
from bert_jax.jobs.preflight_lints import lints
from bert_jax.jobs.pretrain import (
  check_pairs,
  flops_before,
  for_initial,
  open_data,
  open_stream,
  with_vocab_size,
)
from bert_jax.models import functional
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.objectives.base import PretrainingObjective
from bert_jax.parallel import compiled, topologies
from bert_jax.parallel.mesh import check_batch_size
from bert_jax.parallel.sharding import (
  batch_sharding,
  devices_along,
  replicated,
)
from bert_jax.pretrained import open_pretrained
from bert_jax.stopping import StopSignal
from bert_jax.train import xla_options
from bert_jax.train.program import Program
from bert_jax.train.state import state_bytes
from bert_jax.workdir import default_compute_dtype, versions_of

# Pairs of a row where no corpus says how many there are at most.
_PAIRS_OF_A_ROW = 4
# The packages of the compilers, by platform.
_COMPILERS = {
  'tpu': ('libtpu',),
  'gpu': ('jax-cuda13-plugin', 'nvidia-cudnn-cu13'),
}
# The rest is for CUDA itself and its libraries.
_LARGEST_SHARE = 0.92


def preflight(
  experiment: PretrainExperiment,
  topology_name: str,
  *,
  vocab_size: int | None = None,
  num_slices: int = 1,
  measured: dict[str, Any] | None = None,
  kept: str = 'it wrote nothing and can begin again.',
) -> Figures:
  """Compiles the step of each stage for a topology.

  Args:
    experiment: a pretraining experiment; without data.path, `vocab_size` or
      model.vocab_size stands for the tokenizer.
    topology_name: such as v5e:2x4 or h100:8.
    vocab_size: entries of the vocabulary.
    num_slices: slices of that topology, which data alone crosses.
    measured: the JSON of check_device on such a device; None: it is assumed
      that a step reaches 0.4 to 1 of the speed of its roofline.
    kept: ends the sentence 'stopped by ...;' of a signal while it compiles.

  Raises:
    InputError: the config cannot be, there is no such topology, or its compiler
      is not installed.
  """
  check_kind(experiment)
  topology = topologies.named(topology_name, num_slices)
  device = device_fields(topology.chip)
  speed = None if measured is None else measured_speed(measured, topology)
  # The devices to compile for run nothing, and those that are here stay free.
  jax.config.update('jax_platforms', 'cpu')
  experiment, table, origin, batches = read_data(
    experiment, vocab_size, topology.chip.platform
  )
  mesh = _mesh(experiment, topology)
  with jax.set_mesh(mesh):
    objective = experiment.objective.build(table)
    program = _abstract_program(experiment, objective)
    of_state = state_bytes(program.abstract, program.shardings)
    stages = _compile_stages(
      experiment, objective, program, batches, of_state, topology, kept
    )
  figures = Figures(
    topology=topology,
    compute_dtype=experiment.compute_dtype,
    vocab_size=table.vocab_size,
    vocabulary_from=origin,
    num_parameters=functional.num_parameters(program.abstract.params),
    state_bytes=of_state,
    num_devices=topology.num_devices,
    stages=stages,
    versions=compiler_versions(topology.chip.platform),
    **device,
  )
  return dataclasses.replace(
    figures,
    **speed_fields(figures, speed),
    warnings=tuple(lints(experiment, table.vocab_size, figures)),
    changes=changes(experiment, mesh, figures),
  )


def speed_fields(
  figures: Figures, speed: MeasuredSpeed | None
) -> dict[str, Any]:
  """The fields of Figures that a measured speed replaces."""
  if speed is None:
    return {}
  longest = max(stage.row_length for stage in figures.stages)
  return speed.figures(figures.num_parameters, longest)


def check_kind(experiment: Any) -> None:
  """Raises InputError on an experiment that is not of pretraining."""
  if not isinstance(experiment, PretrainExperiment):
    raise InputError(
      f'--config: {type(experiment).__name__} has no num_steps; preflight is '
      'for a file of experiments/pretrain'
    )


def device_fields(chip: topologies.Chip) -> dict[str, Any]:
  """The fields of Figures that describe one device."""
  share = topologies.memory_share(chip)
  return {
    'device_memory': share * chip.device_memory,
    'memory_share': share,
    'peak_flops': chip.device_flops,
    'bandwidth': chip.device_bandwidth,
  }


def _mesh(
  experiment: PretrainExperiment, topology: topologies.Topology
) -> jax.sharding.Mesh:
  """The mesh of the run; InputError if it does not split the batches."""
  devices = topologies.compile_only_devices(topology)
  mesh = experiment.mesh.build(devices, topology.num_slices)
  for stage in experiment.plan().stages:
    check_batch_size(stage.batch_size, mesh, experiment.num_microbatches)
  return mesh


def changes(
  experiment: PretrainExperiment, mesh: jax.sharding.Mesh, figures: Figures
) -> tuple[str, ...]:
  """Changes for a step that does not fit; none for one that does.

  The first is nearly all of a GPU's memory, if that suffices.
  """
  if figures.all_fit:
    return ()
  found = changes_that_save_memory(experiment, mesh)
  if figures.memory_share < _LARGEST_SHARE:
    whole = figures.device_memory / figures.memory_share
    larger = dataclasses.replace(figures, device_memory=_LARGEST_SHARE * whole)
    if larger.all_fit:
      name = topologies.MEMORY_FRACTION
      found = (f'{name}={_LARGEST_SHARE} in the environment', *found)
  return found[:3]


def _abstract_program(
  experiment: PretrainExperiment, objective: PretrainingObjective
) -> Program:
  key = jax.eval_shape(lambda: jax.random.key(0))
  sharding = replicated(jax.sharding.get_mesh())
  abstract: Any = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=sharding)
  model = model_of(experiment, objective)
  return program_of(experiment, objective, model, abstract)


def read_data(
  experiment: PretrainExperiment, vocab_size: int | None, platform: str
) -> tuple[PretrainExperiment, TokenTable, str, list[dict[str, Any]]]:
  """Reads the vocabulary and the shapes of rows.

  Returns:
    (the experiment with its vocabulary's size and the compute dtype of the
    platform, the table, where it is from, a row of each stage; no rows where
    there is no corpus).
  """
  if not experiment.compute_dtype:
    dtype = default_compute_dtype(platform)
    experiment = dataclasses.replace(experiment, compute_dtype=dtype)
  data, model = experiment.data, experiment.model
  if data.all_corpora()[0].path:
    experiment.validate()
    if vocab_size is not None:
      raise InputError(
        f'--vocab_size={vocab_size}: the corpus has a tokenizer; leave it out, '
        'or set data.path to nothing'
      )
    with open_data(experiment, browse=True) as (corpora, tokenizer):
      if experiment.init_from:
        source = open_pretrained(experiment.init_from)
        experiment = for_initial(experiment, source, tokenizer)
      experiment = with_vocab_size(experiment, tokenizer)
      check_pairs(experiment.objective.build(tokenizer.table), corpora)
      stream = open_stream(experiment, corpora)
      rows = [
        stream.batch(np.array([first], np.uint64))
        for first in experiment.plan().first_examples[:-1]
      ]
    origin = f'the tokenizer of {data.all_corpora()[0].path}'
    return experiment, tokenizer.table, origin, rows
  size, origin = model.vocab_size, 'model.vocab_size'
  if vocab_size is not None:
    if size not in (0, vocab_size):
      raise InputError(
        f'--vocab_size={vocab_size}: model.vocab_size is {size}; leave one out'
      )
    size, origin = vocab_size, '--vocab_size'
  if size <= len(SPECIAL_TOKENS):
    raise InputError(
      f'the vocabulary has {size} entries; give --config.data.path=CORPUS, or '
      '--vocab_size=N where there is none yet'
    )
  table = synthetic_table(size)
  without = dataclasses.replace(data, path='not read')
  dataclasses.replace(experiment, data=without).validate()
  model = dataclasses.replace(model, vocab_size=size)
  return dataclasses.replace(experiment, model=model), table, origin, []


def _compile_stages(
  experiment: PretrainExperiment,
  objective: PretrainingObjective,
  program: Program,
  rows: list[dict[str, Any]],
  of_state: tuple[int, int],
  topology: topologies.Topology,
  kept: str,
) -> tuple[StageFigures, ...]:
  flops = flops_before(experiment, objective)
  plan = experiment.plan()
  found = []
  for number, stage in enumerate(plan.stages):
    length, first = stage.row_length, plan.first_steps[number]
    row = rows[number] if rows else row_shapes(objective, length)
    sharding = batch_sharding(jax.sharding.get_mesh())
    batch = {
      name: jax.ShapeDtypeStruct(
        (stage.batch_size, *array.shape[1:]), array.dtype, sharding=sharding
      )
      for name, array in row.items()
    }
    lowered = program.lower(batch)
    start = time.perf_counter()
    compiled_fields = _compiled(
      lowered,
      of_state,
      topology,
      bool(experiment.xla_options),
      kept,
    )
    found.append(
      StageFigures(
        num_steps=stage.num_steps,
        row_length=length,
        batch_size=stage.batch_size,
        flops=flops(first + 1) - flops(first),
        compile_seconds=time.perf_counter() - start,
        **compiled_fields,
      )
    )
  return tuple(found)


def row_shapes(
  objective: PretrainingObjective, length: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """The shapes of one row where no corpus says what is beside the ids."""
  row = {
    'input_ids': jax.ShapeDtypeStruct((1, length), jnp.int32),
    'example_number': jax.ShapeDtypeStruct((1, 2), jnp.uint32),
  }
  if objective.pairs_kind:
    row['pair_labels'] = jax.ShapeDtypeStruct((1, _PAIRS_OF_A_ROW), jnp.int32)
  return row


def _compiled(
  lowered: jax.stages.Lowered,
  of_state: tuple[int, int],
  topology: topologies.Topology,
  has_options: bool,
  kept: str,
) -> dict[str, Any]:
  """The fields of StageFigures that only the compiler knows.

  Raises InputError if the compiler of the chips does not take the options.
  """
  stop = StopSignal('preflight', kept)
  try:
    with stop:  # a signal would wait for minutes otherwise
      executable = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if has_options and str(error).startswith('INVALID_ARGUMENT'):
      raise xla_options.refusal(error, topology.chip.platform) from error
    if not compiled.is_out_of_memory(error):
      raise
    return {'refusal': str(error).splitlines()[0]}
  text = compiled.Program(executable.as_text() or '')
  slices = topology.num_slices
  per_slice = topology.num_devices // slices if slices > 1 else None
  return {
    'memory': Memory.of(executable, of_state),
    'traffic': text.memory_traffic(),
    'collectives': text.collectives(per_slice),
    'kernels': text.kernels(),
    'products': text.products() if topology.chip.platform == 'gpu' else {},
  }


def changes_that_save_memory(
  experiment: PretrainExperiment, mesh: jax.sharding.Mesh
) -> tuple[str, ...]:
  """At most three changes of a config, in the order in which to try them."""
  changes = []
  if experiment.remat != 'full':
    better = 'dots' if experiment.remat == 'none' else 'full'
    changes.append(f'--config.remat={better}')
  twice = 2 * experiment.num_microbatches
  devices = devices_along('batch', mesh)
  sizes = [stage.batch_size for stage in experiment.plan().stages]
  if not any(size % (devices * twice) for size in sizes):
    changes.append(f'--config.num_microbatches={twice}')
  data = mesh.shape['data']
  fsdp = mesh.shape['fsdp'] * data
  if data > 1 and experiment.model.embed_dim % fsdp == 0:
    changes.append(f'--config.mesh.fsdp={fsdp}')
  if not any(isinstance(x, BlockedAttention) for x in experiment.attention):
    changes.append('attention=(BlockedAttention(),) in the experiment file')
  return tuple(changes[:3])


def compiler_versions(platform: str) -> dict[str, str]:
  """The versions of the packages that decide what a program becomes."""
  return versions_of(('jax', 'jaxlib', *_COMPILERS[platform]))
