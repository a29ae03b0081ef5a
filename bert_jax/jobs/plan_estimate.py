"""Memory and time of a pretraining step, estimated before it is compiled.

Bytes on one device:

  parameters and optimizer, as the mesh splits them
  + gradients, f32: as many bytes as the parameters; twice with microbatches,
    whose sum lies beside the part of one. Where layers are not a loop, the part
    of one grows as what is saved is freed, so that the larger of both counts
  + what the forward pass of a microbatch saves
  + what one layer saves without rematerialisation, for the backward pass
    computes it again, or has as many cotangents
  + the scores over the vocabulary once more, for their error; with pieces
    (objectives/cross_entropy.py) never more than those of one piece.

What is saved is not a formula: the loss is traced for one and for two rows on
one device, and of its residuals those are counted that a compiler keeps
(plan_kept.py), which grow in proportion to the rows. A loop over layers keeps
all that its body saves. The axis `tensor` splits arrays of heads, of the
feed-forward network and of the vocabulary.

Seconds of a step: the larger of arithmetic (model FLOPs and what is computed
again) over the peak and traffic over the bandwidth of memory, plus bytes of
collectives over the bandwidth of the links, as if nothing overlapped.

No constant here is fitted to a compiler. What compilers said of the same steps
stands in experiments/benchmarks/memory_table.py; an estimate puts plans in
order, and only a compilation says that one fits.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr
from jax.sharding import AbstractDevice

from bert_jax.data.reading.plan import Stage
from bert_jax.experiment import PretrainExperiment, model_of
from bert_jax.jobs.plan_kept import asked_for, kept
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.splash import SplashAttention
from bert_jax.models.attention.view import Backend
from bert_jax.models.config import EncoderConfig
from bert_jax.models.flops import attention_flops_per_row, flops_per_row
from bert_jax.objectives.base import PretrainingObjective
from bert_jax.objectives.cross_entropy import MAX_SCORES
from bert_jax.parallel.mesh import MeshConfig

# Bytes per second that a device sends over its links, and receives at the same
# time. Source: half of the bidirectional bandwidth of a chip on Cloud TPU's
# page on each generation, as of November 2026; NVIDIA's data sheet of the H100
# SXM (NVLink 900 GB/s).
LINKS = {
  'v4': 300e9,
  'v5e': 200e9,
  'v5p': 600e9,
  'v6e': 400e9,
  'tpu7x': 300e9,  # of a device, half a chip
  'h100': 450e9,
}


class Saved(NamedTuple):
  """Bytes that a forward pass saves, `fixed` and for each row.

  scores: of `per_row`, those of arrays over the vocabulary. split: of
  `per_row`, those that the axis tensor splits, scores included.
  """

  fixed: int
  per_row: int
  scores: int
  split: int

  def on_device(self, rows: float, fsdp: int, tensor: int) -> float:
    """Bytes on one device for a microbatch of `rows` rows there."""
    split = (self.split - self.scores) / tensor
    whole = self.per_row - self.split
    return (
      self.fixed / (fsdp * tensor)
      + rows * (split + whole)
      + self.scores_on_device(rows, tensor)
    )

  def scores_on_device(self, rows: float, tensor: int) -> float:
    return min(rows * self.scores / tensor, 4.0 * MAX_SCORES)


class Residuals(NamedTuple):
  """Arrays that a forward pass leaves to the backward pass.

  kept: those that a compiler keeps in memory. asked_for: all that are read.
  """

  kept: Saved
  asked_for: Saved


def saved_by_loss(
  experiment: PretrainExperiment,
  objective: PretrainingObjective,
  row: dict[str, Any],
  device: AbstractDevice,
) -> Residuals:
  """Traces the loss of a microbatch and counts what it saves.

  Args:
    experiment: with its vocabulary's size and compute dtype filled in.
    objective: its objective.
    row: arrays [1, ...] of a batch, or their shapes.
    device: the kind of device to trace for.
  """
  one, two = (
    _traced(experiment, objective, row, count, device) for count in (1, 2)
  )
  model = experiment.model
  return Residuals(
    kept=_saved(model, kept(one, device.platform), kept(two, device.platform)),
    asked_for=_saved(model, asked_for(one), asked_for(two)),
  )


def _saved(model: EncoderConfig, one: list[Any], two: list[Any]) -> Saved:
  """Bytes that are saved, by the arrays of one row and of two."""

  def grown(chosen: Callable[[tuple[int, ...]], bool]) -> int:
    return _bytes(two, chosen) - _bytes(one, chosen)

  per_row = grown(lambda shape: True)
  return Saved(
    fixed=_bytes(one, lambda shape: True) - per_row,
    per_row=per_row,
    scores=grown(lambda shape: shape[-1:] == (model.table_size,)),
    split=grown(
      lambda shape: (
        shape[-1:] in ((model.table_size,), (model.mlp_dim,))
        or model.num_heads in shape[1:-1]
      )
    ),
  )


def _traced(
  experiment: PretrainExperiment,
  objective: PretrainingObjective,
  row: dict[str, Any],
  count: int,
  device: AbstractDevice,
) -> Jaxpr:
  """The program that gives what the backward pass of `count` rows reads."""
  batch = {
    name: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype)
    for name, x in row.items()
  }
  mesh = MeshConfig().build_abstract(device, num_devices=1)
  with jax.sharding.use_abstract_mesh(mesh):
    model = model_of(experiment, objective)

    def pullback(params: Any, batch: Any, seeds_B: jax.Array) -> Any:
      key, step = jax.random.key(0), jnp.zeros((), jnp.int32)
      prepared = objective.prepare(batch, key, step)

      def loss(params: Any) -> Any:
        bound = model.bind(params)
        encoded = objective.encode(bound, prepared, seeds_B)
        losses, _ = objective.losses(bound, encoded, seeds_B)
        return sum(total for total, _ in losses.values())

      return jax.vjp(loss, params)[1]

    seeds_B = jax.ShapeDtypeStruct((count,), jnp.uint32)
    traced = jax.make_jaxpr(pullback)
    return traced(model.abstract_params(), batch, seeds_B).jaxpr


def _bytes(
  arrays: Iterable[Any], chosen: Callable[[tuple[int, ...]], bool]
) -> int:
  return sum(
    math.prod(x.shape) * x.dtype.itemsize for x in arrays if chosen(x.shape)
  )


class Layout(NamedTuple):
  """How many devices, how they are laid out, and how a batch is cut."""

  data: int
  fsdp: int
  tensor: int
  num_microbatches: int

  def rows(self, batch_size: int) -> int:
    """Rows of a microbatch on one device."""
    return batch_size // (self.data * self.fsdp * self.num_microbatches)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Bytes on one device by cause; the docstring of this file has the formula.

  gradients: where layers are not a loop, those that take the place of nothing
    that was saved.
  again: what one layer saves without rematerialisation, and the scores over the
    vocabulary once more.
  """

  parameters: float
  optimizer: float
  gradients: float
  saved_for_backward: float
  again: float

  @property
  def total(self) -> float:
    return sum(dataclasses.astuple(self))


