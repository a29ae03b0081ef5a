"""Importing bert_jax, or using checkpoints, changes nothing of the process."""

import pytest
from other_process import run_python

# What is imported without us first may set up itself.
_SCRIPT = """
import contextlib, csv, faulthandler, importlib, locale, logging, os, pkgutil
import random, signal, socket, sys, threading, warnings

before_ours = {before!r}
for name in before_ours:
  with contextlib.suppress(ImportError):
    importlib.import_module(name)
# An application has settings of its own.
logging.getLogger('absl').setLevel(logging.INFO)
logging.getLogger('asyncio').setLevel(logging.INFO)

def of_process():
  import jax
  loggers = [logging.getLogger(), *(
    logger for name, logger in logging.root.manager.loggerDict.items()
    if isinstance(logger, logging.Logger)
  )]
  return dict(
    loggers={{
      logger.name: (logger.level, logger.disabled, logger.propagate,
                    list(logger.handlers), list(logger.filters))
      for logger in loggers
    }},
    disabled=logging.root.manager.disable,
    warnings=list(warnings.filters),
    hooks=(sys.excepthook, sys.unraisablehook, threading.excepthook,
           sys.displayhook, warnings.showwarning),
    signals={{n: signal.getsignal(n) for n in signal.valid_signals()}},
    environment=dict(os.environ),
    locale=locale.setlocale(locale.LC_ALL),
    csv=csv.field_size_limit(),
    socket=socket.getdefaulttimeout(),
    recursion=sys.getrecursionlimit(),
    faulthandler=faulthandler.is_enabled(),
    random=random.getstate(),
    folder=os.getcwd(),
    path=list(sys.path),
    umask=os.umask(0o022),
    jax=dict(jax.config.values),
    threads=sorted(t.name for t in threading.enumerate()),
  )

before = of_process()
{action}
after = of_process()
for name in before:
  if name == 'loggers':
    for logger, was in before[name].items():
      assert after[name][logger] == was, (logger, was, after[name][logger])
  else:
    assert after[name] == before[name], (name, before[name], after[name])
print('unchanged')
"""

_PACKAGES = (
  'absl.flags absl.logging jax jax.numpy flax.nnx optax orbax.checkpoint.v1 '
  'orbax.checkpoint ml_collections.config_flags tensorboardX tokenizers '
  'sentencepiece tensorflow_datasets etils.epath fsspec pyarrow.parquet numpy '
  'matplotlib tqdm safetensors safetensors.numpy regex array_record '
  'apache_beam torch transformers jinja2 ml_dtypes grain scipy.sparse'
).split()

_IMPORT_ALL = """
import bert_jax
for module in pkgutil.walk_packages(bert_jax.__path__, 'bert_jax.'):
  # A verb defines the flags of its process: nobody else imports it.
  if module.name.startswith(('bert_jax.cli.', 'bert_jax.__main__')):
    continue
  with contextlib.suppress(ImportError):
    importlib.import_module(module.name)
assert 'bert_jax.train.checkpoint' in sys.modules
"""

_USE_CHECKPOINTS = """
import pathlib, shutil, tempfile
import jax.numpy as jnp
from bert_jax.errors import InputError
from bert_jax.train.checkpoint import *
from bert_jax.train.checkpoint import Position, load_params, save_params
from bert_jax.train.state import TrainState

folder = pathlib.Path(tempfile.mkdtemp())
arrays = {'a': jnp.arange(1000.0), 'b': {'c': jnp.ones((3, 4))}}
save_params(folder / 'best', arrays)
assert load_params(folder / 'best')[1] == 0
data = next(p for p in folder.rglob('ocdbt.process_0/d/*'))
data.unlink()
try:
  load_params(folder / 'best')
except InputError as error:
  assert 'is missing' in str(error), error
else:
  raise AssertionError
shutil.rmtree(folder)
"""


@pytest.mark.parametrize('action', [_IMPORT_ALL, _USE_CHECKPOINTS])
def test_nothing_of_the_process_is_changed(action, tmp_path):
  script = _SCRIPT.format(before=_PACKAGES, action=action)
  if action is _USE_CHECKPOINTS:
    # The first use starts threads of jax and Orbax, which stay.
    start = script.index(action)
    script = (
      script[: script.index('\nbefore = of_process()')]
      + action
      + script[script.index('\nbefore = of_process()') : start]
      + script[start:]
    ).replace('threads=sorted(t.name for t in threading.enumerate()),', '')
  result = run_python('-c', script, folder=tmp_path)
  assert result.stdout == 'unchanged\n', result.stderr[-2000:]
  assert result.stderr == ''
