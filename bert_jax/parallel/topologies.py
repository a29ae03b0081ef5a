"""Topologies by name, such as v5e:2x4 or h100:8: devices to compile for.

They are devices of a compiler alone, where there are no chips. That takes
libtpu, which the extra `tpu` installs, or the CUDA libraries of the extra
`cuda`.
"""

import contextlib
import dataclasses
import difflib
import itertools
import math
import os
import re
from importlib import metadata

import jax
from jax.experimental import topologies

from bert_jax.errors import InputError, quoted, require_package
from bert_jax.parallel.chips import (
  CHIPS,
  DATA_SHEET_GPUS,
  GPUS,
  Chip,
  Gpu,
  Tpu,
)

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


# The variable that sets the share of a GPU's memory that JAX takes.
MEMORY_FRACTION = 'XLA_CLIENT_MEM_FRACTION'
# Why nothing is compiled for a GPU whose figures are from its data sheet.
WITHOUT_SPECIFICATION = (
  'XLA has no specification of this GPU, only of '
  f'{", ".join(GPUS)}, so that nothing can be compiled for it'
)
# GPUs of one host, which NVLink or PCIe joins.
_LARGEST_HOST = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
  """Slices of TPU chips, or hosts of GPUs.

  name: that of one slice, such as v5e:2x4 or h100:8.
  num_chips: chips or GPUs in all slices together.
  num_slices: slices that are joined by the network of the data centre alone.
  """

  name: str
  chip: Chip
  num_chips: int
  num_slices: int = 1

  @property
  def num_devices(self) -> int:
    return self.num_chips * self.chip.num_devices

  @property
  def can_be_compiled_for(self) -> bool:
    """False for GPUs of which XLA has no specification."""
    return isinstance(self.chip, Tpu | Gpu)

  def __str__(self) -> str:
    times = f'{self.num_slices} x ' if self.num_slices > 1 else ''
    return f'{times}{self.name}'


def named(name: str, num_slices: int = 1) -> Topology:
  """The topology of a name; InputError, with the nearest, if there is none."""
  if num_slices < 1:
    raise InputError(f'--num_slices={num_slices}: give 1 or more')
  kind, _, sizes = name.partition(':')
  chips: dict[str, Chip] = {**CHIPS, **GPUS, **DATA_SHEET_GPUS}
  chip = chips.get(kind)
  if chip is None:
    known = {**{name: name for name in chips}, **_OTHER_NAMES}
    near = difflib.get_close_matches(kind.lower(), known, 1, cutoff=0.3)
    nearest = f'; the nearest is {known[near[0]]}' if near else ''
    raise InputError(
      f'--topology={name}: no TPU or GPU {quoted(kind)} is known{nearest}; '
      f'give GENERATION:SIZES, such as v5e:2x4, of {", ".join(CHIPS)}, or '
      f'GPU:NUMBER, such as h100:8, of {", ".join(GPUS)}, or, estimated '
      f'alone, {", ".join(DATA_SHEET_GPUS)}'
    )
  shapes: list[tuple[int, ...]]
  if isinstance(chip, Tpu):
    shapes, noun = _shapes(chip), f'{kind} has no slice of that shape'
  else:
    shapes = [(number,) for number in range(1, _LARGEST_HOST + 1)]
    noun = f'a host has 1 to {_LARGEST_HOST} GPUs, and --num_slices says hosts'
  if re.fullmatch(r'\d{1,6}(x\d{1,6})*', sizes):
    shape = tuple(int(size) for size in sizes.split('x'))
  else:
    shape = ()
  # libtpu ends the process on some sizes that do not exist.
  if shape not in shapes:
    near = 'x'.join(map(str, _nearest(shape, shapes)))
    raise InputError(f'--topology={name}: {noun}; the nearest is {kind}:{near}')
  return Topology(
    name=name,
    chip=chip,
    num_chips=num_slices * math.prod(shape),
    num_slices=num_slices,
  )


def memory_share(chip: Chip) -> float:
  """The share of a chip's memory that JAX takes at its start.

  A GPU's is 0.75 unless XLA_CLIENT_MEM_FRACTION says otherwise; see JAX's page
  on GPU memory allocation. Raises InputError on a value that is no share.
  """
  if chip.platform != 'gpu':
    return 1.0
  text = os.environ.get(MEMORY_FRACTION, '0.75')
  with contextlib.suppress(ValueError):
    if 0 < float(text) <= 1:
      return float(text)
  raise InputError(
    f'{MEMORY_FRACTION}={quoted(text)} in the environment; give a share above '
    '0 and at most 1, such as 0.9'
  )


def compile_only_devices(topology: Topology) -> list[jax.Device]:
  """Devices to compile for, slice by slice; they can hold and run nothing.

  Raises InputError if there is no compiler for the chips, or it is not
  installed.
  """
  chip = topology.chip
  if not topology.can_be_compiled_for:
    raise InputError(f'--topology={topology.name}: {WITHOUT_SPECIFICATION}')
  # Without the chips, JAX could not read what it has put in its cache.
  jax.config.update('jax_enable_compilation_cache', False)
  if isinstance(chip, Tpu):
    described = _describe_tpus(topology, chip)
  else:
    assert isinstance(chip, Gpu)
    described = _describe_gpus(topology, chip)
  devices = list(described.devices)
  assert len(devices) == topology.num_devices
  return devices


def _describe_tpus(
  topology: Topology, chip: Tpu
) -> topologies.TopologyDescription:
  # `jax[tpu]` brings libtpu of the version that fits jaxlib.
  require_package('libtpu', f'--topology={topology.name}', 'tpu')
  # libtpu would allow one process at a time, and look for the other hosts.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  options: dict[str, str | int] = {}
  if chip.config_name:
    options['chip_config_name'] = chip.config_name
  if topology.num_slices > 1:
    options['num_slices'] = topology.num_slices
  return topologies.get_topology_desc(
    platform='tpu', topology_name=topology.name, **options
  )


def _describe_gpus(
  topology: Topology, chip: Gpu
) -> topologies.TopologyDescription:
  try:
    version = metadata.version('nvidia-cudnn-cu13')
    metadata.version('jax-cuda13-plugin')
  except metadata.PackageNotFoundError as error:
    raise InputError(
      f'--topology={topology.name} needs the package {error.name}: pip '
      "install 'bert_jax[cuda]'"
    ) from error
  major, minor, patch = map(int, version.split('.')[:3])
  per_slice = topology.num_chips // topology.num_slices
  return topologies.get_topology_desc(
    platform='cuda',
    topology_name=topology.name,
    # Slices x hosts of a slice x GPUs of a host.
    topology=f'{topology.num_slices}x1x{per_slice}',
    target_config=chip.target_config((major, minor, patch)),
  )


def _shapes(chip: Tpu) -> list[tuple[int, ...]]:
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
