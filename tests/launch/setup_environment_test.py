"""The set-up script against machines that lack something: one line each.

Interpreters, pip and df are small stand-ins on a PATH of their own, so nothing
is downloaded and no Python of this machine is found.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

import bert_jax

ROOT = pathlib.Path(bert_jax.__file__).parents[1]
TOOLS = 'bash dirname df awk du cat rm mkdir tail tee ls mv grep sed'.split()

# Answers as Python $MINOR would: the probe's status, `-m venv`, `-m pip`.
INTERPRETER = """#!/bin/bash
if [ "$1" = - ]; then
  if [ $# = 3 ]; then cat >/dev/null; echo fingerprint; exit; fi
  cat >/dev/null
  [ "$2" = {minor} ] && exit {probe}
  exit 4
elif [ "$1" = --version ]; then
  echo 'Python 3.{minor}.0'
elif [ "$2" = venv ]; then
  mkdir -p "$3/bin" && cat "$0" > "$3/bin/python"
  chmod +x "$3/bin/python" && echo > "$3/pyvenv.cfg"
elif [ "$2 $3" = "pip --version" ]; then
  exit 0
elif [ "$2 $3" = "pip install" ]; then
  echo "$PWD: $*" >> "$HOME/pip_calls"
  {pip}
fi
"""


@pytest.fixture
def machine(tmp_path):
  """A checkout at a path with spaces, an empty home, a PATH of few tools."""
  root = tmp_path / 'a check out'
  (root / 'launch').mkdir(parents=True)
  for name in ('launch/setup_environment.sh', 'setup.py', 'pyproject.toml'):
    shutil.copy(ROOT / name, root / name)
  (tmp_path / 'bin').mkdir()
  (tmp_path / 'home').mkdir()
  for tool in TOOLS:
    (tmp_path / 'bin' / tool).symlink_to(shutil.which(tool))
  (tmp_path / 'bin' / 'chmod').symlink_to(shutil.which('chmod'))
  return Machine(tmp_path, root)


class Machine:
  def __init__(self, folder, root):
    self.folder = folder
    self.root = root
    self.venv = root / '.venv'

  def add_python(self, minor, name=None, probe=0, pip='exit 0', folder='bin'):
    path = self.folder / folder / (name or f'python3.{minor}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(INTERPRETER.format(minor=minor, probe=probe, pip=pip))
    path.chmod(0o755)

  def add_tool(self, name, script):
    path = self.folder / 'bin' / name
    path.unlink(missing_ok=True)
    path.write_text(f'#!/bin/bash\n{script}\n')
    path.chmod(0o755)

  def set_up(self, *arguments, status=0):
    done = subprocess.run(
      [self.root / 'launch' / 'setup_environment.sh', *arguments],
      capture_output=True,
      text=True,
      cwd='/',
      env={
        'PATH': str(self.folder / 'bin'),
        'HOME': str(self.folder / 'home'),
      },
    )
    assert done.returncode == status, done.stderr
    return done.stderr.splitlines()

  def pip_calls(self):
    return (self.folder / 'home' / 'pip_calls').read_text().splitlines()


def test_newest_working_python_is_taken_and_a_second_run_does_nothing(machine):
  machine.add_python(13, probe=1)  # A pyenv shim that only complains.
  machine.add_python(11, 'python3')
  machine.add_python(12, 'python', folder='home/.pyenv/versions/3.12.1/bin')
  lines = machine.set_up('--extra=test')
  assert 'Python 3.12.0' in lines[0] and '/.pyenv/' in lines[0]
  assert machine.pip_calls()[0].endswith('-e .[test]')
  assert machine.pip_calls()[0].startswith(f'{machine.root}: ')
  assert machine.set_up('--extra=test') == []
  assert len(machine.pip_calls()) == 1


def test_interrupted_set_up_is_continued(machine):
  machine.add_python(13)
  machine.set_up()
  (machine.venv / 'bert_jax.stamp').unlink()
  assert machine.set_up()[0].endswith(f'continuing with {machine.venv}')
  (machine.venv / 'bert_jax.stamp').unlink()
  (machine.venv / 'bin' / 'python').unlink()
  assert 'making' in machine.set_up()[0]
  assert len(machine.pip_calls()) == 3


def test_asked_for_version_is_the_only_one_tried(machine):
  machine.add_python(13)
  lines = machine.set_up('--python=3.11', status=1)
  assert len(lines) == 1 and 'bert_jax needs Python 3.11 (' in lines[0]


def test_no_supported_python(machine):
  machine.add_python(10, 'python3')
  (line,) = machine.set_up(status=1)
  assert 'no supported Python found' in line
  assert '3.13 or 3.12 or 3.11' in line


def test_python_without_venv_names_the_package(machine):
  machine.add_python(12, probe=3)
  (line,) = machine.set_up(status=1)
  assert 'apt-get install python3.12-venv' in line


def test_full_disk_is_seen_before_anything_is_made(machine):
  machine.add_python(13)
  machine.add_tool('df', 'printf "h\\n/dev/a 9 9 1048576 1%% /\\n"')
  (line,) = machine.set_up(status=1)
  assert 'not enough disk space' in line and '1024 MiB free' in line
  assert not machine.venv.exists()


@pytest.mark.parametrize(
  'pip_says, expected',
  [
    ('Temporary failure in name resolution', 'no network'),
    ('OSError: [Errno 28] No space left on device', 'the disk is full'),
    (
      'ERROR: No matching distribution found for jax',
      'pip failed: ERROR: No m',
    ),
  ],
)
def test_failed_install_is_one_line_that_names_the_log(
  machine, pip_says, expected
):
  machine.add_python(13, pip=f'echo "{pip_says}"; exit 1')
  *_, line = machine.set_up(status=1)
  assert expected in line and str(machine.venv / 'pip.log') in line
  assert pip_says in (machine.venv / 'pip.log').read_text()
  assert not (machine.venv / 'bert_jax.stamp').exists()


def test_folder_that_is_no_environment_is_left_alone(machine):
  machine.add_python(13)
  machine.venv.mkdir()
  (machine.venv / 'thesis.txt').write_text('years of work')
  (line,) = machine.set_up(status=1)
  assert 'is no Python environment; move it away' in line
  assert (machine.venv / 'thesis.txt').exists()


def test_scripts_are_executable_and_parse():
  for name in (
    'launch/local.sh',
    'launch/setup_environment.sh',
    'tests/run.sh',
    '.ci/run',
  ):
    assert os.access(ROOT / name, os.X_OK), name
    subprocess.run(['bash', '-n', ROOT / name], check=True)
