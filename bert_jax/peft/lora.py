"""LoRA: a low-rank correction beside each chosen matrix of the encoder.

The formula is y = x · W + (alpha / rank) · dropout(x) · A · B. W, the matrix of
the base, is frozen; A starts with small random numbers and B with zeros. Heads
are trained fully. Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685;
initial values as in the `peft` package (Kaiming uniform with a = sqrt(5)).

The parameters lie beside the base under `lora`, with the path of their matrix:
lora/encoder/layers/0/attention/query/a.
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import InputError, listed, quoted
from bert_jax.models import functional
from bert_jax.models.dropout import dropout, fold
from bert_jax.models.functional import Model, Params
from bert_jax.models.products import dense_product
from bert_jax.param_info import ENCODER_MATRICES, Infos, ParamInfo

ALL_LINEAR = 'all_linear'
# Number folded into keys and seeds; larger than any number of layers or of
# attention blocks, which are folded into the same seeds.
_DROPOUT = 1 << 20


@dataclasses.dataclass(kw_only=True, slots=True)
class LoRAConfig:
  """Config of LoRA.

  rank: the rank of each correction. alpha: corrections are multiplied by alpha
  / rank. dropout: the rate of dropout on a correction's input, in training.
  targets: kinds of matrices, from ENCODER_MATRICES in param_info.py; or
  'all_linear' for all of them.
  """

  has_base: ClassVar[bool] = True

  rank: int = 8
  alpha: float = 16.0
  dropout: float = 0.0
  targets: tuple[str, ...] = ('query', 'value')

  def validate(self) -> None:
    # A flag gives 'a,b' as one string, a config file gives ('a', 'b').
    self.targets = tuple(','.join(self.targets).split(','))
    for target in self.targets:
      if target not in (*ENCODER_MATRICES, ALL_LINEAR):
        raise InputError(
          f'peft.targets names {quoted(target)}; choose {ALL_LINEAR}, or some '
          f'of {", ".join(ENCODER_MATRICES)}'
        )
    if self.rank < 1:
      raise InputError(f'peft.rank is {self.rank}; it must be 1 or more')
    if not 0 < self.alpha < math.inf:
      raise InputError(f'peft.alpha is {self.alpha}; it must be above 0')
    if not 0 <= self.dropout < 1:
      raise InputError(f'peft.dropout is {self.dropout}; it must be in [0, 1)')

  def build(self) -> 'LoRA':
    return LoRA(self)


class LoRA:
  """LoRA over the whole encoder as base; peft/base.py explains the methods."""

  def __init__(self, config: LoRAConfig):
    self.config = config
    self.scale = config.alpha / config.rank

  def extend(self, model: Model) -> Model:
    shapes = functional.flatten(model.abstract_params())
    kernels = self._targets(model.infos)
    infos = {}
    for name, info in kernels.items():
      of_a, of_b = _factor_infos(info)
      infos |= {f'{_lora_path(name)}/a': of_a, f'{_lora_path(name)}/b': of_b}

    def init(key: jax.Array) -> Params:
      params = model.init(key)
      # A large number, because the model's initialisers fold small ones in.
      keys = jax.random.split(jax.random.fold_in(key, _DROPOUT), len(kernels))
      factors = {
        _lora_path(name): self._fresh(key, shapes[name].shape, info.num_in)
        for key, (name, info) in zip(keys, kernels.items(), strict=True)
      }
      return params | functional.unflatten(factors)

    def bind(params: Params) -> Any:
      own = params['lora']
      module = model.bind({n: p for n, p in params.items() if n != 'lora'})
      for name, info in kernels.items():
        *path, _ = name.split('/')
        factors = functools.reduce(lambda tree, part: tree[part], path, own)
        dense: Any = functools.reduce(_child, path, module)
        dense.adapter = self._correction(factors, info.kind, dense.dtype)
      return module

    return Model(init, bind, model.infos | infos, model.config)

  def split(self, params: Params, infos: Infos) -> tuple[Params, Params]:
    trainable = {n: part for n, part in params.items() if n != 'encoder'}
    return trainable, {'encoder': params['encoder']}

  def join(self, trainable: Params, frozen: Params) -> Params:
    return trainable | frozen

  def merge(self, params: Params) -> Params:
    """Merges the corrections into the matrices, in f64 and rounded once."""
    merged = jax.tree.map(np.asarray, params)
    factors = functional.flatten(merged.pop('lora'))
    for name in sorted(factors):
      path, _, factor = name.rpartition('/')
      if factor != 'a':
        continue
      a, b = (factors[f'{path}/{f}'].astype(np.float64) for f in 'ab')
      owner = functools.reduce(lambda t, part: t[part], path.split('/'), merged)
      kernel = owner['kernel'] + self.scale * np.tensordot(a, b, axes=1)
      owner['kernel'] = kernel.astype(owner['kernel'].dtype)
    return merged

  def _targets(self, infos: dict[str, ParamInfo]) -> dict[str, ParamInfo]:
    """The chosen kernels by path, in the order of their paths."""
    linear = {
      name: info
      for name, info in sorted(infos.items())
      if name.startswith('encoder/') and info.kind in ENCODER_MATRICES
    }
    kinds = {info.kind for info in linear.values()}
    for target in self.config.targets:
      if target != ALL_LINEAR and target not in kinds:
        raise InputError(
          f'peft.targets names {target}, which this model does not have; it '
          f'has {listed(sorted(kinds, key=ENCODER_MATRICES.index))}'
        )
    if ALL_LINEAR in self.config.targets:
      return linear
    return {n: i for n, i in linear.items() if i.kind in self.config.targets}

  def _fresh(
    self, key: jax.Array, shape: tuple[int, ...], num_in: int
  ) -> Params:
    rank = self.config.rank
    bound = math.prod(shape[:num_in]) ** -0.5
    return {
      'a': jax.random.uniform(
        key, (*shape[:num_in], rank), minval=-bound, maxval=bound
      ),
      'b': jnp.zeros((rank, *shape[num_in:])),
    }

  def _correction(self, factors: Params, kind: str, dtype: jnp.dtype) -> Any:
    """The adapter of one Dense: a function whose f32 result is added."""
    a, b = factors['a'], factors['b']

    @jax.named_scope('lora')
    def correction(x: jax.Array, seeds_B: jax.Array | None) -> jax.Array:
      own_seeds_B = fold(seeds_B, _DROPOUT + ENCODER_MATRICES.index(kind))
      x = dropout(x, self.config.dropout, own_seeds_B)
      low_rank = dense_product(x, a, a.ndim - 1, dtype)
      return self.scale * dense_product(low_rank.astype(dtype), b, 1, dtype)

    return correction


def _factor_infos(kernel: ParamInfo) -> tuple[ParamInfo, ParamInfo]:
  """The declarations of A and B; the axis of the rank stays whole."""
  split = kernel.num_in
  of_a = dataclasses.replace(
    kernel,
    axes=(*kernel.axes[:split], None),
    sizes=(*kernel.sizes[:split], None),
  )
  of_b = dataclasses.replace(
    kernel,
    axes=(None, *kernel.axes[split:]),
    sizes=(None, *kernel.sizes[split:]),
    num_in=1,
  )
  return of_a, of_b


def _lora_path(kernel_path: str) -> str:
  return f'lora/{kernel_path.rpartition("/")[0]}'


def _child(module: Any, name: str) -> Any:
  """Part of a module by its name in paths, which is a number in lists."""
  return module[int(name)] if name.isdecimal() else getattr(module, name)
