"""The processes of a run, here as threads: they meet, agree, stop and end."""

import concurrent.futures
import socket
import threading
import time

import pytest

from bert_jax.errors import InputError
from bert_jax.parallel import meeting, peers
from bert_jax.parallel.peers import Peers


@pytest.fixture
def address() -> str:
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return f'localhost:{found.getsockname()[1]}'


class End:
  """Lines that a process said, and the exit codes with which it ended."""

  def __init__(self):
    self.lines, self.codes = [], []
    self.has_ended = threading.Event()

  def end(self, code):
    self.codes.append(code)
    self.has_ended.set()


def meet(address, number, total, end, timeout=20.0) -> Peers:
  links, hosts = (
    meeting.join(address, number, total, timeout, end.lines.append)
    if number
    else meeting.host(address, total, timeout, end.lines.append)
  )
  return Peers(number, hosts, links, end.lines.append, end.end)


def in_threads(functions):
  with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
    futures = [pool.submit(function) for function in functions]
    return [future.result(timeout=60) for future in futures]


@pytest.fixture
def impatient(monkeypatch):
  monkeypatch.setattr(peers, 'SILENT_SECONDS', 2.0)
  monkeypatch.setattr(peers, 'BEAT_SECONDS', 0.1)


@pytest.fixture
def three(address):
  ends = [End() for _ in range(3)]
  met = in_threads([lambda n=n: meet(address, n, 3, ends[n]) for n in range(3)])
  yield met, ends
  for one in met:
    one._left = True
  for one in met:
    one._close()


def test_all_learn_the_values_of_all_in_order_and_leave(three):
  met, ends = three
  for question in ('first', 'second'):
    answers = in_threads(
      [lambda p=p, q=question: p.agree(q, p.process_id * 10) for p in met]
    )
    assert answers == [[0, 10, 20]] * 3
  in_threads([p.leave for p in met])
  assert not any(end.lines or end.codes for end in ends)


def test_one_that_dies_in_the_last_wait_is_named(three):
  """JAX's own wait at the end says nothing for 90 seconds, and fails then."""
  met, ends = three

  def dies():
    met[2]._left = True  # it says no more itself
    met[2]._links[0].shut()

  def waits(end):
    assert end.has_ended.wait(20)

  in_threads(
    [
      lambda: met[0].leave(lambda: waits(ends[0])),
      lambda: met[1].leave(lambda: waits(ends[1])),
      lambda: met[2].leave(dies),
    ]
  )
  for end in ends[:2]:
    assert 'process 2' in end.lines[0] and 'is gone' in end.lines[0]
    assert end.codes[0] == peers.EXIT_CODE_OF_LOSS


def test_a_value_that_all_gave_is_told_once(three, monkeypatch):
  """The facts of a thousand hosts would be gigabytes otherwise."""
  met, _ = three
  told = []
  send = peers.Link.send

  def recorded(link, *message):
    if message[0] == 'values':
      told.append(message[2])
    return send(link, *message)

  monkeypatch.setattr(peers.Link, 'send', recorded)
  facts = {'jax': '1', 'bert_jax': '2'}
  answers = in_threads([lambda p=p: p.agree('facts', facts) for p in met])
  assert answers == [[facts] * 3] * 3
  answers = in_threads([lambda p=p: p.agree('id', p.process_id) for p in met])
  assert answers == [[0, 1, 2]] * 3
  each = [['id', 0], ['id', 1], ['id', 2]]
  assert told == [[['facts', facts]]] * 2 + [each] * 2


def test_different_questions_are_a_mistake_of_the_program(three):
  met, _ = three

  def ask(one):
    with pytest.raises(RuntimeError, match='different questions'):
      one.agree(f'question {one.process_id // 2}', 1)

  in_threads([lambda p=p: ask(p) for p in met])


def test_all_stop_at_the_first_place_that_none_has_passed(three):
  met, _ = three
  # Process 2 is ahead and waits for its device; it passes no place meanwhile.
  assert [met[2].stops_here('') for _ in range(5)] == [''] * 5
  assert met[1].stops_here('') == ''

  def run(one, name):
    while not (found := one.stops_here(name)):
      time.sleep(0.01)
    return found, one._count

  ends = in_threads(
    [
      lambda: run(met[0], ''),
      lambda: run(met[1], 'SIGTERM'),
      lambda: run(met[2], ''),
    ]
  )
  names, counts = zip(*ends, strict=True)
  assert names == ('SIGTERM',) * 3
  assert len(set(counts)) == 1 and counts[0] >= 5


