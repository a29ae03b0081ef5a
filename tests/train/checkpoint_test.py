"""Checkpoints: what is damaged is found, and the one before it is used."""

import dataclasses
import errno
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_state import abstract_on, at_step

from bert_jax.errors import InputError
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train import checkpoint_items
from bert_jax.train.checkpoint import (
  CheckpointConfig,
  Checkpoints,
  Position,
  load_params,
  restore_step,
  save_params,
  saved_steps,
)
from bert_jax.train.digests import array_digests

BIG = 2**40 + 7
READ = {'corpus 0, row length 8': '3 rows of 0123'}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """Checkpoints of the steps 5 and 10; copied by the tests that damage them."""
  folder = tmp_path_factory.mktemp('checkpoints')
  checkpoints = Checkpoints(folder, CheckpointConfig(keep_last=2))
  for step in (1, 5, 10):
    checkpoints.save(at_step(step), Position(BIG + step, READ))
  checkpoints.close()
  return folder


@pytest.fixture
def copy(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'copy')


@pytest.fixture(scope='module')
def one_device():
  return MeshConfig().build(jax.devices()[:1])


def restore(folder, mesh):
  return Checkpoints(folder, CheckpointConfig()).restore(abstract_on(mesh))


def assert_equal(found, expected):
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(found),
    jax.device_get(expected),
  )


def test_the_newest_are_kept_and_restored_bit_for_bit(saved, one_device):
  assert saved_steps(saved) == [10, 5]
  state, position = restore(saved, one_device)
  assert_equal(state, at_step(10))
  assert position == Position(BIG + 10, READ)


def test_nothing_saved_is_none(tmp_path, one_device):
  assert restore(tmp_path / 'none', one_device) is None


@pytest.mark.parametrize('axes', [dict(data=8), dict(data=2, fsdp=4)], ids=str)
def test_any_mesh_restores_the_same(saved, axes):
  state, _ = restore(saved, MeshConfig(**axes).build())
  assert_equal(state, at_step(10))


def array_files(folder):
  """The files that hold array bytes, largest first."""
  files = [path for path in folder.rglob('d/*') if path.is_file()]
  return sorted(files, key=lambda path: -path.stat().st_size)


