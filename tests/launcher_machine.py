"""A machine for tests of launchers: commands that record and pretend."""

import os
import pathlib
import shutil
import subprocess

import bert_jax

ROOT = pathlib.Path(bert_jax.__file__).parents[1]

# A stand-in begins with this. `next_line NAME` prints the next line of what the
# test planned under that name, the last one for ever; a line `fail WORDS` goes
# to stderr and gives status 1.
PREAMBLE = """#!/bin/bash
echo "${0##*/} $*" >> "$PLAN/commands"
next_line() {
  local lines=()
  if [ -e "$PLAN/$1" ]; then mapfile -t lines < "$PLAN/$1"; fi
  if [ ${#lines[@]} -gt 1 ]; then
    printf '%s\\n' "${lines[@]:1}" > "$PLAN/$1"
  fi
  case "${lines[0]}" in
    fail*) echo "ERROR: ${lines[0]#fail }" >&2; return 1 ;;
    '') ;;
    *) printf '%b\\n' "${lines[0]}" ;;
  esac
}
"""


class Machine:
  """A small checkout, and stand-ins on a PATH before that of this machine."""

  def __init__(self, folder: pathlib.Path):
    self.plan = folder / 'plan'
    self.bin = folder / 'bin'
    self.folder = folder
    self.root = folder / 'a check out'
    shutil.copytree(ROOT / 'launch', self.root / 'launch')
    self.plan.mkdir()
    self.bin.mkdir()

  def add(self, name: str, script: str) -> None:
    path = self.bin / name
    path.write_text(PREAMBLE + script)
    path.chmod(0o755)

  def let(self, **lines: str | list[str]) -> None:
    """Plans the lines of `next_line NAME`."""
    for name, value in lines.items():
      value = [value] if isinstance(value, str) else value
      (self.plan / name).write_text(''.join(f'{line}\n' for line in value))

  def environment(self, **more: str) -> dict[str, str]:
    return {
      **os.environ,
      'PATH': f'{self.bin}{os.pathsep}{os.environ["PATH"]}',
      'PLAN': str(self.plan),
      **more,
    }

  def run(self, script: str, *arguments: str, status: int = 0, **more: str):
    """Runs a launcher of the checkout; returns all that it prints."""
    done = subprocess.run(
      [self.root / 'launch' / script, *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      cwd=self.folder,
      timeout=60,
      env=self.environment(**more),
    )
    assert done.returncode == status, done.stdout
    return done.stdout

  def commands(self) -> list[str]:
    log = self.plan / 'commands'
    return log.read_text().splitlines() if log.exists() else []
