"""Comparison of BERT, ELECTRA and ModernBERT of one small size on one corpus.

.venv/bin/python experiments/benchmarks/families.py --workdir=DIR

Trains experiments/pretrain/small_family.py on the docstrings of the installed
packages, both for equal numbers of tokens and for equal times, fine-tunes the
encoders with experiments/finetune/which_package.py, and prints two tables.
RoBERTa and ALBERT are pretrained as well, and all held-out losses stand beside
those of token frequencies (unigram.py). Equal time is a number of steps, found
from speeds that short turns measure first, so that other work on the machine
costs no family any steps. Completed parts are kept; the same command continues.

Criteria, set before the runs: the masked-LM loss (for ELECTRA the generator's)
must be 0.5 nats below that of unigrams, and the loss of ELECTRA's discriminator
5 % below. A family that falls short is marked.

Measured on 2 cores of an AMD EPYC (Zen 4), shared with other work; Python 3.13
and jax 0.12.0; one pretraining run each, 77,993 rows of text; 5 fine-tuning
seeds, mean and sample standard deviation, at the better of two learning rates.
Speeds relative to BERT within a turn, 9 turns: ELECTRA 0.65 (0.54-0.76),
ModernBERT 0.92 (0.71-1.12); BERT 11,941 tokens/s (10,735-15,504).

                           million tokens  held-out loss  unigrams      lower by
bert, masked tokens                   5.1          4.074     5.926         1.852
electra, masked tokens                3.4          4.825     5.926         1.101
electra, replaced                     3.4         0.3667    0.3840  4.5% (short)
electra, masked tokens                5.1          4.639     5.926         1.286
electra, replaced                     5.1         0.3573    0.3768          5.2%
modernbert, masked tokens             4.7          3.183     5.926         2.742
modernbert, masked tokens             5.1          3.090     5.926         2.835
roberta, masked tokens                5.1          4.957     6.703         1.746
albert, masked tokens                 5.1          4.880     5.823         0.943

equal tokens        million tokens  minutes  masked-LM loss       accuracy  rate
bert                           5.1      7.1           4.074  0.423 ± 0.003  1e-3
electra                        5.1     10.9               -  0.280 ± 0.010  1e-3
modernbert                     5.1      7.8           3.090  0.430 ± 0.015  1e-3
bert, from scratch               0        0               -  0.334 ± 0.026  1e-3

equal time          million tokens  minutes  masked-LM loss       accuracy  rate
bert                           5.1      7.1           4.074  0.423 ± 0.003  1e-3
electra                        3.4      7.1               -  0.273 ± 0.017  5e-4
modernbert                     4.7      7.1           3.183  0.429 ± 0.012  1e-3
bert, from scratch               0        0               -  0.334 ± 0.026  1e-3

RoBERTa has its own tokenizer (bytes, capitals kept) and ALBERT other rows
(pairs; it gets 69.0 % of their orders right), so compare their losses with
their own unigrams only. ELECTRA's discriminator finds 2.5 % of the replaced
tokens at the end: it has hardly begun to learn, and fine-tunes worse than no
pretraining.

On 6.1 million tokens of film reviews (rows of 128, 16 a step, 8,192 entries,
rate 2e-3, one run each) BERT reached 6.21 after 2,500 steps, with unigrams at
6.71; ModernBERT reached 5.64 after 500. With rows of 64 and 4,096 entries BERT
came no lower than 6.13 by step 1,000.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import measuring
from absl import app, flags

from bert_jax.config.experiment_file import load_config

TEXT = '--input=installed_docs:'
EXPERIMENT = 'experiments/pretrain/small_family.py'
COMPARED = ('bert', 'electra', 'modernbert')
NATS, SHARE = 0.5, 0.05
RATES = ('5e-4', '1e-3')
STEPS_OF_TURN = 20
COLUMNS = [
  *('', 'million tokens', 'minutes', 'masked-LM loss', 'accuracy', 'rate'),
]
ENVIRONMENT = os.environ | measuring.ENVIRONMENT

_WORKDIR = flags.DEFINE_string('workdir', None, 'A folder.', required=True)
_STEPS = flags.DEFINE_integer('steps', 0, 'Of BERT; 0: as in its file.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Of fine-tuning.')
_TURNS = flags.DEFINE_integer('turns', 9, 'Of measuring the speeds.')
_WORKER = flags.DEFINE_string('worker', '', 'For the processes started here.')


def main(unused_argv: Sequence[str]) -> None:
  folder = pathlib.Path(_WORKDIR.value)
  if _WORKER.value:
    work(_WORKER.value, folder)
    return
  experiment = load_config(f'{EXPERIMENT}:bert')
  row_length = experiment.data.row_length
  tokens_a_step = experiment.batch_size * row_length
  prepare(folder, row_length)
  speeds = measure_speeds(folder)
  num_steps = _STEPS.value or experiment.num_steps
  budgets = {
    'tokens': dict.fromkeys(COMPARED, num_steps),
    'time': {
      family: round(num_steps * speeds[family] / speeds['bert'])
      for family in COMPARED
    },
  }
  # Both budgets share BERT's run.
  runs = {run for steps in budgets.values() for run in steps.items()}
  others = [(family, num_steps) for family in ('roberta', 'albert')]
  losses = {run: pretrain(folder, *run) for run in (*sorted(runs), *others)}
  tuned = {}
  for run in sorted(runs):
    start = f'--config.init_from={folder / name(*run)}'
    tuned[run] = finetune(folder, name(*run), start)
  from_scratch = finetune(
    folder,
    'scratch',
    f'--config.tokenizer={folder / "words"}',
    f'--config.model.num_layers={experiment.model.num_layers}',
  )
  print(measuring.machine())
  print_losses(folder, losses, tokens_a_step)
  for budget, steps in budgets.items():
    rows = [COLUMNS]
    for run in steps.items():
      tokens = run[1] * tokens_a_step
      minutes = tokens / speeds[run[0]] / 60
      # ELECTRA's loss is its generator's, so it is not shown.
      loss = losses[run]['mlm_loss']
      rows.append(
        [run[0], f'{tokens / 1e6:.1f}', f'{minutes:.1f}']
        + ['-' if run[0] == 'electra' else f'{loss:.3f}', *tuned[run]]
      )
    rows.append(['bert, from scratch', '0', '0', '-', *from_scratch])
    print(f'equal {budget}')
    print(measuring.table(rows))


def name(family: str, num_steps: int) -> str:
  """The name of the run's folder."""
  return f'{family}-{num_steps}'


