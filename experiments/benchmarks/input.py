"""Benchmark of the input pipeline beside Hugging Face's: text to batches.

launch/setup_environment.sh --venv=.venv-bench --extra=bench --python=3.11
.venv/bin/python experiments/benchmarks/input.py --text=TEXT.txt \\
    --vocab=vocab.txt --torch_python=.venv-bench/bin/python

Preparation is timed as whole processes, from text on disk to rows on disk:
`bert-jax prepare`; the tokenizer alone (the `tokenizers` package on all cores
over the same documents in memory); and datasets.map + group_texts with the same
vocabulary and as many processes as cores. Batches have rows of 512: from Stream
and DeviceFeed with shuffling, until they are on the device; and from a
DataLoader with DataCollatorForLanguageModeling, which also draws the masks (in
this project the step draws them).

Measured on 2 cores of an AMD EPYC (Zen 3), shared with others; Python 3.13, and
for Hugging Face 3.11, datasets 5.2, transformers 5.24, torch 2.13.0; 76.1 MB of
English novels, 30,522 entries; 3 turns, median (least-most), ratios within a
turn. `prepare` is faster than the tokenizer alone because it looks up words
that it has seen before (data/tokenizers/word_cache.py).

                    seconds  MB/s  speed by the bare tokenizer
bert-jax    11.0 (7.7-11.8)  6.95                         2.19
tokenizer  21.5 (19.2-24.0)  3.54                         1.00
datasets   77.4 (75.9-82.4)  0.98                         0.28

peak MiB, all processes  a tenth of the text  the text  ten times the text
bert-jax                                 197       262                 296
datasets                                 525      1138
(a shard of up to 64 MiB is gathered in memory before it is written)

Measured on 2 cores of an Intel Xeon, shared, with little other work; 2 turns:

                       seconds   MB/s  speed by the bare tokenizer
bert-jax         7.4 (7.3-7.4)  10.34                         2.47
tokenizer     18.2 (18.1-18.3)   4.18                         1.00
datasets   105.8 (103.6-108.0)   0.72                         0.17

million tokens/s          32 x 512            256 x 512
batches           25.0 (24.0-25.9)  108.2 (106.6-109.8)
mixture of two    22.0 (21.5-22.4)     83.5 (82.0-85.0)
hf_batches           1.3 (1.3-1.3)        1.2 (1.2-1.2)

A mixture locates 256 examples at once. That lowered the host's time for a batch
of 32 rows of two corpora from 490 to 198 microseconds (for 256 rows it went
from 1,071 to 1,179: no gain). The first batch at example 10^9 takes 0.6 to 0.7
milliseconds (one run each, on the same cores under load).
"""

import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import measuring
from absl import app, flags

ROW_LENGTH = 512
BATCH_SIZES = (32, 256)
CORES = len(os.sched_getaffinity(0))

_TEXT = flags.DEFINE_string(
  'text', None, 'Plain text, a blank line between documents.', required=True
)
_VOCAB = flags.DEFINE_string(
  'vocab', None, 'vocab.txt of a lower-case WordPiece tokenizer.', required=True
)
_TURNS = flags.DEFINE_integer('turns', 3, 'Timed turns of each contestant.')
_TORCH_PYTHON = flags.DEFINE_string(
  'torch_python', sys.executable, 'A Python that has datasets and transformers.'
)
_WORKER = flags.DEFINE_string('worker', '', 'For the processes started here.')
_FOLDER = flags.DEFINE_string('folder', '', 'Likewise.')


def main(unused_argv: list[str]) -> None:
  if _WORKER.value:
    WORKERS[_WORKER.value](_TEXT.value, pathlib.Path(_FOLDER.value))
    return
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    megabytes = os.path.getsize(_TEXT.value) / 1e6
    print(f'{measuring.machine()}; {megabytes:.1f} MB, {_TURNS.value} turns')
    compare_preparing(folder, megabytes)
    compare_memory(folder)
    compare_batches(folder)


