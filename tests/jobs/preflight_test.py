"""Preflight on simulated devices, which stand in for TPU chips.

libtpu is no part of the suite. With it, one real compilation:

  pip install -e '.[test,tpu]' && python -m pytest -m tpu tests/jobs
"""

import dataclasses
import json

import jax
import pytest
from flights import figures_of
from other_process import ROOT, run_python

from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs import preflight, preflight_table
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models.config import modernbert_mini
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.parallel import chips, topologies
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train.program import Program

pytestmark = pytest.mark.accelerator

OOM = (
  'RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the '
  'total memory required for HLO temporaries (16.68G) exceeds available HBM '
  '(15.75G). HLO module: jit_step.\nSee https://openxla.org/xla/errors'
)


# The experiments of conftest.py have their meshes on one device.
BUILD = MeshConfig.build


@pytest.fixture
def all_devices(small_experiment, monkeypatch):
  monkeypatch.setattr(MeshConfig, 'build', BUILD)


@pytest.fixture
def cpu_for_tpu(all_devices, monkeypatch):
  """Eight devices of this process in place of those of v5e:2x4."""
  monkeypatch.setattr(
    topologies, 'compile_only_devices', lambda topology: jax.devices()
  )


@pytest.fixture
def without_corpus(small_experiment, all_devices):
  data = dataclasses.replace(small_experiment.data, path='')
  return dataclasses.replace(small_experiment, data=data, batch_size=16)


def test_the_step_is_that_of_training(
  cpu_for_tpu, small_experiment, small_tokenizer, tmp_path, monkeypatch
):
  """The lowered text equals that of a run on the same devices."""
  experiment = dataclasses.replace(
    small_experiment, num_steps=1, compute_dtype='float32'
  )
  texts = []
  lower, step_fn = Program.lower, Program.step_fn

  def recorded_lower(program, batch):
    # Names of functions in the text depend on what was traced before.
    jax.clear_caches()
    lowered = lower(program, batch)
    texts.append(lowered.as_text())
    return lowered

  def recorded_step(program, *arguments):
    jax.clear_caches()
    more = (program.key, program.schedule)
    texts.append(program.jitted.lower(*arguments, *more).as_text())
    return step_fn(program, *arguments)

  monkeypatch.setattr(Program, 'lower', recorded_lower)
  monkeypatch.setattr(Program, 'step_fn', recorded_step)
  figures = preflight.preflight(experiment, 'v5e:2x4')
  assert figures.vocab_size == small_tokenizer.table.vocab_size
  assert figures.vocabulary_from.startswith('the tokenizer of ')
  pretrain(experiment, tmp_path / 'run')
  before, trained = texts
  assert before == trained


def test_figures_of_a_step(cpu_for_tpu, without_corpus):
  figures = preflight.preflight(without_corpus, 'v5e:2x4', vocab_size=160)
  assert figures.compute_dtype == 'bfloat16'
  assert figures.vocabulary_from == '--vocab_size'
  assert figures.num_devices == 8
  assert figures.device_memory == 16 * 2**30
  parameters, optimizer = figures.state_bytes
  assert parameters == 4 * figures.num_parameters
  assert 2 * parameters <= optimizer < 2.1 * parameters
  (stage,) = figures.stages
  assert (stage.row_length, stage.batch_size, stage.num_steps) == (32, 16, 10)
  assert stage.memory.parameters == parameters
  assert stage.memory.other_arguments >= 0
  assert stage.memory.temporaries > 0
  # Gradients of all parameters are summed over the devices.
  assert stage.collectives['all-reduce'].num_bytes >= parameters
  assert stage.traffic > 3 * parameters
  assert figures.fits(stage) and not figures.changes


def test_fsdp_splits_the_state(cpu_for_tpu, without_corpus):
  whole = preflight.preflight(without_corpus, 'v5e:2x4', vocab_size=160)
  without_corpus.mesh.fsdp = 8
  split = preflight.preflight(without_corpus, 'v5e:2x4', vocab_size=160)
  assert sum(split.state_bytes) < 0.5 * sum(whole.state_bytes)


