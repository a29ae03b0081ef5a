#!/usr/bin/env python3
"""Runs a verb as N processes on this machine, each with simulated devices.

    launch/local_processes.py N [--devices=2] -- VERB --flag=value ...

It shows how a run on N hosts goes, on CPU. Lines are printed with the number of
their process before them. SIGTERM and Ctrl-C are passed on to all processes.
The exit status is that of the first process that failed, or 0.
"""

import argparse
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> int:
  words = sys.argv[1:]
  split = words.index('--') if '--' in words else len(words)
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('num_processes', metavar='N', type=int)
  parser.add_argument(
    '--devices', type=int, default=2, help='simulated devices of each process'
  )
  options = parser.parse_args(words[:split])
  command = words[split + 1 :]
  if options.num_processes < 1 or options.devices < 1 or not command:
    parser.error('give 1 process or more, 1 device or more, and -- VERB FLAGS')
  return run(options.num_processes, options.devices, command)


def run(num_processes: int, devices: int, command: list[str]) -> int:
  """Starts all, waits for all, and returns the first exit status that is not 0.

  A process that a signal ended counts as 128 plus its number.
  """
  address = f'localhost:{free_port()}'
  processes = [
    start(number, devices, [*command, *flags(address, num_processes, number)])
    for number in range(num_processes)
  ]
  for signal_number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signal_number, passed_on_to(processes))
  readers = [
    threading.Thread(target=print_lines, args=(number, process))
    for number, process in enumerate(processes)
  ]
  ends: list[int] = []
  waiters = [
    threading.Thread(target=lambda p=process: ends.append(p.wait()))
    for process in processes
  ]
  for thread in (*readers, *waiters):
    thread.start()
  for thread in (*readers, *waiters):
    thread.join()
  bad = next((status for status in ends if status), 0)
  return 128 - bad if bad < 0 else bad


def free_port() -> int:
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return found.getsockname()[1]


def flags(address: str, num_processes: int, number: int) -> list[str]:
  if num_processes == 1:
    return []
  return [
    f'--coordinator_address={address}',
    f'--num_processes={num_processes}',
    f'--process_id={number}',
  ]


def start(number: int, devices: int, command: list[str]) -> subprocess.Popen:
  path = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])
  )
  return subprocess.Popen(
    [sys.executable, '-m', 'bert_jax', *command],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': str(devices),
      'PYTHONPATH': path,
      # Lines come when they are written, whoever ends the process.
      'PYTHONUNBUFFERED': '1',
    },
    # Ctrl-C reaches this process alone, which passes it on once.
    start_new_session=True,
  )


def passed_on_to(processes: list[subprocess.Popen]):
  def pass_on(number, frame):
    for process in processes:
      if process.poll() is None:
        process.send_signal(number)

  return pass_on


def print_lines(number: int, process: subprocess.Popen) -> None:
  assert process.stdout is not None
  for line in process.stdout:
    sys.stdout.buffer.write(b'[%d] ' % number + line.rstrip(b'\n') + b'\n')
    sys.stdout.buffer.flush()


if __name__ == '__main__':
  sys.exit(main())
