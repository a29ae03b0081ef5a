"""A pretraining step compiled for TPU chips that are not there.

The program is the one that a run compiles. Its memory is what the compiler
says; its speed is an estimate.
"""

import dataclasses
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.tokenizers.base import (
  SPECIAL_TOKENS,
  TokenTable,
  token_table,
)
from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment, model_of
from bert_jax.jobs.pretrain import (
  check_pairs,
  flops_before,
  for_initial,
  open_data,
  open_stream,
  program_of,
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
from bert_jax.workdir import default_compute_dtype

# Pairs of a row where no corpus says how many there are at most.
_PAIRS_OF_A_ROW = 4
# A measured step has taken up to 1 / 0.4 of the time of its roofline.
WORST_SHARE_OF_ROOFLINE = 0.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Bytes on one device while a step runs.

  other_arguments: the batch, and what the layout of arguments fills up.
  results: what the step gives beside the state, which takes the old one's
    place.
  """

  parameters: int
  optimizer: int
  other_arguments: int
  temporaries: int
  results: int
  program: int

  @property
  def total(self) -> int:
    return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageFigures:
  """The step of a stage.

  refusal: the compiler's own words where the step does not fit; then `memory`
    is None, and so is what follows it.
  flops: model FLOPs of a step on all devices; see models/flops.py.
  traffic: bytes that a step reads and writes in the memory of one device.
  collectives: those of one step, by kind; bytes are those of one device.
  """

  num_steps: int
  row_length: int
  batch_size: int
  flops: float
  compile_seconds: float
  refusal: str = ''
  memory: Memory | None = None
  traffic: int = 0
  collectives: dict[str, compiled.Collective] = dataclasses.field(
    default_factory=dict
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
  """All that preflight found out.

  vocabulary_from: where the size of the vocabulary is from.
  state_bytes: parameters and optimizer on one device.
  device_memory, peak_flops, bandwidth: of one device: bytes, FLOP/s, bytes/s.
  changes: what would make it fit; empty if it does.
  """

  topology: topologies.Topology
  compute_dtype: str
  vocab_size: int
  vocabulary_from: str
  num_parameters: int
  state_bytes: tuple[int, int]
  num_devices: int
  device_memory: float
  peak_flops: float
  bandwidth: float
  stages: tuple[StageFigures, ...]
  versions: dict[str, str]
  changes: tuple[str, ...] = ()

  @property
  def all_fit(self) -> bool:
    return all(map(self.fits, self.stages))

  def fits(self, stage: StageFigures) -> bool:
    memory = stage.memory
    return memory is not None and memory.total <= self.device_memory

  def roofline_seconds(self, stage: StageFigures) -> float:
    """The time of a step by arithmetic or by memory, whichever is longer."""
    return max(
      stage.flops / (self.num_devices * self.peak_flops),
      stage.traffic / self.bandwidth,
    )


def preflight(
  experiment: PretrainExperiment,
  topology_name: str,
  *,
  vocab_size: int | None = None,
  kept: str = 'it wrote nothing and can begin again.',
) -> Figures:
  """Compiles the step of each stage for a topology.

  Args:
    experiment: a pretraining experiment; without data.path, `vocab_size` or
      model.vocab_size stands for the tokenizer.
    topology_name: such as v5e:2x4.
    vocab_size: entries of the vocabulary.
    kept: ends the sentence 'stopped by ...;' of a signal while it compiles.

  Raises:
    InputError: the config cannot be, there is no such topology, or libtpu is
      not installed.
  """
  check_kind(experiment)
  topology = topologies.named(topology_name)
  # The devices to compile for run nothing, and those that are here stay free.
  jax.config.update('jax_platforms', 'cpu')
  experiment, table, origin, batches = read_data(experiment, vocab_size)
  mesh = experiment.mesh.build(topologies.compile_only_devices(topology))
  for stage in experiment.plan().stages:
    check_batch_size(stage.batch_size, mesh, experiment.num_microbatches)
  with jax.set_mesh(mesh):
    objective = experiment.objective.build(table)
    model = model_of(experiment, objective)
    program = program_of(experiment, objective, model, _abstract_key(mesh))
    stages = _compile_stages(experiment, objective, program, batches, kept)
  chip, devices = topology.chip, topology.chip.num_devices
  figures = Figures(
    topology=topology,
    compute_dtype=experiment.compute_dtype,
    vocab_size=table.vocab_size,
    vocabulary_from=origin,
    num_parameters=functional.num_parameters(program.abstract.params),
    state_bytes=state_bytes(program.abstract, program.shardings),
    num_devices=mesh.size,
    device_memory=chip.memory_gib * 2**30 / devices,
    peak_flops=chip.tflops * 1e12 / devices,
    bandwidth=chip.memory_gb_per_second * 1e9 / devices,
    stages=stages,
    versions=compiler_versions(),
  )
  if figures.all_fit:
    return figures
  changes = changes_that_save_memory(experiment, mesh)
  return dataclasses.replace(figures, changes=changes)


def check_kind(experiment: Any) -> None:
  """Raises InputError on an experiment that is not of pretraining."""
  if not isinstance(experiment, PretrainExperiment):
    raise InputError(
      f'--config: {type(experiment).__name__} has no num_steps; preflight is '
      'for a file of experiments/pretrain'
    )


def _abstract_key(mesh: jax.sharding.Mesh) -> Any:
  key = jax.eval_shape(lambda: jax.random.key(0))
  return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh))


def read_data(
  experiment: PretrainExperiment, vocab_size: int | None
) -> tuple[PretrainExperiment, TokenTable, str, list[dict[str, Any]]]:
  """Reads the vocabulary and the shapes of rows.

  Returns:
    (the experiment with its vocabulary's size and compute dtype, the table,
    where it is from, a row of each stage; no rows where there is no corpus).
  """
  if not experiment.compute_dtype:
    dtype = default_compute_dtype('tpu')
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
  ids = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
  table = token_table(ids, np.ones(size, bool))
  without = dataclasses.replace(data, path='not read')
  dataclasses.replace(experiment, data=without).validate()
  model = dataclasses.replace(model, vocab_size=size)
  return dataclasses.replace(experiment, model=model), table, origin, []


def _compile_stages(
  experiment: PretrainExperiment,
  objective: PretrainingObjective,
  program: Program,
  rows: list[dict[str, Any]],
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
      state_bytes(program.abstract, program.shardings),
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
      raise xla_options.refusal(error, 'tpu') from error
    if not str(error).startswith('RESOURCE_EXHAUSTED'):
      raise
    return {'refusal': str(error).splitlines()[0]}
  stats: Any = executable.memory_analysis()
  parameters, optimizer = of_state
  given = stats.output_size_in_bytes - stats.alias_size_in_bytes
  text = compiled.Program(executable.as_text() or '')
  return {
    'memory': Memory(
      parameters=parameters,
      optimizer=optimizer,
      other_arguments=stats.argument_size_in_bytes - parameters - optimizer,
      temporaries=stats.temp_size_in_bytes,
      results=given,
      program=stats.generated_code_size_in_bytes,
    ),
    'traffic': text.memory_traffic(),
    'collectives': text.collectives(),
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


def compiler_versions() -> dict[str, str]:
  """The versions of the packages that decide what a program becomes."""
  found = {}
  for name in ('jax', 'jaxlib', 'libtpu'):
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found
