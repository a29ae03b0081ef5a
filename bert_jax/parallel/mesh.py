"""The device mesh: data, fsdp and tensor axes over all devices."""

import dataclasses

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractDevice, AbstractMesh

from bert_jax.errors import InputError
from bert_jax.parallel.sharding import devices_along

AXES = ('data', 'fsdp', 'tensor')
_AUTO = (jax.sharding.AxisType.Auto,) * 3


@dataclasses.dataclass(kw_only=True, slots=True)
class MeshConfig:
  """Number of devices along each axis; `data` 0 takes all that are left."""

  data: int = 0
  fsdp: int = 1
  tensor: int = 1

  def build(
    self,
    devices: list[jax.Device] | None = None,
    num_slices: int | None = None,
  ) -> jax.sharding.Mesh:
    """Builds a mesh in which data alone crosses slices.

    Within a slice of TPUs, neighbours on an axis are neighbours in the network
    where that can be (mesh_utils); other devices keep their order.

    Args:
      devices: default: all.
      num_slices: slices, which the slow network of the data centre joins, if
        `devices` come slice by slice; None: what the devices say.

    Raises:
      InputError: the axes do not fill the devices exactly, or fsdp x tensor
        does not divide those of a slice.
    """
    devices = jax.devices() if devices is None else devices
    if num_slices is None:
      devices = sorted(devices, key=_slice_of)
      num_slices = len(set(map(_slice_of, devices)))
    data, *others = self._sizes(len(devices), num_slices)
    slices = [
      mesh_utils.create_device_mesh(
        (data // num_slices, *others),
        list(of_slice),
        allow_split_physical_axes=True,
      )
      for of_slice in np.split(np.asarray(devices), num_slices)
    ]
    # Auto axes let the compiler place unconstrained arrays.
    return jax.sharding.Mesh(np.concatenate(slices), AXES, axis_types=_AUTO)

  def build_abstract(
    self, device: AbstractDevice, num_devices: int, num_slices: int = 1
  ) -> AbstractMesh:
    """Builds the mesh of so many devices that are not there, to trace for.

    Raises InputError as `build` does.
    """
    return AbstractMesh(
      self._sizes(num_devices, num_slices),
      AXES,
      axis_types=_AUTO,
      abstract_device=device,
    )

  def _sizes(self, num_devices: int, num_slices: int) -> tuple[int, int, int]:
    """Devices along each axis; InputError if they do not fill all exactly."""
    other = self.fsdp * self.tensor
    if self.fsdp < 1 or self.tensor < 1 or self.data < 0:
      raise InputError(
        f'mesh {self} has an axis without devices; use 1 or more'
      )
    data = self.data or num_devices // other
    if data * other != num_devices:
      raise InputError(
        f'mesh data={data} x fsdp={self.fsdp} x tensor={self.tensor} is '
        f'{data * other} devices, but there are {num_devices}; '
        'choose axes whose product is that number'
      )
    if (num_devices // num_slices) % other:
      raise InputError(
        f'mesh fsdp={self.fsdp} x tensor={self.tensor} is {other} devices, '
        f'which do not divide the {num_devices // num_slices} of each of '
        f'{num_slices} slices; choose divisors, for only data crosses slices'
      )
    return data, self.fsdp, self.tensor


def _slice_of(device: jax.Device) -> int:
  return getattr(device, 'slice_index', 0)


def check_batch_size(
  batch_size: int, mesh: jax.sharding.Mesh, num_microbatches: int = 1
) -> None:
  """Raises InputError if the rows of a step cannot be split evenly.

  Each microbatch is split over the devices by itself; with fewer rows than
  devices, every device would compute all of it.
  """
  devices = devices_along('batch', mesh)
  if batch_size % (devices * num_microbatches) == 0:
    return
  parts = f'the {devices} devices along mesh axes data and fsdp'
  if num_microbatches > 1:
    parts = f'num_microbatches={num_microbatches} times {parts}'
  raise InputError(
    f'batch_size={batch_size} is not a multiple of {parts}; choose a multiple '
    f'of {devices * num_microbatches}'
  )
