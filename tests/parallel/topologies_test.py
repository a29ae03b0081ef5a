"""Names of topologies, and the one table of their chips."""

import importlib.util

import pytest

from bert_jax.errors import InputError
from bert_jax.parallel import topologies
from bert_jax.train.throughput import PEAK_TFLOPS


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
    ('h100:1', 'give GENERATION:SIZES, such as v5e:2x4, of v4, v5e, v5p'),
  ],
)
def test_another_name_is_one_line_with_the_nearest(name, end):
  with pytest.raises(InputError) as error:
    topologies.named(name)
  assert str(error.value).startswith(f'--topology={name}: ')
  assert end in str(error.value)


def test_the_largest_slices_are_those_of_the_table():
  for name, chip in topologies.CHIPS.items():
    shapes = topologies._shapes(chip)
    assert {len(shape) for shape in shapes} == {chip.num_axes}, name
    sizes = [topologies.math.prod(shape) for shape in shapes]
    assert max(sizes) == chip.max_chips, name


def test_mfu_of_a_run_refers_to_the_same_table():
  """A device of tpu7x is half of a chip."""
  assert PEAK_TFLOPS['TPU v5 lite'] == 197
  assert PEAK_TFLOPS['TPU7x'] == 2307 / 2
  # 'TPU v5' begins the name of a v5e as well, so the longer names come first.
  kinds = list(PEAK_TFLOPS)
  assert kinds.index('TPU v5 lite') < kinds.index('TPU v5')


def test_without_libtpu_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError) as error:
    topologies.compile_only_devices(topologies.named('v5e:2x4'))
  assert str(error.value) == (
    "--topology=v5e:2x4 needs the package libtpu: pip install 'bert_jax[tpu]'"
  )
