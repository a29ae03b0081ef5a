"""Devices, compilation cache and a small prepared corpus for all tests.

The environment is set before jax is loaded, so that eight devices are simulated
on the CPU and no test is skipped for lack of them. Processes that a test starts
inherit it, and so do the workers of pytest-xdist.
"""

import gc
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest

NUM_DEVICES = 8
ROW_LENGTH = 32
# Fewer entries than the text has words, so that some are split into pieces; a
# multiple of the number of devices, so that a mesh can divide it.
VOCAB_SIZE = 160
NUM_DOCUMENTS = 240

assert 'jax' not in sys.modules, 'a pytest plugin loaded jax before conftest'
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUM_CPU_DEVICES'] = str(NUM_DEVICES)
# jax caches programs that took longer than this to compile; the default of 1 s
# would leave out most programs of the tests.
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
# A script that starts the suite by `&` makes it ignore Ctrl-C. Processes that
# the tests start would inherit that, so it is undone.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
  """Gives jax a folder for compiled code, unless the environment names one.

  The workers of pytest-xdist start later and find this variable set, so that
  they share the folder, and only the process that made it removes it.
  """
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  folder = tempfile.mkdtemp(prefix='bert_jax_tests_jax_cache_')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = folder

  def remove() -> None:
    del os.environ['JAX_COMPILATION_CACHE_DIR']
    shutil.rmtree(folder, ignore_errors=True)

  config.add_cleanup(remove)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Runs the longest test first, so that no worker waits for it at the end."""
  items.sort(key=lambda item: item.path.name != 'kill_test.py')


@pytest.fixture(scope='module', autouse=True)
def garbage_of_this_module_alone() -> Iterator[None]:
  """Keeps garbage collection fast: it looks at no object of earlier modules.

  Compiled programs fill gigabytes in the end, and a collection of all of them,
  such as after a save that failed, takes seconds.
  """
  yield
  gc.collect()
  gc.freeze()


@pytest.fixture(scope='session')
def small_text(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A text file of NUM_DOCUMENTS short documents, one a line.

  The sentences follow a toy grammar: there is something to learn (a verb
  depends on its subject), the words are few, and the bytes are the same every
  time. The folder belongs to one process, even under pytest-xdist.
  """
  path = tmp_path_factory.mktemp('small_text') / 'documents.txt'
  rng = random.Random(0)
  documents = [
    ' '.join(_sentence(rng) for _ in range(rng.randint(1, 4)))
    for _ in range(NUM_DOCUMENTS)
  ]
  path.write_text('\n'.join(documents) + '\n', encoding='utf-8')
  return path


@pytest.fixture(scope='session')
def small_tokenizer(small_text: pathlib.Path):
  """A lower-case WordPiece tokenizer trained on `small_text`."""
  from bert_jax.data.sources import open_inputs
  from bert_jax.data.sources.base import ReadReport
  from bert_jax.data.tokenizers.training import train_wordpiece

  documents = open_inputs(str(small_text), document='line').documents(
    ReadReport()
  )
  return train_wordpiece(documents, vocab_size=VOCAB_SIZE, lowercase=True)


