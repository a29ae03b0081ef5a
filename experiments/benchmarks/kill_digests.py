"""Digests of what a verb has made, for kill_drill.py; times are left out."""

import hashlib
import json
import pathlib

# Fields of a record that hold times; all other fields must be equal.
TIMINGS = {
  'time',
  'tokens_per_second',
  'step_seconds',
  'input_wait_share',
  'mfu',
}


def digest_files(folder: pathlib.Path) -> dict[str, str]:
  return {
    str(path.relative_to(folder)): sha256(path.read_bytes())
    for path in folder.rglob('*')
    if path.is_file()
  }


def digest_run(folder: pathlib.Path) -> dict[str, str]:
  """Arrays of the last checkpoint, metrics by step, results."""
  from bert_jax.report.records import read_metrics
  from bert_jax.train.checkpoint import saved_steps
  from bert_jax.workdir import Workdir

  workdir = Workdir(folder)
  step = saved_steps(workdir.checkpoints)[0]
  found = dict(arrays(workdir.checkpoints / str(step)))
  metrics = read_metrics(workdir)
  for record in metrics.train + metrics.evals:
    names = (record['kind'], record['step'], record.get('seed'))
    kept = {k: v for k, v in record.items() if k not in TIMINGS}
    found[str(names)] = json.dumps(kept, sort_keys=True)
  for path in (workdir.results, workdir.path / 'best'):
    if path.is_file():
      found[path.name] = sha256(path.read_bytes())
    elif path.is_dir():
      found |= {f'best/{k}': v for k, v in arrays(path / '0').items()}
  return found


def arrays(checkpoint: pathlib.Path) -> dict[str, str]:
  """Digests of all arrays, read without the package's own code."""
  import jax
  import numpy as np
  from orbax.checkpoint import v1 as ocp

  found = {}
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  for item in ('params', 'state'):
    if not (checkpoint / item).is_dir():
      continue
    metadata = ocp.checkpointables_metadata(checkpoint).metadata[item]
    abstract = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=device
      ),
      metadata,
    )
    tree = ocp.load_checkpointables(checkpoint, {item: abstract})[item]
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      array = np.asarray(leaf)
      found[item + jax.tree_util.keystr(path)] = sha256(
        repr((array.dtype, array.shape)).encode() + array.tobytes()
      )
  return found


def sha256(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()