def compare_preparing(folder: pathlib.Path, megabytes: float) -> None:
  seconds = {name: [] for name in ('bert-jax', 'tokenizer', 'datasets')}
  for _ in range(_TURNS.value):
    seconds['bert-jax'].append(prepare(_TEXT.value, folder)[0])
    output = measuring.run(worker('bare_tokenizer', folder))[2]
    seconds['tokenizer'].append(float(output.splitlines()[-1]))
    seconds['datasets'].append(measuring.run(worker('hf_prepare', folder))[0])
  rows = [['', 'seconds', 'MB/s', 'speed by the bare tokenizer']]
  for name, values in seconds.items():
    pairs = zip(seconds['tokenizer'], values, strict=True)
    rows.append(
      [
        name,
        measuring.spread(values, 1),
        f'{megabytes / statistics.median(values):.2f}',
        f'{statistics.median(a / b for a, b in pairs):.2f}',
      ]
    )
  print(measuring.table(rows))


def compare_memory(folder: pathlib.Path) -> None:
  """Compares memory of all processes, on the text and on its first tenth."""
  tenth = folder / 'tenth.txt'
  with open(_TEXT.value, 'rb') as file:
    tenth.write_bytes(file.read(os.path.getsize(_TEXT.value) // 10))
  rows = [['peak MiB', 'a tenth of the text', 'the text']]
  for name in ('bert-jax', 'datasets'):
    row = [name]
    for text in (str(tenth), _TEXT.value):
      if name == 'bert-jax':
        mib = prepare(text, folder)[1]
      else:
        mib = measuring.run(worker('hf_prepare', folder, text))[1]
      row.append(f'{mib:.0f}')
    rows.append(row)
  print(measuring.table(rows))


def compare_batches(folder: pathlib.Path) -> None:
  rows = [['million tokens/s', *(f'{n} x {ROW_LENGTH}' for n in BATCH_SIZES)]]
  for name in ('batches', 'mixture', 'hf_batches'):
    runs = [
      measuring.run(worker(name, folder))[2].splitlines()[-1].split()
      for _ in range(_TURNS.value)
    ]
    rates = [list(map(float, column)) for column in zip(*runs, strict=True)]
    rows.append([name, *(measuring.spread(values, 1) for values in rates)])
  print(measuring.table(rows))


def worker(name: str, folder: pathlib.Path, text: str = '') -> list[str]:
  python = _TORCH_PYTHON.value if name.startswith('hf') else sys.executable
  return [
    python,
    __file__,
    f'--worker={name}',
    f'--folder={folder}',
    f'--text={text or _TEXT.value}',
    f'--vocab={_VOCAB.value}',
  ]


def prepare(text: str, folder: pathlib.Path) -> tuple[float, float]:
  """Runs the verb `prepare` and returns (seconds, peak MiB)."""
  shutil.rmtree(folder / 'corpus', ignore_errors=True)
  command = [sys.executable, '-m', 'bert_jax', 'prepare', f'--input={text}']
  command += ['--document=paragraph', f'--tokenizer={_VOCAB.value}']
  command += [f'--row_length={ROW_LENGTH}', f'--output={folder / "corpus"}']
  return measuring.run(command)[:2]


def bare_tokenizer(text: str, unused_folder: pathlib.Path) -> None:
  from bert_jax.data.sources import open_inputs
  from bert_jax.data.sources.base import ReadReport
  from bert_jax.data.tokenizers import load_tokenizer

  source = open_inputs(text, document='paragraph')
  documents = [d.text for d in source.documents(ReadReport())]
  library = load_tokenizer(_VOCAB.value)._tokenizer
  began = time.perf_counter()
  # The text is read in parts, as usual: the whole result would not fit.
  for first in range(0, len(documents), 1000):
    for encoding in library.encode_batch_fast(
      documents[first : first + 1000], add_special_tokens=False
    ):
      _ = encoding.ids
  print(time.perf_counter() - began)


def batches(unused_text: str, folder: pathlib.Path) -> None:
  print(*batch_rates(folder, num_corpora=1))


def mixture(unused_text: str, folder: pathlib.Path) -> None:
  print(*batch_rates(folder, num_corpora=2))


def batch_rates(folder: pathlib.Path, num_corpora: int) -> list[float]:
  """Million tokens/s of each batch size; a mixture has one corpus twice."""
  import jax

  from bert_jax.data.reading.device_feed import DeviceFeed
  from bert_jax.data.reading.mixture import CorpusStreams, MixedStream
  from bert_jax.data.reading.plan import Plan, Stage
  from bert_jax.data.reading.stream import Stream
  from bert_jax.data.token_rows import TokenRows
  from bert_jax.parallel.mesh import MeshConfig
  from bert_jax.parallel.sharding import batch_sharding

  sharding = batch_sharding(MeshConfig().build(jax.devices()[:1]))
  sources = []
  for number in range(num_corpora):
    rows = TokenRows(folder / 'corpus' / str(ROW_LENGTH))
    sources.append(
      CorpusStreams(str(number), {ROW_LENGTH: Stream(rows, seed=number)})
    )
  rates = []
  for size in BATCH_SIZES:
    stage = Stage(
      num_steps=50_000 // size, row_length=ROW_LENGTH, batch_size=size
    )
    plan = Plan([stage])
    stream = MixedStream(sources, plan)
    with DeviceFeed(stream, sharding, plan.batches(0)) as feed:
      began = time.perf_counter()
      for batch in feed:
        jax.block_until_ready(batch)
      seconds = time.perf_counter() - began
    rates.append(plan.num_steps * size * ROW_LENGTH / seconds / 1e6)
  return rates


def hf_prepare(text: str, folder: pathlib.Path) -> None:
  import datasets

  datasets.disable_progress_bars()
  tokenizer = _hf_tokenizer()
  shutil.rmtree(folder / 'hf', ignore_errors=True)
  documents = datasets.load_dataset(
    'text',
    data_files=text,
    split='train',
    sample_by='paragraph',
    cache_dir=str(folder / 'hf'),
  )

  def tokenize(examples):
    return tokenizer(examples['text'], return_special_tokens_mask=True)

  def group_texts(examples):
    # Texts are grouped as in transformers' run_mlm.py.
    joined = {name: sum(examples[name], []) for name in examples}
    length = len(joined['input_ids']) // ROW_LENGTH * ROW_LENGTH
    return {
      name: [
        values[first : first + ROW_LENGTH]
        for first in range(0, length, ROW_LENGTH)
      ]
      for name, values in joined.items()
    }

  tokens = documents.map(
    tokenize, batched=True, remove_columns=['text'], num_proc=CORES
  )
  tokens.map(group_texts, batched=True, num_proc=CORES).save_to_disk(
    str(folder / 'hf' / 'rows')
  )


def hf_batches(unused_text: str, folder: pathlib.Path) -> None:
  import datasets
  import torch
  import transformers

  rows = datasets.load_from_disk(str(folder / 'hf' / 'rows'))
  collate = transformers.DataCollatorForLanguageModeling(_hf_tokenizer())
  rates = []
  for size in BATCH_SIZES:
    loader = torch.utils.data.DataLoader(
      rows, batch_size=size, shuffle=True, collate_fn=collate
    )
    num_tokens, began = 0, time.perf_counter()
    for number, batch in enumerate(loader, 1):
      num_tokens += batch['input_ids'].numel()
      if number * size >= 5000:
        break
    rates.append(num_tokens / (time.perf_counter() - began) / 1e6)
  print(*rates)


def _hf_tokenizer():
  from transformers import BertTokenizerFast

  return BertTokenizerFast(vocab_file=_VOCAB.value, do_lower_case=True)


WORKERS = {
  'bare_tokenizer': bare_tokenizer,
  'batches': batches,
  'mixture': mixture,
  'hf_prepare': hf_prepare,
  'hf_batches': hf_batches,
}


if __name__ == '__main__':
  app.run(main)
