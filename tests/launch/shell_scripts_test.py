"""Shell scripts of the project pass shellcheck, and can be run."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from launcher_machine import ROOT, Machine

pytestmark = pytest.mark.hosts

SCRIPTS = sorted(
  path.relative_to(ROOT)
  for path in [
    *(ROOT / 'launch').glob('*.sh'),
    *(ROOT / 'launch').glob('*.sbatch'),
    ROOT / 'tests' / 'run.sh',
    ROOT / '.ci' / 'run',
  ]
)
# Read by others, never run alone.
SOURCED = {
  pathlib.Path('launch/cloud_tpu_up.sh'),
  pathlib.Path('launch/flags.sh'),
}


def test_shellcheck_finds_nothing():
  beside_python = os.path.dirname(sys.executable)
  program = shutil.which(
    'shellcheck', path=os.pathsep.join([beside_python, os.environ['PATH']])
  )
  assert program, 'shellcheck is missing: pip install -e .[test]'
  done = subprocess.run(
    [program, '--external-sources', *SCRIPTS],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_executable_unless_they_are_sourced():
  executable = {path for path in SCRIPTS if os.access(ROOT / path, os.X_OK)}
  assert executable == set(SCRIPTS) - SOURCED


def test_commands_of_the_page_start(tmp_path):
  machine = Machine(tmp_path)
  python = machine.root / '.venv' / 'bin' / 'python'
  python.parent.mkdir(parents=True)
  python.symlink_to(sys.executable)
  page = (ROOT / 'docs' / 'scale.md').read_text('utf-8')
  section = page.partition('\n## Launching on many hosts\n')[2]
  blocks = re.findall(r'(?s)```bash no-run\n(.*?)```', section)
  started = []
  for block in blocks:
    words = shlex.split(block.replace('\\\n', ' '), comments=True)
    # A command ends where the next one begins: quotes may hold line ends.
    starts = [i for i, w in enumerate(words) if w.startswith('launch/')]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
      script, *flags = words[start:end]
      script = script.removeprefix('launch/')
      if script != 'setup_environment.sh':
        verb = [] if script == 'slurm.sbatch' else [flags.pop(0)]
        machine.run(
          script,
          *verb,
          '--dry_run',
          *flags,
          SLURM_SUBMIT_DIR=str(machine.root),
        )
        started.append(script)
  assert started == ['cloud_tpu.sh'] * 3 + ['gke.sh'] * 3 + ['slurm.sbatch']
  assert machine.commands() == []
