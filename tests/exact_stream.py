"""A stream that uses every option, in one process or in several.

It mixes two corpora by weights that change, in two stages with whole-word
masks, and gives each batch as a training step sees it. Run as a program, it is
one of several processes that each write the rows of their own devices (see
exactness_test.py).
"""

import pathlib
import sys

import numpy as np
import toys

from bert_jax.data import token_rows
from bert_jax.data.reading.device_feed import DeviceFeed
from bert_jax.data.reading.mixture import (
  CorpusStreams,
  MixedStream,
  MixturePhase,
)
from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.data.reading.stream import Stream

SEED = 5
PLAN = Plan(
  [
    Stage(num_steps=120, row_length=16, batch_size=16),
    Stage(num_steps=80, row_length=32, batch_size=8),
  ]
)
PHASES = [
  MixturePhase(weights=(2.0, 1.0)),
  MixturePhase(first_example=1000, weights=(1.0, 3.0)),
  MixturePhase(first_example=2100, weights=(1.0, 1.0)),
]
# The arrays of a batch that are compared.
NAMES = ('input_ids', 'masked_positions', 'masked_ids')


def write_corpora(folder: pathlib.Path) -> None:
  for corpus, num_rows in enumerate((301, 150)):
    for length in (16, 32):
      token_rows.write_token_rows(
        folder / f'{corpus}-{length}',
        [toys.rows(num_rows, length, seed=corpus)],
        num_rows=num_rows,
        row_length=length,
        vocab_size=toys.VOCAB_SIZE,
        tokenizer_fingerprint='toys',
        facts={},
      )


def open_stream(folder: pathlib.Path) -> MixedStream:
  sources = [
    CorpusStreams(
      str(corpus),
      {
        length: Stream(
          token_rows.TokenRows(folder / f'{corpus}-{length}'),
          seed=SEED + (corpus << 32),
        )
        for length in (16, 32)
      },
    )
    for corpus in range(2)
  ]
  return MixedStream(sources, PLAN, PHASES)


def batches(folder: pathlib.Path, mesh, first_step: int, num_steps: int):
  """Yields {name: global array on the devices} for each step."""
  import itertools

  import jax

  from bert_jax.objectives.mlm import MaskedLMConfig
  from bert_jax.parallel.sharding import batch_sharding

  objective = MaskedLMConfig(selection='whole_word').build(toys.table())
  sharding = batch_sharding(mesh)

  def prepare(batch):
    prepared = objective.prepare(batch, jax.random.key(SEED))
    return {name: prepared[name] for name in NAMES}

  prepare = jax.jit(prepare, out_shardings=sharding)
  plan = itertools.islice(PLAN.batches(first_step), num_steps)
  with DeviceFeed(open_stream(folder), sharding, plan) as feed:
    for batch in feed:
      yield prepare(batch)


def main(folder: str, process: str, num_processes: str, port: str) -> None:
  import jax

  from bert_jax.parallel.mesh import MeshConfig

  jax.distributed.initialize(
    f'localhost:{port}', int(num_processes), int(process)
  )
  found = {}
  mesh = MeshConfig().build(jax.devices())
  for step, arrays in enumerate(
    batches(pathlib.Path(folder), mesh, 0, PLAN.num_steps)
  ):
    for name, array in arrays.items():
      for shard in array.addressable_shards:
        start = shard.index[0].start or 0
        found[f'{step}/{name}/{start}'] = np.asarray(shard.data)
  np.savez(pathlib.Path(folder) / f'process-{process}.npz', **found)


if __name__ == '__main__':
  main(*sys.argv[1:])