def verb(*words: str) -> None:
  """Runs a verb of bert-jax, which prints; ends the benchmark if it fails."""
  print('==', *words, flush=True)
  command = [sys.executable, '-m', 'bert_jax', *words]
  if status := subprocess.run(command, env=ENVIRONMENT).returncode:
    raise SystemExit(f'{words[0]} ended with status {status}')


def corpus_of(folder: pathlib.Path, family: str) -> pathlib.Path:
  kinds = {'roberta': 'corpus_bytes', 'albert': 'corpus_pairs'}
  return folder / kinds.get(family, 'corpus')


def prepare(folder: pathlib.Path, row_length: int) -> None:
  for kind, name in (('wordpiece', 'words'), ('byte_bpe', 'bytes')):
    output = f'--output={folder / name}'
    verb('train_tokenizer', TEXT, f'--kind={kind}', '--vocab_size=4096', output)
  for family, tokenizer, *more in (
    ('bert', 'words'),
    ('roberta', 'bytes'),
    ('albert', 'words', '--pairs=sentence_order'),
  ):
    verb(
      'prepare',
      TEXT,
      f'--tokenizer={folder / tokenizer}',
      f'--row_length={row_length}',
      '--eval_fraction=0.01',
      f'--output={corpus_of(folder, family)}',
      *more,
    )


def measure_speeds(folder: pathlib.Path) -> dict[str, float]:
  """Tokens/s by family, measured once and kept in a file.

  BERT's speed is its median; the others follow from the median of their ratio
  to BERT within a turn.
  """
  file = folder / 'speeds.json'
  if not file.exists():
    workers = {
      family: measuring.Worker(
        [sys.executable, __file__, f'--worker={family}', f'--workdir={folder}']
      )
      for family in COMPARED
    }
    for worker in workers.values():
      worker.ask('steps')  # the first call compiles
    seen: dict[str, list[float]] = {family: [] for family in workers}
    for turn in range(_TURNS.value):
      for family in list(workers)[:: -1 if turn % 2 else 1]:
        seen[family].append(workers[family].ask('steps')['tokens_per_second'])
    for worker in workers.values():
      worker.end()
    file.write_text(json.dumps(seen))
  seen = json.loads(file.read_text())
  speed = statistics.median(seen['bert'])
  speeds = {}
  for family, values in seen.items():
    ratios = [a / b for a, b in zip(values, seen['bert'], strict=True)]
    speeds[family] = speed * statistics.median(ratios)
    print(
      f'{family}: {measuring.spread(values)} tokens/s, by BERT '
      f'{measuring.spread(ratios, 2)}'
    )
  return speeds


