"""The peak of a matrix product and of a copy, as measured on this device."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.jobs.check_device.base import (
  MIB,
  Setting,
  is_accelerator,
  row,
  seconds_of,
)
from bert_jax.models.products import product
from bert_jax.parallel.chips import chip_of
from bert_jax.train.throughput import datasheet_flops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peaks:
  """Peaks of one device; what a data sheet says is 0 where none is known.

  size: of the square matrices. bf16_flops, f32_flops: FLOP/s of their product,
  with sums in f32. copied_bytes: size of the array that is copied.
  bytes_per_second: read and written by the copy.
  """

  size: int
  bf16_flops: float
  f32_flops: float
  datasheet_bf16_flops: float
  copied_bytes: int
  bytes_per_second: float
  datasheet_bytes_per_second: float

  def lines(self) -> Iterator[str]:
    products = f'product of {self.size}'
    yield row('', 'measured', 'data sheet')
    yield row(
      f'{products}, bf16, TFLOP/s',
      f'{self.bf16_flops / 1e12:.3g}',
      _or_unknown(self.datasheet_bf16_flops / 1e12),
    )
    yield row(f'{products}, f32, TFLOP/s', f'{self.f32_flops / 1e12:.3g}', '-')
    yield row(
      f'copy of {self.copied_bytes / MIB:.0f} MiB, GB/s',
      f'{self.bytes_per_second / 1e9:.3g}',
      _or_unknown(self.datasheet_bytes_per_second / 1e9),
    )

  def failures(self) -> Iterator[str]:
    yield from ()


def run(setting: Setting) -> Peaks:
  """Measures both, in about three seconds and three compilations."""
  copied = (1024 if is_accelerator() else 64) * MIB
  x = jnp.zeros(copied // 4, jnp.float32)
  # A plain copy could be left out by the compiler.
  negative = jax.jit(jnp.negative)
  kind = jax.devices()[0].device_kind
  return Peaks(
    size=_size(),
    bf16_flops=product_flops(jnp.bfloat16),
    f32_flops=product_flops(jnp.float32),
    datasheet_bf16_flops=datasheet_flops(kind),
    copied_bytes=copied,
    bytes_per_second=2 * copied / seconds_of(lambda: negative(x))[0],
    datasheet_bytes_per_second=datasheet_bandwidth(kind),
  )


def product_flops(dtype: Any) -> float:
  """FLOP/s of the model's own product of two square matrices."""
  size = _size()
  keys = jax.random.split(jax.random.key(0))
  left, right = (jax.random.normal(key, (size, size), dtype) for key in keys)
  multiply = jax.jit(lambda x, y: product('ij,jk->ik', x, y, jnp.dtype(dtype)))
  return 2 * size**3 / seconds_of(lambda: multiply(left, right))[0]


def _size() -> int:
  return 8192 if is_accelerator() else 1024


def datasheet_bandwidth(device_kind: str) -> float:
  """Bytes/s of one device's memory by its data sheet; 0 if none is known."""
  chip = chip_of(device_kind)
  return chip.device_bandwidth if chip else 0.0


def _or_unknown(figure: float) -> str:
  return f'{figure:.3g}' if figure else 'unknown'
