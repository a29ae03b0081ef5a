"""config.json in and out, what may change, and the lock."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from bert_jax import workdir
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment, PretrainExperiment
from bert_jax.models.config import bert_tiny
from bert_jax.workdir import (
  Workdir,
  check_unchanged,
  decode,
  differences,
  encode,
)


def experiment(**overrides) -> PretrainExperiment:
  fields = dict(
    model=bert_tiny(), num_steps=10, batch_size=4, profile_steps=(1, 2)
  )
  return PretrainExperiment(**(fields | overrides))


def through_json(value):
  return decode(json.loads(json.dumps(encode(value))), where='config.json')


@pytest.mark.parametrize(
  'config',
  [experiment(), FinetuneExperiment(num_epochs=2, batch_size=4)],
  ids=['pretrain', 'finetune'],
)
def test_a_config_survives_json(config):
  assert through_json(config) == config


@pytest.mark.parametrize(
  'name',
  [
    'os.system',
    'subprocess.Popen',
    # In the package, but no config; and not of the package, but imported there.
    'bert_jax.workdir.Workdir',
    'bert_jax.workdir.shutil.Error',
    'bert_jax.durable_files.BinaryIO',
    'bert_jax.__main__.main',
    'bert_jax..workdir.Workdir',
    'bert_jax.',
    'bert_jax_evil.Config',
    '..os.system',
    'x',
    '',
    None,
    7,
    ['os', 'system'],
  ],
  ids=str,
)
def test_only_config_classes_of_the_package_are_made(name):
  with pytest.raises(InputError, match='refused'):
    decode({'_type': name, 'a': 1}, where='config.json')


def test_a_dataclass_from_elsewhere_is_none_of_ours(monkeypatch):
  """One that a module of the package has imported."""

  @dataclasses.dataclass
  class Imported:
    a: int

  monkeypatch.setattr(workdir, 'Imported', Imported, raising=False)
  with pytest.raises(InputError, match='refused'):
    decode({'_type': 'bert_jax.workdir.Imported', 'a': 1}, where='config.json')


@pytest.mark.parametrize(
  'value', ['two', 2.5, True, None, [2], {'_type': 'os.system'}], ids=str
)
def test_a_value_of_another_type_is_named(value):
  encoded = encode(experiment())
  encoded['model']['num_layers'] = value
  with pytest.raises(InputError, match='num_layers|refused'):
    decode(encoded, where='config.json')


def test_a_missing_field_is_named():
  encoded = encode(experiment())
  del encoded['num_steps']
  with pytest.raises(InputError, match="to have a field 'num_steps'"):
    decode(encoded, where='config.json')


@pytest.mark.parametrize(
  'text', ['[' * 100_000, '{"_type":' * 100_000, '{', '', 'null', '[]', '\xff']
)
def test_a_config_that_is_none(tmp_path, text):
  path = Workdir(tmp_path).config
  path.write_text(text)
  with pytest.raises(InputError, match='config.json'):
    Workdir(tmp_path).read_config()


def test_an_unknown_field_is_named():
  encoded = encode(experiment())
  encoded['model']['num_layer'] = 3
  with pytest.raises(InputError, match="no field 'num_layer'"):
    decode(encoded, where='config.json')


def test_fields_of_execution_may_change_and_others_may_not():
  old = experiment()
  new = dataclasses.replace(
    old,
    logging=dataclasses.replace(old.logging, every_steps=7),
    mesh=dataclasses.replace(old.mesh, data=4),
  )
  assert differences(old, new) == []
  new.optimizer = dataclasses.replace(old.optimizer, learning_rate=3.0)
  with pytest.raises(InputError, match='optimizer.learning_rate: 0.0001 -> 3'):
    check_unchanged(old, new, [])
  for allowed in ('optimizer.learning_rate', 'optimizer'):
    (line,) = check_unchanged(old, new, [allowed])
    assert line.startswith('optimizer.learning_rate')
  with pytest.raises(InputError):
    check_unchanged(old, new, ['optimizer.learning'])


def test_the_lock_keeps_a_second_process_out(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  with (
    workdir.lock(),
    pytest.raises(InputError, match=f'process {os.getpid()}'),
  ):
    with Workdir(tmp_path).lock():
      pass
  with workdir.lock():
    pass


def test_a_lock_whose_owner_died_does_not_block(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  script = textwrap.dedent("""
    import sys
    from bert_jax.workdir import Workdir
    with Workdir(sys.argv[1]).lock():
      print('locked', flush=True)
      sys.stdin.read()
  """)
  owner = subprocess.Popen(
    [sys.executable, '-c', script, str(tmp_path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  assert owner.stdout.readline() == b'locked\n'
  with pytest.raises(InputError, match=f'process {owner.pid}'):
    with workdir.lock():
      pass
  owner.send_signal(signal.SIGKILL)
  owner.wait()
  with workdir.lock():
    pass


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
  with pytest.raises(InputError, match='is not a workdir'):
    Workdir(tmp_path).read_config()
  (tmp_path / 'config.json').write_text('{"_type": ')
  with pytest.raises(InputError, match='not readable JSON'):
    Workdir(tmp_path).read_config()


def test_a_config_binds_from_the_first_checkpoint_on(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.create()
  assert workdir.settle_config(experiment(), []) == []
  assert workdir.settle_config(experiment(num_steps=11), []) == []
  assert workdir.read_config().num_steps == 11
  (workdir.checkpoints / '5').mkdir(parents=True)
  with pytest.raises(InputError, match='num_steps: 11 -> 10'):
    workdir.settle_config(experiment(), [])
  changes = workdir.settle_config(experiment(), ['num_steps'])
  assert changes == ['num_steps: 11 -> 10']
