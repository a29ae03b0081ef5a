"""An abort of JAX waits until the watcher has said who is gone."""

import signal

from other_process import run_python

# The thread that aborts, as one of JAX's, does not hold the interpreter's lock.
ABORT = """
import ctypes, os, sys, threading
from bert_jax.parallel import distributed
distributed._delay_aborts()

def end():
  os.write(2, b'process 0 is gone')
  os._exit(3)

if 'watched' in sys.argv:
  threading.Timer(1.0, end).start()
ctypes.CDLL(None).abort()
"""


def test_the_watcher_speaks_before_an_abort():
  done = run_python('-c', ABORT, 'watched')
  assert (done.returncode, done.stderr) == (3, 'process 0 is gone')


def test_an_abort_that_nobody_explains_still_aborts():
  assert run_python('-c', ABORT).returncode == -signal.SIGABRT


def test_the_handler_of_faulthandler_is_kept():
  done = run_python('-X', 'faulthandler', '-c', ABORT, 'watched')
  assert done.returncode == -signal.SIGABRT
  assert 'Fatal Python error: Aborted' in done.stderr
