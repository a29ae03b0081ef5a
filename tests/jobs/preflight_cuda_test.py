"""Compilations for GPUs that are not there; by hand, see CONTRIBUTING.md."""

import dataclasses

import pytest

from bert_jax.jobs import preflight
from bert_jax.parallel import chips
from bert_jax.parallel.mesh import MeshConfig

pytestmark = pytest.mark.cuda

# The experiments of conftest.py have their meshes on one device.
BUILD = MeshConfig.build


@pytest.fixture
def without_corpus(small_experiment, monkeypatch):
  monkeypatch.setattr(MeshConfig, 'build', BUILD)
  data = dataclasses.replace(small_experiment.data, path='')
  return dataclasses.replace(small_experiment, data=data, batch_size=16)


@pytest.mark.parametrize('name', sorted(chips.GPUS))
def test_a_small_model_compiles_for_every_gpu(without_corpus, name):
  figures = preflight.preflight(without_corpus, f'{name}:1', vocab_size=160)
  (stage,) = figures.stages
  assert figures.num_devices == 1 and figures.fits(stage)
  assert figures.compute_dtype == 'bfloat16'
  assert stage.memory.parameters == figures.state_bytes[0]
  assert stage.memory.temporaries > 0
  assert stage.memory.other_arguments >= 0
  assert stage.traffic > 3 * figures.state_bytes[0]
  assert stage.collectives == {}


def test_gradients_are_summed_over_eight(without_corpus):
  figures = preflight.preflight(without_corpus, 'h100:8', vocab_size=160)
  (stage,) = figures.stages
  assert figures.num_devices == 8
  summed = stage.collectives['all-reduce']
  assert summed.num_bytes >= figures.state_bytes[0]
  assert summed.crossing_bytes == 0


def test_two_hosts_exchange_gradients_alone(without_corpus):
  """Parameters are gathered inside of a host."""
  without_corpus.mesh.fsdp = 4
  figures = preflight.preflight(
    without_corpus, 'h100:4', vocab_size=160, num_slices=2
  )
  (stage,) = figures.stages
  assert figures.num_devices == 8
  assert stage.collectives['all-gather'].crossing_bytes == 0
  crossing = sum(x.crossing_bytes for x in stage.collectives.values())
  assert crossing >= figures.state_bytes[0]


def test_layers_in_a_loop_count_as_often_as_it_runs(without_corpus):
  """Traffic with scanned layers is like that without, not one layer's."""
  without_corpus.model.num_layers = 8
  unrolled = preflight.preflight(without_corpus, 'h100:1', vocab_size=160)
  without_corpus.scan_layers = True
  scanned = preflight.preflight(without_corpus, 'h100:1', vocab_size=160)
  ratio = scanned.stages[0].traffic / unrolled.stages[0].traffic
  assert 0.7 < ratio < 2
