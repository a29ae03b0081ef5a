"""Memory of every pretraining recipe on the chips that it is meant for.

pip install -e '.[tpu]' && \\
    .venv/bin/python experiments/benchmarks/memory_table.py

Compiles the step of each file of experiments/pretrain for its TOPOLOGY, and of
the further rows below, without hardware, and writes results/memory_table.json
after each row: the script goes on where it was stopped. --again compiles rows
that are there, --only=TEXT those whose names contain a text, --estimate makes
the estimates of rows that are there anew and compiles nothing, and --show
prints the table. Rows without figures stand under `not_compiled_yet`.

Estimates are those of bert_jax/jobs/plan_estimate.py, of a recipe's longest
rows; they order plans, and only a compilation says that one fits. Seen (jax
0.12.0.1, libtpu 0.0.50.1) on two cores, most beside so much other work that the
seconds say little; no chip has confirmed them. Recipes as they are:

   GiB   of  estimate
  5.34   16      5.13  albert_base v5e:2x4, 4096 x 512
 10.11   16     11.00  bert_base v5e:2x4, 256 x 512
 15.78   16     12.64  bert_large v5e:2x4, 256 x 512
  3.35   16      2.75  bert_mini v5e:1x1, 256 x 128
  5.96   16      5.38  bert_mini_lamb v5e:2x4, 4096 x 128
  7.80   16      8.66  electra_base v5e:2x4, 256 x 512
  2.38   16      3.09  electra_small v5e:1x1, 128 x 128
 15.02   32     12.12  modernbert_base v6e:2x4, 4608 x 1024
 24.37   32     16.13  modernbert_large v6e:2x4, 4928 x 1024
 14.23   32     13.81  roberta_base v6e:2x4, 8192 x 512

Others:

  8.82   16      7.32  bert_base v5e:2x2, 64 x 512 a chip in two microbatches,
                       scan_layers, remat=dots
  7.98   16      6.69  the same without attention_dropout
  7.44   16      6.91  bert_base v5e:2x4, 32 x 512 a chip, the same
 15.20   16     12.23  bert_large v5e:2x4 without attention_dropout
 26.29   95     17.05  modernbert_base v5p:2x2x1, 4608 x 1024
 23.92   95     15.96  modernbert_base v5p:2x2x1, 576 x 8192
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from absl import app, flags

from bert_jax import durable_files
from bert_jax.config.experiment_file import load_config, topology_of
from bert_jax.config.overrides import set_field
from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs import plans, preflight
from bert_jax.parallel import topologies

_ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPES = _ROOT / 'experiments' / 'pretrain'
RESULTS = pathlib.Path(__file__).parent / 'results' / 'memory_table.json'
# Entries of the published vocabularies, by the first word of a recipe's name.
_VOCABULARIES = {'albert': 30_000, 'modernbert': 50_368, 'roberta': 50_265}
_BERT_VOCABULARY = 30_522

_SCANNED = {'scan_layers': 'true', 'remat': 'dots'}
_LONG = {
  'data.row_length': '8192',
  'model.max_positions': '8192',
  'model.rotary_theta': '160000',
}
# Rows beside those of the recipes as they are: (file, topology, fields).
_FURTHER = (
  # 64 x 512 a chip, as the recipe drops weights of attention, and without.
  ('bert_base', 'v5e:2x2', _SCANNED | {'num_microbatches': '2'}),
  (
    'bert_base',
    'v5e:2x2',
    _SCANNED | {'num_microbatches': '2', 'model.attention_dropout': '0'},
  ),
  ('bert_base', 'v5e:2x4', _SCANNED),
  ('bert_large', 'v5e:2x4', {'model.attention_dropout': '0'}),
  ('modernbert_base', 'v5e:2x4', {}),
  ('modernbert_base', 'v5p:2x2x1', {}),
  (
    'modernbert_base',
    'v5p:2x2x1',
    _LONG | {'batch_size': '576', 'num_microbatches': '18'},
  ),
  ('modernbert_large', 'v5p:2x2x1', {}),
)
# Rows that are small enough for CI, which compiles them anew.
SENTINELS = (
  ('bert_mini', 'v5e:1x1', _SCANNED),
  ('electra_small', 'v5e:2x2', _SCANNED),
  (
    'modernbert_base',
    'v5e:2x2',
    {'model.num_layers': '7', 'batch_size': '64', 'num_microbatches': '2'},
  ),
)

_AGAIN = flags.DEFINE_bool('again', False, 'Compile rows that are there, too.')
_ESTIMATE = flags.DEFINE_bool(
  'estimate', False, 'Estimate rows that are there, compile nothing.'
)
_ONLY = flags.DEFINE_string('only', '', 'A text in the names of rows.')
_SHOW = flags.DEFINE_bool('show', False, 'Print the table, compile nothing.')


class Row(NamedTuple):
  """A recipe, a topology and fields that differ from the recipe's."""

  recipe: str
  topology: str
  fields: dict[str, str]

  @property
  def name(self) -> str:
    fields = (f'{name}={value}' for name, value in self.fields.items())
    return ' '.join((self.recipe, self.topology, *fields))

  @property
  def vocab_size(self) -> int:
    family = self.recipe.partition('_')[0]
    return _VOCABULARIES.get(family, _BERT_VOCABULARY)

  def experiment(self) -> PretrainExperiment:
    experiment = load_config(str(RECIPES / f'{self.recipe}.py'))
    for name, value in self.fields.items():
      set_field(experiment, name, value)
    return experiment


