"""Names of topologies, and the one table of their chips."""

import importlib.metadata
import importlib.util

import pytest

from bert_jax.errors import InputError
from bert_jax.parallel import chips, topologies
from bert_jax.train.throughput import datasheet_flops

MEMORY_GB = {'a100': 80, 'h100': 80, 'h200': 141, 'b200': 180}


@pytest.mark.parametrize(
  ('name', 'num_chips'),
  [
    ('v5e:1x1', 1),
    ('v5e:2x4', 8),
    ('v6e:16x16', 256),
    ('v4:2x2x1', 4),
    ('v5p:2x4x4', 32),
    ('v5p:16x16x24', 6144),
    ('tpu7x:4x4x4', 64),
    ('a100:1', 1),
    ('h100:3', 3),
    ('h100:8', 8),
    ('b200:8', 8),
  ],
)
def test_a_topology_is_known_by_its_name(name, num_chips):
  assert topologies.named(name).num_chips == num_chips


@pytest.mark.parametrize(
  ('name', 'end'),
  [
    ('v5e:2x3', 'v5e has no slice of that shape; the nearest is v5e:2x4'),
    # libtpu 0.0.50.1 ends the process on this one.
    ('v5e:0x4', 'v5e has no slice of that shape; the nearest is v5e:1x1'),
    ('v5e:8', 'v5e has no slice of that shape; the nearest is v5e:2x4'),
    ('v5e', 'v5e has no slice of that shape; the nearest is v5e:1x1'),
    ('v5p:2x4', 'v5p has no slice of that shape; the nearest is v5p:2x2x2'),
    ('v4:24x24x24', 'the nearest is v4:16x16x16'),
    ('v5e:512x512', 'the nearest is v5e:16x16'),
    ('V5E:2x4', 'the nearest is v5e; give GENERATION:SIZES, such as v5e:2x4'),
    ('v5litepod-8', "'v5litepod-8' is known; the nearest is v5e; give"),
    ('v7x:2x2x1', 'the nearest is tpu7x; give'),
    (
      'h100',
      'a host has 1 to 8 GPUs, and --num_slices says hosts; the nearest',
    ),
    ('h100:16', 'and --num_slices says hosts; the nearest is h100:8'),
    ('h100:2x4', 'the nearest is h100:8'),
    (
      'H100:8',
      'the nearest is h100; give GENERATION:SIZES, such as v5e:2x4, of',
    ),
    ('h20:8', "no TPU or GPU 'h20' is known; the nearest is h200; give"),
    ('gtx1080:1', 'or GPU:NUMBER, such as h100:8, of a100, h100, h200, b200'),
  ],
)
def test_another_name_is_one_line_with_the_nearest(name, end):
  with pytest.raises(InputError) as error:
    topologies.named(name)
  assert str(error.value).startswith(f'--topology={name}: ')
  assert end in str(error.value)


def test_slices_are_counted():
  topology = topologies.named('v5e:2x4', num_slices=2)
  assert (topology.num_chips, topology.num_devices) == (16, 16)
  assert str(topology) == '2 x v5e:2x4'
  assert topologies.named('tpu7x:2x2x1', num_slices=3).num_devices == 24
  with pytest.raises(InputError, match='--num_slices=0: give 1 or more'):
    topologies.named('v5e:2x4', num_slices=0)


def test_the_largest_slices_are_those_of_the_table():
  for name, chip in topologies.CHIPS.items():
    shapes = topologies._shapes(chip)
    assert {len(shape) for shape in shapes} == {chip.num_axes}, name
    sizes = [topologies.math.prod(shape) for shape in shapes]
    assert max(sizes) == chip.max_chips, name


def test_mfu_of_a_run_refers_to_the_same_table():
  """A device of tpu7x is half of a chip."""
  assert datasheet_flops('TPU v5 lite') == 197e12
  assert datasheet_flops('TPU7x') == 2307e12 / 2
  # 'TPU v5' begins the name of a v5e as well.
  assert datasheet_flops('TPU v5') == 459e12
  assert datasheet_flops('another') == 0


def test_without_libtpu_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError) as error:
    topologies.compile_only_devices(topologies.named('v5e:2x4'))
  assert str(error.value) == (
    "--topology=v5e:2x4 needs the package libtpu: pip install 'bert_jax[tpu]'"
  )


def test_without_the_cuda_libraries_it_says_what_to_install(monkeypatch):
  def version(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, 'version', version)
  with pytest.raises(InputError) as error:
    topologies.compile_only_devices(topologies.named('h100:8'))
  assert str(error.value) == (
    '--topology=h100:8 needs the package nvidia-cudnn-cu13: pip install '
    "'bert_jax[cuda]'"
  )


def test_what_xla_is_told_of_a_gpu():
  text = chips.GPUS['h100'].target_config((9, 28, 1))
  lines = [line.strip() for line in text.splitlines()]
  for line in (
    'core_count: 132',
    'shared_memory_per_block_optin: 232448',
    'memory_bandwidth: 3352320000000',
    'device_memory_size: 84942979072',
    'major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES',
    'major: 9 minor: 28 patch: 1',
    'device_description_str: "NVIDIA H100 80GB HBM3"',
  ):
    assert line in lines, line
  assert 'NONE' in chips.GPUS['a100'].target_config((9, 28, 1))


def test_gpus_are_those_to_which_mfu_refers():
  assert datasheet_flops('NVIDIA A100-SXM4-80GB') == 312e12
  assert datasheet_flops('NVIDIA H100 80GB HBM3') == 989e12
  for name, gpu in chips.GPUS.items():
    assert gpu.name.startswith(gpu.device_kinds), name
    # Data sheets give decimal gigabytes of the whole memory.
    assert 0.9 < gpu.memory_bytes / 1e9 / MEMORY_GB[name] < 1.08, name
