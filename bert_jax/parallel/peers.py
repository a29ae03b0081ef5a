"""The other processes of a run: they meet, agree, and notice who is gone.

Each process holds one connection to process 0. It is made before JAX starts, at
the port that JAX's own service takes over afterwards, and is kept until the
end. So process 0 can say who is missing, and a killed process, whose connection
the kernel closes, is named at once; a hung one is named by its silence.

Messages are lines of JSON: [kind, *values].
"""

import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0
# Time in which a process may end by itself after another has failed: a mistake
# that all of them see, such as a wrong config, is best told by each.
_GRACE_SECONDS = 3.0

EXIT_CODE_OF_LOSS = 1


class Link:
  """A connection to one process, whose name is known once it said hello."""

  def __init__(self, connection: socket.socket, process: int = -1):
    # Without it, a hung process could hold up the sender for ever.
    connection.settimeout(SILENT_SECONDS)
    self.connection = connection
    self.process = process
    self.host = ''
    self.left = False
    self.heard = time.monotonic()
    self._rest = b''
    self._sending = threading.Lock()

  def fileno(self) -> int:
    return self.connection.fileno()

  def send(self, *message: Any) -> bool:
    """Returns False if the connection is closed, which its reader sees too."""
    line = json.dumps(message).encode() + b'\n'
    with self._sending:
      try:
        self.connection.sendall(line)
      except OSError:
        return False
    return True

  def receive(self) -> list[list[Any]]:
    """The messages that have come; ConnectionError if it is closed or foreign.

    It waits for the first one.
    """
    try:
      data = self.connection.recv(1 << 16)
      if not data:
        raise ConnectionError('closed')
      *lines, self._rest = (self._rest + data).split(b'\n')
      self.heard = time.monotonic()
      messages = [json.loads(line) for line in lines]
      if not all(isinstance(message, list) for message in messages):
        raise ValueError('no message')
      return messages
    except (OSError, ValueError, RecursionError) as error:
      raise ConnectionError(str(error)) from error

  def shut(self) -> None:
    """Ends the connection for both sides; wakes whoever reads it."""
    with contextlib.suppress(OSError):
      self.connection.shutdown(socket.SHUT_RDWR)

  def close(self) -> None:
    self.shut()
    self.connection.close()