def rows() -> list[Row]:
  """All rows of the table, the recipes as they are first."""
  own = [
    Row(path.stem, topology_of(str(path)), {})
    for path in sorted(RECIPES.glob('*.py'))
  ]
  return own + [Row(*row) for row in (*_FURTHER, *SENTINELS)]


def measured(row: Row) -> dict[str, Any]:
  """Figures of a row by the compiler, beside the estimate."""
  experiment = row.experiment()
  figures = preflight.preflight(
    experiment, row.topology, vocab_size=row.vocab_size
  )
  return {
    'vocab_size': row.vocab_size,
    'versions': figures.versions,
    'fits': figures.all_fit,
    'changes': list(figures.changes),
    'gib_of_device': figures.device_memory / 2**30,
    'gib_estimated': _estimated(row, experiment),
    'stages': [
      {
        'rows': stage.batch_size,
        'row_length': stage.row_length,
        'gib': stage.memory and _gib(stage.memory.total),
        'gib_temporary': stage.memory and _gib(stage.memory.temporaries),
        'refusal': stage.refusal,
        'step_seconds_at_best': stage.memory
        and float(f'{figures.roofline_seconds(stage):.4g}'),
        'compile_seconds': round(stage.compile_seconds),
      }
      for stage in figures.stages
    ],
  }


def _estimated(row: Row, experiment: PretrainExperiment) -> float:
  estimator = plans.Estimator(
    experiment, topologies.named(row.topology), row.vocab_size
  )
  plan = estimator.plan_of(experiment)
  estimate = estimator.estimate(plan)
  assert estimate is not None  # preflight has laid it out
  return _gib(estimate.memory)


def _gib(num_bytes: float) -> float:
  return round(num_bytes / 2**30, 3)


def table(found: dict[str, Any]) -> Iterator[str]:
  """Yields one line for each stage of each row that is there."""
  yield f'{"GiB":>7}{"of":>5}{"estimate":>10}{"compiled":>10}'
  for name, value in found.items():
    for stage in value['stages']:
      gib = 'more' if stage['gib'] is None else f'{stage["gib"]:.2f}'
      yield (
        f'{gib:>7}{value["gib_of_device"]:>5.4g}{value["gib_estimated"]:>10.2f}'
        f'{stage["compile_seconds"]:>8} s  {name}, {stage["rows"]} x '
        f'{stage["row_length"]}'
      )


def _write(order: list[str], found: dict[str, Any]) -> None:
  durable_files.write_json(
    RESULTS,
    {
      'not_compiled_yet': [name for name in order if name not in found],
      'rows': {name: found[name] for name in order if name in found},
    },
  )


def main(unused_argv: Sequence[str]) -> None:
  kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
  found = kept.get('rows', {})
  order = [row.name for row in rows()]
  if _ESTIMATE.value:
    for row in rows():
      if _ONLY.value in row.name and row.name in found:
        gib = _estimated(row, row.experiment())
        found[row.name]['gib_estimated'] = gib
    _write(order, found)
  for row in () if _SHOW.value or _ESTIMATE.value else rows():
    if _ONLY.value not in row.name or (row.name in found and not _AGAIN.value):
      continue
    print(row.name, file=sys.stderr, flush=True)
    try:
      found[row.name] = measured(row)
    except InputError as error:
      sys.exit(f'{row.name}: {error}')
    _write(order, found)
  print(
    '\n'.join(table({name: found[name] for name in order if name in found}))
  )


if __name__ == '__main__':
  app.run(main)
