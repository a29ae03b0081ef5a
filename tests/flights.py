"""Figures of preflight that were not compiled, for tests."""

from bert_jax.jobs.preflight import Figures
from bert_jax.jobs.preflight_figures import Memory, StageFigures
from bert_jax.parallel import topologies
from bert_jax.parallel.compiled import Collective


def figures_of(traffic: int, temporaries: int = 2**30) -> Figures:
  """Steps of 197 TFLOP on four chips, which take a quarter of a second."""
  memory = Memory(
    parameters=2**30,
    optimizer=2**31,
    other_arguments=0,
    temporaries=temporaries,
    results=0,
    program=2**20,
  )
  stage = StageFigures(
    num_steps=14_400,
    row_length=100,
    batch_size=40,
    flops=197e12,
    compile_seconds=61.4,
    memory=memory,
    traffic=traffic,
    collectives={'all-reduce': Collective(3, 2**30)},
    kernels={'splash_fwd': 24, 'splash_dq': 12},
  )
  return Figures(
    topology=topologies.named('v5e:2x2'),
    compute_dtype='bfloat16',
    vocab_size=30522,
    vocabulary_from='--vocab_size',
    num_parameters=268435456,
    state_bytes=(2**30, 2**31),
    num_devices=4,
    device_memory=16 * 2**30,
    peak_flops=197e12,
    bandwidth=819e9,
    stages=(stage,),
    changes=(),
    versions={'jax': '0.12.0', 'libtpu': '0.0.50'},
  )
