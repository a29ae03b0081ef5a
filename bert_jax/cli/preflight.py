"""Compile a pretraining step for chips or GPUs that you do not have yet.

bert-jax preflight --config=experiments/pretrain/bert_base.py \\
    --topology=v5e:2x4 --vocab_size=30522 --price=1.2 \\
    --config.remat=dots --config.scan_layers=true

Prints the memory of a chip by cause and whether the step fits; as estimates,
time, MFU and cost, beside what others have published; and warnings about the
config. It needs no accelerator, but minutes of CPU and the compiler: the extra
tpu (pip install 'bert_jax[tpu]') for the TPUs v4, v5e, v5p, v6e and tpu7x, the
extra cuda for the GPUs a100, h100, h200 and b200, such as --topology=h100:8.
For the GPUs l40s, l4, a10g, v100 and rtx4090, of which XLA has no
specification, it compiles nothing and prints an analytic estimate. Without
--topology it is the one that the file is meant for. The exit status is 2 if the
step does not fit.

With --search --json=FILE it looks for the fastest plan that fits: which remat,
microbatches, mesh and attention. FILE keeps what was compiled, so that the same
command goes on after Ctrl-C.
"""

import pathlib

from absl import flags as absl_flags

from bert_jax.cli import flags
from bert_jax.config.experiment_file import topology_of
from bert_jax.errors import InputError

CONFIG = flags.define_config()
TOPOLOGY = absl_flags.DEFINE_string(
  'topology',
  None,
  'The generation and shape of a slice, such as v5e:2x4 or v5p:2x2x1, or the '
  'kind and number of GPUs in a host, such as h100:8; by default the TOPOLOGY '
  'of the experiment file.',
)
NUM_SLICES = absl_flags.DEFINE_integer(
  'num_slices',
  1,
  'Slices, or hosts of GPUs, of that topology; mesh.data crosses them.',
)
VOCAB_SIZE = absl_flags.DEFINE_integer(
  'vocab_size',
  None,
  'Entries of the vocabulary where there is no corpus yet.',
)
PRICE = absl_flags.DEFINE_float(
  'price', None, 'Dollars for an hour of one chip or GPU.'
)
MEASURED = absl_flags.DEFINE_string(
  'measured',
  '',
  'A file that bert-jax check_device --json wrote on such a chip; its speed is '
  'taken in place of a range.',
)
JSON = absl_flags.DEFINE_string('json', '', 'A file to write all figures to.')
SEARCH = absl_flags.DEFINE_bool(
  'search', False, 'Look for the fastest plan that fits; needs --json.'
)
COMPILE_LIMIT = absl_flags.DEFINE_integer(
  'compile_limit',
  6,
  'The most plans that a search compiles, with those in the file.',
  lower_bound=1,
)
SEARCH_BATCHES = absl_flags.DEFINE_list(
  'search_batches',
  [],
  'Batch sizes to choose from, such as 256,512; by default the recipe has one.',
)


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  if PRICE.value is not None and not 0 <= PRICE.value < float('inf'):
    raise InputError(f'--price={PRICE.value}: give dollars, such as 1.2')
  path = pathlib.Path(JSON.value)
  if not path.parent.is_dir():
    raise InputError(f'--json={path}: there is no folder {path.parent}')
  name = TOPOLOGY.value or topology_of(flags.config_path())
  if SEARCH.value:
    _search(name, path)
  else:
    _preflight(name, path)


def _preflight(topology_name: str, path: pathlib.Path) -> None:
  from bert_jax import durable_files
  from bert_jax.config.json_files import read_object
  from bert_jax.jobs import preflight, preflight_analytic, preflight_table
  from bert_jax.parallel import topologies

  measured = None
  if MEASURED.value:
    measured_path = pathlib.Path(MEASURED.value)
    if not measured_path.is_file():
      raise InputError(f'--measured={measured_path}: there is no such file')
    measured = read_object(measured_path, 'give one of bert-jax check_device')
  topology = topologies.named(topology_name, NUM_SLICES.value)
  job = (
    preflight.preflight
    if topology.can_be_compiled_for
    else preflight_analytic.preflight
  )
  figures = job(
    CONFIG.value,
    topology_name,
    vocab_size=VOCAB_SIZE.value,
    num_slices=NUM_SLICES.value,
    measured=measured,
  )
  for line in preflight_table.lines(figures, PRICE.value):
    print(line)
  if JSON.value:
    value = preflight_table.as_json(figures, PRICE.value)
    durable_files.write_json(path, value)
  if figures.changes:
    raise InputError(preflight_table.change_line(figures))


def _search(topology_name: str, path: pathlib.Path) -> None:
  if not JSON.value:
    raise InputError(
      '--search: give --json=FILE, which keeps the plans that were compiled'
    )
  if NUM_SLICES.value != 1 or MEASURED.value:
    raise InputError(
      '--search is for one slice and by estimates; leave --num_slices and '
      '--measured out'
    )
  from bert_jax.jobs import preflight_search

  found = preflight_search.search(
    CONFIG.value,
    topology_name,
    path,
    vocab_size=VOCAB_SIZE.value,
    batch_sizes=flags.whole_numbers(SEARCH_BATCHES),
    limit=COMPILE_LIMIT.value,
  )
  for line in preflight_search.lines(found, CONFIG.value):
    print(line)
  if found.best is None:
    raise InputError(preflight_search.none_fits(found))
