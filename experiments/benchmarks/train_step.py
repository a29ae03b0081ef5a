"""Benchmark of a pretraining step beside transformers on PyTorch: tokens/s.

launch/setup_environment.sh --venv=.venv-bench --extra=bench --python=3.11
.venv/bin/python experiments/benchmarks/train_step.py --size=4x256 \\
    --torch_python=.venv-bench/bin/python

Both train BERT with masked-LM loss, dropout 0.1 in hidden layers and attention,
gradients clipped to norm 1, AdamW and f32 parameters. bert_jax: f32 products,
or bf16 ones that accumulate in f32 (models/layers.py), masks drawn inside the
step, the vocabulary product at masked positions alone. transformers:
BertForMaskedLM with SDPA, fused AdamW, f32 or bf16 autocast, a batch masked
beforehand.

Measured on 2 cores of an AMD EPYC (Zen 3: AVX2, no bf16 units), shared with
others; Python 3.13 and jax 0.12.0; Python 3.11, torch 2.13.0 and transformers
5.24; 10 turns, median (least-most), ratios within a turn. Torch's bf16 autocast
did not finish its first step within 100 s.

4x256, batch 32 x 128; an f32 product of 2048: 173 (94-189) GFLOP/s
                              tokens/s  ratio  of the peak  peak MiB  first step
bert_jax-float32      4067 (2823-4559)   3.24         0.60      1763      11.4 s
bert_jax-bfloat16     3467 (2263-4121)   3.03         0.51      1848      12.1 s
transformers-float32   1184 (832-1499)   1.00         0.17      2693       7.7 s

12x768, batch 8 x 128; an f32 product of 2048: 143 (114-166) GFLOP/s
                           tokens/s  ratio  of the peak  peak MiB  first step
bert_jax-float32      224 (201-234)   1.38         0.74      3821      25.5 s
bert_jax-bfloat16     182 (154-211)   1.18         0.60      4165      28.2 s
transformers-float32  166 (132-183)   1.00         0.54      3277      18.1 s

ModernBERT (--family=modernbert; transformers' with sparse_prediction and SDPA),
4x256, batch 32 x 128, on one core of an Intel Xeon with AVX-512, large pages,
jax 0.12.0.1, torch 2.13.0. The machine was full of other work, so these are
seconds of the process on the core, of user and system, means of 8 to 12 steps,
least and most of 3 runs (bert_jax) and 2 (transformers):

                           user     system
bert_jax-float32      1.04-1.08  0.09-0.11
transformers-float32       0.90  0.17-0.19

Ours is as fast as theirs there, not faster. The products alone need 0.58 s at
the speed of a product of 2048 by torch on that core, 159 GFLOP/s, and 0.73 s at
that of XLA, 126: a step ran at 0.50 and 0.63 of these. Of 1,080 ms
(step_profile.py), products take 740 (layers 418, vocabulary 244, attention 78),
norms 69, what attention does beside products 55, the loss 53, rotary positions
47, the optimizer 30, copies beside products 50, GELU 20.

More microbatches do not help: 1, 2 and 4 took 1.20, 1.21 and 1.22 s a step at
6x384, batch 32 x 64 (user and system, large pages; one run each, the first in a
process of its own). Where two had been 1.5 times as fast, one had paid for
pages: 0.72 s of system time a step where programs of other sizes ran in
between.
"""

import statistics
import sys
import time

import measuring
from absl import app, flags
from our_step import (
  FAMILIES,
  SIZES,
  VOCAB_SIZE,
  make_step,
  model_config,
  rows_of_text,
)

CONTESTANTS = (
  'bert_jax-float32',
  'bert_jax-bfloat16',
  'transformers-float32',
  'transformers-bfloat16',
)

_SIZE = flags.DEFINE_enum('size', '4x256', list(SIZES), 'Layers x width.')
_FAMILY = flags.DEFINE_enum('family', 'bert', list(FAMILIES), 'Architecture.')
_TURNS = flags.DEFINE_integer('turns', 10, 'Timed turns of each contestant.')
_TORCH_PYTHON = flags.DEFINE_string(
  'torch_python', sys.executable, 'A Python that has torch and transformers.'
)
_CONTESTANTS = flags.DEFINE_list(
  'contestants', list(CONTESTANTS), 'Who runs, in turn.'
)
_PATIENCE = flags.DEFINE_float(
  'patience', 90, 'Seconds for the first step; who takes longer is left out.'
)
_WORKER = flags.DEFINE_string('worker', '', 'For the processes started here.')


def main(unused_argv: list[str]) -> None:
  if _WORKER.value:
    work(*_WORKER.value.split('-'))
    return
  workers, first_steps = {}, {}
  for name in _CONTESTANTS.value:
    is_ours = name.startswith('bert_jax')
    python = sys.executable if is_ours else _TORCH_PYTHON.value
    began = time.perf_counter()
    worker = measuring.Worker(
      [python, __file__, f'--size={_SIZE.value}']
      + [f'--family={_FAMILY.value}', f'--worker={name}']
    )
    try:
      worker.ask('one step', _PATIENCE.value)
    except TimeoutError:
      print(f'{name}: no first step within {_PATIENCE.value:.0f} s, left out')
      continue
    first_steps[name] = time.perf_counter() - began
    worker.ask('steps')
    workers[name] = worker
  rates = {name: [] for name in workers}
  peaks = []
  for turn in range(_TURNS.value):
    # The order alternates, so that no contestant always follows the same one.
    for name in list(workers)[:: -1 if turn % 2 else 1]:
      rates[name].append(workers[name].ask('steps')['tokens_per_second'])
      peaks.append(workers[name].ask('f32 product')['gflops'])
  report(workers, rates, first_steps, peaks)


