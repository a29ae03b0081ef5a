"""Tokens/s of a pretraining step: this project beside transformers on PyTorch.

launch/setup_environment.sh --venv=.venv-bench --extra=bench --python=3.11
.venv/bin/python experiments/benchmarks/train_step.py --size=4x256 \\
    --torch_python=.venv-bench/bin/python
"""

import json
import os
import statistics
import subprocess
import sys
import time

from absl import app, flags

# size: (layers, width, rows, row length, steps a turn)
SIZES = {
  '2x128': (2, 128, 32, 64, 16),
  '4x256': (4, 256, 32, 128, 3),
  '12x768': (12, 768, 8, 128, 1),
}
VOCAB_SIZE = 30522
CONTESTANTS = (
  'bert_jax-float32',
  'bert_jax-bfloat16',
  'transformers-float32',
  'transformers-bfloat16',
)

_SIZE = flags.DEFINE_enum('size', '4x256', list(SIZES), 'Layers x width.')
_TURNS = flags.DEFINE_integer('turns', 7, 'Timed turns of each contestant.')
_TORCH_PYTHON = flags.DEFINE_string(
  'torch_python', '', 'A Python that has torch and transformers.'
)
_CONTESTANTS = flags.DEFINE_list(
  'contestants', list(CONTESTANTS), 'Who runs, in turn.'
)
_WORKER = flags.DEFINE_string('worker', '', 'For the processes started here.')


def main(argv: list[str]) -> None:
  del argv
  if _WORKER.value:
    work(*_WORKER.value.split('-'))
    return
  workers = {name: Worker(name) for name in _CONTESTANTS.value}
  results = {name: [] for name in workers}
  peaks = []
  for turn in range(_TURNS.value):
    for name, worker in workers.items():
      results[name].append(worker.ask('steps')['tokens_per_second'])
      peaks.append(worker.ask('peak')['gflops'])
    print(f'turn {turn + 1} of {_TURNS.value}', file=sys.stderr)
  peak = max(peaks)
  print(f'f32 product of 2048, best of all: {peak:.0f} GFLOP/s')
  ends = {name: worker.ask('end') for name, worker in workers.items()}
  best = max(
    (n for n in workers if n.startswith('transformers')),
    key=lambda n: statistics.median(results[n]),
    default=None,
  )
  header = f'{"":22} {"median":>7} {"min":>7} {"max":>7} {"ratio":>6}'
  print(f'{header} {"peak share":>10} {"GiB":>5} {"first step s":>12}')
  for name in workers:
    rates = results[name]
    ratio = '-'
    if best:
      pairs = zip(rates, results[best], strict=True)
      ratio = f'{statistics.median(a / b for a, b in pairs):.2f}'
    share = statistics.median(rates) * flops_per_token() / peak / 1e9
    print(
      f'{name:22} {statistics.median(rates):7.0f} {min(rates):7.0f} '
      f'{max(rates):7.0f} {ratio:>6} {share:10.2f} '
      f'{ends[name]["peak_gib"]:5.2f} {worker_first(workers[name]):12.1f}'
    )


def worker_first(worker):
  return worker.first_step_seconds