def memory(
  layout: Layout,
  stage: Stage,
  num_layers: int,
  is_loop: bool,
  state_bytes: tuple[int, int],
  saved: Saved,
  saved_by_all: Saved,
) -> Memory:
  """The memory of a step on one device.

  Args:
    layout: the devices and the microbatches.
    stage: the rows of a step.
    num_layers: layers of the encoder.
    is_loop: whether they are the body of a loop.
    state_bytes: of (parameters, optimizer) on one device.
    saved: what is saved.
    saved_by_all: what would be saved without rematerialisation.
  """
  parameters, optimizer = state_bytes
  axes = layout.fsdp, layout.tensor
  rows = layout.rows(stage.batch_size)
  # A layer's part of what grows with the rows.
  again = Saved(
    fixed=0,
    per_row=saved_by_all.per_row - saved_by_all.scores,
    scores=0,
    split=saved_by_all.split - saved_by_all.scores,
  )
  all_saved = saved.on_device(rows, *axes)
  once_more = again.on_device(rows, *axes) / num_layers
  once_more += saved.scores_on_device(rows, layout.tensor)
  gradients: float = parameters
  if not is_loop:
    gradients = max(0.0, parameters - all_saved - once_more)
  if layout.num_microbatches > 1:
    gradients += parameters
  return Memory(
    parameters=parameters,
    optimizer=optimizer,
    gradients=gradients,
    saved_for_backward=all_saved,
    again=once_more,
  )


