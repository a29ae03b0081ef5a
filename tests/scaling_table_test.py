"""The table of scaling: its rows, and small steps compiled beside it."""

import json
import pathlib

import jax
import pytest
from scripts import load_script

from bert_jax.data.config import DataConfig
from bert_jax.data.tokenizers.base import synthetic_table
from bert_jax.experiment import PretrainExperiment, model_of, program_of
from bert_jax.jobs import preflight
from bert_jax.jobs.plan_estimate import Layout
from bert_jax.models import functional
from bert_jax.models.config import bert_base
from bert_jax.parallel import compiled
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'experiments' / 'benchmarks' / 'scaling_table.py'
ROWS, LENGTH, VOCAB_SIZE = 32, 32, 512
SHARES_OF_ALL_AXES = {'data': 1.17, 'gathered': 0.56, 'tensor': 1.72}


@pytest.fixture(scope='module')
def scaling_table():
  return load_script(SCRIPT)


@pytest.fixture(scope='module')
def rows(scaling_table):
  return json.loads(scaling_table.RESULTS.read_text())['rows']


def test_every_model_chip_and_layout_is_a_row(scaling_table, rows):
  assert [(row['model'], row['chips'], row['layout']) for row in rows] == [
    (model.recipe, chips, layout)
    for model in scaling_table.MODELS
    for chips in scaling_table.CHIPS
    for layout in scaling_table.LAYOUTS
  ]
  batches = {model.recipe: model.batch_size for model in scaling_table.MODELS}
  for row in rows:
    replicas = row['chips'] // (2 if 'tensor' in row['layout'] else 1)
    taken = row['rows'] * row['microbatches'] * replicas
    assert taken == batches[row['model']]
    assert row['step_seconds'] > row['arithmetic_seconds']


def test_the_page_has_the_short_form_of_the_table(scaling_table, rows):
  page = (ROOT / 'docs' / 'scale.md').read_text()
  assert '\n'.join(scaling_table.table(rows)) + '\n' in page


def test_a_model_comes_to_the_same_again(scaling_table, rows):
  model, chips = scaling_table.MODELS[0], 4096
  assert list(scaling_table.rows_of(model, chips)) == [
    row for row in rows if (row['model'], row['chips']) == (model.recipe, chips)
  ]


def compiled_beside_estimated(scaling_table, mesh, num_microbatches=1):
  """Bytes of a small step by mesh axis, (compiled, estimated by kind)."""
  experiment = PretrainExperiment(
    model=bert_base(
      num_layers=4,
      embed_dim=64,
      num_heads=4,
      mlp_dim=256,
      vocab_size=VOCAB_SIZE,
      max_positions=LENGTH,
    ),
    num_steps=10,
    batch_size=ROWS,
    num_microbatches=num_microbatches,
    data=DataConfig(row_length=LENGTH),
    compute_dtype='float32',
    mesh=mesh,
  )
  devices = experiment.mesh.build(jax.devices())
  with jax.set_mesh(devices):
    objective = experiment.objective.build(synthetic_table(VOCAB_SIZE))
    model = model_of(experiment, objective)
    program = program_of(experiment, objective, model, jax.random.key(0))
    batch = {
      name: jax.ShapeDtypeStruct(
        (ROWS, *x.shape[1:]), x.dtype, sharding=batch_sharding(devices)
      )
      for name, x in preflight.row_shapes(objective, LENGTH).items()
    }
    text = compiled.Program(program.lower(batch).compile().as_text())
  layout = Layout(*devices.shape.values(), num_microbatches)
  [stage] = experiment.plan().stages
  estimated = scaling_table.exchanges(
    experiment,
    layout,
    stage,
    functional.num_parameters(program.abstract.params),
  )
  return by_axis(text, layout), {
    (x.axis, x.kind): x.num_bytes for x in estimated
  }


def by_axis(text: compiled.Program, layout: Layout):
  """Bytes of collectives by (axis, kind); a pair of axes counts as the first.

  Devices of one slice follow each other, and so do those along the last axes of
  a mesh: what crosses groups of fsdp x tensor devices goes over data.
  """
  found = {}
  before: dict[str, int] = {}
  sizes = {'data': layout.fsdp * layout.tensor, 'fsdp': layout.tensor}
  for axis, size in (*sizes.items(), ('tensor', None)):
    for kind, moved in text.collectives(size).items():
      crossing = moved.num_bytes if size is None else moved.crossing_bytes
      found[axis, kind] = crossing - before.get(kind, 0)
      before[kind] = crossing
  return found


@pytest.mark.accelerator
@pytest.mark.parametrize('num_microbatches', [1, 2])
def test_gradients_over_data(scaling_table, num_microbatches):
  """All gradients once a microbatch, those of the table of tokens twice."""
  found, expected = compiled_beside_estimated(
    scaling_table, MeshConfig(), num_microbatches
  )
  assert expected.keys() == {('data', 'all-reduce')}
  assert found['data', 'all-reduce'] == pytest.approx(
    expected['data', 'all-reduce'], rel=0.001
  )


@pytest.mark.accelerator
def test_parameters_and_gradients_over_fsdp(scaling_table):
  """XLA for a CPU gathers f32 parameters once, and does not scatter sums."""
  found, expected = compiled_beside_estimated(scaling_table, MeshConfig(fsdp=4))
  shares = {
    'gathered': found['fsdp', 'all-gather'] / expected['fsdp', 'all-gather'],
    'summed': found['fsdp', 'all-reduce'] / expected['fsdp', 'reduce-scatter'],
    'over data': found['data', 'all-reduce'] / expected['data', 'all-reduce'],
  }
  print(shares)
  assert shares == pytest.approx(
    {'gathered': 0.5, 'summed': 0.97, 'over data': 1.05}, rel=0.1
  )


@pytest.mark.accelerator
def test_all_axes_together(scaling_table):
  """Four sums a layer over tensor are most of what crosses it."""
  found, expected = compiled_beside_estimated(
    scaling_table, MeshConfig(fsdp=2, tensor=2)
  )
  tensor = sum(size for (axis, _), size in found.items() if axis == 'tensor')
  shares = {
    'data': found['data', 'all-reduce'] / expected['data', 'all-reduce'],
    'gathered': found['fsdp', 'all-gather'] / expected['fsdp', 'all-gather'],
    'tensor': tensor / expected['tensor', 'all-reduce'],
  }
  print(shares)
  assert shares == pytest.approx(SHARES_OF_ALL_AXES, rel=0.1)
  # XLA also moves the states of one layer, as a device has them, over data.
  states = 4 * (ROWS // 4) * LENGTH * 64
  rest = sum(size for (axis, _), size in found.items() if axis == 'data')
  assert rest - found['data', 'all-reduce'] <= 2 * states
