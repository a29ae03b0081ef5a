"""Checks the imports between modules, and the length of files and functions.

The package is kept in layers, so that data preparation runs without jax, models
without training, and one part can be read without the others. Only the source
is read (ast); nothing of it is imported.
"""

import ast
import pathlib
from collections.abc import Iterator

import pytest
from other_process import ROOT, run_python

PACKAGE = ROOT / 'bert_jax'
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# Maps a part to the parts it may import, as arrows of a layer diagram. A part
# may also import itself, `errors`, and all that these may import in turn.
ARROWS = {
  'errors': (),
  'buckets': (),
  'bucket_lock': ('buckets',),
  'local_paths': ('buckets',),
  'durable_files': ('local_paths', 'bucket_lock'),
  'stopping': (),
  'parallel': (),
  'param_info': (),
  'optim': ('param_info',),
  'models': ('parallel.sharding', 'param_info'),
  'surgery': ('models',),
  'peft': ('models',),
  # Files of JSON are read by one reader and one decoder.
  'interop': ('models', 'local_paths', 'config.json_files', 'durable_files'),
  'data': (
    'durable_files',
    'stopping',
    'config.codec',
    'config.json_files',
    'config.json_decoder',
  ),
  # Objectives need the kinds of pairs in side files.
  'objectives': ('models', 'data.tokenizers', 'data.side_files'),
  # A task is an objective with labels: it shares the interface and the loss.
  'tasks': (
    'objectives.base',
    'objectives.cross_entropy',
    'models',
    'data.tokenizers',
    'data.examples',  # a task reads examples,
    'data.tables',  # from columns of these types,
    'data.length_buckets',  # puts rows of like length together,
    'config',  # and checks the shape of its own results
  ),
  'config': (),
  'workdir': ('config', 'data.tokenizers', 'durable_files'),
  'train': (
    'objectives',
    'peft',
    'tasks',
    'optim',
    'parallel',
    'data.reading.device_feed',  # the loop's end of the input pipeline
    'data.reading.plan',  # the examples of each step
    'data.length_buckets',  # of the rows that are scored
    'workdir',
    'stopping',
  ),
  'experiment': ('train', 'data', 'peft', 'interop', 'workdir'),
  # Run inputs describe the content of the paths in a run's config.
  'run_inputs': ('data', 'durable_files', 'workdir'),
  # A workdir's config names the experiment whose weights are to be loaded.
  'pretrained': ('experiment', 'run_inputs'),
  'embedding': ('tasks', 'interop'),
  'task_methods': ('tasks',),
  'inference': ('pretrained', 'embedding', 'task_methods', 'token_methods'),
  'vector_precision': ('tasks',),
  'masked_scoring': ('objectives', 'embedding'),
  'token_methods': ('experiment', 'masked_scoring'),
  # `bert_jax.load`.
  '': ('inference',),
  # A report shows the figures and records of runs.
  'report': (
    'train',
    'data.token_rows',  # a corpus's manifest
    'data.remote.corpus',  # the local copy of a corpus at gs://
  ),
  # Jobs do the work of verbs, one file a verb.
  'jobs': ('inference', 'run_inputs', 'surgery', 'vector_precision'),
  'cli': (
    'jobs',
    'report',
  ),
  '__main__': ('cli', 'stopping'),
}
# The only names of parallel.sharding that models may use: where arrays lie is
# decided outside the model.
MODELS_MAY_USE = {'constrain', 'devices_along', 'on_each_device'}

