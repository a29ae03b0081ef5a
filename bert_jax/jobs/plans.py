"""Plans of a pretraining step on a topology, and what each would take."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractDevice

from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment, model_of
from bert_jax.jobs import plan_estimate, preflight
from bert_jax.jobs.plan_estimate import LINKS, Layout, Residuals
from bert_jax.jobs.pretrain import flops_before
from bert_jax.models import functional
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import Backend, Shapes, View
from bert_jax.models.execution import REMATS
from bert_jax.parallel import topologies
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train.state import init_state, state_bytes, state_shardings

# Attention backends that a search puts in place of an experiment's own.
BACKENDS = ((BlockedAttention(),), (ReferenceAttention(),))


class Plan(NamedTuple):
  """How a step is laid out over devices and over time."""

  batch_size: int
  layout: Layout
  remat: str
  attention: tuple[Backend, ...]

  def of(self, experiment: PretrainExperiment) -> PretrainExperiment:
    """The experiment, carried out by this plan."""
    return dataclasses.replace(
      experiment,
      batch_size=self.batch_size,
      num_microbatches=self.layout.num_microbatches,
      remat=self.remat,
      attention=self.attention,
      mesh=MeshConfig(fsdp=self.layout.fsdp, tensor=self.layout.tensor),
    )

  def flags(self, experiment: PretrainExperiment) -> str:
    """Flags that turn the experiment's file into this plan.

    Backends of attention have no flag and stand at the end, in brackets.
    """
    values = {
      'remat': self.remat,
      'num_microbatches': self.layout.num_microbatches,
      'mesh.fsdp': self.layout.fsdp,
      'mesh.tensor': self.layout.tensor,
    }
    if experiment.mesh.data:
      values['mesh.data'] = 0
    if self.batch_size != experiment.batch_size:
      values['batch_size'] = self.batch_size
    flags = ' '.join(f'--config.{name}={x}' for name, x in values.items())
    if self.attention == experiment.attention:
      return flags
    names = ', '.join(f'{type(x).__name__}()' for x in self.attention)
    return f'{flags} [attention=({names},) in the experiment file]'


class Estimate(NamedTuple):
  """memory: bytes on one device, of the largest stage. seconds: of a token."""

  plan: Plan
  memory: float
  seconds: float


class StageEstimate(NamedTuple):
  """A step of a stage on one device: its memory, and bytes that it moves.

  traffic: in its memory. collectives: over its links.
  """

  memory: plan_estimate.Memory
  traffic: float
  collectives: float


class Estimator:
  """Estimates plans of an experiment on a topology; traces, compiles nothing.

  Raises InputError where preflight would.
  """

  def __init__(
    self,
    experiment: PretrainExperiment,
    topology: topologies.Topology,
    vocab_size: int | None,
  ):
    # Tracing needs no device, and those here stay free.
    jax.config.update('jax_platforms', 'cpu')
    self.topology = topology
    self.experiment, self.table, self.origin, self._rows = preflight.read_data(
      experiment, vocab_size, topology.chip.platform
    )
    self._device = AbstractDevice(
      device_kind=topology.chip.device_kinds[0],
      num_cores=None,
      platform=topology.chip.platform,
    )
    device = preflight.device_fields(topology.chip)
    self.device_memory = device['device_memory']
    self.peak_flops = device['peak_flops']
    self.bandwidth = device['bandwidth']
    self.objective = self.experiment.objective.build(self.table)
    self._model = model_of(self.experiment, self.objective)
    optimizer = self.experiment.optimizer.build(self._model.infos)
    self._state = jax.eval_shape(
      lambda params: init_state(params, optimizer, keep_best=False),
      self._model.abstract_params(),
    )
    self.num_parameters = functional.num_parameters(self._state.params)
    # Traces and choices that many plans share.
    self._known: dict[Any, Any] = {}

  @property
  def _link(self) -> float:
    """Bytes/s over a device's links; InputError if they are not known."""
    generation = self.topology.name.partition(':')[0]
    if generation not in LINKS:
      raise InputError(
        f'--search: the links of {generation} are not known; choose one of it, '
        f'or a topology of {", ".join(LINKS)}'
      )
    return LINKS[generation]

  def mesh(self, config: MeshConfig) -> Any:
    """The abstract mesh of a config; InputError if it does not fill it."""
    topology = self.topology
    return config.build_abstract(
      self._device, topology.num_devices, topology.num_slices
    )

  def plan_of(self, experiment: PretrainExperiment) -> Plan:
    """The plan that an experiment itself asks for."""
    sizes = self.mesh(experiment.mesh).shape
    data, fsdp, tensor = (sizes[name] for name in ('data', 'fsdp', 'tensor'))
    return Plan(
      experiment.batch_size,
      Layout(data, fsdp, tensor, experiment.num_microbatches),
      experiment.remat,
      experiment.attention,
    )

  def plans(self, batch_sizes: Sequence[int] = ()) -> Iterator[Plan]:
    """All plans, also those that cannot be laid out."""
    experiment, count = self.experiment, self.topology.num_devices
    backends = self._backends()
    for batch_size in batch_sizes or (experiment.batch_size,):
      for fsdp in _divisors(count):
        for tensor in _divisors(count // fsdp):
          data = count // (fsdp * tensor)
          for microbatches in self._microbatches(batch_size, data * fsdp):
            layout = Layout(data, fsdp, tensor, microbatches)
            for remat in REMATS:
              for attention in backends:
                yield Plan(batch_size, layout, remat, attention)

  def estimate(self, plan: Plan) -> Estimate | None:
    """Memory and time of the plan; None if the mesh cannot be laid out."""
    if not self._once(self._can_be_laid_out, *plan.layout[:3]):
      return None
    parts = self.stages(plan)
    moved = [(part.traffic, part.collectives) for part in parts]
    return Estimate(
      plan,
      max(part.memory.total for part in parts),
      self.seconds(plan, moved),
    )

  def stages(self, plan: Plan) -> list[StageEstimate]:
    """Estimates each stage; InputError if the mesh cannot be laid out."""
    layout, config = plan.layout, self.experiment.model
    of_state = self._once(self.state_bytes, *layout[:3])
    itemsize = jnp.dtype(self.experiment.compute_dtype).itemsize
    found = []
    for number, stage in enumerate(plan.of(self.experiment).plan().stages):
      length = stage.row_length
      saved, all_saved = (
        self._once(self._saved, remat, plan.attention, number, length)
        for remat in (plan.remat, 'none')
      )
      chosen = self._once(self._chosen, plan.attention, length)
      found.append(
        StageEstimate(
          plan_estimate.memory(
            layout,
            stage,
            config.num_layers,
            self.experiment.scan_layers,
            of_state,
            saved.kept,
            all_saved.kept,
          ),
          plan_estimate.traffic(
            layout,
            stage,
            config,
            chosen,
            of_state,
            saved.asked_for,
            all_saved.asked_for,
          ),
          plan_estimate.collective_bytes(
            layout, stage, config, self.num_parameters, itemsize
          ),
        )
      )
    return found

  def seconds(self, plan: Plan, moved: Sequence[tuple[float, float]]) -> float:
    """Seconds of a token over all stages.

    `moved` has bytes of each stage's step on a device: in its memory, and by
    collectives.
    """
    experiment = plan.of(self.experiment)
    flops = flops_before(experiment, self.objective)
    steps = experiment.plan()
    total = tokens = 0.0
    for stage, first, (traffic, collectives) in zip(
      steps.stages, steps.first_steps, moved, strict=False
    ):
      repeated = plan_estimate.repeated_flops(
        experiment.model,
        plan.remat,
        self._once(self._chosen, plan.attention, stage.row_length),
        stage.row_length,
      )
      arithmetic = flops(first + 1) - flops(first) + stage.batch_size * repeated
      seconds = max(
        arithmetic / (self.topology.num_devices * self.peak_flops),
        traffic / self.bandwidth,
      )
      if collectives:
        seconds += collectives / self._link
      total += stage.num_steps * seconds
      tokens += stage.num_steps * stage.batch_size * stage.row_length
    return total / tokens

  def _once(self, function: Callable[..., Any], *arguments: Any) -> Any:
    # Backends of attention can be compared and printed, but not hashed.
    key = (function.__name__, str(arguments))
    if key not in self._known:
      self._known[key] = function(*arguments)
    return self._known[key]

  def _saved(
    self, remat: str, attention: tuple[Backend, ...], number: int, length: int
  ) -> Residuals:
    row = (
      self._rows[number]
      if self._rows
      else preflight.row_shapes(self.objective, length)
    )
    experiment = dataclasses.replace(
      self.experiment, remat=remat, attention=attention
    )
    return plan_estimate.saved_by_loss(
      experiment, self.objective, row, self._device
    )

  def state_bytes(self, data: int, fsdp: int, tensor: int) -> tuple[int, int]:
    """Bytes of (parameters, optimizer) on a device; InputError as `stages`."""
    mesh = self.mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    shardings = state_shardings(self._state, mesh, self._model.infos)
    return state_bytes(self._state, shardings)

  def _can_be_laid_out(self, *sizes: int) -> bool:
    try:
      self._once(self.state_bytes, *sizes)
    except InputError:
      return False
    return True

  def _chosen(
    self, attention: tuple[Backend, ...], length: int
  ) -> tuple[Backend, ...]:
    """The backends of global and of local layers in rows of a length."""
    config = self.experiment.model
    ids: Any = jax.ShapeDtypeStruct((1, length), jnp.int32)
    shapes = Shapes(
      1,
      length,
      config.num_heads,
      config.head_dim,
      jnp.dtype(self.experiment.compute_dtype),
      config.attention_dropout > 0,
    )
    windows = {
      0 if config.is_global(layer) else config.local_window
      for layer in range(config.num_layers)
    }
    return tuple(
      choose(attention, View(ids, window), shapes, self.topology.chip.platform)
      for window in sorted(windows)
    )

  def _backends(self) -> list[tuple[Backend, ...]]:
    """The experiment's own backends, and others that come to something else."""
    lengths = {stage.row_length for stage in self.experiment.plan().stages}
    found: dict[Any, tuple[Backend, ...]] = {}
    for attention in (self.experiment.attention, *BACKENDS):
      names = str([self._chosen(attention, length) for length in lengths])
      found.setdefault(names, attention)
    return list(found.values())

  def _microbatches(self, batch_size: int, devices: int) -> list[int]:
    """The experiment's own number, and powers of two that divide the rows."""
    experiment = dataclasses.replace(self.experiment, batch_size=batch_size)
    sizes = [stage.batch_size for stage in experiment.plan().stages]
    if any(size % devices for size in sizes):
      return []
    rows = math.gcd(*(size // devices for size in sizes))
    powers = {2**k for k in range(rows.bit_length())}
    numbers = powers | {experiment.num_microbatches}
    return sorted(number for number in numbers if rows % number == 0)


def _divisors(number: int) -> list[int]:
  return [k for k in range(1, number + 1) if number % k == 0]