class Peers:
  """The processes of a run after their meeting; owns a thread, the watcher.

  Args:
    links: to process 0, or from process 0 to each other one.
    hosts: the host's name of each process.
    say: prints a line; `end` ends the process with an exit code.
  """

  def __init__(
    self,
    process_id: int,
    hosts: list[str],
    links: list[Link],
    say: Callable[[str], None],
    end: Callable[[int], None] = os._exit,
  ):
    self.process_id = process_id
    self.hosts = hosts
    self._links = links
    self._say = say
    self._end = end
    self._changed = threading.Condition()
    self._number = 0  # of the next agreement
    self._values: dict[int, dict[int, Any]] = {}
    self._agreed: dict[int, list[Any]] = {}
    self._left = False
    # The stop: how often this process was told to go on, and when not any more.
    self._count = 0
    self._counts: dict[int, int] = {}
    self._frozen = False
    self._asked = False
    self._stop_at: int | None = None
    self._stop_name = ''
    self._watcher = threading.Thread(
      target=self._watch_or_end, name='peers', daemon=True
    )
    self._watcher.start()

  def agree(self, what: str, value: Any) -> list[Any]:
    """The values of all processes by their ids, which all call this alike.

    It waits for the others. `what` names the question.
    """
    number, self._number = self._number, self._number + 1
    if self.process_id:
      self._links[0].send('value', number, [what, value])
    else:
      self._add(number, 0, [what, value])
    with self._changed:
      self._changed.wait_for(lambda: number in self._agreed)
      answers = self._agreed.pop(number)
    asked = [question for question, _ in answers]
    if asked != [what] * len(asked):
      raise RuntimeError(f'processes ask different questions: {asked}')
    return [answer for _, answer in answers]

  def stops_here(self, name: str) -> str:
    """The signal at which all processes stop at this place; '' to go on.

    All processes call it at the same places, so that a place is known by its
    number. `name` is the signal that this process has had, or ''. The watcher
    answers for a process that waits for its device, so nobody waits for ever:
    all stop at the first place that none of them has passed.
    """
    with self._changed:
      asks = bool(name) and not self._asked
      self._asked = self._asked or asks
    if asks and self.process_id:
      self._links[0].send('stop', name)
    elif asks:
      self._begin_stop(name)
    with self._changed:
      self._changed.wait_for(lambda: not self._frozen)
      if self._stop_at is not None and self._count + 1 >= self._stop_at:
        return self._stop_name
      self._count += 1
      return ''

  def leave(self, last: Callable[[], None] = lambda: None) -> None:
    """Ends the connections once all processes have come here.

    `last` is done by all before that, and may wait for the others: they are
    watched until it has returned.
    """
    self.agree('the end', None)
    last()
    for link in self._links:
      link.send('bye')
    self._close()

  def announce(self, why: str, exit_code: int) -> None:
    """Tells the others that this process ends, and why: they end alike."""
    for link in self._links:
      link.send('failed', self.process_id, why, exit_code)

  def fail(self, why: str, exit_code: int) -> None:
    """Announces the end of this process, and waits for the others."""
    self.announce(why, exit_code)
    if not self.process_id:
      # JAX's service ends with process 0, and aborts those that still use it.
      deadline = time.monotonic() + 2 * _GRACE_SECONDS
      with self._changed:
        self._left = True
        self._changed.wait_for(
          lambda: not self._links, deadline - time.monotonic()
        )
    self._close()

  def _close(self) -> None:
    with self._changed:
      self._left = True
    links = list(self._links)
    for link in links:
      link.shut()
    self._watcher.join(2 * _GRACE_SECONDS)
    for link in links:
      link.close()

  def _watch_or_end(self) -> None:
    try:
      self._watch()
    except Exception as error:  # without its watcher, a process hangs for ever
      self._say(f'watching the other processes failed: {error!r}')
      self._end(EXIT_CODE_OF_LOSS)

  def _watch(self) -> None:
    beat_at = 0.0
    with selectors.DefaultSelector() as selector:
      for link in self._links:
        selector.register(link, selectors.EVENT_READ)
      while self._links:
        if time.monotonic() >= beat_at:
          beat_at = time.monotonic() + BEAT_SECONDS
          for link in self._links:
            link.send('beat')
        for key, _ in selector.select(timeout=1.0):
          link = key.fileobj
          assert isinstance(link, Link)
          try:
            for kind, *values in link.receive():
              self._handlers[kind](self, link, *values)
          except ConnectionError:
            selector.unregister(link)
            self._closed(link)
        for link in self._links:
          if time.monotonic() - link.heard > SILENT_SECONDS:
            self._lost(link.process, f'silent for {SILENT_SECONDS:.0f} s')

  def _closed(self, link: Link) -> None:
    with self._changed:
      self._links = [other for other in self._links if other is not link]
      self._changed.notify_all()
      left = self._left or link.left
    if not left:
      self._lost(link.process, 'its connection closed')

  def _lost(self, process: int, how: str) -> None:
    """Names a process that is gone, and ends this one."""
    self._tell_others('gone', process, how)
    self._say(
      f'{self._name(process)} is gone ({how}). This process ends too, since no '
      'step can be taken without it; the same command goes on from the newest '
      'checkpoint'
    )
    if not self.process_id:
      # The others shall hear of it before JAX's service ends with this process.
      time.sleep(1.0)
    self._end(EXIT_CODE_OF_LOSS)

  def _failed(self, process: int, why: str, exit_code: int) -> None:
    self._tell_others('failed', process, why, exit_code)
    with self._changed:
      self._left = True

    def end() -> None:
      self._say(f'{self._name(process)} has ended: {why}')
      self._end(exit_code)

    timer = threading.Timer(_GRACE_SECONDS, end)
    timer.daemon = True
    timer.start()

  def _name(self, process: int) -> str:
    return f'process {process} of {len(self.hosts)} (on {self.hosts[process]})'

  def _tell_others(self, kind: str, process: int, *values: Any) -> None:
    """Passes on what process 0 has heard of a process."""
    if not self.process_id:
      for link in self._links:
        if link.process != process:
          link.send(kind, process, *values)

  def _add(self, number: int, process: int, value: Any) -> None:
    """Gathers a value in process 0, and tells all values once it has them."""
    with self._changed:
      values = self._values.setdefault(number, {})
      values[process] = value
      if len(values) < len(self.hosts):
        return
      del self._values[number]
    told = [values[process] for process in range(len(self.hosts))]
    # n processes that agree would otherwise be told n values each.
    if told == told[:1] * len(told):
      told = told[:1]
    for link in self._links:
      link.send('values', number, told)
    self._learn(number, told)

  def _learn(self, number: int, values: list[Any]) -> None:
    """Takes the values of all processes, or one that all of them gave."""
    if len(values) < len(self.hosts):
      values = values * len(self.hosts)
    with self._changed:
      self._agreed[number] = values
      self._changed.notify_all()

  def _begin_stop(self, name: str) -> None:
    """Asks all processes, from process 0, how far they have come."""
    with self._changed:
      if self._stop_name:
        return
      self._stop_name = name
    for link in self._links:
      link.send('freeze')
    self._count_in(0, self._freeze())

  def _freeze(self) -> int:
    """Holds the process at its next place; returns how many it has passed."""
    with self._changed:
      self._frozen = True
      return self._count

  def _count_in(self, process: int, count: int) -> None:
    with self._changed:
      self._counts[process] = count
      if len(self._counts) < len(self.hosts):
        return
    place = max(self._counts.values()) + 1
    for link in self._links:
      link.send('stop_at', place, self._stop_name)
    self._go_on_to(place, self._stop_name)

  def _go_on_to(self, place: int, name: str) -> None:
    with self._changed:
      self._stop_at, self._stop_name = place, name
      self._frozen = False
      self._changed.notify_all()

  _handlers: dict[str, Callable[..., None]] = {
    'beat': lambda self, link: None,
    'bye': lambda self, link: setattr(link, 'left', True),
    'value': lambda self, link, n, value: self._add(n, link.process, value),
    'values': lambda self, link, n, values: self._learn(n, values),
    'stop': lambda self, link, name: self._begin_stop(name),
    'freeze': lambda self, link: link.send('count', self._freeze()) and None,
    'count': lambda self, link, count: self._count_in(link.process, count),
    'stop_at': lambda self, link, place, name: self._go_on_to(place, name),
    'gone': lambda self, link, process, how: self._lost(process, how),
    'failed': lambda self, link, *values: self._failed(*values),
  }


@contextlib.contextmanager
def closed_on_error(links: list[Link]) -> Iterator[None]:
  """Closes the links if an error ends the block."""
  try:
    yield
  except BaseException:
    for link in links:
      link.close()
    raise
