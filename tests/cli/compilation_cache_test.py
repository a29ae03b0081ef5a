"""Where compiled programs are kept."""

import importlib.util
import os

import pytest

from bert_jax.cli import compilation_cache

VARIABLES = (
  'JAX_COMPILATION_CACHE_DIR',
  'JAX_COMPILATION_CACHE_MAX_SIZE',
  'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS',
)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
  """An environment in which nothing is set, and which is put back."""
  copy = {k: v for k, v in os.environ.items() if k not in VARIABLES}
  monkeypatch.setattr(os, 'environ', copy | {'XDG_CACHE_HOME': str(tmp_path)})


def test_a_folder_of_the_users(tmp_path):
  compilation_cache.use()
  (folder,) = (tmp_path / 'bert_jax').iterdir()
  assert os.environ['JAX_COMPILATION_CACHE_DIR'] == str(folder)
  assert int(os.environ['JAX_COMPILATION_CACHE_MAX_SIZE']) > 0


def test_the_home_folder_without_the_variable(tmp_path):
  del os.environ['XDG_CACHE_HOME']
  os.environ['HOME'] = str(tmp_path)
  compilation_cache.use()
  folder = os.environ['JAX_COMPILATION_CACHE_DIR']
  assert folder.startswith(os.path.expanduser('~/.cache/bert_jax/'))


def test_what_is_set_already_wins(tmp_path):
  os.environ['JAX_COMPILATION_CACHE_DIR'] = ''
  compilation_cache.use()
  assert os.environ['JAX_COMPILATION_CACHE_DIR'] == ''
  assert not list(tmp_path.iterdir())


def test_entries_of_the_killed_are_removed(tmp_path):
  compilation_cache.use()
  (folder,) = (tmp_path / 'bert_jax').iterdir()
  whole, torn = folder / 'whole-cache', folder / 'torn-cache'
  for entry in (whole, torn):
    entry.write_bytes(b'program')
  (folder / 'whole-atime').write_bytes(b'time')
  del os.environ['JAX_COMPILATION_CACHE_DIR']
  compilation_cache.use()
  assert whole.exists() and not torn.exists()


def test_a_bare_environment_has_none(tmp_path, monkeypatch):
  """JAX itself would refuse to bound a folder without filelock."""
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  compilation_cache.use()
  assert 'JAX_COMPILATION_CACHE_DIR' not in os.environ
  assert not list(tmp_path.iterdir())


def test_a_home_that_cannot_be_written(tmp_path):
  (tmp_path / 'bert_jax').write_text('a file, so no folder can be made')
  compilation_cache.use()
  assert 'JAX_COMPILATION_CACHE_DIR' not in os.environ
