"""Meshes over devices of several slices, which only data crosses."""

import jax
import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.parallel import mesh, topologies
from bert_jax.parallel.mesh import MeshConfig


@pytest.fixture
def build(monkeypatch):
  """Builds meshes of eight devices whose slices alternate."""
  monkeypatch.setattr(mesh, '_slice_of', lambda device: device.id % 2)
  # tests/conftest.py puts the meshes of small experiments on one device.
  return lambda **axes: MeshConfig(**axes).build(jax.devices())


def test_only_data_crosses_slices(build):
  built = build(fsdp=2, tensor=2)
  assert built.devices.shape == (2, 2, 2)
  for number, of_slice in enumerate(built.devices):
    assert {device.id % 2 for device in of_slice.flat} == {number}


def test_all_of_a_mesh_may_be_data(build):
  ids = [device.id for device in build().devices.flat]
  assert ids == [0, 2, 4, 6, 1, 3, 5, 7]


def test_fsdp_over_slices_is_refused(build):
  with pytest.raises(InputError) as error:
    build(fsdp=8)
  assert str(error.value) == (
    'mesh fsdp=8 x tensor=1 is 8 devices, which do not divide the 4 of each of '
    '2 slices; choose divisors, for only data crosses slices'
  )


def test_one_slice_keeps_the_order_of_its_devices():
  built = MeshConfig(fsdp=2).build(jax.devices())
  assert list(built.devices.flat) == jax.devices()


@pytest.mark.tpu
def test_neighbours_of_an_axis_are_neighbours_in_a_slice():
  """Two slices of 8 x 8 chips: the parts of a ring of data are one hop away."""
  devices = topologies.compile_only_devices(topologies.named('v5e:8x8', 2))
  built = MeshConfig(fsdp=8).build(devices)
  assert built.devices.shape == (16, 8, 1)
  for number, of_slice in enumerate(np.split(built.devices, 2)):
    assert {device.slice_index for device in of_slice.flat} == {number}
    coords = np.array([[d.coords for d in row] for row in of_slice[..., 0]])
    hops = abs(coords[1:] - coords[:-1]).sum(axis=-1)
    assert hops.shape == (7, 8) and (hops == 1).all()