def repeated_flops(
  config: EncoderConfig, remat: str, backends: Iterable[Backend], length: int
) -> float:
  """FLOPs of a row that its backward pass computes again.

  Reference and windowed attention keep the weights of keys where all is saved;
  other backends always compute the scores again. The layers of a second
  encoder, such as ELECTRA's generator, are left out.
  """
  scores = attention_flops_per_row(config, length) / 6
  forward = flops_per_row(config, length, 0) / 3
  keeps = not any(
    isinstance(x, SplashAttention | BlockedAttention) for x in backends
  )
  if remat == 'none':
    return 0.0 if keeps else scores
  if remat == 'dots':
    return scores
  if remat == 'attention':
    return forward - scores
  return forward + (0.0 if keeps else scores)


def traffic(
  layout: Layout,
  stage: Stage,
  config: EncoderConfig,
  backends: Iterable[Backend],
  state_bytes: tuple[int, int],
  saved: Saved,
  saved_by_all: Saved,
) -> float:
  """Bytes that a step moves between a device and its memory.

  All that a layer computes is written and read once, and what is saved once
  more where that is less; so are scores that blocks of plain JAX do not save,
  twice. Each microbatch reads the parameters twice and adds up gradients; the
  update reads and writes the state.
  """
  rows = layout.rows(stage.batch_size)
  axes = layout.fsdp, layout.tensor
  moved = 2 * saved_by_all.on_device(rows, *axes)
  if saved != saved_by_all:
    moved += 2 * saved.on_device(rows, *axes)
  if any(isinstance(x, BlockedAttention) for x in backends):
    pairs = attention_flops_per_row(config, stage.row_length) / (
      12 * config.embed_dim
    )
    moved += 4 * 4 * rows * config.num_heads * pairs / layout.tensor
  parameters, optimizer = state_bytes
  moved += 4 * parameters
  return layout.num_microbatches * moved + 2 * (parameters + optimizer)


class Exchange(NamedTuple):
  """Arrays that the devices along one axis of the mesh exchange in a step.

  num_bytes: those of one device, counted as parallel/compiled.py does.
  sent: what one device sends of them; rings send (n - 1) / n of an array, and
    sums twice that, unless each device keeps its part alone.
  """

  axis: str
  kind: str
  num_bytes: float
  sent: float


def exchanges(
  layout: Layout,
  stage: Stage,
  config: EncoderConfig,
  num_parameters: int,
  itemsize: int,
  summed_again: int = 0,
) -> list[Exchange]:
  """Arrays that devices exchange in a step, for axes of more than one device.

  Each microbatch sums gradients over `data`, gathers parameters twice and
  scatters gradients over `fsdp`, and sums the output of both halves of a layer
  over `tensor`, forward and backward. `summed_again` is a number of parameters
  whose gradient over `data` is summed in two parts.
  """
  data, fsdp, tensor, num_microbatches = layout
  of_tensor = num_parameters / tensor
  tokens = layout.rows(stage.batch_size) * stage.row_length
  states = itemsize * tokens * config.embed_dim
  summed = 4 * (num_parameters + summed_again) / tensor / fsdp
  found = [
    ('data', 'all-reduce', data, summed, 2),
    ('fsdp', 'all-gather', fsdp, 2 * itemsize * of_tensor, 1),
    ('fsdp', 'reduce-scatter', fsdp, 4 * of_tensor, 1),
    ('tensor', 'all-reduce', tensor, 4 * states * config.num_layers, 2),
  ]
  return [
    Exchange(
      axis,
      kind,
      num_microbatches * size,
      num_microbatches * (count - 1) / count * times * size,
    )
    for axis, kind, count, size, times in found
    if count > 1
  ]


def collective_bytes(
  layout: Layout,
  stage: Stage,
  config: EncoderConfig,
  num_parameters: int,
  itemsize: int,
) -> float:
  """Bytes that a device sends in a step."""
  found = exchanges(layout, stage, config, num_parameters, itemsize)
  return sum(exchange.sent for exchange in found)
