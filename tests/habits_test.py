"""Checks files that only other machines run: public CI and commit hooks."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / '.github' / 'workflows' / 'tests.yml'
HOOKS = ROOT / '.pre-commit-config.yaml'


def lint(path) -> subprocess.CompletedProcess:
  return subprocess.run(
    [
      sys.executable,
      '-m',
      'check_jsonschema',
      '--builtin-schema=vendor.github-workflows',
      path,
    ],
    capture_output=True,
    text=True,
  )


def test_the_workflow_file_is_one():
  done = lint(WORKFLOW)
  assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
  ('good', 'bad'),
  [
    ('runs-on:', 'run-on:'),
    ('- run: tests/run.sh', '- runs: tests/run.sh'),
    ('timeout-minutes: 90', 'timeout-minutes: soon'),
  ],
)
def test_a_slip_in_the_workflow_file_is_noticed(tmp_path, good, bad):
  text = WORKFLOW.read_text()
  assert good in text
  (tmp_path / 'tests.yml').write_text(text.replace(good, bad))
  assert lint(tmp_path / 'tests.yml').returncode == 1


def test_the_workflow_calls_what_there_is():
  text = WORKFLOW.read_text()
  assert '- run: tests/run.sh\n' in text
  script = (ROOT / '.ci' / 'run').read_text()
  parts = re.search(r'part: \[(.+)\]', text)[1].split(', ')
  for part in parts:
    assert f'\n  --extra={part}) ' in script


def test_hooks_have_the_versions_of_the_suite():
  pinned = dict(re.findall(r'\[([\w-]+)==([\w.]+)\]', HOOKS.read_text()))
  setup = ast.parse((ROOT / 'setup.py').read_text())
  words = [n.value for n in ast.walk(setup) if isinstance(n, ast.Constant)]
  for name in ('ruff', 'check-jsonschema'):
    assert f'{name}=={pinned[name]}' in words
