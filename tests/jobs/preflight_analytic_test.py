"""Preflight for GPUs of which XLA has no specification: estimates alone."""

import dataclasses
import pathlib

import jax
import pytest
from other_process import run_python

from bert_jax.config.json_files import read_object
from bert_jax.errors import InputError
from bert_jax.jobs import preflight_analytic, preflight_search, preflight_table
from bert_jax.parallel import chips, topologies
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train.throughput import datasheet_flops

pytestmark = pytest.mark.accelerator

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def without_corpus(small_experiment, monkeypatch):
  """A small experiment without a corpus; nothing may be compiled for it."""

  def compile_(self):
    raise AssertionError('compiled')

  monkeypatch.setattr(jax.stages.Lowered, 'compile', compile_)
  data = dataclasses.replace(small_experiment.data, path='')
  return dataclasses.replace(
    small_experiment, data=data, batch_size=32, mesh=MeshConfig()
  )


def test_figures_are_estimates_and_say_so(without_corpus):
  figures = preflight_analytic.preflight(
    without_corpus, 'l40s:2', vocab_size=160
  )
  (stage,) = figures.stages
  assert figures.compute_dtype == 'bfloat16'
  assert figures.num_devices == 2
  assert figures.device_memory == 0.75 * 48e9
  memory = stage.memory
  assert (memory.parameters, memory.optimizer) == figures.state_bytes
  # Gradients take the place of what is saved, which is more here.
  assert memory.gradients == 0
  assert memory.saved_for_backward > memory.parameters
  assert memory.total == sum(dataclasses.astuple(memory))
  # Each of two GPUs sends half of the gradients out, and half of the sums.
  assert stage.exchanged == 4 * figures.num_parameters
  assert stage.traffic > 3 * memory.parameters
  lines = list(preflight_table.lines(figures, price=1.0))
  assert lines[0] == (
    'l40s:2: 2 GPUs, products in bfloat16, analytic, nothing was compiled'
  )
  assert lines[1] == (
    'XLA has no specification of this GPU, only of a100, h100, h200, b200, so '
    'that nothing can be compiled for it; its figures are those of '
    "NVIDIA's data sheet of the L40S; memory and bytes are those of "
    'bert_jax/jobs/plan_estimate.py'
  )
  text = '\n'.join(' '.join(line.split()) for line in lines)
  for line in (
    'steps of 32 rows of 32 tokens, analytic, nothing was compiled\n',
    '\nsaved for backward ',
    'No compiler or accelerator was asked.',
    'TFLOP/s, ',
    'traffic at 864 GB/s',
  ):
    assert line in text, line
  assert 'collectives' not in text and 'compiled in' not in text
  value = preflight_table.as_json(figures)
  assert value['analytic'] == figures.analytic
  assert value['stages'][0]['memory']['total'] == memory.total
  assert value['fits'] is True


def test_what_does_not_fit_by_the_estimate(without_corpus, monkeypatch):
  small = dataclasses.replace(chips.DATA_SHEET_GPUS['l4'], memory_gb=0.0005)
  monkeypatch.setitem(chips.DATA_SHEET_GPUS, 'l4', small)
  figures = preflight_analytic.preflight(without_corpus, 'l4:1', vocab_size=160)
  assert not figures.all_fit
  assert preflight_table.change_line(figures).startswith(
    'the step does not fit a GPU of l4:1 by the estimate; try in turn, or '
    'together: --config.remat=dots, '
  )


def test_bad_input_is_one_line(without_corpus, tmp_path):
  def refused(function, **fields) -> str:
    experiment = dataclasses.replace(without_corpus, **fields)
    with pytest.raises(InputError) as error:
      function(experiment)
    assert '\n' not in str(error.value)
    return str(error.value)

  def estimate(experiment):
    preflight_analytic.preflight(experiment, 'l4:8', vocab_size=160)

  assert 'fsdp=3 x tensor=1 is 6 devices, but there are 8' in refused(
    estimate, mesh=MeshConfig(fsdp=3)
  )
  assert 'mesh axis tensor=8 does not divide' in refused(
    estimate, mesh=MeshConfig(tensor=8)
  )
  assert 'choose a multiple of 8' in refused(estimate, batch_size=12)
  without = 'XLA has no specification of this GPU, only of a100, h100, h200, '
  assert refused(
    lambda experiment: preflight_search.search(
      experiment, 'l4:1', tmp_path / 'plans.json', vocab_size=160
    )
  ).startswith(f'--search: {without}')
  with pytest.raises(InputError, match=f'--topology=l4:1: {without}'):
    topologies.compile_only_devices(topologies.named('l4:1'))


def test_a_device_of_a_data_sheet_is_known_by_its_whole_name():
  assert datasheet_flops('NVIDIA L40S') == 362.05e12
  assert datasheet_flops('NVIDIA L4') == 121e12
  # Its name begins like that of an L4.
  assert datasheet_flops('NVIDIA L40') == 0
  for chip in chips.DATA_SHEET_GPUS.values():
    assert chip.source and chip.tflops > 0
    assert not topologies.Topology(
      name='x', chip=chip, num_chips=1
    ).can_be_compiled_for


def test_the_verb_estimates(tmp_path):
  """A process of its own, for the flags of verbs are there once a process."""
  path = tmp_path / 'flight.json'
  done = run_python(
    *('-m', 'bert_jax', 'preflight', '--topology=rtx4090:1'),
    f'--config={ROOT}/experiments/pretrain/bert_mini.py',
    '--config.model.num_layers=1',
    '--vocab_size=100',
    f'--json={path}',
  )
  assert done.returncode == 0, done.stderr
  assert 'analytic, nothing was compiled\n' in done.stdout
  assert read_object(path, '')['analytic'].startswith('XLA has no')
