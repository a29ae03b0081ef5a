"""Figures of TPU chips and GPUs: what one computes, holds and moves."""

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """Figures of a chip or GPU.

  platform: that of its JAX devices. unit: the word for one.
  device_kinds: the beginnings of jax.Device.device_kind.
  tflops: dense bf16 products, 10^12 FLOP/s.
  memory_gib: memory in GiB. memory_gb_per_second: its bandwidth in 10^9 bytes.
  num_devices: devices of JAX on one chip, which share its figures.
  """

  platform: ClassVar[str]
  unit: ClassVar[str]

  device_kinds: tuple[str, ...]
  tflops: float
  memory_gib: float
  memory_gb_per_second: float
  num_devices: int = 1

  @property
  def device_flops(self) -> float:
    """FLOP/s of one device."""
    return self.tflops * 1e12 / self.num_devices

  @property
  def device_bandwidth(self) -> float:
    """Bytes/s of the memory of one device."""
    return self.memory_gb_per_second * 1e9 / self.num_devices

  @property
  def device_memory(self) -> float:
    """Bytes of the memory of one device."""
    return self.memory_gib * 2**30 / self.num_devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tpu(Chip):
  """A TPU chip, as Cloud TPU's page on its generation describes it.

  Source: https://cloud.google.com/tpu/docs/system-architecture-tpu-vm and the
  pages v4, v5e, v5p, v6e and tpu7x beside it, as of November 2026.

  num_axes: axes of a slice. max_chips: chips in the largest slice.
  config_name: the chip configuration of libtpu; '' for its default.
  """

  platform = 'tpu'
  unit = 'chip'

  num_axes: int
  max_chips: int
  config_name: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu(Chip):
  """A GPU, as XLA's compiler wants it described.

  Sources: `tflops` from NVIDIA's data sheets, half of what they state with
  sparsity; all else from XLA's own specifications, which were read from
  devices: xla/backends/gpu/target_config/specs/{a100_sxm_80,h100_sxm,h200,
  b200}.txtpb of openxla/xla, as of November 2026.

  name: the device's own. capability: CUDA's compute capability, and whether
  its architecture has accelerated features of its own, such as sm_90a.
  num_cores: streaming multiprocessors; `core_*` are of each.
  """

  platform = 'gpu'
  unit = 'GPU'

  name: str
  capability: tuple[int, int]
  is_accelerated: bool
  num_cores: int
  core_shared_bytes: int
  core_fpus: int
  clock_ghz: float
  l2_bytes: int
  memory_bytes: int
  memory_gib: float = dataclasses.field(init=False)

  def __post_init__(self):
    object.__setattr__(self, 'memory_gib', self.memory_bytes / 2**30)

  def target_config(self, dnn_version: tuple[int, int, int]) -> str:
    """The text of XLA's GpuTargetConfigProto, for this version of cuDNN."""
    major, minor = self.capability
    extension = 'ACCELERATED_FEATURES' if self.is_accelerated else 'NONE'
    dnn_major, dnn_minor, dnn_patch = dnn_version
    return f"""
      gpu_device_info {{
        threads_per_block_limit: 1024
        threads_per_warp: 32
        shared_memory_per_block: 49152
        shared_memory_per_core: {self.core_shared_bytes}
        shared_memory_per_block_optin: {self.core_shared_bytes - 1024}
        threads_per_core_limit: 2048
        core_count: {self.num_cores}
        fpus_per_core: {self.core_fpus}
        block_dim_limit_x: 2147483647
        block_dim_limit_y: 65535
        block_dim_limit_z: 65535
        thread_dim_limit_x: 1024
        thread_dim_limit_y: 1024
        thread_dim_limit_z: 64
        registers_per_core_limit: 65536
        registers_per_block_limit: 65536
        memory_bandwidth: {round(self.memory_gb_per_second * 1e9)}
        l2_cache_size: {self.l2_bytes}
        clock_rate_ghz: {self.clock_ghz}
        device_memory_size: {self.memory_bytes}
        cuda_compute_capability {{
          major: {major} minor: {minor} feature_extension: {extension}
        }}
        name: "{self.name}"
      }}
      platform_name: "CUDA"
      dnn_version_info {{
        major: {dnn_major} minor: {dnn_minor} patch: {dnn_patch}
      }}
      device_description_str: "{self.name}"
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSheetGpu(Chip):
  """A GPU of which XLA has no specification, so that nothing compiles for it.

  Figures are those of `source`, without sparsity, as tables of November 2026
  quote them. The sheets of L40S and L4 do not say how sums are kept; OLMo-core
  (train/callbacks/speed_monitor.py) holds that with sums in f32, as here, they
  reach half. Memory is read in gigabytes of 10^9 bytes, which is about what
  error correction leaves.
  """

  platform = 'gpu'
  unit = 'GPU'

  source: str
  memory_gb: float
  memory_gib: float = dataclasses.field(init=False)

  def __post_init__(self):
    object.__setattr__(self, 'memory_gib', self.memory_gb * 1e9 / 2**30)


CHIPS = {
  # A run joins both cores of a chip to one device; libtpu's default does not.
  'v4': Tpu(
    device_kinds=('TPU v4',),
    tflops=275,
    memory_gib=32,
    memory_gb_per_second=1200,
    num_axes=3,
    max_chips=4096,
    config_name='megacore',
  ),
  'v5e': Tpu(
    device_kinds=('TPU v5 lite', 'TPU v5e'),
    tflops=197,
    memory_gib=16,
    memory_gb_per_second=819,
    num_axes=2,
    max_chips=256,
  ),
  'v5p': Tpu(
    device_kinds=('TPU v5p', 'TPU v5'),
    tflops=459,
    memory_gib=95,
    memory_gb_per_second=2765,
    num_axes=3,
    max_chips=6144,
  ),
  'v6e': Tpu(
    device_kinds=('TPU v6 lite', 'TPU v6e'),
    tflops=918,
    memory_gib=32,
    memory_gb_per_second=1638,
    num_axes=2,
    max_chips=256,
  ),
  'tpu7x': Tpu(
    device_kinds=('TPU7x',),
    tflops=2307,
    memory_gib=192,
    memory_gb_per_second=7380,
    num_devices=2,
    num_axes=3,
    max_chips=9216,
  ),
}
GPUS = {
  'a100': Gpu(
    device_kinds=('NVIDIA A100',),
    tflops=312,
    memory_gb_per_second=2039.04,
    name='NVIDIA A100-SXM4-80GB',
    capability=(8, 0),
    is_accelerated=False,
    num_cores=108,
    core_shared_bytes=167936,
    core_fpus=64,
    clock_ghz=1.41,
    l2_bytes=41943040,
    memory_bytes=85100068864,
  ),
  'h100': Gpu(
    device_kinds=('NVIDIA H100',),
    tflops=989,
    memory_gb_per_second=3352.32,
    name='NVIDIA H100 80GB HBM3',
    capability=(9, 0),
    is_accelerated=True,
    num_cores=132,
    core_shared_bytes=233472,
    core_fpus=128,
    clock_ghz=1.98,
    l2_bytes=52428800,
    memory_bytes=84942979072,
  ),
  'h200': Gpu(
    device_kinds=('NVIDIA H200',),
    tflops=989,
    memory_gb_per_second=4800,
    name='NVIDIA H200 141GB HBM3e',
    capability=(9, 0),
    is_accelerated=True,
    num_cores=132,
    core_shared_bytes=233472,
    core_fpus=128,
    clock_ghz=1.98,
    l2_bytes=52428800,
    memory_bytes=151397597184,
  ),
  'b200': Gpu(
    device_kinds=('NVIDIA B200',),
    tflops=2250,
    memory_gb_per_second=7672.32,
    name='NVIDIA B200',
    capability=(10, 0),
    is_accelerated=True,
    num_cores=148,
    core_shared_bytes=233472,
    core_fpus=128,
    clock_ghz=1.965,
    l2_bytes=132644864,
    memory_bytes=191514411008,
  ),
}
DATA_SHEET_GPUS = {
  'l40s': DataSheetGpu(
    device_kinds=('NVIDIA L40S',),
    tflops=362.05,
    memory_gb=48,
    memory_gb_per_second=864,
    source="NVIDIA's data sheet of the L40S",
  ),
  'l4': DataSheetGpu(
    device_kinds=('NVIDIA L4',),
    tflops=121,
    memory_gb=24,
    memory_gb_per_second=300,
    source="NVIDIA's data sheet of the L4",
  ),
  'a10g': DataSheetGpu(
    device_kinds=('NVIDIA A10G',),
    tflops=70,
    memory_gb=24,
    memory_gb_per_second=600,
    source='the data sheet of the A10G by NVIDIA and AWS, February 2022',
  ),
  # Its tensor cores multiply fp16 alone, so that bf16 has the rate of f32.
  'v100': DataSheetGpu(
    device_kinds=('Tesla V100-SXM2-16GB',),
    tflops=15.7,
    memory_gb=16,
    memory_gb_per_second=900,
    source="NVIDIA's data sheet of the V100 SXM2, products in f32",
  ),
  'rtx4090': DataSheetGpu(
    device_kinds=('NVIDIA GeForce RTX 4090',),
    tflops=165.2,
    memory_gb=24,
    memory_gb_per_second=1008,
    source="NVIDIA's white paper on Ada, bf16 with sums in f32",
  ),
}


def chip_of(device_kind: str) -> Chip | None:
  """The chip of a device, by its jax.Device.device_kind; None if unknown."""
  # 'TPU v5' begins the name of a v5e as well, which comes first.
  for chip in (*CHIPS.values(), *GPUS.values()):
    if device_kind.startswith(chip.device_kinds):
      return chip
  # Others of these names, such as an L40 or a laptop's, are other devices.
  for chip in DATA_SHEET_GPUS.values():
    if device_kind in chip.device_kinds:
      return chip
  return None
