"""Peak arithmetic of the devices, to which MFU refers."""

import time

import jax
import jax.numpy as jnp

from bert_jax.parallel.chips import chip_of


def peak_flops(stated_tflops: float) -> tuple[float, str]:
  """(peak FLOP/s of all devices, where the figure is from)."""
  devices = jax.devices()
  if stated_tflops:
    return stated_tflops * 1e12 * len(devices), 'logging.peak_tflops'
  kind = devices[0].device_kind
  if peak := datasheet_flops(kind):
    return peak * len(devices), f'{kind}, bf16, data sheet'
  if devices[0].platform == 'cpu':
    # Simulated devices share the cores, so one product measures all of them.
    return _measured_peak(), 'f32 matrix product of 1024, measured at the start'
  return 0.0, f'no peak known for {kind}; set logging.peak_tflops'


def datasheet_flops(device_kind: str) -> float:
  """The dense bf16 peak of one device in FLOP/s; 0 if none is known."""
  chip = chip_of(device_kind)
  return chip.device_flops if chip else 0.0


def _measured_peak() -> float:
  size = 1024
  a = jnp.ones((size, size), jnp.float32)
  product = jax.jit(jnp.dot)
  product(a, a).block_until_ready()
  best = float('inf')
  for _ in range(5):
    start = time.perf_counter()
    product(a, a).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * size**3 / best
