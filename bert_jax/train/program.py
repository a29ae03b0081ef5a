"""The compiled step, and the fresh state that it works on.

Pretraining and fine-tuning pass different arguments here, and share all that
follows.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.tree_util import Partial

from bert_jax.models import functional
from bert_jax.objectives.base import Objective
from bert_jax.parallel.sharding import parameter_shardings
from bert_jax.peft.base import FullTuning, Method
from bert_jax.train.gradients import Gradients, plain
from bert_jax.train.initial import Initial, fresh_state
from bert_jax.train.state import (
  TrainState,
  init_state,
  state_shardings,
  with_shardings,
)
from bert_jax.train.step import INITIALISATION, TrainStep, make_train_step
from bert_jax.train.xla_options import Options


@dataclasses.dataclass(kw_only=True)
class Program:
  """The compiled step of a run, and what is needed to make its first state.

  `jitted` takes (state, frozen, batch, key, schedule) and donates the state.
  `key` is the run's key, or one for each seed. The numbers of `schedule` are
  arguments, so that one program serves any number of steps. `base` gives
  shapes, dtypes and shardings of the frozen parameters, {} if all are trained.
  """

  jitted: jax.stages.Wrapped
  key: jax.Array
  schedule: optax.Schedule
  new_params: Callable[[jax.Array], functional.Params]
  new_state: Callable[[functional.Params], TrainState]
  abstract: TrainState
  shardings: TrainState
  base: functional.Params
  num_seeds: int

  def step_fn(
    self, state: TrainState, frozen: functional.Params, batch: Any
  ) -> tuple[TrainState, dict[str, Any]]:
    """Takes one step; returns the next state and the step's metrics."""
    return self.jitted(state, frozen, batch, self.key, self.schedule)

  def compile(
    self, state: TrainState, frozen: functional.Params, batch: Any
  ) -> None:
    """Compiles the step that `step_fn` takes for a batch of these shapes."""
    self.jitted.lower(state, frozen, batch, self.key, self.schedule).compile()

  def lower(self, batch: Any) -> jax.stages.Lowered:
    """Lowers the step for a batch of these shapes, which may be abstract."""
    state = with_shardings(self.abstract, self.shardings)
    return self.jitted.lower(state, self.base, batch, self.key, self.schedule)

  def fresh_state(self, initial: Initial | None = None) -> TrainState:
    """A new state on its devices, with the `initial` parameters in it."""
    return fresh_state(
      self.new_params(self.key),
      self.new_state,
      self.shardings,
      initial=initial,
      base=self.base,
      num_seeds=self.num_seeds,
    )


_FULL_TUNING = FullTuning()
_NO_OPTIONS: Options = {}


def make_program(
  objective: Objective,
  model: functional.Model,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  key: jax.Array,
  *,
  method: Method = _FULL_TUNING,
  gradients: Gradients = plain,
  num_microbatches: int,
  num_seeds: int = 0,
  average_decay: float = 0.0,
  xla_options: Options = _NO_OPTIONS,
) -> Program:
  """Builds the jitted step and the state's shardings for the mesh that is set.

  With `num_seeds`, every leaf of the state and the batch has a leading axis of
  that size, `key` is [num_seeds], and the state keeps the best parameters. All
  seeds share the frozen parameters. `average_decay`: see make_train_step.

  `model` is the model as `method` has extended it.
  """
  mesh = jax.sharding.get_mesh()
  many = bool(num_seeds)
  states = _first_states(model, optimizer, method, many, average_decay)
  new_params, new_state = states
  make_step = functools.partial(
    make_train_step,
    objective,
    model,
    optimizer,
    join=method.join,
    gradients=gradients,
    num_microbatches=num_microbatches,
    average_decay=average_decay,
  )
  abstract = jax.eval_shape(lambda key: new_state(new_params(key)), key)
  shardings = state_shardings(abstract, mesh, model.infos, seeds_axis=many)
  base = _base_of(model, method, mesh)
  whole = jax.tree.map(lambda x: x.is_fully_replicated, shardings.params)
  if base or not all(jax.tree.leaves(whole)):
    # One program: XLA drops the drawing of the base, which is loaded instead,
    # and a device draws only its own part of a parameter that the mesh splits.
    new_params = jax.jit(new_params, out_shardings=shardings.params)
  return Program(
    jitted=jax.jit(
      _step_of_any_schedule(make_step, many),
      donate_argnums=0,
      out_shardings=(shardings, None),
      compiler_options=dict(xla_options),
    ),
    key=key,
    schedule=_with_numbers(schedule),
    new_params=new_params,
    new_state=new_state,
    abstract=abstract,
    shardings=shardings,
    base=base,
    num_seeds=num_seeds,
  )


def _first_states(
  model: functional.Model,
  optimizer: optax.GradientTransformation,
  method: Method,
  many: bool,
  average_decay: float,
) -> tuple[
  Callable[[jax.Array], functional.Params],
  Callable[[functional.Params], TrainState],
]:
  """Functions from a key to parameters and from those to the first state."""

  def new_params(key: jax.Array) -> functional.Params:
    params = model.init(jax.random.fold_in(key, INITIALISATION))
    return method.split(params, model.infos)[0]

  def new_state(params: functional.Params) -> TrainState:
    return init_state(
      params, optimizer, keep_best=many, keep_average=bool(average_decay)
    )

  if many:
    return jax.vmap(new_params), jax.vmap(new_state)
  return new_params, new_state


def _with_numbers(schedule: optax.Schedule) -> Partial:
  """The schedule with its numbers as arguments, none if it is no Partial."""
  return schedule if isinstance(schedule, Partial) else Partial(schedule)


def _step_of_any_schedule(
  make_step: Callable[..., TrainStep], many: bool
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
  """The step with the schedule as its last argument, over seeds if `many`."""

  def step(state, frozen, batch, key, schedule):
    train_step = make_step(schedule=schedule)
    if many:
      train_step = jax.vmap(train_step, in_axes=(0, None, 0, 0))
    return train_step(state, frozen, batch, key)

  return step


def _base_of(
  model: functional.Model, method: Method, mesh: jax.sharding.Mesh
) -> functional.Params:
  """Shapes, dtypes and shardings of the parameters that the method freezes."""
  _, frozen = method.split(model.abstract_params(), model.infos)
  shapes = {path: x.shape for path, x in functional.flatten(frozen).items()}
  axes = {path: model.infos[path].axes for path in shapes}
  shardings = parameter_shardings(mesh, shapes, axes)
  return functional.map_by_path(
    lambda path, leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=shardings[path]
    ),
    frozen,
  )
