"""A lock in a bucket: an object that its owner writes again and again.

Cloud Storage writes an object only if its generation is the one that the writer
knows, so one of two processes that take the lock at once gets it. A dead owner
cannot remove its lock: one that is not written for STALE_SECONDS is taken over,
by the clock of the process that waits. An owner that was away for so long finds
that out at its next write, and its run ends.
"""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from bert_jax.buckets import BucketPath
from bert_jax.errors import InputError

RENEW_SECONDS = 5.0
STALE_SECONDS = 30.0
_LOOK_SECONDS = 1.0


@contextlib.contextmanager
def held(path: BucketPath, what: str) -> Iterator[Callable[[], None]]:
  """Holds the lock; yields a function that raises InputError once it is lost.

  `what` names the locked thing in messages. Raises InputError naming the owner
  if a living process holds it.
  """
  lock = _Lock(path, what)
  lock.take()
  renewing = threading.Thread(target=lock.renew, name='renew-lock', daemon=True)
  renewing.start()
  try:
    yield lock.require
  finally:
    lock.ended.set()
    renewing.join()
    lock.release()


class _Lock:
  """The lock as its owner knows it."""

  def __init__(self, path: BucketPath, what: str):
    self._path = path
    self._what = what
    owner = f'process {os.getpid()} on {os.uname().nodename}'
    # Process ids come again, on other hosts too.
    self._text = f'{owner}\n{secrets.token_hex(8)}\n'.encode()
    self._generation = 0
    self._lost_to = ''
    self.ended = threading.Event()

  def take(self) -> None:
    """Returns once the lock is held."""
    while not self._write():
      content, seen = self._read()
      if content == self._text:  # the answer to a write was lost
        self._generation = seen
        return
      if seen and self._lives(content, seen):
        raise InputError(
          f'{self._what} is in use by {_owner(content)}; wait for it, or '
          'choose another'
        )
      self._generation = seen

  def _lives(self, content: bytes, seen: int) -> bool:
    """Waits until another's lock is renewed, released or stale."""
    print(
      f'{self._what} is locked by {_owner(content)}; waiting up to '
      f'{STALE_SECONDS:.0f} s to see whether that still runs',
      flush=True,
    )
    end = time.monotonic() + STALE_SECONDS
    while time.monotonic() < end:
      time.sleep(_LOOK_SECONDS)
      now = self._path.generation()
      if now != seen:
        return bool(now)
    return False

  def renew(self) -> None:
    """Writes the lock again and again, until it has ended or is lost."""
    while not self.ended.wait(RENEW_SECONDS):
      # An outage is no loss: nobody else can take the lock meanwhile either.
      with contextlib.suppress(OSError):
        if self._write():
          continue
        content, self._generation = self._read()
        if content != self._text:
          self._lost_to = _owner(content)
          print(f'{self._why_lost()}; this run ends', flush=True)
          return

  def require(self) -> None:
    """Raises InputError if another process has taken the lock over."""
    if self._lost_to:
      raise InputError(f'{self._why_lost()}; let that one go on')

  def _why_lost(self) -> str:
    return (
      f'{self._what} could not be held: it was not renewed for '
      f'{STALE_SECONDS:.0f} s, and {self._lost_to} has taken it over'
    )

  def release(self) -> None:
    # A lock that cannot be removed is stale soon.
    with contextlib.suppress(OSError):
      if not self._lost_to:
        self._path.remove(self._generation)

  def _write(self) -> bool:
    try:
      self._generation = self._path.write(self._text, self._generation)
    except FileExistsError:
      return False
    return True

  def _read(self) -> tuple[bytes, int]:
    """The lock's content and generation; b'' and 0 if there is none."""
    try:
      return self._path.read()
    except FileNotFoundError:
      return b'', 0


def _owner(content: bytes) -> str:
  return content.decode('utf-8', 'replace').partition('\n')[0] or 'nobody'
