"""Faults at the system call while checkpoints are read and written.

No good checkpoint is lost or renamed, the message is one line and right, and
once the fault is over the run goes on as if nothing had been. strace makes the
calls fail, so .ci/run repeats these where it is installed.
"""

import errno
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from injected import Faults, injected_calls
from runs import assert_same_run
from small_state import abstract_on, at_step
from small_texts import contents

from bert_jax.errors import InputError
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.train.checkpoint import (
  CheckpointConfig,
  Checkpoints,
  Position,
  SaveFailed,
  load_params,
  saved_steps,
)
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.processes

ROOT = pathlib.Path(__file__).parents[2]
TEXT = {
  'EIO': 'EIO: Input/output error',
  'ENOSPC': 'ENOSPC: No space left on device',
  'EACCES': 'EACCES: Permission denied',
  'ENOMEM': 'ENOMEM: Cannot allocate memory',
}


@pytest.fixture(scope='module')
def states():
  return {step: at_step(step) for step in (5, 10, 15)}


@pytest.fixture(scope='module')
def abstract():
  return abstract_on(MeshConfig().build(jax.devices()[:1]))


@pytest.fixture(scope='module')
def saved(states, tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved') / 'checkpoints'
  checkpoints = Checkpoints(folder, CheckpointConfig(keep_last=2))
  for step in (5, 10):
    checkpoints.save(states[step], Position(step, {}))
  checkpoints.close()
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'checkpoints')


def is_step(found, state) -> bool:
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True)
  return all(np.array_equal(one, other) for one, other in pairs)


def names(folder) -> list[str]:
  return sorted(path.name for path in folder.iterdir())


def everything(path) -> list[pathlib.Path]:
  return [path, *sorted(path.rglob('*'))]


def parts(checkpoint) -> list[pathlib.Path]:
  """Its files and folders, of params and state those of params alone."""
  return [
    path
    for path in everything(checkpoint)
    if 'state' not in path.relative_to(checkpoint).parts
    and path.name != 'commit_success.txt'
  ]


@pytest.mark.parametrize(
  ('call', 'error', 'when'),
  [
    ('openat', 'EIO', '1'),
    ('openat', 'EIO', '1+'),
    ('openat', 'EACCES', '1+'),
    ('read', 'EIO', '1'),
    ('read', 'EIO', '1+'),
    ('read', 'ENOMEM', '1'),
    ('pread64', 'EIO', '1'),
    ('pread64', 'EIO', '1+'),
    ('pread64', 'ENOMEM', '1+'),
    ('newfstatat', 'EIO', '1'),
    ('newfstatat', 'EIO', '1+'),
    ('getdents64', 'EIO', '1+'),
  ],
)
def test_reading(folder, states, abstract, capsys, call, error, when):
  """Any file or folder of the newest checkpoint, each by itself."""
  num_made = num_refused = 0
  for path in parts(folder / '10'):
    faults = Faults(call, error, when, [path])
    refusal = ''
    with faults:
      try:
        restored = Checkpoints(folder, CheckpointConfig()).restore(abstract)
      except (InputError, OSError) as problem:
        refusal = str(problem)
    num_made += bool(faults.made)
    assert names(folder) == ['10', '5'], path
    if refusal:
      assert faults.made
      num_refused += 1
      assert '\n' not in refusal
      # Orbax takes an error in looking for a file for one that is missing.
      assert TEXT[error].split(': ')[1] in refusal or (
        when == '1' and 'its files are there; try again' in refusal
      ), path
    else:
      # Read in spite of it, at the second try, or it was not needed.
      assert is_step(restored[0], states[10]), path
    output = capsys.readouterr()
    assert 'Traceback' not in output.out + output.err
  assert num_made >= 1
  if call != 'getdents64':
    assert num_refused >= 1
  restored = Checkpoints(folder, CheckpointConfig()).restore(abstract)
  assert is_step(restored[0], states[10])


def test_params_of_an_older_checkpoint_are_not_given_instead(folder, states):
  for path in parts(folder / '10')[::2]:
    faults = Faults('openat', 'EIO', '1+', [path])
    with faults:
      try:
        params, step = load_params(folder)
      except InputError as problem:
        assert 'EIO: Input/output error' in str(problem)
        continue
    assert step == 10
    assert is_step(params, states[10].params)


_WRITING = {
  'EIO': 'mkdir 1 2, openat 1 2 4 7, write 1 2, writev 1 2 3, fsync 1 2 3 6 8, '
  'rename 1 2, unlink 1, rmdir 1, unlinkat 1',
  'ENOSPC': 'mkdir 1, openat 2, write 1, writev 1 2, fsync 1 8',
}


def writing_faults():
  for error, calls in _WRITING.items():
    for call, *whens in map(str.split, calls.split(',')):
      yield from ((call, error, when) for when in whens)