def work(family: str, folder: pathlib.Path) -> None:
  import jax
  from our_step import experiment_step

  experiment = load_config(f'{EXPERIMENT}:{family}')
  experiment.data.path = str(corpus_of(folder, family))
  program, state, batch = experiment_step(experiment)

  def steps() -> dict[str, float]:
    nonlocal state
    began = time.perf_counter()
    for _ in range(STEPS_OF_TURN):
      state, metrics = program.step_fn(state, {}, batch)
    jax.block_until_ready((state, metrics))
    seconds = time.perf_counter() - began
    tokens = STEPS_OF_TURN * experiment.batch_size * experiment.data.row_length
    return {'tokens_per_second': tokens / seconds}

  measuring.answer({'steps': steps})


def pretrain(
  folder: pathlib.Path, family: str, num_steps: int
) -> dict[str, float]:
  """Pretrains a family and returns its last held-out figures."""
  workdir = folder / name(family, num_steps)
  verb(
    'pretrain',
    f'--config={EXPERIMENT}:{family}',
    f'--config.num_steps={num_steps}',
    f'--config.data.path={corpus_of(folder, family)}',
    f'--workdir={workdir}',
  )
  records = [
    json.loads(line)
    for part in sorted((workdir / 'metrics').glob('part-*.jsonl'))
    for line in part.read_text().splitlines()
  ]
  return [r for r in records if r['kind'] == 'eval'][-1]


def print_losses(folder, losses, tokens_a_step) -> None:
  rows = [['', 'million tokens', 'held-out loss', 'unigrams', 'lower by']]
  for (family, num_steps), figures in losses.items():
    unigrams = unigram_losses(folder, family, num_steps)
    tokens = f'{num_steps * tokens_a_step / 1e6:.1f}'
    lower = unigrams['mlm_loss'] - figures['mlm_loss']
    mark = '' if lower >= NATS else ' (short)'
    rows.append(
      [f'{family}, masked tokens', tokens, f'{figures["mlm_loss"]:.3f}']
      + [f'{unigrams["mlm_loss"]:.3f}', f'{lower:.3f}{mark}']
    )
    if 'replaced_loss' in unigrams:
      share = 1 - figures['replaced_loss'] / unigrams['replaced_loss']
      mark = '' if share >= SHARE else ' (short)'
      rows.append(
        [f'{family}, replaced', tokens, f'{figures["replaced_loss"]:.4f}']
        + [f'{unigrams["replaced_loss"]:.4f}', f'{share:.1%}{mark}']
      )
  print(measuring.table(rows))


def unigram_losses(
  folder: pathlib.Path, family: str, num_steps: int
) -> dict[str, float]:
  command = [
    sys.executable,
    pathlib.Path(__file__).with_name('unigram.py'),
    f'--workdir={folder / name(family, num_steps)}',
    f'--corpus={corpus_of(folder, family)}',
  ]
  found = subprocess.run(command, check=True, stdout=subprocess.PIPE)
  return json.loads(found.stdout)


def finetune(folder: pathlib.Path, run: str, *start: str) -> list[str]:
  """Returns the accuracy over the seeds at the better of RATES, and that rate.

  start: the flags that choose the encoder to begin with.
  """
  found = {}
  for rate in RATES:
    workdir = folder / f'tuned-{run}-{rate}'
    verb(
      'finetune',
      '--config=experiments/finetune/which_package.py',
      f'--config.num_seeds={_SEEDS.value}',
      f'--config.optimizer.learning_rate={rate}',
      f'--workdir={workdir}',
      *start,
    )
    results = json.loads((workdir / 'results.json').read_text())
    found[rate] = [run['accuracy'] for run in results['runs']]
  best = max(found, key=lambda rate: statistics.mean(found[rate]))
  mean, deviation = statistics.mean(found[best]), statistics.stdev(found[best])
  return [f'{mean:.3f} ± {deviation:.3f}', best]


if __name__ == '__main__':
  app.run(main)
