"""What fine-tuning asks of a method that trains a part of the parameters.

A method's config has `validate()`, `has_base` and `build()`, which returns a
Method. The parameters of a model that are neither trained nor saved are its
base: the run's `init_from` names them, and is needed to use what was tuned.
"""

import dataclasses
from typing import ClassVar, Protocol

from bert_jax.models.functional import Model, Params


class Method(Protocol):
  """A way to fine-tune: which parameters there are, and which are trained."""

  def extend(self, model: Model) -> Model:
    """The model with the method's own parameters beside those of the base.

    Raises InputError where the method does not fit the model.
    """
    ...

  def split(self, params: Params) -> tuple[Params, Params]:
    """Parameters of the extended model -> (trainable ones, frozen ones)."""
    ...

  def join(self, trainable: Params, frozen: Params) -> Params:
    """The reverse of `split`."""
    ...

  def merge(self, params: Params) -> Params:
    """Parameters of the extended model -> of the plain model, host arrays.

    Both give the same outputs, but for rounding.
    """
    ...


@dataclasses.dataclass(kw_only=True, slots=True)
class FullTuningConfig:
  """Every parameter is trained."""

  has_base: ClassVar[bool] = False

  def validate(self) -> None:
    """Accepts every config: there is nothing to choose."""

  def build(self) -> 'FullTuning':
    return FullTuning()


class FullTuning:
  """See Method for the methods."""

  def extend(self, model: Model) -> Model:
    return model

  def split(self, params: Params) -> tuple[Params, Params]:
    return params, {}

  def join(self, trainable: Params, frozen: Params) -> Params:
    assert not frozen
    return trainable

  def merge(self, params: Params) -> Params:
    return params
