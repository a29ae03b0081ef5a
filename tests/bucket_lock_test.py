"""Two processes want one lock in a bucket; one is late, gone or slow."""

import threading
import time

import pytest
from gcs_server import Refused

from bert_jax import bucket_lock
from bert_jax.buckets import bucket_path
from bert_jax.errors import InputError

WHAT = '--workdir=gs://bucket/run'


@pytest.fixture
def path(gcs, monkeypatch):
  monkeypatch.setattr(bucket_lock, 'RENEW_SECONDS', 0.05)
  monkeypatch.setattr(bucket_lock, 'STALE_SECONDS', 1.0)
  monkeypatch.setattr(bucket_lock, '_LOOK_SECONDS', 0.1)
  return bucket_path('gs://bucket/run/lock', '--workdir')


def test_a_living_owner_keeps_it(path):
  with bucket_lock.held(path, WHAT) as require:
    with pytest.raises(InputError, match=f'{WHAT} is in use by process .* on'):
      with bucket_lock.held(path, WHAT):
        pass
    require()
  assert not path.exists()
  with bucket_lock.held(path, WHAT):
    assert path.exists()


def test_a_dead_owners_lock_is_taken_over(path, capsys):
  path.write(b'process 7 on other\nx\n')
  start = time.monotonic()
  with bucket_lock.held(path, WHAT):
    assert time.monotonic() - start >= 1.0
    assert b'process 7' not in path.read_bytes()
  assert 'is locked by process 7 on other; waiting' in capsys.readouterr().out


def test_a_released_lock_is_waited_for(path):
  path.write(b'process 7 on other\nx\n')
  threading.Timer(0.3, path.unlink).start()
  start = time.monotonic()
  with bucket_lock.held(path, WHAT):
    assert time.monotonic() - start < 1.0


def test_an_owner_that_was_away_learns_of_it(path, capsys):
  with bucket_lock.held(path, WHAT) as require:
    path.write(b'process 7 on other\nx\n')
    deadline = time.monotonic() + 20
    with pytest.raises(InputError, match='process 7 on other has taken it'):
      while time.monotonic() < deadline:
        require()
        time.sleep(0.02)
  assert path.read_bytes() == b'process 7 on other\nx\n'
  assert 'this run ends' in capsys.readouterr().out


def test_one_of_many_gets_it(path):
  path.write(b'process 7 on other\nx\n')
  outcomes = []

  def take():
    try:
      with bucket_lock.held(path, WHAT):
        outcomes.append('held')
        time.sleep(1.5)
    except InputError:
      outcomes.append('refused')

  threads = [threading.Thread(target=take) for _ in range(5)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(outcomes) == ['held'] + ['refused'] * 4


@pytest.mark.parametrize('at_release', [False, True])
def test_an_outage_is_no_loss(path, gcs, monkeypatch, at_release):
  monkeypatch.setattr('bert_jax.buckets.PATIENCE_SECONDS', 0.2)
  with bucket_lock.held(path, WHAT) as require:
    before = path.generation()
    gcs.failing = lambda request: 503
    time.sleep(0.8)
    if not at_release:
      gcs.failing = lambda request: 0
      deadline = time.monotonic() + 20
      while path.generation() == before:
        assert time.monotonic() < deadline
      require()
  gcs.failing = lambda request: 0
  assert path.exists() == at_release


def test_a_lost_answer_is_no_loss(path, gcs):
  """The storage has written the lock, and the client is told to try again."""
  answered = threading.Event()
  store = gcs.store

  def stored(*arguments):
    facts = store(*arguments)
    if not answered.is_set():
      answered.set()
      raise Refused(503, 'the answer is lost')
    return facts

  gcs.store = stored
  try:
    with bucket_lock.held(path, WHAT) as require:
      time.sleep(0.3)
      require()
  finally:
    del gcs.store
  assert answered.is_set()