# Maps a package to the only modules that may import it.
ONLY_IN = {
  'torch': ('interop.parity',),
  'transformers': ('interop.parity',),
  'tensorflow': ('interop.google_bert',),
  'tensorflow_datasets': ('data.sources.tfds',),
  'apache_beam': (
    'data.preparing.prepare_beam',
    'data.preparing.beam_flags',
    'data.preparing.beam_exchange',
  ),
  'absl.flags': ('cli', '__main__'),
  'google.cloud': ('buckets',),
  'google.api_core': ('buckets',),
  'datasketch': ('data.preparing.near_duplicates',),
  'matplotlib': ('report.plots',),
  'ml_collections': ('config.overrides',),
  'sklearn': ('tasks.metrics',),
  'tensorboardX': ('train.logging',),
  'wandb': ('train.logging',),
}
# Maps a part that must work without jax to its excepted modules.
WITHOUT_JAX = {'data': ('data.reading.device_feed',)}
JAX_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax')


def test_parts_import_only_what_lies_below_them():
  offenders = [
    offence
    for module, tree in _modules(PACKAGE)
    for offence in _layer_offences(module, tree)
  ]
  assert not offenders, '\n'.join(offenders)


def test_heavy_and_optional_packages_stay_in_their_files():
  offenders = [
    offence
    for module, tree in _modules(PACKAGE)
    for offence in _package_offences(module, tree)
  ]
  assert not offenders, '\n'.join(offenders)


def test_a_run_reads_rows_without_what_prepares_them():
  offenders = [
    f'data.reading.{module}:{line} imports {target}'
    for module, tree in _modules(PACKAGE / 'data' / 'reading')
    for target, line in _imports(tree)
    if _within(target, ('bert_jax.data.preparing',))
  ]
  assert not offenders, '\n'.join(offenders)


def test_launchers_call_a_verb_and_import_nothing():
  offenders = [
    f'launch/{module}.py:{line} imports {target}'
    for module, tree in _modules(ROOT / 'launch')
    for target, line in _imports(tree)
    if target.split('.')[0] == 'bert_jax'
  ]
  assert not offenders, '\n'.join(offenders)


def test_experiments_name_configs_alone():
  """An experiment file imports `experiment`, `errors`, configs and presets.

  Benchmarks and races measure what they name, so they may import all of it.
  """
  offenders = []
  for module, tree in _modules(ROOT / 'experiments'):
    if module.startswith(('benchmarks.', 'races.')):
      continue
    for target, line in _imports(tree):
      owner, _, name = target.rpartition('.')
      if target.split('.')[0] != 'bert_jax' or owner.endswith('.config'):
        continue
      if owner == 'bert_jax.errors':
        continue
      if owner != 'bert_jax.experiment' and name not in _dataclasses(owner):
        path = module.replace('.', '/')
        offenders.append(f'experiments/{path}.py:{line} imports {target}')
  assert not offenders, '\n'.join(offenders)


# Packages that jax, flax, optax, numpy and absl-py need themselves. flax brings
# Orbax along, but importing flax does not import it.
LIGHT = {
  *('jax', 'jaxlib', 'ml_dtypes', 'opt_einsum', 'scipy', 'numpy', 'absl'),
  *('flax', 'optax', 'chex', 'toolz', 'msgpack', 'yaml', 'typing_extensions'),
  *('treescope', 'rich', 'pygments', 'markdown_it', 'mdurl'),
}
# A program that finds bert_jax and these packages alone.
BLOCK_PACKAGES = """
import importlib.machinery, sys

class Known:
  @staticmethod
  def find_spec(name, path=None, target=None):
    top = name.partition('.')[0]
    # Names with _ are compiled parts of others.
    if top in known or top[0] == '_':
      return importlib.machinery.PathFinder.find_spec(name, path, target)

  # Versions of packages are known, as where nothing else is installed.
  find_distributions = importlib.machinery.PathFinder.find_distributions

known = {'bert_jax', *sys.argv[1:], *sys.stdlib_module_names}
sys.meta_path[:] = [
  importlib.machinery.BuiltinImporter,
  importlib.machinery.FrozenImporter,
  Known,
]
"""
LOAD_EXPERIMENTS = """
import pathlib
import bert_jax.experiment
from bert_jax.config.experiment_file import load_config

for path in sorted(pathlib.Path('experiments/pretrain').glob('*.py')):
  config = load_config(str(path))
  if not config.data.corpora:
    config.data.path = 'corpus'
  config.validate()
  print(path.stem)
"""


