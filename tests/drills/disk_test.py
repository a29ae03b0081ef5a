"""A disk that is full, or read-only: a run goes on, or ends with one line."""

import json
import re
import shutil
import subprocess
import time

import pytest
from other_process import ROOT, verb
from runs import after_steps, assert_same_run
from small_texts import contents

from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.train.checkpoint import saved_steps
from bert_jax.train.logging import LoggingConfig, MetricWriter
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.processes


@pytest.fixture
def small_disk(tmp_path):
  """A file system of its own, of 8 MiB."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  if not mount('-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder):
    pytest.skip('mounting a file system needs the rights of root')
  yield folder
  subprocess.run(['umount', '--lazy', folder], check=True)


def mount(*arguments) -> bool:
  command = ['mount', *map(str, arguments)]
  return subprocess.run(command, capture_output=True).returncode == 0


class Filler:
  """A file that takes all room there is, until it is freed."""

  def __init__(self, disk):
    self.path = disk / 'filler'

  def fill(self):
    with open(self.path, 'ab', buffering=0) as file:
      try:
        while True:
          file.write(bytes(4096))
      except OSError:
        pass

  def free(self):
    self.path.unlink()


def test_full_for_some_steps(
  small_disk, finished_run, small_experiment, monkeypatch, capsys
):
  filler = Filler(small_disk)
  saved = small_disk / 'run' / 'checkpoints' / '4'

  def fill_once_saved():
    while not saved.is_dir():
      time.sleep(0.01)
    filler.fill()

  after_steps(monkeypatch, {5: fill_once_saved, 8: filler.free})
  small_experiment.checkpoint.every_steps = 2
  outcome = pretrain(small_experiment, small_disk / 'run')
  assert outcome.saved_step == 10
  output = capsys.readouterr()
  assert 'saving step 6 failed: ENOSPC: No space left' in output.out
  assert 'it will be tried again' in output.out
  assert 'Traceback' not in output.out + output.err
  assert_same_run(small_disk / 'run', finished_run)


def test_full_at_the_first_save(
  small_disk, small_experiment, monkeypatch, capsys
):
  """The run ends there, not after all its steps."""
  filler = Filler(small_disk)
  after_steps(monkeypatch, {3: filler.fill})
  small_experiment.num_steps = 1000
  with pytest.raises(InputError) as error:
    pretrain(small_experiment, small_disk / 'run')
  message = str(error.value)
  assert message.startswith('saving step 5 failed: ENOSPC: No space left')
  assert 'nothing has been saved yet' in message
  output = capsys.readouterr()
  assert 'step 50/' not in output.out
  assert 'Traceback' not in output.out + output.err


@pytest.fixture
def own_mount(tmp_path):
  """A folder that can be mounted read-only by itself."""
  folder = tmp_path / 'run' / 'checkpoints'
  folder.mkdir(parents=True)
  if not mount('--bind', folder, folder):
    pytest.skip('mounting a file system needs the rights of root')
  yield folder
  subprocess.run(['umount', '--lazy', folder], check=True)


def test_read_only_from_some_step_on(
  own_mount, finished_run, small_experiment, monkeypatch, capsys
):
  """A disk that turns read-only, as a kernel does on errors, ends the run."""

  def remount(mode):
    # Refused while a file is open for writing: a save may be under way.
    while not mount('-o', f'remount,bind,{mode}', own_mount):
      pass

  after_steps(monkeypatch, {5: lambda: remount('ro')})
  small_experiment.checkpoint.every_steps = 2
  with pytest.raises(InputError) as error:
    pretrain(small_experiment, own_mount.parent)
  message = str(error.value)
  # The disk may be quicker than the save of the step before.
  assert re.match('saving step [246] failed: EROFS: Read-only file', message)
  assert 'run the same command again' in message
  output = capsys.readouterr()
  assert 'step 8/' not in output.out
  assert 'Traceback' not in output.out + output.err
  with pytest.raises(OSError, match='Read-only file system'):
    pretrain(small_experiment, own_mount.parent)
  assert 'continuing' not in capsys.readouterr().out
  remount('rw')
  pretrain(small_experiment, own_mount.parent)
  assert_same_run(own_mount.parent, finished_run)


def test_full_to_the_end(
  small_disk, finished_run, small_experiment, monkeypatch
):
  filler = Filler(small_disk)
  after_steps(monkeypatch, {8: filler.fill})
  small_experiment.checkpoint.every_steps = 3
  with pytest.raises(InputError) as error:
    pretrain(small_experiment, small_disk / 'run')
  message = str(error.value)
  kept = saved_steps(Workdir(small_disk / 'run').checkpoints)[0]
  assert f'the checkpoint of step {kept} is kept' in message
  assert 'run the same command again' in message
  filler.free()
  pretrain(small_experiment, small_disk / 'run')
  assert_same_run(small_disk / 'run', finished_run)


def test_records_wait_for_room(small_disk, capsys):
  """No record is lost or torn; TensorBoard's file ends, and that is said."""
  filler = Filler(small_disk)
  config = LoggingConfig(tensorboard=True)
  writer = MetricWriter(config, small_disk / 'metrics', small_disk / 'events')
  for step in range(300):
    if step == 100:
      filler.fill()
    if step == 200:
      filler.free()
    writer.write({'kind': 'train', 'step': step, 'loss': step / 3})
  writer.close()
  lines = writer.path.read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == list(range(300))
  error = capsys.readouterr().err
  assert error.count('records wait in memory until it works') == 1
  assert error.count('TensorBoard: ') == 1


