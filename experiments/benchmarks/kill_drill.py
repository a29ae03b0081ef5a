"""Drill of kill -9: verbs are killed at random moments and started again.

.venv/bin/python experiments/benchmarks/kill_drill.py --kills=200

Each verb first runs undisturbed. Then it is started, killed with all of its
processes after a random time, and started again, until it ends by itself. The
result must equal that of the undisturbed run, bit for bit: the bytes of a
corpus; every array of the last checkpoint, the metrics of every step and the
results of a training. Runs are repeated up to the given number of kills. The
status is 1 if a result differs, or a start ends with an error.

Measured on 2 cores beside other work, which on the first machine seldom left
prepare the time to end; Python 3.13, jax 0.12.0; every run equal:

AMD EPYC (Zen 3), seed 11
          kills  runs  before the first record  between steps  silent
prepare     101     2                        0              0     101
pretrain     52    13                       14             17      21
finetune     49     9                       21             21       7

Intel Xeon, seed 12, at 9999210
prepare      34    50                       30              0       4
pretrain     33    26                        5             19       9
finetune     33    26                       13             17       3
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import measuring
from absl import app, flags, logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Sizes of the models that are trained.
_SIZES = (
  '--config.model.num_layers=1',
  '--config.model.embed_dim=32',
  '--config.model.mlp_dim=64',
)
# Fields of a record that hold times; all other fields must be equal.
TIMINGS = {
  'time',
  'tokens_per_second',
  'step_seconds',
  'input_wait_share',
  'mfu',
}

_KILLS = flags.DEFINE_integer('kills', 200, 'How many, over all verbs.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the moments.')
_VERBS = flags.DEFINE_list(
  'verbs', ['prepare', 'pretrain', 'finetune'], 'Which verbs, in turn.'
)
_MEGABYTES = flags.DEFINE_float('megabytes', 40, 'Text for prepare.')
_STEPS = flags.DEFINE_integer('steps', 300, 'Training steps.')


@dataclasses.dataclass
class Drill:
  """One verb: its command, the digest of its result, and its counts."""

  command: Callable[[pathlib.Path], list[str]]
  digest: Callable[[pathlib.Path], dict[str, str]]
  kills: int = 0
  runs: int = 0
  moments: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )


def main(unused_argv: list[str]) -> None:
  # Orbax logs many lines for each checkpoint that is compared.
  logging.set_verbosity(logging.WARNING)
  rng = random.Random(_SEED.value)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    drills = {
      verb: drill
      for verb, drill in make_drills(folder).items()
      if verb in _VERBS.value
    }
    expected, seconds = {}, {}
    for verb, drill in drills.items():
      untouched = folder / f'{verb}-untouched'
      # The first run fills the cache of compiled programs.
      for attempt in (folder / f'{verb}-first', untouched):
        began = time.perf_counter()
        if start(drill, attempt, None):
          raise SystemExit((folder / 'log').read_text())
        seconds[verb] = time.perf_counter() - began
      expected[verb] = drill.digest(untouched)
    while sum(drill.kills for drill in drills.values()) < _KILLS.value:
      verb = min(drills, key=lambda verb: drills[verb].kills)
      one_run(rng, verb, drills[verb], folder, expected[verb], seconds[verb])
    report(drills)


def one_run(rng, verb, drill, folder, expected, seconds) -> None:
  """Starts a verb again and again until it ends by itself; then compares."""
  target = folder / f'{verb}-killed'
  while start(drill, target, rng.uniform(0, 1.1 * seconds)):
    pass
  drill.runs += 1
  found = drill.digest(target)
  different = [
    name
    for name in {*found, *expected}
    if found.get(name) != expected.get(name)
  ]
  if different:
    raise SystemExit(f'{verb}: not equal: {", ".join(sorted(different)[:9])}')
  for path in folder.glob(f'{target.name}*'):
    shutil.rmtree(path)
  print(
    f'{verb}: {drill.kills} kills, {drill.runs} runs, all equal', flush=True
  )


def start(drill: Drill, target: pathlib.Path, limit: float | None) -> bool:
  """Starts the command; returns true if it was killed after `limit` seconds."""
  log = target.parent / 'log'
  with open(log, 'w') as file:
    process = subprocess.Popen(
      [sys.executable, '-m', 'bert_jax', *drill.command(target)],
      cwd=ROOT,
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )
  try:
    status = process.wait(limit)
  except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    drill.kills += 1
    drill.moments[moment(log.read_text())] += 1
    return True
  if status:
    raise SystemExit(log.read_text())
  return False


def moment(log: str) -> str:
  """The stage at which a command was killed, from the end of its log."""
  lines = [line for line in log.splitlines() if line.strip()]
  if not lines:
    return 'silent'
  if lines[-1].startswith('step '):
    return 'between steps'
  return 'before the first record'


def make_drills(folder: pathlib.Path) -> dict[str, Drill]:
  rng = random.Random(1)
  words = [
    ''.join(rng.choices('abcdefgh', k=rng.randint(2, 9))) for _ in range(999)
  ]
  (folder / 'vocab.txt').write_text(
    '\n'.join(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *sorted({*words})])
    + '\n'
  )
  with open(folder / 'text.txt', 'w') as file:
    while file.tell() < _MEGABYTES.value * 1e6:
      file.write(' '.join(rng.choices(words, k=rng.randint(5, 200))) + '\n')
  with open(folder / 'small.txt', 'w') as file:
    for _ in range(3000):
      file.write(' '.join(rng.choices(words, k=rng.randint(5, 60))) + '\n')
  for part in ('train', 'eval'):
    with open(folder / f'{part}.tsv', 'w') as file:
      file.write('text\tlabel\n')
      for _ in range(200):
        text = rng.choices(words, k=20)
        file.write(f'{" ".join(text)}\t{text[0] < "d"}\n')
  corpus = folder / 'corpus'
  subprocess.run(
    [sys.executable, '-m', 'bert_jax']
    + prepare_command(folder, 'small.txt')(corpus),
    check=True,
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
  )
  return {
    'prepare': Drill(prepare_command(folder, 'text.txt'), digest_files),
    'pretrain': Drill(pretrain_command(corpus), digest_run),
    'finetune': Drill(finetune_command(folder), digest_run),
  }


def prepare_command(folder: pathlib.Path, text: str):
  return lambda target: [
    'prepare',
    f'--input={folder / text}',
    '--document=line',
    f'--tokenizer={folder / "vocab.txt"}',
    '--row_length=32,64',
    f'--output={target}',
  ]


def pretrain_command(corpus: pathlib.Path):
  return lambda target: [
    'pretrain',
    '--config=experiments/pretrain/bert_tiny_local.py',
    f'--config.data.path={corpus}',
    *_SIZES,
    '--config.model.dropout=0.1',
    f'--config.num_steps={_STEPS.value}',
    # Intervals that do not divide each other let lines, evaluations and
    # checkpoints meet in every order.
    '--config.checkpoint.every_steps=11',
    '--config.logging.every_steps=4',
    '--config.evaluation.every_steps=25',
    f'--workdir={target}',
  ]


def finetune_command(folder: pathlib.Path):
  return lambda target: [
    'finetune',
    '--config=experiments/finetune/which_package.py',
    f'--config.tokenizer={folder / "vocab.txt"}',
    f'--config.task.train_path={folder / "train.tsv"}',
    f'--config.task.eval_path={folder / "eval.tsv"}',
    *_SIZES,
    '--config.num_seeds=2',
    '--config.max_length=24',
    f'--config.num_epochs={max(1, _STEPS.value // 20)}',
    '--config.eval_every_epochs=1',
    '--config.checkpoint.every_steps=11',
    '--config.logging.every_steps=4',
    f'--workdir={target}',
  ]


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


def report(drills: dict[str, Drill]) -> None:
  moments = sorted({m for drill in drills.values() for m in drill.moments})
  rows = [['', 'kills', 'runs', *moments]]
  for verb, drill in drills.items():
    counts = [str(drill.moments[moment]) for moment in moments]
    rows.append([verb, str(drill.kills), str(drill.runs), *counts])
  print(f'{measuring.machine()}; seed {_SEED.value}; every run equal')
  print(measuring.table(rows))


if __name__ == '__main__':
  app.run(main)