@pytest.mark.parametrize(('call', 'error', 'when'), list(writing_faults()))
def test_writing(saved, states, abstract, tmp_path, capsys, call, error, when):
  """The first save fails or is whole; the second one succeeds."""
  # strace counts in each thread, and Orbax's threads share their work out anew
  # each time: where none came so far, an earlier call fails.
  for number in range(int(when), 0, -1):
    folder = shutil.copytree(saved, tmp_path / f'checkpoints-{number}')
    checkpoints = Checkpoints(folder, CheckpointConfig(keep_last=2))
    checkpoints.restore(abstract)
    faults = Faults(call, error, str(number))
    failure = ''
    with faults:
      try:
        checkpoints.save(states[15], Position(15, {}))
        checkpoints.wait()
      except SaveFailed as problem:
        failure = str(problem)
    if faults.made:
      break
    checkpoints.close()
  assert faults.made
  if failure:
    assert checkpoints.last_saved == 10
    assert failure.startswith(f'saving step 15 failed: {TEXT[error]}')
    assert '\n' not in failure
  else:
    assert checkpoints.last_saved == 15
  assert 10 in saved_steps(folder)
  restored = Checkpoints(folder, CheckpointConfig()).restore(abstract)
  assert is_step(restored[0], states[max(saved_steps(folder))])
  checkpoints.save(states[15], Position(15, {}))
  checkpoints.close()
  assert checkpoints.last_saved == 15
  restored = Checkpoints(folder, CheckpointConfig()).restore(abstract)
  assert is_step(restored[0], states[15])
  assert not [name for name in names(folder) if not name.isdigit()]
  output = capsys.readouterr()
  assert 'Traceback' not in output.out + output.err


_RESTORE_IN_LITTLE_MEMORY = """
import pathlib, resource, sys
import jax, jax.numpy as jnp
from bert_jax.errors import InputError
from bert_jax.train.checkpoint import load_params

jax.block_until_ready(jnp.ones(3) + 1)
status = pathlib.Path('/proc/self/status').read_text()
used = int(status.split('VmSize:')[1].split()[0]) << 10
limit = used + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
  load_params(pathlib.Path(sys.argv[1]))
except InputError as error:
  sys.exit(str(error))
"""


@pytest.mark.parametrize('megabytes', [150, 230, 300, 400])
def test_memory_runs_out(tmp_path, megabytes):
  """Nothing is renamed, whichever way the process ends.

  Python may say it, or C++ ends the process. In about one of sixty tries C++
  waits for ever instead, for a thread that it could not start; such a process
  is killed, as its owner would.
  """
  from bert_jax.train.checkpoint import save_params

  folder = tmp_path / 'checkpoints'
  save_params(folder, {'a': jnp.arange(60 << 20, dtype=jnp.float32)})
  before = everything(folder)
  command = [sys.executable, '-c', _RESTORE_IN_LITTLE_MEMORY, str(folder)]
  process = subprocess.Popen(
    [*command, str(megabytes)],
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    env=os.environ | {'JAX_NUM_CPU_DEVICES': '1'},
  )
  try:
    _, errors = process.communicate(timeout=60)
  except subprocess.TimeoutExpired:
    process.kill()
    _, errors = process.communicate()
  assert process.returncode != 0
  assert everything(folder) == before
  print(process.returncode, errors[-600:])
  if process.returncode == 1:
    assert 'could not be read' in errors
    assert 'it needs more memory than is free' in errors


