"""The table of memory: its rows, and three of them compiled anew."""

import json
import pathlib

import pytest
from scripts import load_script

from bert_jax.config.experiment_file import load_config, topology_of
from bert_jax.parallel import topologies

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'experiments' / 'benchmarks' / 'memory_table.py'
RECIPES = sorted((ROOT / 'experiments' / 'pretrain').glob('*.py'))


@pytest.fixture(scope='module')
def memory_table():
  return load_script(SCRIPT)


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_laid_out_on_its_topology(path):
  experiment = load_config(str(path))
  topology = topologies.named(topology_of(str(path)))
  mesh = experiment.mesh
  devices = topology.num_chips * topology.chip.num_devices
  # Recipes are meant for one host.
  assert topology.num_chips <= 8
  assert devices % (mesh.fsdp * mesh.tensor) == 0
  for stage in experiment.plan().stages:
    rows = devices // mesh.tensor * experiment.num_microbatches
    assert stage.batch_size % rows == 0


def test_every_recipe_is_a_row(memory_table):
  """The file has each row, or says that it is not compiled yet."""
  rows = {row.name: row for row in memory_table.rows()}
  assert len(rows) == len(memory_table.rows())
  value = json.loads(memory_table.RESULTS.read_text())
  found, missing = value['rows'], value['not_compiled_yet']
  assert sorted([*found, *missing]) == sorted(rows)
  assert {f'{path.stem} {topology_of(str(path))}' for path in RECIPES} <= set(
    rows
  )
  for name, value in found.items():
    assert set(value['versions']) == {'jax', 'jaxlib', 'libtpu'}
    stages = rows[name].experiment().plan().stages
    assert [(x['rows'], x['row_length']) for x in value['stages']] == [
      (stage.batch_size, stage.row_length) for stage in stages
    ]
    sizes = [stage['gib'] for stage in value['stages']]
    assert value['fits'] == all(
      size is not None and size <= value['gib_of_device'] for size in sizes
    )
    assert value['fits'] == (not value['changes'])


def test_recipes_fit_their_topologies(memory_table):
  value = json.loads(memory_table.RESULTS.read_text())
  for path in RECIPES:
    name = f'{path.stem} {topology_of(str(path))}'
    if name not in value['not_compiled_yet']:
      assert value['rows'][name]['fits'], name


@pytest.mark.tpu
@pytest.mark.parametrize('number', range(3))
def test_a_sentinel_takes_what_the_table_says(memory_table, number):
  """A sentinel without a row in the file yet has to fit at least."""
  row = memory_table.Row(*memory_table.SENTINELS[number])
  rows = json.loads(memory_table.RESULTS.read_text())['rows']
  now = memory_table.measured(row)
  assert now['fits']
  known = rows.get(row.name, now)
  same = now['versions'] == known['versions']
  [stage], [before] = now['stages'], known['stages']
  assert stage['gib'] == pytest.approx(before['gib'], rel=0.01 if same else 0.1)
