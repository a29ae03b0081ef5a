"""Peak arithmetic of the devices, to which MFU refers."""

import time

import jax
import jax.numpy as jnp

from bert_jax.parallel.topologies import CHIPS

# Dense bf16 peaks per device in TFLOP/s, from the makers' data sheets, keyed by
# the beginning of jax.Device.device_kind.
PEAK_TFLOPS = {
  **{
    kind: chip.tflops / chip.num_devices
    for chip in CHIPS.values()
    for kind in chip.device_kinds
  },
  'NVIDIA A100': 312.0,
  'NVIDIA H100': 989.0,
  'NVIDIA H200': 989.0,
}


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
  """The bf16 peak of one device in FLOP/s; 0 if none is known."""
  for name, tflops in PEAK_TFLOPS.items():
    if device_kind.startswith(name):
      return tflops * 1e12
  return 0.0


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