@pytest.fixture(scope='session')
def small_corpus(
  small_text: pathlib.Path,
  small_tokenizer,
  tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
  """The folder of `small_text` prepared with `small_tokenizer`.

  It holds `tokenizer/`, a few hundred rows in `32/`, and a tenth of the
  documents in `eval/32/`. All tests of a process share it, so a test that
  changes a corpus copies it first.
  """
  from bert_jax.data.preparing.prepare import prepare
  from bert_jax.data.sources import open_inputs

  folder = tmp_path_factory.mktemp('small_corpus') / 'prepared'
  prepare(
    open_inputs(str(small_text), document='line'),
    small_tokenizer,
    output=folder,
    row_lengths=(ROW_LENGTH,),
    eval_fraction=0.1,
    num_workers=1,
    progress=False,
  )
  return folder


_SUBJECTS = {
  'singular': ('the function', 'this array', 'one axis', 'a matrix'),
  'plural': ('the functions', 'these arrays', 'both axes', 'two matrices'),
}
_VERBS = {
  'singular': ('returns', 'holds', 'takes', 'reshapes', 'broadcasts'),
  'plural': ('return', 'hold', 'take', 'reshape', 'broadcast'),
}
_OBJECTS = (
  'the sum of its values',
  'a random number',
  'the first element along the given axis',
  'an integer or a sequence of integers',
  'the same shape as the input',
  'every value that is not zero',
)
_CONDITIONS = ('', ' if the input is empty', ' unless it is told otherwise')


def _sentence(rng: random.Random) -> str:
  number = rng.choice(('singular', 'plural'))
  subject, verb = rng.choice(_SUBJECTS[number]), rng.choice(_VERBS[number])
  what, condition = rng.choice(_OBJECTS), rng.choice(_CONDITIONS)
  return f'{subject.capitalize()} {verb} {what}{condition}.'


@pytest.fixture
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
  """Gives meshes one device, as runs.on_one_device explains."""
  from runs import on_one_device

  on_one_device(monkeypatch)


@pytest.fixture(scope='module')
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A folder for what the tests of a module make once and share."""
  return tmp_path_factory.mktemp('shared')


@pytest.fixture
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
  """Converts without a comparison, also where transformers is installed."""
  from bert_jax.interop import parity

  monkeypatch.setattr(parity, 'is_possible', lambda: False)


@pytest.fixture
def small_experiment(small_corpus, one_device):
  """Ten steps of a tiny model on `small_corpus`; they take seconds."""
  from bert_jax.data.config import DataConfig
  from bert_jax.experiment import PretrainExperiment
  from bert_jax.models.config import EncoderConfig
  from bert_jax.optim.adamw import AdamWConfig
  from bert_jax.train.checkpoint_config import CheckpointConfig
  from bert_jax.train.evaluation import EvaluationConfig
  from bert_jax.train.logging import LoggingConfig

  return PretrainExperiment(
    model=EncoderConfig(
      num_layers=2,
      embed_dim=16,
      num_heads=2,
      mlp_dim=32,
      max_positions=32,
      dropout=0.1,
      attention_dropout=0.1,
    ),
    num_steps=10,
    batch_size=8,
    data=DataConfig(path=str(small_corpus), row_length=32),
    optimizer=AdamWConfig(learning_rate=1e-2),
    evaluation=EvaluationConfig(every_steps=5, batch_size=16),
    checkpoint=CheckpointConfig(every_steps=5, keep_last=2),
    logging=LoggingConfig(every_steps=2, tensorboard=False, peak_tflops=1.0),
  )


@pytest.fixture(scope='session')
def _finished_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tmp_path_factory.mktemp('finished_run') / 'run'


@pytest.fixture
def finished_run(_finished_folder, small_experiment) -> pathlib.Path:
  """The workdir of `small_experiment`, run once and never touched.

  All tests of a process share it: a test that changes a workdir copies it.
  """
  from bert_jax.jobs.pretrain import pretrain

  if not _finished_folder.exists():
    pretrain(small_experiment, _finished_folder)
  return _finished_folder


@pytest.fixture(scope='session')
def _gcs_server():
  import fsspec.config
  import gcs_server

  with gcs_server.serve() as server:
    os.environ.update(server.environment())
    fsspec.config.conf.setdefault('gcs', {})['token'] = 'anon'
    yield server


@pytest.fixture
def gcs(_gcs_server):
  """A server of gs:// without objects, which all clients speak to."""
  _gcs_server.clear()
  _forget_storage()
  yield _gcs_server
  _forget_storage()


def _forget_storage():
  """Makes epath look again for the file system that gs:// refers to."""
  from etils.epath import backend

  type(backend.fsspec_backend)._get_filesystem.cache_clear()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch):
  """An empty fsspec file system in memory, which gs:// refers to."""
  import fsspec
  from fsspec.registry import _registry
  from storage import FakeStorage

  for name in ('gs', 'gcs'):
    monkeypatch.setitem(_registry, name, FakeStorage)
  monkeypatch.setattr(FakeStorage, 'store', {})
  monkeypatch.setattr(FakeStorage, 'pseudo_dirs', [''])
  monkeypatch.setattr(FakeStorage, 'opened', [])
  return fsspec.filesystem('gs')
