"""The short form of the drill of several processes: six kills."""

import pathlib
import re

import pytest
from other_process import run_python

pytestmark = pytest.mark.hosts

ROOT = pathlib.Path(__file__).parents[2]


# Each start imports and compiles, which on busy cores takes most of a minute.
@pytest.mark.timeout(1800)
def test_six_kills_of_one_or_all_change_no_bit_and_are_explained():
  drill = ROOT / 'experiments' / 'benchmarks' / 'kill_drill.py'
  options = ['--processes=2', '--kills=6', '--verbs=pretrain', '--steps=40']
  done = run_python(drill, *options, '--megabytes=0', '--seed=2542')
  assert done.returncode == 0, done.stdout + done.stderr
  kills = re.search(r'^pretrain +(\d+) ', done.stdout, re.MULTILINE)
  assert kills and int(kills[1]) >= 6
  assert 'while ' in done.stdout
