"""launch/local_processes.py with small processes in place of a verb."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from scripts import load_script

import bert_jax

pytestmark = pytest.mark.hosts

PATH = pathlib.Path(bert_jax.__file__).parents[1] / 'launch/local_processes.py'


@pytest.fixture
def launcher(monkeypatch):
  """The script as a module; `code` of `python -c` is what a process runs."""
  module = load_script(PATH)

  def start(number, devices, command):
    code, *words = command
    return subprocess.Popen(
      [sys.executable, '-c', code, str(number), *words],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )

  before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
  monkeypatch.setattr(module, 'start', start)
  yield module
  for number, handler in before.items():
    signal.signal(number, handler)


def test_lines_have_the_number_of_their_process(launcher, capfdbinary):
  code = 'import sys; print(sys.argv[1:]); print("x", end="")'
  assert launcher.run(2, 1, [code]) == 0
  lines = capfdbinary.readouterr().out.decode().splitlines()
  for number in range(2):
    first, second = [x for x in lines if x.startswith(f'[{number}] ')]
    assert f"'--process_id={number}'" in first
    assert "'--num_processes=2'" in first
    assert second == f'[{number}] x'


@pytest.mark.parametrize('end, status', [('sys.exit(2)', 2), (None, 137)])
def test_the_first_failure_is_the_status(launcher, end, status):
  end = end or 'os.kill(os.getpid(), 9)'
  code = f"""
import os, sys, time
if sys.argv[1] == '1': {end}
time.sleep(1)
sys.exit(5)
"""
  assert launcher.run(2, 1, [code]) == status


def test_a_signal_reaches_every_process(launcher, tmp_path):
  code = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open(sys.argv[2] + sys.argv[1], 'w')
time.sleep(60)
"""

  def send():
    while len(os.listdir(tmp_path)) < 2:
      threading.Event().wait(0.02)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=send).start()
  assert launcher.run(2, 1, [code, f'{tmp_path}/']) == 75


@pytest.mark.parametrize('words', [['2'], ['0', '--', 'pretrain'], ['--']])
def test_a_wrong_call_says_what_to_give(words):
  done = subprocess.run(
    [sys.executable, PATH, *words], capture_output=True, text=True
  )
  assert done.returncode == 2
  assert 'usage' in done.stderr
