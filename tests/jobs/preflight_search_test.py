"""The search for a plan, on simulated devices in place of TPU chips."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest
from jax.sharding import AbstractDevice

from bert_jax.config.experiment_file import load_config, topology_of
from bert_jax.config.overrides import set_field
from bert_jax.data.reading.plan import Stage
from bert_jax.errors import InputError
from bert_jax.jobs import plan_estimate, plans, preflight, preflight_search
from bert_jax.jobs.plan_estimate import Layout, Saved
from bert_jax.jobs.plans import Estimate, Estimator, Plan
from bert_jax.jobs.preflight_search import Tried
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.config import bert_base
from bert_jax.parallel import chips, topologies
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.stopping import Stopped

pytestmark = pytest.mark.accelerator

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = MeshConfig.build


@pytest.fixture
def experiment(small_experiment, monkeypatch):
  """A small experiment without a corpus; eight devices stand for v5e:2x4."""
  monkeypatch.setattr(MeshConfig, 'build', BUILD)
  monkeypatch.setattr(
    topologies, 'compile_only_devices', lambda topology: jax.devices()
  )
  data = dataclasses.replace(small_experiment.data, path='')
  return dataclasses.replace(small_experiment, data=data, batch_size=32)


@pytest.fixture
def few_plans(experiment, monkeypatch):
  """Leaves a search two devices and two ways to save layers."""
  named = topologies.named
  monkeypatch.setattr(
    topologies,
    'named',
    lambda *words: dataclasses.replace(named(*words), num_chips=2),
  )
  monkeypatch.setattr(
    topologies, 'compile_only_devices', lambda topology: jax.devices()[:2]
  )
  monkeypatch.setattr(plans, 'REMATS', ('none', 'full'))
  monkeypatch.setattr(plans, 'BACKENDS', ())
  experiment.model.num_layers = 1


@pytest.fixture
def small_chips(monkeypatch):
  """Gives the chips of v5e a memory of so many MiB."""

  def of(mebibytes: float) -> None:
    chip = dataclasses.replace(
      topologies.CHIPS['v5e'], memory_gib=mebibytes / 1024
    )
    monkeypatch.setitem(topologies.CHIPS, 'v5e', chip)

  return of


def search(experiment, path, **fields):
  return preflight_search.search(
    experiment, 'v5e:2x4', path, vocab_size=160, **fields
  )


def test_flags_of_the_best_plan_give_its_figures(
  experiment, few_plans, tmp_path
):
  path = tmp_path / 'plans.json'
  found = search(experiment, path, limit=2)
  assert 1 <= len(found.tried) <= 2
  best = found.best
  assert best is not None and best.fits
  *_, title, flags = preflight_search.lines(found, experiment)
  assert title == 'The fastest that fits:'
  pasted = dataclasses.replace(
    experiment, mesh=dataclasses.replace(experiment.mesh)
  )
  words, _, backends = flags.partition(' [')
  for word in words.split():
    name, value = re.fullmatch(r'--config\.([\w.]+)=(\w+)', word).groups()
    set_field(pasted, name, value)
  if backends:
    pasted.attention = best.estimate.plan.attention
  figures = preflight.preflight(pasted, 'v5e:2x4', vocab_size=160)
  assert figures.stages[0].memory.total == best.bytes_needed
  assert figures.stages[0].batch_size == experiment.batch_size


def test_a_search_goes_on_and_compiles_nothing_twice(
  experiment, few_plans, tmp_path, monkeypatch, capfd
):
  path = tmp_path / 'plans.json'
  compiled = []
  real = preflight.preflight

  def counted(*arguments, **fields):
    if len(compiled) == 1:
      raise KeyboardInterrupt
    compiled.append(arguments)
    return real(*arguments, **fields)

  monkeypatch.setattr(preflight, 'preflight', counted)
  with pytest.raises(Stopped) as stopped:
    search(experiment, path, limit=2)
  assert str(stopped.value) == (
    f'stopped by Ctrl-C; what was compiled is in {path}; the same command goes '
    'on.'
  )
  assert len(json.loads(path.read_text())['plans']) == 1
  calls = []

  def recorded(*arguments, **fields):
    calls.append(arguments)
    return real(*arguments, **fields)

  monkeypatch.setattr(preflight, 'preflight', recorded)
  found = search(experiment, path, limit=2)
  assert len(found.tried) == 2 and len(calls) == 1
  again = search(experiment, path, limit=2)
  assert len(calls) == 1
  assert again == found
  assert 'plan 1 of at most 2, 0 s so far: --config.remat=' in (
    capfd.readouterr().err
  )
  # Another model has other plans.
  experiment.model.mlp_dim = 64
  search(experiment, path, limit=1)
  assert len(calls) == 2


def test_gpus_are_searched_within_the_memory_that_jax_takes(
  experiment, few_plans, tmp_path
):
  path = tmp_path / 'plans.json'
  found = preflight_search.search(
    experiment, 'h100:2', path, vocab_size=160, limit=1
  )
  [tried] = found.tried
  assert tried.fits and found.best is tried
  [plan] = json.loads(path.read_text())['plans'].values()
  assert plan['topology'] == 'h100:2'
  assert 'jax-cuda13-plugin' in plan['versions']
  assert [x['memory'] for x in plan['stages']] == [tried.bytes_needed]
  estimator = Estimator(experiment, topologies.named('h100:2'), 160)
  assert estimator.device_memory == 0.75 * chips.GPUS['h100'].memory_bytes
  assert estimator.experiment.compute_dtype == 'bfloat16'
  assert (
    preflight_search.search(experiment, 'h100:2', path, vocab_size=160, limit=1)
    == found
  )
  with pytest.raises(InputError, match='--search: the links of a100 are not'):
    preflight_search.search(experiment, 'a100:2', path, vocab_size=160)


def test_the_batch_stays_unless_it_is_asked_for(experiment):
  topology = topologies.named('v5e:2x4')
  estimator = Estimator(experiment, topology, 160)
  found = list(estimator.plans())
  assert {plan.batch_size for plan in found} == {32}
  assert {plan.layout[:3] for plan in found} == {
    (8 // (fsdp * tensor), fsdp, tensor)
    for fsdp in (1, 2, 4, 8)
    for tensor in (1, 2, 4, 8)
    if fsdp * tensor <= 8
  }
  assert {plan.remat for plan in found} == {'none', 'dots', 'attention', 'full'}
  # Rows of 32 tokens take the reference without a choice.
  assert {str(plan.attention) for plan in found} == {
    '()',
    '(BlockedAttention(block_size=256),)',
  }
  assert max(plan.layout.num_microbatches for plan in found) == 32
  batches = {plan.batch_size for plan in estimator.plans((64, 24))}
  assert batches == {64, 24}
  # Two heads cannot be split among eight devices.
  [wide] = [plan for plan in found if plan.layout == Layout(1, 1, 8, 1)][:1]
  assert estimator.estimate(wide) is None


def test_nothing_fits(experiment, few_plans, small_chips, tmp_path):
  small_chips(0.01)
  found = search(experiment, tmp_path / 'plans.json')
  assert len(found.tried) == 1 and found.best is None
  assert '\n' not in preflight_search.none_fits(found)
  lines = list(preflight_search.lines(found, experiment))
  assert 'no room' in lines[2] and 'The fastest' not in lines[-1]


def test_bad_input_is_one_line(experiment, tmp_path):
  def refused(**fields) -> str:
    with pytest.raises(InputError) as error:
      search(experiment, tmp_path / 'plans.json', **fields)
    assert '\n' not in str(error.value)
    return str(error.value)

  assert 'no mesh of v5e:2x4 divides a batch of 7;' in refused(batch_sizes=(7,))
  (tmp_path / 'plans.json').write_text('{"fits": true}')
  assert 'it has no plans; --search keeps plans in the file' in refused()
  (tmp_path / 'plans.json').write_text('{')
  assert 'is not JSON' in refused()


def test_state_is_exact_and_memory_falls_with_every_saving(experiment):
  estimator = Estimator(experiment, topologies.named('v5e:2x4'), 160)

  def memory(remat='none', **layout) -> float:
    fields = dict(data=8, fsdp=1, tensor=1, num_microbatches=1) | layout
    plan = next(
      plan
      for plan in estimator.plans()
      if plan.layout == Layout(**fields)
      and plan.remat == remat
      and plan.attention == ()
    )
    return estimator.estimate(plan).memory

  whole = memory()
  assert memory('dots') < whole
  assert memory('full') < memory('attention') < whole
  assert memory(data=1, fsdp=8) < whole
  assert memory(num_microbatches=4) < whole
  figures = preflight.preflight(experiment, 'v5e:2x4', vocab_size=160)
  parameters, optimizer = figures.state_bytes
  # Parameters, moments and gradients are there in any case.
  assert whole > 2 * parameters + optimizer
  total = figures.stages[0].memory.total
  assert 0.5 < whole / total < 2


@pytest.mark.parametrize(
  ('topology', 'gib'), [('v5e:2x4', 10.1), ('h100:8', 14.7)]
)
def test_what_compilers_said_of_unrolled_layers(topology, gib):
  """BERT-base, 32 rows of 512 a device, as docs/scale.md has it."""
  recipe = load_config(str(ROOT / 'experiments' / 'pretrain' / 'bert_base.py'))
  estimator = Estimator(recipe, topologies.named(topology), 30522)
  estimate = estimator.estimate(estimator.plan_of(recipe))
  assert estimate.memory / 2**30 == pytest.approx(gib, rel=0.15)


def test_what_is_saved_is_counted_from_the_loss(experiment):
  """Outputs of products and of attention, bf16, are what 'dots' adds."""
  model = experiment.model
  estimator = Estimator(experiment, topologies.named('v5e:2x4'), 160)
  row = preflight.row_shapes(estimator.objective, 32)

  def saved(remat: str) -> Saved:
    return plan_estimate.saved_by_loss(
      dataclasses.replace(estimator.experiment, remat=remat, scan_layers=True),
      estimator.objective,
      row,
      AbstractDevice(device_kind='any', num_cores=None, platform='cpu'),
    ).kept

  dots, full, everything = saved('dots'), saved('full'), saved('none')
  of_token = 6 * model.embed_dim + model.mlp_dim
  assert dots.per_row - full.per_row == (2 * model.num_layers * 32 * of_token)
  # Scores f32 of 5 places and 160 entries are there whatever layers save.
  assert full.scores == dots.scores == everything.scores == 4 * 5 * 160
  weights = model.num_heads * 32 * 32
  assert everything.per_row - dots.per_row > 4 * model.num_layers * weights
  assert everything.split > dots.split > full.split


def test_traffic_and_repeats_follow_remat_and_backend():
  config = bert_base(vocab_size=30522)
  forward = 2 * (
    12 * 512 * (4 * 768**2 + 2 * 768 * 3072) + 12 * 2 * 768 * 2**18
  )
  scores = 2 * 12 * 768 * 2**18

  def repeated(remat, backend):
    return plan_estimate.repeated_flops(config, remat, (backend,), 512)

  reference, blocked = ReferenceAttention(), BlockedAttention()
  assert repeated('none', reference) == 0
  assert repeated('none', blocked) == scores
  assert repeated('dots', reference) == repeated('dots', blocked) == scores
  assert repeated('attention', reference) == forward - scores
  assert repeated('full', reference) == forward
  assert repeated('full', blocked) == forward + scores


def test_bytes_of_collectives():
  config = bert_base(vocab_size=30522)
  stage = Stage(num_steps=1, row_length=512, batch_size=256)

  def sent(*layout: int) -> float:
    return plan_estimate.collective_bytes(
      Layout(*layout), stage, config, num_parameters=1000, itemsize=2
    )

  # A ring sends every sum of gradients once out and once back.
  assert sent(8, 1, 1, 1) == 7 / 8 * 2 * 4 * 1000
  assert sent(8, 1, 1, 2) == 2 * sent(8, 1, 1, 1)
  assert sent(1, 8, 1, 1) == 7 / 8 * (2 * 2 + 4) * 1000
  states = 2 * 256 * 512 * 768
  assert sent(1, 1, 8, 1) == 7 / 8 * 8 * states * 12
  assert sent(1, 1, 1, 4) == 0


@pytest.mark.parametrize(
  ('memory', 'remat', 'may_be'),
  [(90, 'dots', True), (110, 'none', False), (110, 'dots', True)],
)
def test_what_a_fitting_plan_makes_pointless(experiment, memory, remat, may_be):
  """A slower plan of the same layers would only save memory."""
  layout = Layout(8, 1, 1, 1)
  one = Estimate(Plan(32, layout, 'none', ()), 100.0, 1.0)
  other = Estimate(
    Plan(32, layout._replace(num_microbatches=2), remat, ()), memory, 2.0
  )
  fields = dict(bytes_needed=100, seconds=1.0, compile_seconds=1.0)
  fits = Tried(estimate=one, fits=True, **fields)
  assert preflight_search.may_be_better(other, fits) == may_be
  assert not preflight_search.may_be_better(one, fits)
  too_large = Tried(estimate=one, fits=False, **fields)
  assert preflight_search.may_be_better(other, too_large) == (memory < 100)


def test_the_verb_asks_for_what_is_missing(tmp_path):
  """Processes of their own, for the flags of verbs are there once a process."""
  file = tmp_path / 'mine.py'
  recipe = (ROOT / 'experiments' / 'pretrain' / 'bert_mini.py').read_text()
  file.write_text(recipe.replace('TOPOLOGY', 'ELSEWHERE'))

  def error_of(*words) -> str:
    done = subprocess.run(
      [sys.executable, '-m', 'bert_jax', 'preflight', *words],
      env=os.environ | {'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
    )
    assert done.returncode == 2
    return done.stderr

  assert error_of(f'--config={file}', '--search') == (
    'bert-jax preflight: --topology is missing; give --topology=v5e:2x4, or a '
    f"line TOPOLOGY = 'v5e:2x4' in {file}\n"
  )
  assert error_of(f'--config={file}', '--topology=v5e:2x4', '--search') == (
    'bert-jax preflight: --search: give --json=FILE, which keeps the plans '
    'that were compiled\n'
  )


def test_the_topology_of_a_file_is_read(tmp_path):
  file = tmp_path / 'own.py'
  file.write_text("TOPOLOGY = 'v5p:2x2x1'\nraise ValueError('was run')\n")
  assert topology_of(f'{file}:argument') == 'v5p:2x2x1'
  file.write_text("def f():\n  TOPOLOGY = 'v5p:2x2x1'\n")
  with pytest.raises(InputError, match='--topology is missing'):
    topology_of(str(file))