def damage(path, how) -> None:
  data = bytearray(path.read_bytes())
  if how == 'removed':
    path.unlink()
  elif how == 'cut':
    path.write_bytes(data[: len(data) // 2])
  elif data:
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# Reading each of dozens of damaged copies takes minutes.
@pytest.mark.processes
@pytest.mark.parametrize('how', ['flipped', 'cut', 'removed'])
def test_damage_in_any_file_is_found_or_does_no_harm(
  saved, tmp_path, one_device, capsys, how
):
  """The right state of step 10, or that of step 5: never another."""
  passed_over = set()
  for path in (saved / '10').rglob('*'):
    if not path.is_file():
      continue
    name = path.relative_to(saved)
    copy = shutil.copytree(saved, tmp_path / 'copy')
    damage(copy / name, how)
    state, position = restore(copy, one_device)
    step = position.next_example - BIG
    assert step in (5, 10), name
    assert_equal(state, at_step(step))
    assert (copy / 'damaged-10').is_dir() == (step == 5)
    assert ('is damaged' in capsys.readouterr().out) == (step == 5)
    if step == 5:
      passed_over.add(str(name.parent))
    shutil.rmtree(copy)
  # Where arrays and positions lie, nothing goes unnoticed.
  assert {'10/params/d', '10/state/d', '10/data'} <= passed_over


def unlisted(folder):
  """Removes the lists of files, which older versions and kills leave out."""
  for path in folder.glob('*/files.json'):
    path.unlink()


@pytest.mark.parametrize('how', ['cut', 'removed'])
def test_damage_is_found_without_the_list_of_files(copy, one_device, how):
  unlisted(copy)
  damage(copy / '10' / 'params' / '_METADATA', how)
  state, _ = restore(copy, one_device)
  assert_equal(state, at_step(5))
  assert (copy / 'damaged-10').is_dir()


def test_one_without_the_list_of_files_is_restored(copy, one_device):
  unlisted(copy)
  state, position = restore(copy, one_device)
  assert_equal(state, at_step(10))
  assert position == Position(BIG + 10, READ)


@pytest.mark.parametrize(
  ('error', 'message'),
  [
    (OSError(errno.EIO, 'Input/output error', '/a/b'), 'EIO: .* on /a/b.*disk'),
    (OSError(errno.ENOMEM, 'no'), 'ENOMEM: Cannot allocate.*more memory than'),
    (MemoryError('9 GB'), 'MemoryError: 9 GB.*needs more memory than is free'),
    (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 9 GB'), 'more memory'),
    (jax.errors.JaxRuntimeError('INTERNAL: halted'), 'look after the device'),
    (ValueError('UNAVAILABLE: no answer'), 'no answer.*another disk'),
    (KeyError('param_name'), 'KeyError: .*another version'),
    (FileNotFoundError('no metadata'), 'its files are there; try again'),
    (ExceptionGroup('two', [ValueError(), OSError(5, 'a')]), 'EIO: Input/out'),
  ],
)
def test_what_is_no_damage_renames_nothing(
  saved, one_device, monkeypatch, error, message
):
  def fail(*unused):
    raise RuntimeError('Orbax says') from error

  monkeypatch.setattr('bert_jax.train.checkpoint_items._read', fail)
  for read in (
    lambda: restore(saved, one_device),
    lambda: load_params(saved),
    lambda: restore_step(saved, 10, abstract_on(one_device)),
  ):
    with pytest.raises(InputError, match=message) as found:
      read()
    assert 'nothing was changed' in str(found.value)
    assert '\n' not in str(found.value)
  assert saved_steps(saved) == [10, 5]


def test_what_passes_is_read_and_said(saved, one_device, monkeypatch, capsys):
  read, errors = checkpoint_items._read, [ValueError('DATA_LOSS: a bit')]

  def fail_once(*arguments):
    if errors:
      raise errors.pop()
    return read(*arguments)

  monkeypatch.setattr(checkpoint_items, '_read', fail_once)
  state, _ = restore(saved, one_device)
  assert_equal(state, at_step(10))
  assert (
    'was read at the second try; the first said: ValueError: DATA_LOSS'
    in (capsys.readouterr().out)
  )


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      lambda wanted: dataclasses.replace(wanted, optimizer_state=()),
      'another optimizer than this config: state/optimizer_state/.* is '
      'int32.* in it, here it is not there',
    ),
    (
      lambda wanted: jax.tree.map(
        lambda leaf: (
          jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=leaf.sharding)
          if leaf.ndim
          else leaf
        ),
        wanted,
      ),
      r'another model than this config: params/.* float32\[.* bfloat16\[',
    ),
    (
      lambda wanted: dataclasses.replace(
        wanted, params=wanted.params | {'new_head': wanted.step}
      ),
      'another model .*: params/new_head is not there in it, here it is int32',
    ),
    (
      lambda wanted: dataclasses.replace(
        wanted,
        params=wanted.params
        | {'mlm_head': wanted.params['mlm_head'] | {'bias': wanted.step}},
      ),
      r'another model .*: params/mlm_head/bias is float32\[50\] in it',
    ),
  ],
)
def test_another_tree_is_named_and_renames_nothing(
  saved, one_device, change, message
):
  wanted = change(abstract_on(one_device))
  with pytest.raises(InputError, match=message) as error:
    Checkpoints(saved, CheckpointConfig()).restore(wanted)
  assert 'nothing was changed' in str(error.value)
  assert saved_steps(saved) == [10, 5]


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
  saved, one_device, monkeypatch
):
  def fail(path):
    raise OSError(errno.EIO, 'Input/output error', str(path))

  monkeypatch.setattr('os.scandir', fail)
  with pytest.raises(OSError, match='Input/output error'):
    restore(saved, one_device)


def test_a_changed_data_position_is_found(copy, one_device):
  (path,) = (
    path
    for path in (copy / '10' / 'data').rglob('*')
    if path.is_file() and b'next_example' in path.read_bytes()
  )
  text = path.read_text()
  path.write_text(text.replace(str(BIG + 10), str(BIG + 11)))
  _, position = restore(copy, one_device)
  assert position.next_example == BIG + 5


def test_an_emptied_folder_is_passed_over(copy, one_device):
  shutil.rmtree(copy / '10')
  (copy / '10').mkdir()
  state, _ = restore(copy, one_device)
  assert_equal(state, at_step(5))


