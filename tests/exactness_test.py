"""Batch and masks at step k depend on config, data, seed and k alone.

The stream has packed rows, two mixed corpora, two stages and whole-word masks.
The golden digest is that of its first 200 batches. A change of the digest
breaks every run that is to be continued, so it must be intended.
"""

import hashlib
import os
import pathlib
import random
import socket
import subprocess
import sys

import exact_stream
import jax
import numpy as np
import pytest

from bert_jax.parallel.mesh import MeshConfig

GOLDEN = pathlib.Path(__file__).parent / 'golden_stream.txt'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('exact')
  exact_stream.write_corpora(folder)
  return folder


def digest(arrays) -> str:
  sha = hashlib.sha256()
  for name in exact_stream.NAMES:
    array = np.asarray(arrays[name])
    sha.update(f'{name} {array.shape}'.encode())
    sha.update(array.astype('<i4').tobytes())
  return sha.hexdigest()


def digests(folder, num_devices, first=0, count=exact_stream.PLAN.num_steps):
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  return [
    digest(jax.device_get(arrays))
    for arrays in exact_stream.batches(folder, mesh, first, count)
  ]


@pytest.fixture(scope='module')
def expected(folder):
  return digests(folder, 1)


def test_the_golden_digest(expected):
  assert len(expected) == 200
  whole = hashlib.sha256(''.join(expected).encode()).hexdigest()
  assert whole == GOLDEN.read_text().strip()


@pytest.mark.parametrize('num_devices', [2, 4, 8])
def test_any_number_of_devices(folder, expected, num_devices):
  assert digests(folder, num_devices) == expected


def test_any_start(folder, expected):
  """Starts at twenty steps, inside both stages and at their border."""
  steps = random.Random(0).sample(range(200), 17) + [119, 120, 121]
  for step in steps:
    assert digests(folder, 1, step, 3) == expected[step : step + 3]


@pytest.mark.hosts
@pytest.mark.parametrize('num_processes', [2, 4])
def test_any_number_of_hosts(folder, expected, num_processes):
  """Runs real processes, each of which reads only the rows of its devices."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  script = pathlib.Path(__file__).parent / 'exact_stream.py'
  environment = os.environ | {
    'JAX_NUM_CPU_DEVICES': str(8 // num_processes),
    'PYTHONPATH': os.pathsep.join(sys.path),
  }
  processes = [
    subprocess.Popen(
      [sys.executable, script, folder, str(n), str(num_processes), str(port)],
      env=environment,
      stderr=subprocess.PIPE,
      text=True,
    )
    for n in range(num_processes)
  ]
  errors = [process.communicate()[1] for process in processes]
  assert all(p.returncode == 0 for p in processes), '\n'.join(errors)
  pieces = {}
  for number in range(num_processes):
    with np.load(folder / f'process-{number}.npz') as file:
      pieces |= {key: file[key] for key in file.files}
  for step, wanted in enumerate(expected):
    arrays = {}
    for name in exact_stream.NAMES:
      prefix = f'{step}/{name}/'
      starts = sorted(
        int(key.removeprefix(prefix))
        for key in pieces
        if key.startswith(prefix)
      )
      arrays[name] = np.concatenate([pieces[f'{prefix}{s}'] for s in starts])
    assert digest(arrays) == wanted, step