def test_records_that_never_got_room_are_an_error(small_disk, capsys):
  writer = MetricWriter(
    LoggingConfig(tensorboard=False), small_disk / 'metrics', small_disk
  )
  Filler(small_disk).fill()
  for step in range(100):
    writer.write({'kind': 'train', 'step': step, 'loss': step / 3})
  with pytest.raises(InputError, match='the last [0-9]+ records are lost'):
    writer.close()
  for line in writer.path.read_text().splitlines():
    json.loads(line)


def error_line(*arguments) -> str:
  result = verb(ROOT, *arguments, status=2)
  # There may be lines of progress before it, or which attention was chosen.
  lines = result.stderr.splitlines()
  before = ('prepare: ', 'attention to ')
  (line,) = (line for line in lines if not line.startswith(before))
  return line


@pytest.mark.parametrize(
  'engine', ['local', pytest.param('beam', marks=pytest.mark.beam)]
)
def test_full_while_preparing(small_disk, small_corpus, tmp_path, engine):
  """The blocks that were finished are used once there is room."""
  text = tmp_path / 'text.txt'
  line = 'the function returns the sum of its values\n'
  text.write_text(line * 200_000)
  arguments = [
    'prepare',
    f'--input={text}',
    '--document=line',
    f'--tokenizer={small_corpus / "tokenizer"}',
    '--row_length=32',
    '--workers=1',
    f'--engine={engine}',
  ]
  target = small_disk / 'corpus'
  error = error_line(*arguments, f'--output={target}')
  assert 'no space left' in error.lower()
  assert not target.exists()
  assert mount('-o', 'remount,size=64m', small_disk)
  verb(ROOT, *arguments, f'--output={target}')
  verb(ROOT, *arguments, f'--output={tmp_path / "whole"}')
  assert contents(target) == contents(tmp_path / 'whole')


def test_a_read_only_workdir(small_disk, finished_run, small_corpus):
  """Training says so in a line; what only reads works."""
  workdir = small_disk / 'run'
  shutil.copytree(finished_run, workdir)
  assert mount('-o', 'remount,ro', small_disk)
  error = error_line(
    'pretrain',
    '--config=experiments/pretrain/bert_tiny_local.py',
    f'--config.data.path={small_corpus}',
    '--config.data.row_length=32',
    f'--workdir={workdir}',
  )
  assert str(workdir) in error
  assert 'not mounted read-only' in error
  error = error_line(
    'prepare',
    f'--input={small_corpus / "tokenizer" / "vocab.txt"}',
    f'--tokenizer={small_corpus / "tokenizer"}',
    '--row_length=32',
    f'--output={small_disk / "corpus"}',
  )
  assert 'not mounted read-only' in error
  error = error_line('report', f'--workdir={workdir}')
  assert 'not mounted read-only' in error
  verb(ROOT, 'fill_mask', f'--workdir={workdir}', 'the [MASK] holds')