def test_no_sound_checkpoint_is_an_error_and_not_a_fresh_start(
  copy, one_device
):
  for step in ('5', '10'):
    shutil.rmtree(copy / step / 'params')
  with pytest.raises(InputError, match='none of its 2 checkpoints'):
    restore(copy, one_device)


def test_saving_goes_on_after_walking_back(copy, one_device):
  shutil.rmtree(copy / '10' / 'params')
  checkpoints = Checkpoints(copy, CheckpointConfig(keep_last=2))
  checkpoints.restore(abstract_on(one_device))
  checkpoints.save(at_step(10), Position(3, READ))
  checkpoints.close()
  assert saved_steps(copy) == [10, 5]
  _, position = restore(copy, one_device)
  assert position.next_example == 3


def test_params_alone(saved, tmp_path):
  params, step = load_params(saved)
  assert step == 10
  assert_equal(params, at_step(10).params)
  save_params(tmp_path / 'best', at_step(5).params)
  save_params(tmp_path / 'best', at_step(1).params)
  assert_equal(load_params(tmp_path / 'best')[0], at_step(1).params)
  with pytest.raises(
    InputError, match='no checkpoint has been saved in it yet'
  ):
    load_params(tmp_path / 'nothing')


def test_params_of_a_damaged_checkpoint_are_not_loaded(copy):
  path = array_files(copy / '10' / 'params')[0]
  data = bytearray(path.read_bytes())
  data[len(data) // 3] ^= 64
  path.write_bytes(bytes(data))
  assert load_params(copy)[1] == 5
  with pytest.raises(InputError, match='not what was saved'):
    load_params(copy, step=10)


@pytest.mark.parametrize('version, is_read', [(None, True), (99, False)])
def test_a_checkpoint_is_verified_by_the_digests_it_was_written_with(
  tmp_path, one_device, monkeypatch, version, is_read
):
  """Earlier versions named no version: theirs was 1."""

  def written(items):
    named = {} if version is None else {'digest_version': version}
    return {'digests': array_digests(items, 1)} | named

  monkeypatch.setattr(checkpoint_items, '_digests_of', written)
  checkpoints = Checkpoints(tmp_path, CheckpointConfig())
  checkpoints.save(at_step(5), Position(BIG + 5, READ))
  checkpoints.close()
  if is_read:
    assert_equal(restore(tmp_path, one_device)[0], at_step(5))
    assert load_params(tmp_path)[1] == 5
    return
  with pytest.raises(InputError, match='digests of version 99'):
    restore(tmp_path, one_device)
  assert saved_steps(tmp_path) == [5]


def test_digests_are_equal_on_every_mesh():
  state = at_step(3)
  expected = array_digests({'params': state.params})
  for axes in (dict(data=8), dict(data=1, fsdp=4, tensor=2)):
    mesh = MeshConfig(**axes).build()
    shardings = jax.tree.map(
      lambda leaf: leaf.sharding, abstract_on(mesh).params
    )
    placed = jax.device_put(state.params, shardings)
    assert array_digests({'params': placed}) == expected


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'int32', 'bool'])
def test_digests_see_every_bit_and_every_swap(dtype):
  array = np.arange(12).reshape(3, 4) % 5 > 1
  array = jnp.asarray(array).astype(dtype)
  digest = array_digests({'a': array})
  swapped = array.at[0, 1].set(array[0, 2]).at[0, 2].set(array[0, 1])
  assert array_digests({'a': swapped}) != digest
  assert array_digests({'a': array.at[2, 3].set(array[0, 2])}) != digest


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_digests_see_a_swap_of_x_and_minus_x(dtype):
  array = jnp.asarray([[0.5, -0.5, 3.0], [1.0, -1.0, 2.0]], dtype)
  digest = array_digests({'a': array})
  for row, first, second in ((0, 0, 1), (1, 0, 1)):
    swapped = array.at[row, first].set(array[row, second])
    swapped = swapped.at[row, second].set(array[row, first])
    assert array_digests({'a': swapped}) != digest
  if dtype == 'float32':
    # Version 1, by which older checkpoints are verified, saw none of these.
    assert array_digests({'a': swapped}, 1) == array_digests({'a': array}, 1)