def flops_per_token() -> float:
  """Model FLOPs with the vocabulary product at masked positions alone."""
  layers, width, _, length, _ = SIZES[_SIZE.value]
  masked = -(-15 * length // 100)
  layer = 12 * width * width + 2 * length * width
  head = masked / length * (width * width + width * VOCAB_SIZE)
  return 3 * 2 * (layers * layer + head)


class Worker:
  """A contestant in a process of its own, which answers line by line."""

  def __init__(self, name: str):
    python = sys.executable
    if name.startswith('transformers'):
      python = _TORCH_PYTHON.value
    started = time.perf_counter()
    self._process = subprocess.Popen(
      [python, __file__, f'--size={_SIZE.value}', f'--worker={name}'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.ask('steps')
    self.first_step_seconds = time.perf_counter() - started
    self.ask('steps')

  def ask(self, what: str) -> dict:
    self._process.stdin.write(what + '\n')
    self._process.stdin.flush()
    while not (line := self._process.stdout.readline()).startswith('{'):
      assert line, 'the worker has ended'
    return json.loads(line)


def work(framework: str, dtype: str) -> None:
  maker = {'bert_jax': bert_jax_steps, 'transformers': transformers_steps}
  run, product = maker[framework](dtype)
  _, _, rows, length, steps = SIZES[_SIZE.value]
  first = True
  for line in sys.stdin:
    if line.strip() == 'steps':
      count = 1 if first else steps
      first = False
      start = time.perf_counter()
      run(count)
      seconds = time.perf_counter() - start
      answer = {'tokens_per_second': count * rows * length / seconds}
    elif line.strip() == 'peak':
      best = float('inf')
      for _ in range(3):
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
      answer = {'gflops': 2 * 2048**3 / best / 1e9}
    else:
      import resource

      usage = resource.getrusage(resource.RUSAGE_SELF)
      answer = {'peak_gib': usage.ru_maxrss / 2**20}
    print(json.dumps(answer), flush=True)
    if line.strip() == 'end':
      os._exit(0)


def rows_of_text():
  import numpy as np

  _, _, rows, length, _ = SIZES[_SIZE.value]
  ids = np.random.default_rng(0).integers(1000, VOCAB_SIZE, (rows, length))
  ids[:, 0], ids[:, -1] = 101, 102
  return ids.astype(np.int32)


def bert_jax_steps(dtype: str):
  import jax
  import jax.numpy as jnp
  import numpy as np

  from bert_jax.data.tokenizers.base import TokenTable
  from bert_jax.experiment import model_builder
  from bert_jax.models.config import EncoderConfig
  from bert_jax.objectives.mlm import MaskedLMConfig
  from bert_jax.optim.adamw import AdamWConfig
  from bert_jax.parallel.mesh import MeshConfig
  from bert_jax.train.program import make_program
  from bert_jax.train.restore import fresh_state

  layers, width, num_rows, _, _ = SIZES[_SIZE.value]
  special = np.array([0, 100, 101, 102, 103], np.int32)
  table = TokenTable(
    vocab_size=VOCAB_SIZE,
    pad_id=0,
    unk_id=100,
    cls_id=101,
    sep_id=102,
    mask_id=103,
    special_ids=special,
    ordinary_ids=np.setdiff1d(np.arange(VOCAB_SIZE, dtype=np.int32), special),
    word_starts=np.ones(VOCAB_SIZE, bool),
  )
  model = EncoderConfig(
    num_layers=layers,
    embed_dim=width,
    num_heads=width // 64,
    mlp_dim=4 * width,
    vocab_size=VOCAB_SIZE,
  )
  objective = MaskedLMConfig().build(table)
  optimizer = AdamWConfig()
  mesh = MeshConfig().build(jax.devices()[:1])
  jax.set_mesh(mesh).__enter__()
  program = make_program(
    objective,
    model_builder(model, objective, dtype),
    optimizer.build(),
    optimizer.build_schedule(1000),
    jax.random.key(0),
    num_microbatches=1,
  )
  state = fresh_state(
    program.new_params(program.key),
    program.new_state,
    program.shardings,
    init_from='',
  )
  batch = {
    'input_ids': jnp.asarray(rows_of_text()),
    'example_number': jnp.stack(
      [jnp.zeros(num_rows, jnp.uint32), jnp.arange(num_rows, dtype=jnp.uint32)],
      1,
    ),
  }

  def run(count: int) -> None:
    nonlocal state
    for _ in range(count):
      state, metrics = program.step_fn(state, batch)
    jax.block_until_ready((state, metrics))

  square = jnp.ones((2048, 2048), jnp.float32)
  dot = jax.jit(jnp.dot)
  return run, lambda: dot(square, square).block_until_ready()


def transformers_steps(dtype: str):
  import torch
  from transformers import BertConfig, BertForMaskedLM

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  layers, width, _, length, _ = SIZES[_SIZE.value]
  config = BertConfig(
    vocab_size=VOCAB_SIZE,
    hidden_size=width,
    num_hidden_layers=layers,
    num_attention_heads=width // 64,
    intermediate_size=4 * width,
    attn_implementation='sdpa',
  )
  model = BertForMaskedLM(config)
  model.train()
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
  ids = torch.from_numpy(rows_of_text()).long()
  masked = torch.rand(ids.shape) < 0.15
  labels = torch.where(masked, ids, -100)
  inputs = torch.where(masked, 103, ids)
  attention = torch.ones_like(ids)

  def run(count: int) -> None:
    for _ in range(count):
      with torch.autocast('cpu', torch.bfloat16, enabled=dtype == 'bfloat16'):
        loss = model(
          input_ids=inputs, attention_mask=attention, labels=labels
        ).loss
      loss.backward()
      torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)
    float(loss)

  square = torch.ones(2048, 2048)
  return run, lambda: square @ square


if __name__ == '__main__':
  app.run(main)
