"""The table of memory: its rows, and three of them compiled anew."""

import importlib.util
import json
import pathlib

import pytest

from bert_jax.config.experiment_file import load_config, topology_of
from bert_jax.parallel import topologies

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'experiments' / 'benchmarks' / 'memory_table.py'
RECIPES = sorted((ROOT / 'experiments' / 'pretrain').glob('*.py'))


@pytest.fixture(scope='module')
def memory_table():
  spec = importlib.util.spec_from_file_location('memory_table', SCRIPT)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_laid_out_on_its_topology(path):
  experiment = load_config(str(path))
  topology = topologies.named(topology_of(str(path)))
  mesh = experiment.mesh
  devices = topology.num_chips * topology.chip.num_devices
  # More than one host is not supported yet.
  assert topology.num_chips <= 8
  assert devices % (mesh.fsdp * mesh.tensor) == 0
  for stage in experiment.plan().stages:
    rows = devices // mesh.tensor * experiment.num_microbatches
    assert stage.batch_size % rows == 0


def test_every_recipe_is_a_row(memory_table):
  """A row that is not in the file is not compiled yet, and fits nowhere."""
  rows = {row.name: row for row in memory_table.rows()}
  assert len(rows) == len(memory_table.rows())
  found = json.loads(memory_table.RESULTS.read_text())['rows']
  assert set(found) <= set(rows)
  own = {f'{path.stem} {topology_of(str(path))}' for path in RECIPES}
  assert own <= set(rows)
  assert own - set(found) == set()
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


def test_the_recipes_fit(memory_table):
  found = json.loads(memory_table.RESULTS.read_text())['rows']
  for path in RECIPES:
    assert found[f'{path.stem} {topology_of(str(path))}']['fits'], path.stem


@pytest.mark.tpu
@pytest.mark.parametrize('number', range(3))
def test_a_sentinel_takes_what_the_table_says(memory_table, number):
  row = memory_table.Row(*memory_table.SENTINELS[number])
  known = json.loads(memory_table.RESULTS.read_text())['rows'][row.name]
  now = memory_table.measured(row)
  same = now['versions'] == known['versions']
  [stage], [before] = now['stages'], known['stages']
  assert stage['gib'] == pytest.approx(before['gib'], rel=0.01 if same else 0.1)
