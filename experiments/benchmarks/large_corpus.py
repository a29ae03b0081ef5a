"""Start of a process on a corpus of 10^12 tokens: time, memory, manifest.

.venv/bin/python experiments/benchmarks/large_corpus.py --tokens=1e12

Writes the manifest of such a corpus and shards that are holes, which take no
room on the disk, opens it as a run does, and draws two batches of 1,024 rows of
512 tokens. Every shard's header is read when a corpus is opened, so that a
missing or a damaged one stops the run before its first step.

Seen on 2 cores of an Intel Xeon, Python 3.13, beside much other work, one run
each; seconds of the clock and, after the slash, of a processor:

 tokens   shards  manifest        opened   batch of 1,024  peak of memory
   1e10      298   0.0 MiB   0.14 / 0.06      0.04 / 0.02          49 MiB
   1e11    2,980   0.4 MiB   1.11 / 0.55      0.41 / 0.20          45 MiB
   1e12   29,802   3.7 MiB  12.39 / 5.52      0.48 / 0.24          66 MiB

So the start grows by 0.2 ms of a processor with every shard, at any number
of hosts, and a batch by 0.24 ms for every shard that it has to open anew, of
which 512 stay open.
"""

import hashlib
import json
import pathlib
import resource
import tempfile
import time

import measuring
import numpy as np
from absl import app, flags

from bert_jax.data import token_rows
from bert_jax.data.reading.stream import Stream

ROW_LENGTH, BATCH_SIZE = 512, 1024
ROWS_OF_A_SHARD = token_rows.SHARD_BYTES // (2 * ROW_LENGTH)

_TOKENS = flags.DEFINE_float('tokens', 1e12, 'Tokens of the corpus.')


def write_holes(folder: pathlib.Path, num_shards: int) -> None:
  """Writes a corpus whose rows are padding, in files without blocks."""
  shape = (ROWS_OF_A_SHARD, ROW_LENGTH)
  shards = []
  for number in range(num_shards):
    name = f'rows-{number:05d}-of-{num_shards:05d}.npy'
    np.lib.format.open_memmap(folder / name, 'w+', np.dtype('<u2'), shape)
    digest = hashlib.sha256(name.encode()).hexdigest()
    shards.append({'name': name, 'rows': ROWS_OF_A_SHARD, 'sha256': digest})
  manifest = {
    'format_version': token_rows.FORMAT_VERSION,
    'tokenizer_fingerprint': 'none',
    'vocab_size': 30_522,
    'row_length': ROW_LENGTH,
    'num_rows': ROWS_OF_A_SHARD * num_shards,
    'dtype': 'uint16',
    'shards': shards,
  }
  manifest['fingerprint'] = token_rows.manifest_fingerprint(manifest)
  (folder / token_rows.MANIFEST_NAME).write_text(json.dumps(manifest))


def main(unused_argv: list[str]) -> None:
  num_shards = int(_TOKENS.value / (ROWS_OF_A_SHARD * ROW_LENGTH))
  print(f'{measuring.machine()}; {_TOKENS.value:.0e} tokens')
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_holes(folder, num_shards)
    size = (folder / token_rows.MANIFEST_NAME).stat().st_size
    print(f'{num_shards:,} shards, a manifest of {size / 2**20:.1f} MiB')
    clocks = _Clocks()
    stream = Stream(token_rows.TokenRows(folder), seed=1)
    clocks.report('opened')
    for batch in range(2):
      first = batch * BATCH_SIZE
      stream.batch(np.arange(first, first + BATCH_SIZE, dtype=np.uint64))
      clocks.report(f'batch {batch}')
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  print(f'peak of memory: {peak / 1024:.0f} MiB')


class _Clocks:
  """Wall and processor seconds since the last report."""

  def __init__(self):
    self._last = time.perf_counter(), time.process_time()

  def report(self, what: str) -> None:
    now = time.perf_counter(), time.process_time()
    wall, cpu = (
      end - start for end, start in zip(now, self._last, strict=True)
    )
    print(f'{what}: {wall:.2f} s, {cpu:.2f} s of a processor')
    self._last = now


if __name__ == '__main__':
  app.run(main)
