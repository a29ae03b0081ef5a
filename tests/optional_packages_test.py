"""Optional packages: if one is missing, a one-line error names its extra."""

import ast
import importlib.util
import pathlib
import re

import pytest

from bert_jax.data.preparing.filters import FilterOptions
from bert_jax.errors import InputError, require_package
from bert_jax.jobs.pretrain import pretrain
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.logging import LoggingConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def nothing_installed(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


@pytest.mark.parametrize(
  ('start', 'line'),
  [
    (
      lambda: FilterOptions(near_duplicates=0.8).validate(),
      "--near_duplicates needs the package datasketch: pip install 'bert_jax"
      "[near_duplicates]'",
    ),
    (
      lambda: LoggingConfig(tensorboard=True).require_packages(),
      'logging.tensorboard needs the package tensorboardX: pip install '
      "'bert_jax[tensorboard]'",
    ),
    (
      lambda: LoggingConfig(wandb_project='x').require_packages(),
      'logging.wandb_project needs the package wandb: pip install '
      "'bert_jax[wandb]'",
    ),
    (
      lambda: (
        ClassificationConfig().build(None, {'labels': ['a']}).about('', [])
      ),
      "the task classification needs the package sklearn: pip install 'bert_jax"
      "[finetune]'",
    ),
  ],
)
def test_a_missing_package_is_one_line(nothing_installed, start, line):
  with pytest.raises(InputError) as error:
    start()
  assert str(error.value) == line


def test_a_run_asks_before_it_computes(
  nothing_installed, small_experiment, tmp_path
):
  small_experiment.logging.tensorboard = True
  with pytest.raises(InputError, match='logging.tensorboard needs'):
    pretrain(small_experiment, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_without_the_flag_nothing_is_asked(nothing_installed):
  FilterOptions().validate()
  LoggingConfig().require_packages()


def test_a_folder_of_the_name_is_no_package(tmp_path, monkeypatch):
  (tmp_path / 'wandb_of_a_run').mkdir()
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(InputError, match='needs the package wandb_of_a_run'):
    require_package('wandb_of_a_run', 'a field', 'wandb')


def test_every_extra_that_is_named_is_one():
  tree = ast.parse((ROOT / 'setup.py').read_text())
  (extras,) = (
    ast.literal_eval(node.value)
    for node in tree.body
    if isinstance(node, ast.Assign) and node.targets[0].id == 'OPTIONAL'
  )
  keywords = {
    node.arg: node.value
    for node in ast.walk(tree)
    if isinstance(node, ast.keyword)
  }
  base = ast.literal_eval(keywords['install_requires'])
  further = keywords['extras_require']
  extras |= {
    name.value: [item.value for item in requirements.elts]
    for name, requirements in zip(further.keys, further.values, strict=True)
    if name and all(isinstance(x, ast.Constant) for x in requirements.elts)
  }
  named = {
    pair
    for path in (ROOT / 'bert_jax').rglob('*.py')
    for pair in re.findall(
      r"require_package\(\s*'(\w+)',[^)]*?'(\w+)'\s*\)", path.read_text()
    )
  }
  assert {'near_duplicates', 'report', 'tensorboard', 'wandb'} <= {
    extra for _, extra in named
  }
  for package, extra in named:
    requirement = extras[extra][0]  # what it is for comes first
    # JAX's own extras bring the compilers that fit it.
    names = {'sklearn': 'scikit-learn', 'libtpu': 'jax[tpu]'}
    assert requirement.startswith(names.get(package, package))
    assert not any(requirement[:8] in line for line in base)
