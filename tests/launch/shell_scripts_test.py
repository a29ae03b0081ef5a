"""Shell scripts of the project pass shellcheck, and can be run."""

import os
import pathlib
import shutil
import subprocess
import sys

from launcher_machine import ROOT

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
SOURCED = {pathlib.Path('launch/cloud_tpu_up.sh')}


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