def test_experiments_load_without_orbax_or_readers():
  folder = ROOT / 'experiments' / 'pretrain'
  program = BLOCK_PACKAGES + LOAD_EXPERIMENTS
  done = run_python('-c', program, folder, *sorted(LIGHT))
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == sorted(p.stem for p in folder.glob('*.py'))


def test_files_are_short():
  offenders = []
  for path in sorted(PACKAGE.rglob('*.py')):
    num_lines = len(path.read_text('utf-8').splitlines())
    if num_lines > MAX_FILE_LINES:
      offenders.append(f'{path.relative_to(ROOT)} has {num_lines} lines')
  assert not offenders, f'at most {MAX_FILE_LINES} lines a file:\n' + '\n'.join(
    offenders
  )


def test_functions_are_short():
  offenders = [
    f'{module}.{name}:{line} has {num_lines} lines'
    for module, tree in _modules(PACKAGE)
    for name, line, num_lines in _functions(tree)
    if num_lines > MAX_FUNCTION_LINES
  ]
  assert not offenders, (
    f'at most {MAX_FUNCTION_LINES} lines a function:\n' + '\n'.join(offenders)
  )


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('models.encoder', 'from bert_jax.train import step'),
    ('models.encoder', 'import bert_jax.data.reading.stream'),
    ('models.encoder', 'from bert_jax.parallel import mesh'),
    ('models.encoder', 'from bert_jax.parallel.sharding import RULES'),
    ('data.reading.stream', 'def f():\n  from bert_jax.models.config import A'),
    ('optim.build', 'from bert_jax.models.layers import Dense'),
    ('objectives.mlm', 'from bert_jax.data.reading.stream import Stream'),
    ('train.loop', 'from bert_jax.experiment import PretrainExperiment'),
    ('train.loop', 'from bert_jax import experiment'),
    ('tasks.base', 'from bert_jax.objectives.mlm import MaskedLM'),
    ('tasks.base', 'from . import metrics'),
    ('unheard_of', 'from bert_jax.models.config import A'),
  ],
)
def test_a_wrong_layer_is_noticed(module, source):
  assert len(list(_layer_offences(module, ast.parse(source)))) == 1


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('models.encoder', 'from bert_jax.parallel.sharding import constrain'),
    ('models.encoder', 'from bert_jax.errors import InputError'),
    ('objectives.mlm', 'from bert_jax.data.tokenizers.base import TokenTable'),
    ('train.loop', 'import bert_jax.models.functional'),
    ('tasks.base', 'from bert_jax.objectives.base import Objective'),
    ('workdir', 'import bert_jax'),
    ('cli.pretrain', 'from bert_jax import experiment, inference'),
  ],
)
def test_a_right_layer_passes(module, source):
  assert not list(_layer_offences(module, ast.parse(source)))


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('data.preparing.packing', 'import jax.numpy as jnp'),
    ('data.device', 'import jax'),
    ('data.sources.tfds', 'import tensorflow as tf'),
    ('data.preparing.packing', 'import tensorflow_datasets as tfds'),
    ('interop.huggingface', 'def f():\n  from transformers import BertModel'),
    ('train.loop', 'from absl import flags'),
    ('train.loop', 'import absl.flags'),
  ],
)
def test_a_wrong_package_is_noticed(module, source):
  assert len(list(_package_offences(module, ast.parse(source)))) == 1


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('data.reading.device_feed', 'import jax'),
    ('data.sources.tfds', 'import tensorflow_datasets as tfds'),
    ('cli.pretrain', 'from absl import app, flags'),
    ('train.loop', 'from absl import logging'),
  ],
)
def test_a_right_package_passes(module, source):
  assert not list(_package_offences(module, ast.parse(source)))


