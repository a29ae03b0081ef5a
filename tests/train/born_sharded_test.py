"""Split arrays that no device ever holds whole, from their first bit on."""

import re

import jax
import numpy as np
import pytest
import toys

from bert_jax.models import functional
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train import digests
from bert_jax.train.checkpoint import (
  CheckpointConfig,
  Checkpoints,
  Position,
  restore_step,
)
from bert_jax.train.initial import Initial
from bert_jax.train.program import make_program
from bert_jax.train.state import with_shardings

OBJECTIVE = MaskedLMConfig().build(toys.table())
MODEL = toys.model(OBJECTIVE)
KEY = jax.random.key(0)
MESHES = (dict(fsdp=8), dict(data=2, fsdp=2, tensor=2))
on_meshes = pytest.mark.parametrize('axes', MESHES, ids=str)


def program_here():
  """The program of a run on the mesh that is set."""
  config = AdamWConfig()
  return make_program(
    OBJECTIVE,
    MODEL,
    config.build(MODEL.infos),
    config.build_schedule(10),
    KEY,
    num_microbatches=1,
  )


def abstract_of(program):
  return with_shardings(program.abstract, program.shardings)


def split_shapes(tree) -> set[tuple[int, ...]]:
  """Whole shapes of the matrices that a mesh splits.

  Left out are those that some part of another array has too.
  """
  leaves = jax.tree.leaves(tree)
  parts = {x.sharding.shard_shape(x.shape) for x in leaves}
  return {x.shape for x in leaves if x.ndim > 1} - parts


def check_in_parts(lowered, whole: set[tuple[int, ...]]) -> None:
  """Looks in a compiled program for arrays as large as a whole one."""
  text = lowered.compile().as_text()
  assert 'all-gather' not in text and 'collective-permute' not in text
  found = {
    tuple(int(size) for size in sizes.split(','))
    for sizes in re.findall(r'\b[a-z]+\d+\[([\d,]+)\]', text)
  }
  assert found and not whole & found


@on_meshes
def test_the_first_state_is_drawn_in_parts(axes, monkeypatch):
  """Whole shapes stand nowhere in the programs, and the host adds none."""
  put = []
  with jax.set_mesh(MeshConfig(**axes).build()):
    program = program_here()
    state = abstract_of(program)
    whole = split_shapes(state)
    assert len(whole) >= 5
    draw = program.new_params.lower(KEY)
    begin = jax.jit(program.new_state, out_shardings=program.shardings)
    for lowered in (draw, begin.lower(state.params)):
      check_in_parts(lowered, whole)

    device_put = jax.device_put

    def recorded(x, *args, **kwargs):
      put.extend(jax.tree.leaves(x))
      return device_put(x, *args, **kwargs)

    monkeypatch.setattr(jax, 'device_put', recorded)
    first = program.fresh_state()
  # Only arrays that lie as they shall are handed on.
  assert [x.sharding for x in put] == jax.tree.leaves(program.shardings.params)
  assert split_shapes(first) == whole


@on_meshes
def test_every_mesh_draws_the_same_bits(axes):
  found = []
  for mesh in (
    MeshConfig().build(jax.devices()[:1]),
    MeshConfig(**axes).build(),
  ):
    with jax.set_mesh(mesh):
      found.append(jax.device_get(program_here().fresh_state().params))
  jax.tree.map(np.testing.assert_array_equal, *found)


@on_meshes
def test_loaded_arrays_reach_a_device_in_parts(axes, tmp_path, monkeypatch):
  """A restore and parameters of another model bring parts to devices."""
  with jax.set_mesh(MeshConfig(**axes).build()):
    program = program_here()
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    state = program.fresh_state()
    checkpoints.save(state, Position(0, {}))
    checkpoints.close()
    abstract = abstract_of(program)
    whole = split_shapes(abstract)
    put = []
    device_put = jax.device_put

    def recorded(x, device=None, *args, **kwargs):
      placed = device_put(x, device, *args, **kwargs)
      for leaf in jax.tree.leaves(placed):
        put.extend(part.data.shape for part in leaf.addressable_shards)
      return placed

    monkeypatch.setattr(jax, 'device_put', recorded)
    restored, _ = restore_step(tmp_path, 0, abstract)
    arrays = jax.tree.leaves(abstract)
    # Each part of each array has come this way.
    assert len(put) >= sum(len(x.sharding.device_set) for x in arrays)
    assert not whole & set(put)
    put.clear()
    host = jax.device_get(state.params)
    started = program.fresh_state(Initial('host', lambda: host))
    assert put and not whole & set(put)
    monkeypatch.undo()
    flat = functional.flatten({'params': restored.params})
    checked = digests._digests.lower(flat, digests.VERSION)
    check_in_parts(checked, whole)
  for found in (restored.params, started.params):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), host)
