"""launch/local.sh with a stand-in for Python: order, failures, signals."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

import bert_jax

ROOT = pathlib.Path(bert_jax.__file__).parents[1]
STEPS = 'train_tokenizer prepare pretrain finetune finetune report'.split()

# Called as: python -m bert_jax VERB ...
VERB = """#!/bin/bash
printf '%s\\n' "$@" >> "$LOG.arguments"
trap 'echo saved >> "$LOG"; exit 0' INT TERM
echo "$3" >> "$LOG"
if [ "$3" = "$BREAKS" ]; then exit 2; fi
while [ "$3" = "$WAITS" ]; do sleep 0.05; done
"""


@pytest.fixture
def start(tmp_path):
  """Starts local.sh of a checkout at a path with spaces, from elsewhere."""
  root = tmp_path / 'a check out'
  (root / 'launch').mkdir(parents=True)
  (root / '.venv' / 'bin').mkdir(parents=True)
  shutil.copy(ROOT / 'launch' / 'local.sh', root / 'launch')
  for path, text in (
    (root / 'launch' / 'setup_environment.sh', '#!/bin/bash\n'),
    (root / '.venv' / 'bin' / 'python', VERB),
  ):
    path.write_text(text)
    path.chmod(0o755)

  def run(*arguments, **environment):
    log = tmp_path / 'log'
    process = subprocess.Popen(
      [root / 'launch' / 'local.sh', *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      cwd=tmp_path,
      env={**os.environ, 'LOG': str(log), 'BREAKS': '', 'WAITS': ''}
      | environment,
    )
    return process, log

  return run


def test_runs_every_step_and_ends_with_what_to_try(start, tmp_path):
  process, log = start('my run')
  output, _ = process.communicate(timeout=30)
  assert process.returncode == 0, output
  assert log.read_text().split() == STEPS
  arguments = (tmp_path / 'log.arguments').read_text().splitlines()
  run = tmp_path / 'my run'
  assert f'--tokenizer={run}/tokenizer' in arguments
  assert f'--config.init_from={run}/pretrain' in arguments
  assert (
    f'--finetuned={run}/finetune_pretrained,{run}/finetune_scratch' in arguments
  )
  summary = output.partition('== Done in')[2]
  assert f'{run}/pretrain/report.html' in summary
  assert 'fill_mask' in summary and 'my\\ run' in summary


def test_failed_step_stops_the_script_and_is_named(start):
  process, log = start(BREAKS='pretrain')
  output, _ = process.communicate(timeout=30)
  assert process.returncode == 2
  assert log.read_text().split() == STEPS[:3]
  assert "local.sh: the step 'pretrain' ended with status 2" in output


@pytest.mark.parametrize(
  'number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signal_reaches_the_verb_which_may_still_save(start, number, status):
  process, log = start(WAITS='pretrain')
  deadline = time.monotonic() + 20
  while not log.exists() or 'pretrain' not in log.read_text():
    assert time.monotonic() < deadline, 'the step did not start'
    time.sleep(0.05)
  process.send_signal(number)
  output, _ = process.communicate(timeout=20)
  assert process.returncode == status, output
  assert log.read_text().split() == [*STEPS[:3], 'saved']
  assert "stopped in the step 'pretrain'; run it again" in output
