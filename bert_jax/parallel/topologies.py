"""TPU topologies by name, such as v5e:2x4, and what their chips can do.

A topology gives devices to compile for where there are none. That takes libtpu,
which the extra `tpu` installs.
"""

import dataclasses
import difflib
import importlib.util
import itertools
import math
import os
import re

import jax
from jax.experimental import topologies

from bert_jax.errors import InputError, quoted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """Figures of a chip, from Cloud TPU's page on each generation.

  Source: https://cloud.google.com/tpu/docs/system-architecture-tpu-vm and the
  pages v4, v5e, v5p, v6e and tpu7x beside it, as of November 2026.

  device_kinds: the beginnings of jax.Device.device_kind.
  tflops: dense bf16 products, 10^12 FLOP/s.
  memory_gib: HBM in GiB. memory_gb_per_second: its bandwidth in 10^9 bytes.
  num_devices: devices of JAX on one chip, which share its figures.
  num_axes: axes of a slice. max_chips: chips in the largest slice.
  config_name: the chip configuration of libtpu; '' for its default.
  """

  device_kinds: tuple[str, ...]
  tflops: float
  memory_gib: float
  memory_gb_per_second: float
  num_devices: int = 1
  num_axes: int
  max_chips: int
  config_name: str = ''


CHIPS = {
  # A run joins both cores of a chip to one device; libtpu's default does not.
  'v4': Chip(
    device_kinds=('TPU v4',),
    tflops=275,
    memory_gib=32,
    memory_gb_per_second=1200,
    num_axes=3,
    max_chips=4096,
    config_name='megacore',
  ),
  'v5e': Chip(
    device_kinds=('TPU v5 lite', 'TPU v5e'),
    tflops=197,
    memory_gib=16,
    memory_gb_per_second=819,
    num_axes=2,
    max_chips=256,
  ),
  'v5p': Chip(
    device_kinds=('TPU v5p', 'TPU v5'),
    tflops=459,
    memory_gib=95,
    memory_gb_per_second=2765,
    num_axes=3,
    max_chips=6144,
  ),
  'v6e': Chip(
    device_kinds=('TPU v6 lite', 'TPU v6e'),
    tflops=918,
    memory_gib=32,
    memory_gb_per_second=1638,
    num_axes=2,
    max_chips=256,
  ),
  'tpu7x': Chip(
    device_kinds=('TPU7x',),
    tflops=2307,
    memory_gib=192,
    memory_gb_per_second=7380,
    num_devices=2,
    num_axes=3,
    max_chips=9216,
  ),
}
# Names under which Cloud TPU also sells a generation.
_OTHER_NAMES = {
  'v5litepod': 'v5e',
  'trillium': 'v6e',
  'v7x': 'tpu7x',
  'ironwood': 'tpu7x',
}
# Slices of generations with two axes, and the small ones of those with three.
_FLAT = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_CUBES = ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))


@dataclasses.dataclass(frozen=True)
class Topology:
  """A slice of TPU chips. name: such as v5e:2x4."""

  name: str
  chip: Chip
  num_chips: int


def named(name: str) -> Topology:
  """The topology of a name; InputError, with the nearest, if there is none."""
  kind, _, sizes = name.partition(':')
  chip = CHIPS.get(kind)
  if chip is None:
    known = {**{name: name for name in CHIPS}, **_OTHER_NAMES}
    near = difflib.get_close_matches(kind.lower(), known, 1, cutoff=0.3)
    nearest = f'; the nearest is {known[near[0]]}' if near else ''
    raise InputError(
      f'--topology={name}: no TPU {quoted(kind)} is known{nearest}; give '
      f'GENERATION:SIZES, such as v5e:2x4, of {", ".join(CHIPS)}'
    )
  shapes = _shapes(chip)
  if re.fullmatch(r'\d{1,6}(x\d{1,6})*', sizes):
    shape = tuple(int(size) for size in sizes.split('x'))
  else:
    shape = ()
  # libtpu ends the process on some sizes that do not exist.
  if shape not in shapes:
    near = _nearest(shape, shapes)
    raise InputError(
      f'--topology={name}: {kind} has no slice of that shape; the nearest is '
      f'{kind}:{"x".join(map(str, near))}'
    )
  return Topology(name, chip, math.prod(shape))


def chip_of(device_kind: str) -> Chip | None:
  """The chip of a device, by its jax.Device.device_kind; None if unknown."""
  return next(
    (
      chip
      for chip in CHIPS.values()
      if any(map(device_kind.startswith, chip.device_kinds))
    ),
    None,
  )


def compile_only_devices(topology: Topology) -> list[jax.Device]:
  """Devices to compile for; they can hold and run nothing.

  Raises InputError if libtpu is not installed.
  """
  # `jax[tpu]` brings libtpu of the version that fits jaxlib.
  if importlib.util.find_spec('libtpu') is None:
    raise InputError(
      f'--topology={topology.name} needs the package libtpu: pip install '
      "'bert_jax[tpu]'"
    )
  # libtpu would allow one process at a time, and look for the other hosts.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  # Without the chips, JAX could not read what it has put in its cache.
  jax.config.update('jax_enable_compilation_cache', False)
  options = {}
  if topology.chip.config_name:
    options['chip_config_name'] = topology.chip.config_name
  described = topologies.get_topology_desc(
    platform='tpu', topology_name=topology.name, **options
  )
  devices = list(described.devices)
  assert len(devices) == topology.num_chips * topology.chip.num_devices
  return devices


def _shapes(chip: Chip) -> list[tuple[int, ...]]:
  """The slices of a generation: larger cubes have multiples of 4 in order."""
  if chip.num_axes == 2:
    return list(_FLAT)
  sizes = range(4, 25, 4)
  large = [
    shape
    for shape in itertools.combinations_with_replacement(sizes, 3)
    if math.prod(shape) <= chip.max_chips
  ]
  return [*_SMALL_CUBES, *large]


def _nearest(
  shape: tuple[int, ...], shapes: list[tuple[int, ...]]
) -> tuple[int, ...]:
  """The slice with the nearest number of chips, the larger of two."""
  wanted = math.prod(shape)
  return min(shapes, key=lambda x: (abs(math.prod(x) - wanted), -math.prod(x)))