def test_configs_are_told_from_other_names():
  names = _dataclasses('bert_jax.optim.adamw')
  assert 'AdamWConfig' in names
  assert not _dataclasses('bert_jax.parallel.sharding')


def test_a_long_function_is_measured_whole():
  source = 'class A:\n  def long(self):\n' + '    x = 1\n' * MAX_FUNCTION_LINES
  assert list(_functions(ast.parse(source))) == [
    ('long', 2, MAX_FUNCTION_LINES + 1)
  ]


def _modules(folder: pathlib.Path) -> Iterator[tuple[str, ast.Module]]:
  """Yields each module below `folder` as (dotted name within it, its tree)."""
  for path in sorted(folder.rglob('*.py')):
    parts = path.relative_to(folder).with_suffix('').parts
    if parts[-1] == '__init__':
      parts = parts[:-1]
    yield '.'.join(parts), ast.parse(path.read_text('utf-8'), str(path))


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
  """Yields (dotted name, line) of each import, even inside functions.

  For `from a import b` the name is `a.b`, whether b is a module or not.
  """
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name, node.lineno
    elif isinstance(node, ast.ImportFrom):
      start = '.' * node.level + (node.module or '')
      for alias in node.names:
        yield f'{start}.{alias.name}', node.lineno


def _functions(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
  """Yields (name, first line, number of lines) of each function."""
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      assert node.end_lineno is not None
      yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def _dataclasses(module: str) -> set[str]:
  """Returns the names of a module's dataclasses, which are the configs."""
  path = ROOT.joinpath(*module.split('.')).with_suffix('.py')
  if not path.is_file():
    return set()
  return {
    node.name
    for node in ast.parse(path.read_text('utf-8')).body
    if isinstance(node, ast.ClassDef)
    and any('dataclass' in ast.unparse(d) for d in node.decorator_list)
  }


def _layer_offences(module: str, tree: ast.Module) -> Iterator[str]:
  """Yields one line for each import of bert_jax that ARROWS does not allow."""
  part = module.split('.')[0]
  for target, line in _imports(tree):
    where = f'bert_jax.{module}:{line}'
    if target.startswith('.'):
      yield f'{where} imports relatively; write the full name'
    if not target.startswith('bert_jax.'):
      continue
    target = target.removeprefix('bert_jax.')
    if not _within(target, (part, 'errors', *_reachable(part))):
      yield f'{where} imports {target}'
    elif part == 'models' and _within(target, ('parallel.sharding',)):
      if target.removeprefix('parallel.sharding.') not in MODELS_MAY_USE:
        yield f'{where} imports {target}; models may not'


def _package_offences(module: str, tree: ast.Module) -> Iterator[str]:
  """Yields one line for each import of a package out of its place."""
  for target, line in _imports(tree):
    where = f'bert_jax.{module}:{line}'
    for package, allowed in ONLY_IN.items():
      if _within(target, (package,)) and not _within(module, allowed):
        yield f'{where} imports {target}; allowed in: {allowed or "no module"}'
    for part, excepted in WITHOUT_JAX.items():
      if (
        _within(module, (part,))
        and not _within(module, excepted)
        and _within(target, JAX_PACKAGES)
      ):
        yield f'{where} imports {target}; {part} is numpy only'


def _within(name: str, parents: tuple[str, ...]) -> bool:
  """True if a dotted name is one of `parents` or lies below one of them."""
  return any(name == p or name.startswith(f'{p}.') for p in parents)


def _reachable(part: str) -> set[str]:
  """All parts that `part` may import by following ARROWS, without itself."""
  reached: set[str] = set()
  ahead = list(ARROWS.get(part, ()))
  while ahead:
    target = ahead.pop()
    if target not in reached:
      reached.add(target)
      # 'data.tokenizers' grants only itself, not the imports of 'data'.
      ahead.extend(ARROWS.get(target, ()))
  return reached
