"""The meeting of a run's processes at the coordinator's port, before JAX.

Process 0 waits for the others there, and all of them say every half minute
whom they wait for. JAX itself would wait without a word.
"""

import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from bert_jax.errors import InputError
from bert_jax.parallel.peers import Link, closed_on_error

START_TIMEOUT = 1800.0
SAY_EVERY_SECONDS = 30.0
# Time for a process that comes late to a failed meeting to hear why it failed,
# and for the last word of process 0 to reach one whose own time is over.
_WORD_SECONDS = 5.0
_HELLO = 'bert_jax 1'  # changes when older processes would not understand


class _Clock:
  """The time until the meeting is given up, and the next line is due."""

  def __init__(self, timeout: float):
    self.timeout = timeout
    self._start = time.monotonic()
    self._said = 0

  @property
  def seconds(self) -> float:
    return time.monotonic() - self._start

  @property
  def is_over(self) -> bool:
    return self.seconds >= self.timeout

  def is_due(self) -> bool:
    """True once every half minute."""
    due = self.seconds >= SAY_EVERY_SECONDS * (self._said + 1)
    self._said += due
    return due


def host(
  address: str,
  num_processes: int,
  timeout: float,
  say: Callable[[str], None],
) -> tuple[list[Link], list[str]]:
  """Meets the others as process 0: (a link to each, the hosts of all).

  Raises InputError if some do not come in time, or contradict each other.
  """
  clock = _Clock(timeout)
  links: list[Link] = []
  with (
    _listen(address, clock) as listener,
    selectors.DefaultSelector() as selector,
    closed_on_error(links),
  ):
    selector.register(listener, selectors.EVENT_READ)

    def hear() -> Iterator[tuple[Link, list]]:
      return _hear(listener, selector, links)

    while missing := _missing(links, num_processes):
      for link, hello in hear():
        if why := _enter(links, link, hello, num_processes):
          _refuse(why, links, hear, num_processes - 1)
      if clock.is_over:
        why = (
          f'{_named(missing)} of {num_processes} did not come to '
          f'{address} within {timeout:.0f} s; see why they did not start, or '
          'give more time by --start_timeout'
        )
        _refuse(why, links, hear, num_processes - 1 - len(missing))
      if clock.is_due():
        text = f'waiting for {_named(missing)} of {num_processes} at {address}'
        say(f'{text}, {clock.seconds:.0f} of {timeout:.0f} s')
        for link in links:
          link.send('waiting', text)
  for link in [link for link in links if link.process < 0]:
    links.remove(link)
    link.close()
  links.sort(key=lambda link: link.process)
  hosts = [os.uname().nodename, *(link.host for link in links)]
  for link in links:
    link.send('go', hosts)
  return links, hosts


def join(
  address: str,
  process_id: int,
  num_processes: int,
  timeout: float,
  say: Callable[[str], None],
) -> tuple[list[Link], list[str]]:
  """Meets the others as another process: (the link to process 0, all hosts).

  Raises InputError if process 0 does not answer in time, or refuses.
  """
  clock = _Clock(timeout)
  why = 'no answer'
  while not clock.is_over:
    try:
      link = Link(_connect(address), process=0)
    except OSError as error:
      why = str(error)
      time.sleep(0.2)
    else:
      with closed_on_error([link]):
        link.send(
          'hello', _HELLO, process_id, num_processes, os.uname().nodename
        )
        hosts = _await_go(link, clock, say)
      if hosts:
        return [link], hosts
      why = 'what answers there is not process 0 of this run, or has ended'
      time.sleep(0.2)
    if clock.is_due():
      say(
        f'waiting for process 0 at {address} ({why}), {clock.seconds:.0f} of '
        f'{timeout:.0f} s'
      )
  hint = (
    f'; {_split(address)[0]} is this host alone, so give the address of the '
    'host of process 0'
    if is_loopback(address)
    else ''
  )
  raise InputError(
    f'--coordinator_address={address}: process 0 did not answer process '
    f'{process_id} within {timeout:.0f} s ({why}); start process 0 there and '
    f'open the port in the firewall{hint}'
  )


def is_loopback(address: str) -> bool:
  name = _split(address)[0]
  return name in ('localhost', '::1') or name.startswith('127.')


