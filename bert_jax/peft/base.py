"""Interface of fine-tuning methods that train a part of the parameters.

Parameters that are neither trained nor saved are the base of a model: the run's
`init_from` names them, and the tuned model needs it to run.
"""

import dataclasses
from typing import ClassVar, Protocol, runtime_checkable

from bert_jax.models.functional import Model, Params
from bert_jax.param_info import Infos


class Method(Protocol):
  """A fine-tuning method: it adds parameters and chooses the trained ones.

  Every call depends on the config and the arguments alone: `split` and `merge`
  are also called on a Method whose `extend` was not.
  """

  def extend(self, model: Model) -> Model:
    """Returns the model with the method's own parameters beside the base.

    Raises InputError if the method does not fit the model.
    """
    ...

  def split(self, params: Params, infos: Infos) -> tuple[Params, Params]:
    """Splits parameters into (trainable, frozen).

    Args:
      params: those of the extended model; or of the model that `init_from`
        names, whose frozen part is the base.
      infos: the declaration of each of these parameters by its path.
    """
    ...

  def join(self, trainable: Params, frozen: Params) -> Params:
    """Joins parameters that `split` separated."""
    ...

  def merge(self, params: Params) -> Params:
    """Turns the extended model's parameters into the plain model's.

    Returns host arrays. Both models give the same outputs, up to rounding.
    """
    ...


@runtime_checkable
class MethodConfig(Protocol):
  """The config of a method: a dataclass.

  Attributes:
    has_base: Whether tuned models need the base that `init_from` names.
  """

  has_base: ClassVar[bool]

  def validate(self) -> None:
    """Raises InputError on an invalid config."""
    ...

  def build(self) -> Method:
    """The method; it may be built more than once in a run."""
    ...


@dataclasses.dataclass(kw_only=True, slots=True)
class FullTuningConfig:
  """Config of full fine-tuning: every parameter is trained."""

  has_base: ClassVar[bool] = False

  def validate(self) -> None:
    """Accepts every config: there is nothing to choose."""

  def build(self) -> 'FullTuning':
    return FullTuning()


class FullTuning:
  """Full fine-tuning; Method explains the methods."""

  def extend(self, model: Model) -> Model:
    return model

  def split(self, params: Params, infos: Infos) -> tuple[Params, Params]:
    return params, {}

  def join(self, trainable: Params, frozen: Params) -> Params:
    assert not frozen
    return trainable

  def merge(self, params: Params) -> Params:
    return params
