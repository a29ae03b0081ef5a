"""Figures of the steps of a run that preflight finds out."""

import dataclasses
from typing import Any

import jax

from bert_jax.jobs import plan_estimate
from bert_jax.parallel import compiled, topologies

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

  @classmethod
  def of(
    cls, executable: jax.stages.Compiled, of_state: tuple[int, int]
  ) -> 'Memory':
    """The memory of a program, by its compiler.

    `of_state` has the bytes of (parameters, optimizer) among its arguments.
    """
    stats: Any = executable.memory_analysis()
    parameters, optimizer = of_state
    return cls(
      parameters=parameters,
      optimizer=optimizer,
      other_arguments=stats.argument_size_in_bytes - parameters - optimizer,
      temporaries=stats.temp_size_in_bytes,
      results=stats.output_size_in_bytes - stats.alias_size_in_bytes,
      program=stats.generated_code_size_in_bytes,
    )

  @property
  def total(self) -> int:
    return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageFigures:
  """The step of a stage.

  refusal: the compiler's own words where the step does not fit; then `memory`
    is None, and so is what follows it.
  flops: model FLOPs of a step on all devices; see models/flops.py.
  compile_seconds: 0 where nothing was compiled.
  traffic: bytes that a step reads and writes in the memory of one device.
  collectives: those of one step, by kind; bytes are those of one device.
  exchanged: bytes that one device sends in a step, where nothing was compiled.
  kernels: those of one step that are not XLA's own code, by name.
  products: FLOPs of one device by the dtypes of their operands; on GPUs alone,
    for TPUs have products as convolutions.
  """

  num_steps: int
  row_length: int
  batch_size: int
  flops: float
  compile_seconds: float
  refusal: str = ''
  memory: Memory | plan_estimate.Memory | None = None
  traffic: float = 0
  collectives: dict[str, compiled.Collective] = dataclasses.field(
    default_factory=dict
  )
  exchanged: float = 0
  kernels: dict[str, int] = dataclasses.field(default_factory=dict)
  products: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
  """All that preflight found out.

  vocabulary_from: where the size of the vocabulary is from.
  state_bytes: parameters and optimizer on one device.
  device_memory, peak_flops, bandwidth: of one device: bytes, FLOP/s, bytes/s.
  memory_share: the share of the device's memory that JAX takes.
  shares_of_roofline: the share of its roofline's speed that a step may reach at
    worst and at best.
  measured_on: the device on which that was measured; '' if it is assumed.
  warnings: see preflight_lints.py.
  changes: what would make it fit; empty if it does.
  analytic: why nothing was compiled; '' if it was. Memory and bytes are then
    those of plan_estimate.py.
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
  memory_share: float = 1.0
  shares_of_roofline: tuple[float, float] = (WORST_SHARE_OF_ROOFLINE, 1.0)
  measured_on: str = ''
  warnings: tuple[str, ...] = ()
  changes: tuple[str, ...] = ()
  analytic: str = ''

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

  def step_seconds(self, stage: StageFigures) -> tuple[float, float]:
    """The time of a step at best and at worst, estimated."""
    worst, best = self.shares_of_roofline
    roofline = self.roofline_seconds(stage)
    return roofline / best, roofline / worst
