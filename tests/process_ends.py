"""Checks that processes, given by their ids, have ended."""

import pathlib
import time


def assert_ended(process_ids):
  deadline = time.monotonic() + 20
  while running := [pid for pid in process_ids if is_running(pid)]:
    assert time.monotonic() < deadline, running
    time.sleep(0.02)


def is_running(process_id):
  try:
    stat = pathlib.Path(f'/proc/{process_id}/stat').read_text()
  except (FileNotFoundError, ProcessLookupError):
    return False
  return stat.rpartition(')')[2].split()[0] != 'Z'
