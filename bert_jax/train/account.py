"""Notes where the wall-clock time of a start goes, for goodput.py to add up.

A thread writes the account every few seconds, also while the start compiles or
waits, so that a process killed at any moment leaves its account up to then.
"""

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from bert_jax import durable_files
from bert_jax.errors import InputError
from bert_jax.parallel import distributed
from bert_jax.train.goodput import PHASES, Start, goodput_of, read_starts
from bert_jax.workdir import Workdir

# Most of the time that the account of a killed process lacks.
BEAT_SECONDS = 5.0
# Saves of which the time is kept: a start goes on from one of the newest.
_NUM_SAVES = 4


class Account:
  """The seconds of one start by phase; each moment belongs to one phase.

  Attributes:
    first_step, last_step: see Start.
  """

  def __init__(self, began: float):
    """`began` is the time of its start, in seconds since 1970."""
    self._lock = threading.Lock()
    self._began = began
    self._seconds = dict.fromkeys(PHASES, 0.0)
    self._phase = 'start_up'
    self._since = time.monotonic() - max(0.0, time.time() - began)
    self._step_seconds_at: dict[str, float] = {}
    self.first_step = self.last_step = 0

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """A context of one of PHASES; the phase around it has no part in it."""
    around = self._enter(name)
    try:
      yield
    finally:
      self._enter(around)

  @contextlib.contextmanager
  def steps(self, first: int) -> Iterator[None]:
    """The context of all steps. What follows it counts as saving."""
    self.first_step = self.last_step = first
    self._enter('step')
    try:
      yield
    finally:
      self._enter('save')

  def saving(self, step: int) -> None:
    """Notes that a save begins after `step` steps."""
    with self._lock:
      self._step_seconds_at[str(step)] = self._seconds['step']
      for old in list(self._step_seconds_at)[:-_NUM_SAVES]:
        del self._step_seconds_at[old]

  def so_far(self) -> Start:
    """The account up to now; safe to call from any thread."""
    with self._lock:
      seconds = dict(self._seconds)
      seconds[self._phase] += time.monotonic() - self._since
      return Start(
        began=self._began,
        seconds=seconds,
        first_step=self.first_step,
        last_step=self.last_step,
        step_seconds_at=dict(self._step_seconds_at),
      )

  def _enter(self, phase: str) -> str:
    """Ends the phase that it returns, and begins another."""
    with self._lock:
      now = time.monotonic()
      self._seconds[self._phase] += now - self._since
      before, self._phase, self._since = self._phase, phase, now
      return before


@contextlib.contextmanager
def open_account(workdir: Workdir, began: float) -> Iterator[Account]:
  """The account of the start that `began` then, kept in goodput.json.

  Of several processes the first writes, and prints the line of the run at the
  end. Raises InputError if the file is damaged.
  """
  if not distributed.is_first():
    yield Account(began)
    return
  earlier = read_starts(workdir.goodput)
  # Hosts' clocks differ, and a process may call pretrain twice.
  for start in earlier:
    began = max(began, min(start.ended, time.time()))
  account, file = Account(began), _File(workdir, earlier)
  ended = threading.Event()

  def beat() -> None:
    while not ended.wait(BEAT_SECONDS):
      file.write(account.so_far())

  file.write(account.so_far())
  thread = threading.Thread(target=beat, name='goodput', daemon=True)
  thread.start()
  try:
    yield account
  finally:
    ended.set()
    thread.join()
    last = account.so_far()
    file.write(last)
  if found := goodput_of([*earlier, last]):
    print(found.line(), flush=True)


class _File:
  """goodput.json, with the account of this start behind the earlier ones."""

  def __init__(self, workdir: Workdir, earlier: Sequence[Start]):
    self._path = workdir.goodput
    self._require_lock = workdir.require_lock
    self._earlier = earlier
    self._failed = False

  def write(self, start: Start) -> None:
    """Writes it anew. On a full disk it says so once, and the run goes on.

    Nothing is written once the workdir has another owner, whose account it is
    then; this run ends at its next step or save, which name that owner.
    """
    try:
      self._require_lock()
    except InputError:
      return
    starts = [dataclasses.asdict(each) for each in (*self._earlier, start)]
    try:
      durable_files.write_json(self._path, {'starts': starts})
      self._failed = False
    except OSError as error:
      if not self._failed:
        text = f'{self._path}: {error}; the account waits until it works'
        print(text, file=sys.stderr, flush=True)
      self._failed = True