def run(faults, log, *arguments) -> subprocess.CompletedProcess:
  """A Python of its own, under strace where there are `faults`."""
  return subprocess.run(
    [*(faults.command(log) if faults else []), sys.executable, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env=os.environ | {'JAX_NUM_CPU_DEVICES': '1'},
  )


def refusal(result, log) -> str:
  """The one line that a run under faults ended with."""
  assert injected_calls(log)
  assert result.returncode == 2, result.stderr
  assert 'Traceback' not in result.stderr + result.stdout
  lines = result.stderr.splitlines()
  # strace tells of each thread and process that it comes to, and a program
  # that is traced of the attention chosen for it.
  lines = [
    line
    for line in lines
    if 'strace: Process' not in line and not line.startswith('attention to ')
  ]
  assert len(lines) == 1, lines
  return lines[0]


_RUN_EXPERIMENT = """
import pickle, sys
from bert_jax import errors
from bert_jax.jobs import finetune, pretrain
with open(sys.argv[2], 'rb') as file:
  experiment = pickle.load(file)
run = getattr(
  {'pretrain': pretrain, 'finetune': finetune}[sys.argv[1]], sys.argv[1]
)
try:
  run(experiment, sys.argv[3])
except (errors.InputError, OSError) as error:  # as bert-jax tells of either
  print(error, file=sys.stderr)
  sys.exit(2)
"""


@pytest.fixture
def script(tmp_path):
  """(verb, experiment, workdir) -> arguments of a Python that runs it."""

  def arguments(verb, experiment, workdir):
    path = tmp_path / f'{verb}.pickle'
    path.write_bytes(pickle.dumps(experiment))
    return '-c', _RUN_EXPERIMENT, verb, str(path), str(workdir)

  return arguments


@pytest.mark.parametrize('call', ['openat', 'pread64'])
def test_a_run_that_cannot_read_its_checkpoint(
  finished_run, small_experiment, script, tmp_path, call
):
  """One refusal, nothing changed; the same command then ends as ever."""
  workdir = Workdir(shutil.copytree(finished_run, tmp_path / 'run'))
  shutil.rmtree(workdir.checkpoints / '10')
  data = [
    path for path in (workdir.checkpoints / '5').rglob('d/*') if path.is_file()
  ]
  faults, log = Faults(call, 'EIO', '1+', data), tmp_path / 'strace'
  command = script('pretrain', small_experiment, workdir.path)
  line = refusal(run(faults, log, *command), log)
  assert f'checkpoint {workdir.checkpoints / "5"} could not be read' in line
  assert 'EIO: Input/output error' in line
  assert 'nothing was changed; try again' in line
  assert names(workdir.checkpoints) == ['5']
  result = run(None, None, *command)
  assert result.returncode == 0, result.stderr
  assert_same_run(workdir.path, finished_run)


@pytest.mark.parametrize(
  ('call', 'error', 'when'),
  [('writev', 'EIO', '1+'), ('rename', 'EIO', '2+'), ('fsync', 'EIO', '1')],
)
def test_a_run_that_cannot_write(
  finished_run, small_experiment, script, tmp_path, call, error, when
):
  faults, log = Faults(call, error, when), tmp_path / 'strace'
  command = script('pretrain', small_experiment, tmp_path / 'run')
  line = refusal(run(faults, log, *command), log)
  assert os.strerror(getattr(errno, error)) in line
  result = run(None, None, *command)
  assert result.returncode == 0, result.stderr
  assert_same_run(tmp_path / 'run', finished_run)


@pytest.mark.parametrize(
  ('call', 'error', 'when'),
  [
    ('write', 'EIO', '2'),
    ('write', 'ENOSPC', '5'),
    ('rename', 'EIO', '2'),
    ('fsync', 'EIO', '3'),
  ],
)
def test_prepare(small_corpus, tmp_path, call, error, when):
  """One line; the same command then ends as if nothing had been."""
  text = tmp_path / 'text.txt'
  text.write_text('the function returns the sum of its values\n' * 2000)
  command = [
    '-m',
    'bert_jax',
    'prepare',
    f'--input={text}',
    '--document=line',
    f'--tokenizer={small_corpus / "tokenizer"}',
    '--row_length=32',
    '--workers=1',
  ]
  output, log = tmp_path / 'corpus', tmp_path / 'strace'
  faults = Faults(call, error, when)
  line = refusal(run(faults, log, *command, f'--output={output}'), log)
  assert 'corpus.partial' in injected_calls(log)[0]
  # prepare has a sentence of its own for a full disk.
  assert TEXT[error].split(': ')[1].removesuffix(' device')[1:] in line
  assert not output.exists()
  again = run(None, None, *command, f'--output={output}')
  assert again.returncode == 0, again.stderr
  whole = run(None, None, *command, f'--output={tmp_path / "whole"}')
  assert whole.returncode == 0, whole.stderr
  assert contents(output) == contents(tmp_path / 'whole')


def test_finetune(small_corpus, script, tmp_path):
  from bert_jax.experiment import FinetuneExperiment
  from bert_jax.models.config import EncoderConfig
  from bert_jax.tasks.classification import ClassificationConfig
  from bert_jax.train.logging import LoggingConfig

  lines = [f'the function returns {n % 2}\tlabel {n % 2}' for n in range(16)]
  data = tmp_path / 'data.tsv'
  data.write_text('\n'.join(['sentence\tlabel', *lines]) + '\n')
  experiment = FinetuneExperiment(
    num_seeds=1,
    num_epochs=4,
    batch_size=8,
    max_length=16,
    eval_batch_size=8,
    tokenizer=str(small_corpus / 'tokenizer'),
    model=EncoderConfig(
      num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
    ),
    task=ClassificationConfig(
      train_path=str(data), eval_path=str(data), text_columns=('sentence',)
    ),
    checkpoint=CheckpointConfig(every_steps=2),
    logging=LoggingConfig(tensorboard=False, peak_tflops=1.0),
  )
  run_dir, log = tmp_path / 'run', tmp_path / 'strace'
  command = script('finetune', experiment, run_dir)
  line = refusal(run(Faults('writev', 'EIO', '1+'), log, *command), log)
  assert line.startswith('saving step 2 failed: EIO: Input/output error')
  result = run(None, None, *command)
  assert result.returncode == 0, result.stderr
  best = [path for path in (run_dir / 'best').rglob('d/*') if path.is_file()]
  before = everything(run_dir / 'best')
  predict = (
    '-m',
    'bert_jax',
    'predict',
    f'--workdir={run_dir}',
    f'--input={data}',
    f'--output={tmp_path / "predictions.jsonl"}',
  )
  line = refusal(run(Faults('pread64', 'EIO', '1+', best), log, *predict), log)
  assert 'could not be read (EIO: Input/output error' in line
  assert everything(run_dir / 'best') == before
  assert run(None, None, *predict).returncode == 0
