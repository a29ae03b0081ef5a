"""The short form of experiments/benchmarks/kill_drill.py: 20 kills."""

import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

ROOT = pathlib.Path(__file__).parents[2]


# Twenty kills and the runs to their ends take minutes on two busy cores.
@pytest.mark.timeout(1800)
def test_twenty_kills_change_no_bit():
  result = subprocess.run(
    [
      sys.executable,
      ROOT / 'experiments' / 'benchmarks' / 'kill_drill.py',
      '--kills=20',
      '--verbs=prepare,pretrain,finetune',
      '--megabytes=3',
      '--steps=60',
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  assert result.returncode == 0, result.stdout
  kills = dict(re.findall(r'^(\w+) +(\d+) ', result.stdout, re.MULTILINE))
  assert kills.keys() == {'prepare', 'pretrain', 'finetune'}
  assert sum(map(int, kills.values())) >= 20