def _await_go(
  link: Link, clock: _Clock, say: Callable[[str], None]
) -> list[str]:
  """The hosts of all processes; none if process 0 is gone or another."""
  link.connection.settimeout(1.0)
  while clock.seconds < clock.timeout + _WORD_SECONDS:
    try:
      messages = link.receive()
    except ConnectionError as error:
      if isinstance(error.__cause__, TimeoutError):
        continue
      break
    for kind, *values in messages:
      if kind == 'go':
        link.connection.settimeout(SAY_EVERY_SECONDS)
        return values[0]
      if kind == 'refused':
        raise InputError(values[0])
      say(f'{values[0]}, {clock.seconds:.0f} of {clock.timeout:.0f} s')
  link.close()
  return []


def _hear(
  listener: socket.socket,
  selector: selectors.BaseSelector,
  links: list[Link],
) -> Iterator[tuple[Link, list]]:
  """Waits half a second for connections and hellos: (its link, [id, ...]).

  A link that closes, or says anything else, is dropped.
  """
  for key, _ in selector.select(timeout=0.5):
    if key.fileobj is listener:
      link = Link(listener.accept()[0])
      links.append(link)
      selector.register(link, selectors.EVENT_READ)
      continue
    link = key.fileobj
    assert isinstance(link, Link)
    try:
      messages = link.receive()
      if any(message[:2] != ['hello', _HELLO] for message in messages):
        raise ConnectionError('a stranger')
    except ConnectionError:
      selector.unregister(link)
      links.remove(link)
      link.close()
      continue
    for message in messages:
      yield link, message[2:]


def _enter(
  links: list[Link], link: Link, hello: list, num_processes: int
) -> str:
  """Enters a process; returns how it contradicts the others, or ''."""
  taken = {0: os.uname().nodename} | {
    other.process: other.host for other in links
  }
  process, total, name = hello
  link.process, link.host = process, name
  if total != num_processes:
    return (
      f'--num_processes: process {process} on {name} was told of {total}, '
      f'process 0 of {num_processes}; give all of them the same'
    )
  if process in taken:
    return (
      f'--process_id={process} is given twice, on {taken[process]} and on '
      f'{name}; give each process its own'
    )
  return ''


def _refuse(
  why: str,
  links: list[Link],
  hear: Callable[[], Iterator[tuple[Link, list]]],
  number: int,
) -> NoReturn:
  """Raises InputError once `number` processes, or all in time, heard why."""
  known = [link for link in links if link.process >= 0]
  deadline = time.monotonic() + _WORD_SECONDS
  while True:
    for link in known:
      link.send('refused', why)
    number -= len(known)
    if number <= 0 or time.monotonic() >= deadline:
      raise InputError(why)
    known = [link for link, _ in hear()]


def _missing(links: list[Link], num_processes: int) -> list[int]:
  there = {link.process for link in links}
  return [n for n in range(1, num_processes) if n not in there]


def _named(processes: list[int]) -> str:
  shown = ', '.join(map(str, processes[:20]))
  more = f' and {len(processes) - 20} more' if len(processes) > 20 else ''
  return f'process{"es" if len(processes) > 1 else ""} {shown}{more}'


def _split(address: str) -> tuple[str, int]:
  name, _, port = address.rpartition(':')
  return name.strip('[]'), int(port)


def _connect(address: str) -> socket.socket:
  return socket.create_connection(_split(address), timeout=5.0)


def _listen(address: str, clock: _Clock) -> socket.socket:
  """The coordinator's port on all interfaces, where JAX's service will be."""
  bound = os.environ.get('JAX_COORDINATOR_BIND_ADDRESS', address)
  port = _split(bound)[1]
  both = socket.has_dualstack_ipv6()
  while True:
    try:
      return socket.create_server(
        ('', port),
        family=socket.AF_INET6 if both else socket.AF_INET,
        dualstack_ipv6=both,
        backlog=1024,
      )
    except OSError as error:
      # A run that has just ended may hold its port for a moment.
      if clock.seconds >= min(clock.timeout, SAY_EVERY_SECONDS):
        raise InputError(
          f'--coordinator_address={address}: process 0 cannot listen at port '
          f'{port} ({error.strerror}); end what uses it, or choose another port'
        ) from error
    time.sleep(0.5)
