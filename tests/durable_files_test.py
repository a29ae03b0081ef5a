"""Durable files: whole or not there; locks that only the living hold."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from bert_jax import durable_files
from bert_jax.errors import InputError


def test_a_file_appears_when_it_is_whole(tmp_path):
  path = tmp_path / 'file'
  with durable_files.new_file(path) as file:
    file.write(b'whole')
    assert not path.exists()
  assert path.read_bytes() == b'whole'
  assert os.listdir(tmp_path) == ['file']


def test_two_writers_of_one_process_id_do_not_mix(tmp_path):
  """Containers on different hosts have the same process id."""
  path = tmp_path / 'file'
  with durable_files.new_file(path) as first:
    first.write(b'first')
    with durable_files.new_file(path) as second:
      second.write(b'second')
    assert path.read_bytes() == b'second'
  assert path.read_bytes() == b'first'
  assert os.listdir(tmp_path) == ['file']


def test_a_failure_leaves_the_file_as_it_was(tmp_path):
  path = tmp_path / 'file'
  path.write_bytes(b'before')
  with pytest.raises(KeyboardInterrupt):
    with durable_files.new_file(path) as file:
      file.write(b'half')
      raise KeyboardInterrupt
  assert path.read_bytes() == b'before'
  assert os.listdir(tmp_path) == ['file']


def test_json_of_any_text_is_read_back(tmp_path):
  """Includes file names that are not UTF-8, whose bytes Python escapes."""
  names = ['caf\u00e9', os.fsdecode(b'caf\xe9'), '\\udce9', '\n"\0\ud800']
  durable_files.write_json(tmp_path / 'names.json', names)
  text = (tmp_path / 'names.json').read_bytes().decode()
  assert json.loads(text) == names


def test_a_folder_replaces_an_empty_one_only(tmp_path):
  source, target = tmp_path / 'source', tmp_path / 'target'
  (source / 'inner').mkdir(parents=True)
  (source / 'inner' / 'file').write_text('text')
  target.mkdir()
  durable_files.publish_folder(source, target)
  assert (target / 'inner' / 'file').read_text() == 'text'
  assert not source.exists()
  source.mkdir()
  with pytest.raises(OSError):
    durable_files.publish_folder(source, target)


def test_the_lock_is_held_by_one(tmp_path):
  path = tmp_path / 'lock'
  with durable_files.exclusive_lock(path, 'DIR'):
    with pytest.raises(InputError, match=f'DIR is in use.*{os.getpid()}'):
      with durable_files.exclusive_lock(path, 'DIR'):
        pytest.fail('held twice')
  assert not path.exists()
  with durable_files.exclusive_lock(path, 'DIR'):
    pass


def test_a_dead_owner_does_not_block(tmp_path):
  path = tmp_path / 'lock'
  code = (
    'import os, pathlib, sys\n'
    'from bert_jax import durable_files\n'
    'with durable_files.exclusive_lock(pathlib.Path(sys.argv[1]), "DIR"):\n'
    '  os.kill(os.getpid(), 9)\n'
  )
  subprocess.run(
    [sys.executable, '-c', code, str(path)],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
  )
  assert path.exists()
  with durable_files.exclusive_lock(path, 'DIR'):
    pass


def test_a_lock_can_be_waited_for(tmp_path):
  path = tmp_path / 'lock'
  owner = contextlib.ExitStack()
  owner.enter_context(durable_files.exclusive_lock(path, 'DIR'))
  told = []

  def wait(who):
    told.append(who)
    # Giving the lock back removes the file that the waiting call has opened.
    owner.close()

  with durable_files.exclusive_lock(path, 'DIR', wait):
    assert told == [f'process {os.getpid()} on {os.uname().nodename}']
    with pytest.raises(InputError, match='DIR is in use'):
      with durable_files.exclusive_lock(path, 'DIR'):
        pytest.fail('held twice')
