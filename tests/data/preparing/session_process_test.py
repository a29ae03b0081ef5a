"""A process and what it started end together, whoever is killed first."""

import os
import signal
import subprocess

import pytest
from other_process import start_python
from process_ends import assert_ended, is_running

# The child starts a process of its own, as a library would.
SCRIPT = """
import os, subprocess, sys, time
from bert_jax.data.preparing.session_process import SessionProcess

def run(connection, word):
  child = subprocess.Popen([sys.executable, '-c', 'input()'],
                           stdin=subprocess.PIPE)
  connection.send((word, os.getpid(), child.pid))
  connection.recv()

if __name__ == '__main__':
  process = SessionProcess(run, ('ready',))
  print(*process.connection.recv(), flush=True)
  if input() == 'stop':
    process.stop(10)
    print('stopped', flush=True)
"""


@pytest.fixture
def started(tmp_path):
  (tmp_path / 'script.py').write_text(SCRIPT)
  process = start_python(
    tmp_path / 'script.py', stdin=subprocess.PIPE, stdout=subprocess.PIPE
  )
  word, *process_ids = process.stdout.readline().split()
  assert word == 'ready'
  yield process, [int(process_id) for process_id in process_ids]
  process.kill()
  process.communicate()


def test_stopped(started):
  process, process_ids = started
  assert all(map(is_running, process_ids))
  process.stdin.write('stop\n')
  process.stdin.flush()
  assert process.stdout.readline() == 'stopped\n'
  assert_ended(process_ids)


def test_the_process_that_asked_is_killed(started):
  process, process_ids = started
  process.send_signal(signal.SIGKILL)
  assert_ended(process_ids)


def test_ctrl_c_does_not_reach_it(started):
  process, process_ids = started
  sessions = {os.getsid(process_id) for process_id in process_ids}
  assert sessions == {process_ids[0]}