def test_slices_exchange_gradients_alone(cpu_for_tpu, without_corpus):
  """Parameters are gathered within a slice of four devices."""
  without_corpus.mesh.fsdp = 4
  figures = preflight.preflight(
    without_corpus, 'v5e:2x2', vocab_size=160, num_slices=2
  )
  assert figures.num_devices == 8
  (stage,) = figures.stages
  assert stage.collectives['all-gather'].num_bytes > 0
  assert stage.collectives['all-gather'].crossing_bytes == 0
  gradients = figures.state_bytes[0]  # a quarter of all, as of the parameters
  assert gradients <= stage.collectives['all-reduce'].crossing_bytes
  without_corpus.mesh.fsdp = 8
  assert 'for only data crosses slices' in refused(
    lambda: preflight.preflight(
      without_corpus, 'v5e:2x2', vocab_size=160, num_slices=2
    )
  )


def test_pairs_are_there_without_a_corpus(cpu_for_tpu, without_corpus):
  without_corpus.objective = WeightedSumConfig(
    objectives=(without_corpus.objective, SentencePairsConfig())
  )
  figures = preflight.preflight(without_corpus, 'v5e:2x4', vocab_size=160)
  assert figures.stages[0].memory is not None


def refused(start) -> str:
  with pytest.raises(InputError) as error:
    start()
  assert '\n' not in str(error.value)
  return str(error.value)


def test_bad_input_is_one_line(cpu_for_tpu, without_corpus, small_experiment):
  def with_fields(**fields):
    return refused(
      lambda: preflight.preflight(
        dataclasses.replace(without_corpus, **fields),
        'v5e:2x4',
        vocab_size=160,
      )
    )

  mesh = dataclasses.replace(without_corpus.mesh, fsdp=3)
  assert 'fsdp=3 x tensor=1 is 6 devices, but there are 8' in with_fields(
    mesh=mesh
  )
  mesh = dataclasses.replace(without_corpus.mesh, tensor=8)
  assert 'mesh axis tensor=8 does not divide' in with_fields(mesh=mesh)
  assert 'choose a multiple of 8' in with_fields(batch_size=12)
  assert 'num_steps is 0' in with_fields(num_steps=0)
  finetune = FinetuneExperiment(num_epochs=1, batch_size=8)
  assert refused(lambda: preflight.preflight(finetune, 'v5e:2x4')) == (
    '--config: FinetuneExperiment has no num_steps; preflight is for a file of '
    'experiments/pretrain'
  )
  assert 'or --vocab_size=N' in refused(
    lambda: preflight.preflight(without_corpus, 'v5e:2x4')
  )
  assert 'the corpus has a tokenizer; leave it out' in refused(
    lambda: preflight.preflight(small_experiment, 'v5e:2x4', vocab_size=9)
  )


def test_what_does_not_fit_ends_with_changes(
  cpu_for_tpu, without_corpus, monkeypatch, tmp_path, capsys
):
  def compile_(self):
    raise jax.errors.JaxRuntimeError(OOM)

  monkeypatch.setattr(jax.stages.Lowered, 'compile', compile_)
  figures = preflight.preflight(without_corpus, 'v5e:2x4', vocab_size=160)
  text = '\n'.join(preflight_table.lines(figures))
  assert 'temporaries (16.68G) exceeds available HBM (15.75G)' in text
  assert 'hours' not in text
  assert preflight_table.change_line(figures) == (
    'the step does not fit a chip of v5e:2x4; try in turn, or together: '
    '--config.remat=dots, --config.num_microbatches=2, --config.mesh.fsdp=8'
  )
  assert preflight_table.as_json(figures)['fits'] is False


