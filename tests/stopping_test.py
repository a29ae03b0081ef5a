"""Signals are raised, noted, or end the process, as each phase needs it."""

import os
import signal
import subprocess
import textwrap

import pytest
from other_process import start_python

from bert_jax import stopping

BOTH = pytest.mark.parametrize(
  'number, name', [(signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'Ctrl-C')]
)


def run(script: str) -> subprocess.Popen:
  """Starts a Python process and waits until it says 'ready'."""
  process = start_python(
    *('-c', textwrap.dedent(script)),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  assert process.stdout.readline() == 'ready\n', process.stderr.read()
  return process


@BOTH
def test_work_that_can_be_left_anywhere(number, name):
  with pytest.raises(stopping.Stopped) as error:
    with stopping.stoppable('all is kept'):
      os.kill(os.getpid(), number)
      signal.pause()
  assert str(error.value) == f'stopped by {name}; all is kept'
  assert error.value.exit_code == 128 + number


def test_what_a_signal_leads_to_is_told_as_the_signal():
  """An error after the signal, such as of an ended worker, is not shown."""
  with pytest.raises(stopping.Stopped, match='SIGTERM'):
    with stopping.stoppable('all is kept'):
      try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
      finally:
        raise ValueError('a worker is gone')


def test_other_errors_pass():
  with pytest.raises(ValueError, match='an error'):
    with stopping.stoppable('all is kept'):
      raise ValueError('an error')


def test_handlers_are_put_back():
  before = [signal.getsignal(number) for number in stopping.NUMBERS]
  with stopping.stoppable(''), stopping.StopSignal('work', ''):
    assert signal.getsignal(signal.SIGTERM) not in before
  assert [signal.getsignal(number) for number in stopping.NUMBERS] == before
  assert signal.set_wakeup_fd(-1) == -1


@BOTH
def test_the_inner_message_wins(number, name):
  with pytest.raises(stopping.Stopped, match=f'{name}; inner'):
    with stopping.stoppable('outer'), stopping.stoppable('inner'):
      os.kill(os.getpid(), number)
      signal.pause()


@BOTH
def test_a_loop_learns_of_the_first_signal(number, name, capfd):
  with stopping.StopSignal('work', 'step 3 is kept') as stop:
    stop.begun()
    assert not stop.requested
    os.kill(os.getpid(), number)
    assert stop.requested
    assert stop.name == signal.Signals(number).name
  assert f'{name}: saving first' in capfd.readouterr().err


LOOP = """
  import threading
  from bert_jax import stopping
  with stopping.StopSignal('work', 'step 3 is kept') as stop:
    stop.begun()
    print('ready', flush=True)
    while not stop.requested: threading.Event().wait(0.01)
    print('saving', flush=True)
    threading.Event().wait()
"""


@BOTH
def test_a_second_signal_ends_at_once(number, name):
  process = run(LOOP)
  process.send_signal(number)
  assert process.stdout.readline() == 'saving\n'
  process.send_signal(number)
  assert process.wait(5) == 128 + number
  error = process.stderr.read()
  assert f'work: stopped by {name}; step 3 is kept' in error
  assert 'Traceback' not in error


@BOTH
def test_a_long_call_is_left_as_long_as_nothing_is_computed(number, name):
  """Uses a call of minutes that never returns to Python, like a compilation."""
  process = run("""
    import hashlib
    from bert_jax import stopping
    with stopping.StopSignal('work', 'step 3 is kept'):
      print('ready', flush=True)
      hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)
  """)
  process.send_signal(number)
  assert process.wait(5) == 128 + number
  assert process.stderr.read() == f'work: stopped by {name}; step 3 is kept\n'


def test_a_second_signal_during_the_tidying_ends_at_once():
  process = run("""
    import threading
    from bert_jax import stopping
    with stopping.stoppable('blocks are kept'):
      try:
        print('ready', flush=True)
        threading.Event().wait()
      finally:
        print('tidying', flush=True)
        threading.Event().wait()
  """)
  process.send_signal(signal.SIGINT)
  assert process.stdout.readline() == 'tidying\n'
  process.send_signal(signal.SIGINT)
  assert process.wait(5) == 130
  assert process.stderr.read() == 'stopped by Ctrl-C; blocks are kept\n'


def test_ctrl_c_does_not_reach_a_process_started_meanwhile():
  process = run("""
    import os, signal, subprocess, sys, threading
    from bert_jax import stopping
    with stopping.ctrl_c_held_back():
      child = subprocess.Popen([sys.executable, '-c', 'input()'],
                               stdin=subprocess.PIPE)
    try:
      print('ready', flush=True)
      threading.Event().wait()
    except KeyboardInterrupt:
      child.send_signal(signal.SIGINT)
      child.communicate(b'x')
      print(child.returncode)
  """)
  process.send_signal(signal.SIGINT)
  assert process.communicate(timeout=20)[0] == '0\n'


def test_an_end_at_once_is_announced_to_other_processes():
  process = run("""
    import signal
    from bert_jax import stopping
    def announce(*end): print(*end, flush=True)
    with stopping.StopSignal('work', '', str, announce):
      print('ready', flush=True)
      while True: signal.pause()
  """)
  process.send_signal(signal.SIGTERM)
  assert process.stdout.readline() == 'stopped by a signal 143\n'
  assert process.wait(5) == 143