@pytest.mark.parametrize('gone', [0, 1])
def test_a_process_that_is_gone_is_named_and_ends_the_others(three, gone):
  met, ends = three
  met[gone]._left = True  # as if its watcher had died with it
  for link in met[gone]._links:
    link.shut()
  for number, end in enumerate(ends):
    if number != gone:
      assert end.has_ended.wait(10)
      assert end.codes[0] == peers.EXIT_CODE_OF_LOSS
      assert f'process {gone} of 3' in end.lines[0]


def test_a_silent_process_is_named(impatient, three, monkeypatch):
  met, ends = three
  monkeypatch.setattr(met[2]._links[0], 'send', lambda *message: True)
  assert ends[0].has_ended.wait(10)
  assert 'process 2 of 3' in ends[0].lines[0] and 'silent' in ends[0].lines[0]


def test_a_watcher_that_fails_ends_its_process(three):
  met, ends = three
  met[0]._links[0].send('no such message')
  assert ends[1].has_ended.wait(10)
  assert ends[1].codes[0] == peers.EXIT_CODE_OF_LOSS
  assert 'no such message' in ends[1].lines[0]


def test_the_error_of_one_process_ends_the_others_with_its_reason(three):
  met, ends = three
  met[1].fail('shard 7 is cut', 2)
  for number in (0, 2):
    assert ends[number].has_ended.wait(10)
    assert ends[number].codes == [2]
    assert 'process 1 of 3' in ends[number].lines[0]
    assert 'shard 7 is cut' in ends[number].lines[0]


def test_an_end_at_once_is_announced_and_ends_the_others_alike(three):
  met, ends = three
  met[0].announce('stopped by a signal', 143)
  met[0]._left = True  # it exits, and its watcher with it
  for link in met[0]._links:
    link.shut()
  for number in (1, 2):
    assert ends[number].has_ended.wait(10)
    assert ends[number].codes == [143]
    assert 'stopped by a signal' in ends[number].lines[0]


def test_whoever_does_not_come_is_named(address, monkeypatch):
  monkeypatch.setattr(meeting, 'SAY_EVERY_SECONDS', 0.5)
  ends = [End(), End()]

  def meet_in_vain(number):
    with pytest.raises(InputError) as error:
      meet(address, number, 4, ends[number], timeout=2.0)
    return str(error.value)

  errors = in_threads([lambda n=n: meet_in_vain(n) for n in range(2)])
  for end, error in zip(ends, errors, strict=True):
    assert 'processes 2, 3 of 4' in error and '--start_timeout' in error
    assert any('waiting for processes 2, 3 of 4' in line for line in end.lines)


def test_a_closed_port_is_named_with_the_fix(address):
  with pytest.raises(InputError) as error:
    meeting.join(address, 1, 2, 1.0, print)
  assert f'--coordinator_address={address}' in str(error.value)
  assert 'firewall' in str(error.value)
  assert 'this host alone' in str(error.value)


def test_a_port_in_use_is_named(address, monkeypatch):
  with socket.create_server(('', int(address.split(':')[1]))):
    with pytest.raises(InputError, match='cannot listen at port'):
      meeting.host(address, 2, 1.0, print)


def meet_in_vain(address, number, total, why):
  with pytest.raises(InputError, match=why):
    meet(address, number, total, End(), timeout=10.0)


def test_two_processes_of_one_number_are_named(address):
  why = '--process_id=1 is given twice'
  in_threads([lambda n=n: meet_in_vain(address, n, 3, why) for n in (0, 1, 1)])


def test_a_process_that_comes_late_hears_of_a_contradiction_too(address):
  def one_after_the_other():
    meet_in_vain(address, 2, 4, 'was told of 4')
    meet_in_vain(address, 1, 3, 'process 2 .* was told of 4')

  in_threads(
    [lambda: meet_in_vain(address, 0, 3, 'was told of 4'), one_after_the_other]
  )


def test_strangers_at_the_port_do_not_disturb(address):
  def disturb():
    while True:
      try:
        with meeting._connect(address) as stranger:
          stranger.sendall(b'GET / HTTP/1.0\r\n\r\n["go"]\n{}\n')
          stranger.settimeout(5)
          return stranger.recv(100)
      except ConnectionRefusedError:
        time.sleep(0.05)

  met = []

  def join_late():
    time.sleep(1.0)
    met.append(meet(address, 1, 2, End()))

  found = in_threads(
    [lambda: met.append(meet(address, 0, 2, End())), join_late, disturb]
  )
  assert found[2] == b''
  in_threads([p.leave for p in met])