def report(workers, rates, first_steps, peaks) -> None:
  layers, width, num_rows, length, steps = SIZES[_SIZE.value]
  peak = max(peaks)
  print(
    f'{measuring.machine()}; {_FAMILY.value} {layers} x {width}, batch '
    f'{num_rows} x {length}, '
    f'{_TURNS.value} turns of {steps} steps; f32 product of 2048: '
    f'{measuring.spread(peaks)} GFLOP/s'
  )
  theirs = [name for name in workers if name.startswith('transformers')]
  best = max(theirs, key=lambda n: statistics.median(rates[n]), default=None)
  rows = [
    ['', 'tokens/s', 'ratio', 'of the f32 peak', 'peak MiB', 'first step s']
  ]
  for name, worker in workers.items():
    ratio = '-'
    if best:
      pairs = zip(rates[name], rates[best], strict=True)
      ratio = f'{statistics.median(a / b for a, b in pairs):.2f}'
    share = statistics.median(rates[name]) * flops_per_token() / peak / 1e9
    memory = worker.ask('memory')['mib']
    rows.append(
      [name, measuring.spread(rates[name]), ratio, f'{share:.2f}']
      + [f'{memory:.0f}', f'{first_steps[name]:.1f}']
    )
    worker.end()
  print(measuring.table(rows))


def flops_per_token() -> float:
  """Model FLOPs with the vocabulary product at masked positions alone."""
  from bert_jax.models.flops import flops_per_row

  length = SIZES[_SIZE.value][3]
  config = model_config(_SIZE.value, _FAMILY.value)
  return flops_per_row(config, length, -(-15 * length // 100)) / length


def work(framework: str, dtype: str) -> None:
  maker = {'bert_jax': bert_jax_steps, 'transformers': transformers_steps}
  run, product = maker[framework](dtype)
  _, _, num_rows, length, num_steps = SIZES[_SIZE.value]

  def steps(count: int) -> dict:
    seconds = _time(lambda: run(count))
    return {'tokens_per_second': count * num_rows * length / seconds}

  measuring.answer(
    {
      'one step': lambda: steps(1),
      'steps': lambda: steps(num_steps),
      'f32 product': lambda: {
        'gflops': 2 * 2048**3 / min(_time(product) for _ in range(3)) / 1e9
      },
      'memory': lambda: {'mib': measuring.peak_mib_of_this_process()},
    }
  )


def _time(call) -> float:
  began = time.perf_counter()
  call()
  return time.perf_counter() - began


def bert_jax_steps(dtype: str):
  import jax
  import jax.numpy as jnp

  program, state, batch = make_step(_SIZE.value, dtype, _FAMILY.value)

  def run(count: int) -> None:
    nonlocal state
    for _ in range(count):
      state, metrics = program.step_fn(state, {}, batch)
    jax.block_until_ready((state, metrics))

  square = jnp.ones((2048, 2048), jnp.float32)
  dot = jax.jit(jnp.dot)
  return run, lambda: dot(square, square).block_until_ready()


def transformers_steps(dtype: str):
  import torch

  model = transformers_model()
  model.train()
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
  ids = torch.from_numpy(rows_of_text(_SIZE.value)).long()
  torch.manual_seed(0)
  masked = torch.rand(ids.shape) < 0.15
  batch = {
    'input_ids': torch.where(masked, 103, ids),
    'attention_mask': torch.ones_like(ids),
    'labels': torch.where(masked, ids, -100),
  }

  def run(count: int) -> None:
    for _ in range(count):
      with torch.autocast('cpu', torch.bfloat16, enabled=dtype == 'bfloat16'):
        loss = model(**batch).loss
      loss.backward()
      torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)

  square = torch.ones(2048, 2048)
  return run, lambda: square @ square


def transformers_model():
  """The same sizes as ours; ModernBERT scores masked positions alone, too."""
  import transformers

  layers, width, _, _, _ = SIZES[_SIZE.value]
  mlp_ratio, max_positions = FAMILIES[_FAMILY.value]
  sizes = dict(
    vocab_size=VOCAB_SIZE,
    hidden_size=width,
    num_hidden_layers=layers,
    num_attention_heads=width // 64,
    intermediate_size=int(mlp_ratio * width),
    max_position_embeddings=max_positions,
    attn_implementation='sdpa',
  )
  if _FAMILY.value == 'bert':
    return transformers.BertForMaskedLM(transformers.BertConfig(**sizes))
  special_ids = dict(
    pad_token_id=0,
    cls_token_id=101,
    bos_token_id=101,
    sep_token_id=102,
    eos_token_id=102,
  )
  config = transformers.ModernBertConfig(
    sparse_prediction=True, **special_ids, **sizes
  )
  return transformers.ModernBertForMaskedLM(config)


if __name__ == '__main__':
  app.run(main)
