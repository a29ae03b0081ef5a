"""Benchmark of checkpoints: the delay of a save, and the time of a resume.

.venv/bin/python experiments/benchmarks/checkpoint.py

A save copies the state to the host and computes its digests (the stall); the
files are written while training goes on, which on a CPU slows the steps down.
Saves come every checkpoint.every_steps. A resume reads the newest checkpoint,
checks its digests and puts the first batch on the device; the rest of a start
(imports, the compiled step) does not depend on the step.

Measured on 2 cores of an AMD EPYC (Zen 3), shared with others; Python 3.13, jax
0.12.0, orbax-checkpoint 0.12.8; 9 turns, seconds, median (least-most). With a
step of 0.1 s instead, stall and slowing at 12x768 would be 4 % of the time
between saves; the slowing is that of a CPU, whose cores also write.

                                        4x256              12x768
a step                    1.160 (1.109-1.192) 4.249 (4.137-4.350)
stall of the first save                 1.511               3.659
stall of a later save     0.175 (0.166-0.300) 0.943 (0.784-1.122)
steps slowed by writing   0.417 (0.333-0.570) 3.081 (2.525-4.986)
both, every 1000 steps                 0.050%              0.093%
resume at step 10            0.41 (0.38-0.48)    2.62 (2.37-2.98)
resume at step 1,000,000     0.42 (0.36-0.56)    2.55 (2.34-2.75)
on disk                   118 MiB in 20 files            1149 MiB
arrays                                128 MiB            1253 MiB
"""

import dataclasses
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import measuring
import numpy as np
from absl import app, flags
from our_step import SIZES, VOCAB_SIZE, make_step

RESUMED_STEPS = (10, 1_000_000)

_SIZES = flags.DEFINE_list(
  'sizes', ['4x256', '12x768'], 'Layers x width, in turn.'
)
_TURNS = flags.DEFINE_integer('turns', 5, 'Saves and resumes of each kind.')
_WORKER = flags.DEFINE_string('worker', '', 'For the processes started here.')


def main(unused_argv: list[str]) -> None:
  if _WORKER.value:
    measure(_WORKER.value)
    return
  print(f'{measuring.machine()}; {_TURNS.value} turns')
  for size in _SIZES.value:
    command = [sys.executable, __file__, f'--worker={size}']
    command.append(f'--turns={_TURNS.value}')
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def measure(size: str) -> None:
  import jax

  from bert_jax.train.checkpoint import CheckpointConfig, Checkpoints

  program, state, batch = make_step(size, 'float32')
  config = CheckpointConfig()
  rows = [[size, 'seconds']]
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    checkpoints = Checkpoints(folder / 'saves', config)
    state, step_seconds = time_steps(program, state, batch)
    rows.append(['a step', measuring.spread(step_seconds, 3)])
    step = statistics.median(step_seconds)
    state, stall, _ = save_while_training(
      program, checkpoints, state, batch, step
    )
    rows.append(['stall of the first save', f'{stall:.3f}'])
    stalls, delays = [], []
    for _ in range(_TURNS.value):
      state, stall, delay = save_while_training(
        program, checkpoints, state, batch, step
      )
      stalls.append(stall)
      delays.append(delay)
    checkpoints.close()
    rows.append(['stall of a later save', measuring.spread(stalls, 3)])
    rows.append(['steps slowed by writing', measuring.spread(delays, 3)])
    lost = statistics.median(s + d for s, d in zip(stalls, delays, strict=True))
    share = lost / (config.every_steps * step)
    rows.append([f'both, every {config.every_steps} steps', f'{share:.3%}'])
    rows += time_resumes(folder, program, state, size)
    newest = folder / 'saves' / str(checkpoints.last_saved)
    files = [path for path in newest.rglob('*') if path.is_file()]
    on_disk = sum(path.stat().st_size for path in files) / 2**20
    arrays = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 2**20
    rows.append(['on disk', f'{on_disk:.0f} MiB in {len(files)} files'])
    rows.append(['arrays', f'{arrays:.0f} MiB'])
  print(measuring.table(rows) + '\n', flush=True)


def time_steps(program, state, batch):
  import jax

  seconds = []
  for _ in range(_TURNS.value + 1):
    began = time.perf_counter()
    state, metrics = program.step_fn(state, {}, batch)
    jax.block_until_ready((state, metrics))
    seconds.append(time.perf_counter() - began)
  return state, seconds[1:]


def save_while_training(program, checkpoints, state, batch, step_seconds):
  """Returns (state, seconds that `save` took, seconds that steps lost)."""
  import jax

  from bert_jax.train.checkpoint import Position

  state, metrics = program.step_fn(state, {}, batch)
  jax.block_until_ready((state, metrics))
  before = checkpoints.last_saved
  began = time.perf_counter()
  checkpoints.save(state, Position(0, {}))
  stall = time.perf_counter() - began
  num_steps, began = 0, time.perf_counter()
  while checkpoints.last_saved == before:
    state, metrics = program.step_fn(state, {}, batch)
    jax.block_until_ready((state, metrics))
    num_steps += 1
    checkpoints.poll()
  delay = time.perf_counter() - began - num_steps * step_seconds
  return state, stall, delay


def time_resumes(folder, program, state, size):
  """Rows of the table: resumes of one state as of step 10 and of step 10^6."""
  import jax
  import jax.numpy as jnp

  from bert_jax.data.reading.stream import Stream
  from bert_jax.data.token_rows import TokenRows, write_token_rows
  from bert_jax.train.checkpoint import CheckpointConfig, Checkpoints, Position
  from bert_jax.train.state import with_shardings

  _, _, num_rows, length, _ = SIZES[size]
  ids = np.random.default_rng(0).integers(1000, VOCAB_SIZE, (100_000, length))
  write_token_rows(
    folder / 'rows',
    [ids],
    num_rows=len(ids),
    row_length=length,
    vocab_size=VOCAB_SIZE,
    tokenizer_fingerprint='none',
    facts={},
  )
  stream = Stream(TokenRows(folder / 'rows'), seed=0)
  abstract = with_shardings(program.abstract, program.shardings)
  for step in RESUMED_STEPS:
    checkpoints = Checkpoints(folder / str(step), CheckpointConfig())
    at_step = dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))
    at_step = jax.device_put(at_step, program.shardings)
    checkpoints.save(at_step, Position(step * num_rows, {}))
    checkpoints.close()
  seconds = {step: [] for step in RESUMED_STEPS}
  for turn in range(_TURNS.value):
    for step in RESUMED_STEPS[:: -1 if turn % 2 else 1]:
      began = time.perf_counter()
      resume(folder / str(step), abstract, stream, num_rows)
      seconds[step].append(time.perf_counter() - began)
    if turn == 0:
      seconds = {step: [] for step in RESUMED_STEPS}  # the first turn compiled
  for step in RESUMED_STEPS:
    shutil.rmtree(folder / str(step))
  return [
    [f'resume at step {step:,}', measuring.spread(seconds[step], 2)]
    for step in RESUMED_STEPS
  ]


def resume(folder, abstract, stream, num_rows) -> None:
  import jax

  from bert_jax.data.reading.device_feed import DeviceFeed
  from bert_jax.parallel.sharding import batch_sharding
  from bert_jax.train.checkpoint import CheckpointConfig, Checkpoints

  state, position = Checkpoints(folder, CheckpointConfig()).restore(abstract)
  with DeviceFeed(
    stream,
    batch_sharding(jax.sharding.get_mesh()),
    [(position.next_example, num_rows)],
  ) as feed:
    jax.block_until_ready((state, next(feed)))


if __name__ == '__main__':
  app.run(main)