def test_another_error_of_the_compiler_is_no_verdict(
  cpu_for_tpu, without_corpus, monkeypatch
):
  def compile_(self):
    raise jax.errors.JaxRuntimeError('INTERNAL: a bug')

  monkeypatch.setattr(jax.stages.Lowered, 'compile', compile_)
  with pytest.raises(jax.errors.JaxRuntimeError, match='a bug'):
    preflight.preflight(without_corpus, 'v5e:2x4', vocab_size=160)


def test_what_fits_into_nearly_all_of_a_gpu(
  cpu_for_tpu, without_corpus, monkeypatch
):
  """The first change is JAX's share of the memory, where that suffices."""
  gpu = chips.GPUS['h100']
  needed = preflight.preflight(without_corpus, 'h100:8', vocab_size=160)
  assert needed.device_memory == 0.75 * gpu.memory_bytes
  assert needed.all_fit
  total = needed.stages[0].memory.total
  memory_bytes = int(total / 0.8)
  small = dataclasses.replace(gpu, memory_bytes=memory_bytes)
  monkeypatch.setitem(chips.GPUS, 'h100', small)

  def changes():
    figures = preflight.preflight(without_corpus, 'h100:8', vocab_size=160)
    return figures.changes

  assert changes()[0] == 'XLA_CLIENT_MEM_FRACTION=0.92 in the environment'
  monkeypatch.setenv('XLA_CLIENT_MEM_FRACTION', '0.9')
  assert changes() == ()
  monkeypatch.setenv('XLA_CLIENT_MEM_FRACTION', '90')
  assert refused(changes) == (
    "XLA_CLIENT_MEM_FRACTION='90' in the environment; give a share above 0 and "
    'at most 1, such as 0.9'
  )


def test_changes_follow_the_config(cpu_for_tpu, without_corpus):
  mesh = without_corpus.mesh.build(jax.devices())
  without_corpus.remat = 'full'
  without_corpus.num_microbatches = 2
  assert preflight.changes_that_save_memory(without_corpus, mesh) == (
    '--config.mesh.fsdp=8',
    'attention=(BlockedAttention(),) in the experiment file',
  )


def test_the_table():
  lines = list(preflight_table.lines(figures_of(traffic=81_900_000_000), 1.5))
  text = '\n'.join(' '.join(line.split()) for line in lines)
  assert text.startswith(
    'v5e:2x2: 4 chips, products in bfloat16, compiled without hardware by jax '
    '0.12.0, libtpu 0.0.50\n'
  )
  for line in (
    'vocabulary 30,522 --vocab_size',
    'parameters 268,435,456',
    '14,400 steps of 40 rows of 100 tokens, compiled in 61 s',
    'optimizer 2.000 GiB',
    'memory in all 4.001 GiB of 16 GiB a chip: fits',
    'all-reduce 1.000 GiB in 3 a step and device',
    'model FLOPs 1.97e+14 a step, 4.92e+10 a token (bert_jax/models/flops.py)',
    'a step, estimated 250 ms to 625 ms; the roofline is of arithmetic: 250 ms '
    'of FLOPs at 197 TFLOP/s, 100 ms of traffic at 819 GB/s',
    'tokens/s 16,000 down to 6,400',
    'MFU 100.0% down to 40.0%',
    'hours, estimated 1.0 to 2.5 for 14,400 steps without evaluation and saves',
    'cost, estimated $6 to $15 at $1.5 for an hour of a chip',
  ):
    assert f'\n{line}\n' in text, line


def test_memory_may_be_the_roofline():
  figures = figures_of(traffic=819_000_000_000)
  assert figures.roofline_seconds(figures.stages[0]) == 1.0
  text = '\n'.join(preflight_table.lines(figures))
  assert 'the roofline is of memory' in text
  assert 'cost' not in text


def test_more_than_a_chip_has_does_not_fit():
  figures = figures_of(0, temporaries=13 * 2**30)
  assert not figures.fits(figures.stages[0])
  assert '16 GiB a chip: does not fit' in '\n'.join(
    preflight_table.lines(figures)
  )


