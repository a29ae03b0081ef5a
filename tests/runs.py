"""Helpers for tests of whole runs: read the arrays and records of a run."""

import json
import os
import signal

import jax
import numpy as np

from bert_jax.data.preparing.prepare import prepare
from bert_jax.data.sources import open_inputs
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train.window import Window
from bert_jax.workdir import Workdir

# Entries of a record that depend on time; all others must be equal.
TIMINGS = (
  'time',
  'tokens_per_second',
  'step_seconds',
  'input_wait_share',
  'mfu',
)


def prepared_lines(path, tokenizer, output, **options):
  """Prepares a text whose lines are documents as the folder `output`."""
  prepare(
    open_inputs(str(path), document='line'),
    tokenizer,
    output=output,
    **{'row_lengths': (32,), 'eval_fraction': 0.1, **options},
    num_workers=1,
    progress=False,
  )
  return output


def after_steps(monkeypatch, actions) -> None:
  """Calls actions[n]() after the n-th step that is taken from now on."""
  add = Window.add
  count = 0

  def counted(window, metrics):
    nonlocal count
    add(window, metrics)
    count += 1
    actions.get(count, lambda: None)()

  monkeypatch.setattr(Window, 'add', counted)


def stop_after(monkeypatch, steps: int, number=signal.SIGTERM) -> None:
  """Sends this process a signal after `steps` steps."""
  after_steps(monkeypatch, {steps: lambda: os.kill(os.getpid(), number)})


def on_one_device(monkeypatch) -> None:
  """Gives meshes one device, which is faster if devices are not the subject."""
  build = MeshConfig.build
  monkeypatch.setattr(
    MeshConfig, 'build', lambda self: build(self, jax.devices()[:1])
  )


def arrays(path, step=10) -> dict[str, np.ndarray]:
  """All arrays of a checkpoint, read without our own code."""
  from orbax.checkpoint import v1 as ocp

  folder = Workdir(path).checkpoints / str(step)
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  found = {}
  for item in ('params', 'state'):
    metadata = ocp.checkpointables_metadata(folder).metadata[item]
    abstract = jax.tree.map(
      lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=device),
      metadata,
    )
    tree = ocp.load_checkpointables(folder, {item: abstract})[item]
    for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
      found[item + jax.tree_util.keystr(name)] = np.asarray(leaf)
  return found


def assert_same_arrays(path, expected, step=10) -> None:
  mine, theirs = arrays(path, step), arrays(expected, step)
  assert mine.keys() == theirs.keys()
  for name in mine:
    np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def assert_same_run(path, expected) -> None:
  """Asserts that the last checkpoint and all records are equal, bit for bit."""
  assert_same_arrays(path, expected)
  for kind in ('train', 'eval'):
    assert untimed(records(path, kind)) == untimed(records(expected, kind))


def records(path, kind) -> dict[int, dict]:
  """The last record of each step, which is the one that the report shows."""
  found = {}
  parts = sorted(
    Workdir(path).metrics.glob('part-*.jsonl'),
    key=lambda part: int(part.stem[5:]),
  )
  for part in parts:
    for line in part.read_text().splitlines():
      record = json.loads(line)
      if record['kind'] == kind:
        found[record['step']] = record
  return found


def untimed(records: dict[int, dict]) -> dict[int, dict]:
  return {step: figures(record) for step, record in records.items()}


def figures(record: dict) -> dict:
  """A record without the entries that depend on time."""
  return {name: record[name] for name in record if name not in TIMINGS}
