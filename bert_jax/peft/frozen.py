"""Frozen layers: embeddings and the lowest layers stay as they were.

What lies above them is trained, and so are the heads. With all layers frozen
this is linear probing, below a pooler that is trained. Source: Lee et al. 2019,
https://arxiv.org/abs/1911.03090, where a quarter of the layers, trained, keeps
nine tenths of the quality.
"""

import dataclasses
from typing import ClassVar

import jax

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.models.functional import Model, Params
from bert_jax.param_info import Infos


@dataclasses.dataclass(kw_only=True, slots=True)
class FrozenLayersConfig:
  """Config of frozen layers; the default freezes the embeddings alone.

  num_layers: the number of frozen layers, counted from the lowest; with all of
  them a norm above the last is frozen too. Layers that share their parameters
  count as one. embeddings: whether the embeddings are frozen.
  """

  has_base: ClassVar[bool] = True

  num_layers: int = 0
  embeddings: bool = True

  def validate(self) -> None:
    if self.num_layers < 0:
      raise InputError(
        f'peft.num_layers is {self.num_layers}; it must be 0 or more'
      )
    if not self.num_layers and not self.embeddings:
      raise InputError(
        'peft.num_layers is 0 and peft.embeddings is False, so nothing would '
        'be frozen; leave peft out of the experiment file to train everything'
      )

  def build(self) -> 'FrozenLayers':
    return FrozenLayers(self)


class FrozenLayers:
  """Frozen layers as a method; peft/base.py explains the methods."""

  def __init__(self, config: FrozenLayersConfig):
    self.config = config

  def extend(self, model: Model) -> Model:
    count = _num_layers(model.infos)
    if self.config.num_layers > count:
      raise InputError(
        f'peft.num_layers is {self.config.num_layers}; the model has {count} '
        'to freeze, give that or less'
      )
    return model

  def split(self, params: Params, infos: Infos) -> tuple[Params, Params]:
    whole = self.config.num_layers == _num_layers(infos)

    def is_frozen(path: str) -> bool:
      if not path.startswith('encoder/'):
        return False
      depth = infos[path].depth
      if depth is None:
        return whole
      return (
        depth <= self.config.num_layers if depth else self.config.embeddings
      )

    parts: tuple[Params, Params] = {}, {}
    for path, leaf in functional.flatten(params).items():
      parts[is_frozen(path)][path] = leaf
    trainable, frozen = map(functional.unflatten, parts)
    return trainable, frozen

  def join(self, trainable: Params, frozen: Params) -> Params:
    flat = functional.flatten(trainable) | functional.flatten(frozen)
    return functional.unflatten(flat)

  def merge(self, params: Params) -> Params:
    return jax.device_get(params)


def _num_layers(infos: Infos) -> int:
  """The number of layers with parameters of their own."""
  return max(
    info.depth or 0
    for path, info in infos.items()
    if path.startswith('encoder/')
  )