START = """
import dataclasses
import os
import sys

import jax

from bert_jax.__main__ import main
from bert_jax.parallel import topologies

topologies.compile_only_devices = lambda topology: jax.devices()
chip = topologies.CHIPS['v5e']
size = float(os.environ.get('MEMORY_GIB', chip.memory_gib))
topologies.CHIPS['v5e'] = dataclasses.replace(chip, memory_gib=size)
sys.exit(main(sys.argv[1:]))
"""


def test_the_verb_prints_and_writes(tmp_path):
  """A process of its own, for the flags of verbs are there once a process."""
  path = tmp_path / 'flight.json'
  sizes = {'num_layers': 1, 'embed_dim': 32, 'num_heads': 2, 'mlp_dim': 32}
  command = [
    *('-c', START, 'preflight'),
    f'--config={ROOT}/experiments/pretrain/bert_mini.py',
    *(f'--config.model.{name}={size}' for name, size in sizes.items()),
    '--config.batch_size=8',
    '--config.data.row_length=16',
    '--vocab_size=100',
    '--topology=v5e:2x4',
    '--price=2',
  ]
  done = run_python(*command, f'--json={path}')
  assert done.returncode == 0, done.stderr
  assert '16 GiB a chip: fits' in done.stdout
  assert 'cost, estimated' in done.stdout
  value = json.loads(path.read_text())
  assert value['fits'] is True
  assert value['stages'][0]['memory']['total'] > 0
  assert value['hours'][1] == pytest.approx(value['hours'][0] / 0.4)
  assert value['dollars'][0] == pytest.approx(16 * value['hours'][0])
  done = run_python(*command, f'--json={tmp_path}/none/a.json')
  assert done.returncode == 2
  assert done.stderr == (
    f'bert-jax preflight: --json={tmp_path}/none/a.json: there is no folder '
    f'{tmp_path}/none\n'
  )
  done = run_python(*command, f'--measured={tmp_path}/none.json')
  assert done.returncode == 2
  assert done.stderr.endswith('/none.json: there is no such file\n')
  done = run_python(*command, MEMORY_GIB='0.0001')
  assert done.returncode == 2
  assert 'a chip: does not fit' in done.stdout
  assert done.stderr.splitlines()[-1].startswith(
    'bert-jax preflight: the step does not fit a chip of v5e:2x4; try'
  )


@pytest.mark.tpu
def test_a_small_model_compiles_for_v5e(without_corpus):
  figures = preflight.preflight(without_corpus, 'v5e:2x2', vocab_size=160)
  (stage,) = figures.stages
  assert figures.num_devices == 4 and figures.fits(stage)
  assert stage.collectives['all-reduce'].num_bytes >= figures.state_bytes[0]
  assert stage.traffic > 0


@pytest.mark.tpu
def test_two_slices_of_v5e_exchange_gradients_alone(without_corpus):
  """libtpu hands what crosses slices to the host, as sends."""
  without_corpus.mesh.fsdp = 4
  figures = preflight.preflight(
    without_corpus, 'v5e:2x2', vocab_size=160, num_slices=2
  )
  (stage,) = figures.stages
  assert figures.num_devices == 8 and figures.fits(stage)
  assert stage.collectives['all-gather'].crossing_bytes == 0
  assert stage.collectives['all-reduce'].crossing_bytes > 0


@pytest.mark.tpu
def test_kernels_of_whole_texts_and_windows_compile_for_v5e(
  without_corpus, capfd
):
  """A loop over layers of both kinds, each by kernels, and rematerialised."""
  without_corpus.model = modernbert_mini(
    num_layers=7, embed_dim=128, num_heads=2, mlp_dim=128, max_positions=512
  )
  without_corpus.data.row_length = 512
  without_corpus.scan_layers, without_corpus.remat = True, 'attention'
  figures = preflight.preflight(without_corpus, 'v5e:2x2', vocab_size=160)
  (stage,) = figures.stages
  assert figures.fits(stage)
  lines = capfd.readouterr().err.splitlines()
  chosen = [line for line in lines if 'SplashAttention, chosen' in line]
  assert len(chosen) == 2, lines
