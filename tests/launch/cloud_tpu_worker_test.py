"""launch/cloud_tpu_worker.sh with a stand-in for Python: a run's life."""

import pathlib
import time

import pytest
from launcher_machine import Machine

# A run that says its arguments, and saves on SIGTERM.
PYTHON = """
trap 'echo saved; exit 75' TERM
echo "run $* port=${JAX_COORDINATOR_PORT:-none}"
case "$*" in
  *--hang*) while :; do sleep 0.02; done ;;
  *--code=*) last=${!#}; exit "${last#*=}" ;;
esac
"""


@pytest.fixture
def worker(tmp_path):
  machine = Machine(tmp_path)
  machine.add('python', PYTHON)
  venv = tmp_path / 'venv'
  (venv / 'bin').mkdir(parents=True)
  (venv / 'bin' / 'python').symlink_to(machine.bin / 'python')
  folders = {
    'BERT_JAX_STATE': str(tmp_path / 'state'),
    'BERT_JAX_VENV': str(venv),
  }

  def call(*arguments, status=0):
    return machine.run(
      'cloud_tpu_worker.sh', *arguments, status=status, **folders
    )

  yield call
  call('stop')


def await_status(worker, wanted):
  deadline = time.monotonic() + 20
  while not (line := worker('status').rstrip()).endswith(wanted):
    assert time.monotonic() < deadline, line
    time.sleep(0.05)
  assert line.startswith('worker ')


def test_run_outlives_its_start_and_saves_when_it_is_stopped(worker):
  worker('start', '8476', '--workdir=a b', '--hang')
  await_status(worker, ' running')
  worker('stop')
  await_status(worker, ' ended 75')
  log = worker('log', '0')
  assert log.startswith('run -m bert_jax pretrain --workdir=a b --hang port=84')
  assert log.endswith('saved\n')
  assert worker('log', str(len(log) - 6)) == 'saved\n'


@pytest.mark.parametrize('code', ['0', '2', '137'])
def test_exit_status_of_the_run_is_told(worker, code):
  worker('start', '', f'--code={code}')
  await_status(worker, f' ended {code}')
  assert 'port=none' in worker('log', '0')


def test_second_start_ends_what_is_left_of_the_first(worker):
  worker('start', '', '--hang')
  worker('start', '', '--code=0')
  await_status(worker, ' ended 0')


def test_run_that_vanished_is_told_as_lost(worker):
  await_status(worker, ' ended lost')


def test_steps_are_the_checkpoints_of_a_workdir(worker, tmp_path):
  run: pathlib.Path = tmp_path / 'a run'
  assert worker('steps', str(run)) == ''
  for step in ('100', '20'):
    (run / 'checkpoints' / step).mkdir(parents=True)
  assert worker('steps', str(run)).split() == ['100', '20']


def test_unknown_verb_is_one_line(worker):
  (line,) = worker('halt', status=2).splitlines()
  assert "unknown verb 'halt'" in line
