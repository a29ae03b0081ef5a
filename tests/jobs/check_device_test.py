"""check_device on the CPU: small sizes, wrong backends, a bare environment."""

import dataclasses
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import time

import imports_test
import jax
import jax.numpy as jnp
import pytest

from bert_jax.config.overrides import set_field
from bert_jax.data.reading.plan import Stage
from bert_jax.data.tokenizers.base import synthetic_table
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.check_device import (
  attention,
  checking,
  determinism,
  fitting,
  precision,
  processes,
  recipes,
)
from bert_jax.jobs.check_device.base import Setting
from bert_jax.jobs.check_device.synthetic import packed_rows, synthetic_step
from bert_jax.jobs.measured_speed import MeasuredStep
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.choose import BACKENDS
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import View
from bert_jax.objectives.base import derive_layout

pytestmark = pytest.mark.accelerator

ROOT = pathlib.Path(__file__).resolve().parents[2]


class IgnoresTexts(ReferenceAttention):
  """A wrong backend: every token sees its whole row."""

  def attend(self, query, key, value, view, **dropout):
    view = View(jnp.ones_like(view.segment_ids), view.window)
    return ReferenceAttention.attend(self, query, key, value, view, **dropout)


class SeesOneMore(ReferenceAttention):
  """A wrong backend: a text's last token belongs to the next text."""

  def attend(self, query, key, value, view, **dropout):
    ids = view.segment_ids
    is_last = jnp.diff(ids, axis=1, append=0) > 0
    view = View(ids + is_last, view.window)
    return ReferenceAttention.attend(self, query, key, value, view, **dropout)


class ForgetsGradients(ReferenceAttention):
  """A wrong backend: right forward, and keys get no gradient."""

  def attend(self, query, key, value, view, **dropout):
    key = jax.lax.stop_gradient(key)
    return ReferenceAttention.attend(self, query, key, value, view, **dropout)


class GivesNoNumbers(ReferenceAttention):
  def attend(self, query, key, value, view, **dropout):
    return jnp.full_like(value, math.nan)


class Refuses(ReferenceAttention):
  def supports(self, view, shapes, platform):
    return 'it is a toy'


def test_every_backend_equals_the_reference_or_refuses(monkeypatch):
  monkeypatch.setattr(attention, 'BOUNDS', {'float32': (1e-5, 1e-4)})
  found = attention.run(Setting())
  assert not list(found.failures()) and not found.num_left_out
  by_name = {
    cls.__name__: [x for x in found.comparisons if x.backend == cls.__name__]
    for cls in BACKENDS
  }
  for comparisons in by_name.values():
    assert [x.window for x in comparisons] == [0, 128]
  for name, expected in [
    ('ReferenceAttention', [True, True]),
    ('BlockedAttention', [True, True]),
    ('WindowedAttention', [False, True]),
    ('SplashAttention', [False, False]),
  ]:
    assert [x.is_equal for x in by_name[name]] == expected
    assert [not x.refusal for x in by_name[name]] == expected
  # Costs are those of the same calls.
  assert [(x.backend, x.window) for x in found.costs] == [
    (name, x.window)
    for name, comparisons in by_name.items()
    for x in comparisons
    if not x.refusal
  ]
  assert all(x.seconds > 0 < x.temporary_bytes for x in found.costs)
  text = '\n'.join(found.lines())
  assert 'refused: it is for windows, not for whole texts' in text
  assert 'refused: it needs a TPU, this is a cpu' in text
  assert 'OUT OF BOUNDS' not in text


def test_bf16_is_no_error_of_a_backend():
  assert attention.compare(BlockedAttention, 'bfloat16', 301, 0).is_equal


@pytest.mark.parametrize(
  ('cls', 'dtype'),
  [
    (SeesOneMore, 'bfloat16'),
    *(
      (cls, 'float32')
      for cls in (IgnoresTexts, SeesOneMore, ForgetsGradients, GivesNoNumbers)
    ),
  ],
)
def test_a_wrong_backend_is_caught(cls, dtype):
  found = attention.compare(cls, dtype, 301, 0)
  assert not found.is_equal
  result = attention.Attention(comparisons=(found,), costs=(), num_left_out=0)
  (failure,) = result.failures()
  assert cls.__name__ in failure and 'OUT OF BOUNDS' in ''.join(result.lines())


def test_a_refusal_is_no_failure_and_time_has_an_end():
  assert attention.compare(Refuses, 'float32', 301, 0).refusal == 'it is a toy'
  late = Setting(ends_at=time.monotonic() - 1, recipes=('bert_tiny',))
  found = attention.run(late, (Refuses,))
  assert not found.comparisons and found.num_left_out == 6
  assert 'left out, as the time was over' in '\n'.join(found.lines())
  assert recipes.run(late).left_out == {'bert_tiny': 'as the time was over'}


def test_rows_are_packed_whole():
  rows = packed_rows(40, 64, 100)
  table = synthetic_table(100)
  layout = derive_layout(jnp.asarray(rows), table)
  assert (rows[:, 0] == table.cls_id).all() and rows.max() < 100
  assert layout.segment_ids.max() > 2
  assert 0 < (layout.segment_ids == 0).mean() < 0.1
  assert packed_rows(2, 64, 100, seed=1).tolist() != rows[:2].tolist()


def test_bf16_is_within_its_bounds():
  found = precision.run(Setting())
  assert not list(found.failures())
  assert [x.family for x in found.roundings] == ['bert', 'modernbert']
  assert all(x.gradient_error > 1e-4 for x in found.roundings)
  off = dataclasses.replace(found.roundings[0], gradient_error=math.nan)
  (failure,) = precision.Precision(roundings=(off,)).failures()
  assert failure.startswith('bert in bf16: the loss is off by ')


def test_runs_end_in_equal_bits(monkeypatch):
  found = determinism.run(Setting(num_steps=4))
  (runs,) = found.runs
  assert runs.are_equal and not list(found.failures())
  assert 'sets nothing on this platform' in '\n'.join(found.lines())
  wrong = dataclasses.replace(runs, resumed='0' * 64)
  off = dataclasses.replace(wrong, deterministic=False)
  found = dataclasses.replace(found, runs=(wrong, off))
  (failure,) = found.failures()  # nothing is promised where the field is off
  assert failure.startswith('deterministic True: runs of the same 4 steps')
  assert 'DIFFERENT' in '\n'.join(found.lines())


def test_a_bare_environment_times_a_recipe(tmp_path):
  """The verb with no package but those of a bare accelerator image."""
  blocker = imports_test.BLOCK_PACKAGES.replace(
    'sys.argv[1:]', repr(sorted(imports_test.LIGHT))
  )
  (tmp_path / 'sitecustomize.py').write_text(blocker)
  path = tmp_path / 'device.json'
  words = ['--part=recipes,peaks', '--recipes=bert_tiny', f'--json={path}']
  done = subprocess.run(
    [sys.executable, '-m', 'bert_jax', 'check_device', *words],
    env=os.environ | {'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.count(', on cpu (cpu)\n') == 2
  assert done.stdout.endswith(f'\n{processes.WITHOUT_ACCELERATOR}\n')
  report = json.loads(path.read_text())
  assert set(report) == {
    *('date', 'device_kind', 'platform', 'platform_version', 'num_devices'),
    *('versions', 'XLA_FLAGS', 'parts', 'failures'),
  }
  assert report['failures'] == []
  assert report['versions']['jax'] == jax.__version__
  found = report['parts']['peaks']
  assert found['bf16_flops'] > 0 and found['f32_flops'] > 1e8
  assert found['bytes_per_second'] > 1e8
  (timed,) = report['parts']['recipes']['timed']
  assert (timed['num_rows'], timed['row_length']) == (16, 64)
  assert timed['step_seconds'] > 0 and 0 < timed['mfu_of_product'] < 1
  assert timed['predicted_bytes'] > 12 * timed['num_parameters']
  # The CPU has no data sheet here and tells no memory.
  assert timed['mfu'] == timed['measured_bytes'] == 0
  assert re.search('memory measured, GiB +unknown\n', done.stdout)


def test_a_part_that_fails_lets_the_others_go_on(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'nowhere')
  report = processes.check_all(['peaks', 'precision'], (), [], 60)
  assert report['parts'] == {}
  for line, part in zip(
    report['failures'], ('peaks', 'precision'), strict=True
  ):
    assert line.startswith(f'--part={part}: ended with status 1: RuntimeError')
    assert 'nowhere' in line and '\n' not in line
  with pytest.raises(InputError, match='JAX cannot start here: .*nowhere'):
    processes.platform_here()
  report = processes.check_all(['peaks'], (), [], 0.01)
  assert report['failures'] == [
    '--part=peaks: ended after 0.01 s; --seconds gives it more'
  ]


def test_what_is_no_number_is_null_in_json(monkeypatch):
  found = attention.Attention(
    comparisons=(
      attention.compare(GivesNoNumbers, 'float32', 301, 0),
      attention.compare(Refuses, 'float32', 301, 0),
    ),
    costs=(),
    num_left_out=0,
  )
  monkeypatch.setitem(checking._RUN, 'attention', lambda setting: found)
  report = checking.check_part('attention', Setting())
  (failure,) = report['failures']
  assert failure.startswith('GivesNoNumbers, float32, rows of 301')
  text = json.dumps(report['parts'], allow_nan=False)
  assert text.count('"forward_error": null') == 2


def test_reports_of_processes_become_one():
  report = {'parts': {}, 'failures': []}
  for number in (1, 2):
    timed = {'timed': [number], 'left_out': {str(number): 'why'}}
    processes._add(
      report,
      {'date': number, 'parts': {'recipes': timed}, 'failures': [f'f{number}']},
    )
  assert list(report) == ['date', 'parts', 'failures']
  assert report == {
    'date': 1,
    'parts': {
      'recipes': {'timed': [1, 2], 'left_out': {'1': 'why', '2': 'why'}}
    },
    'failures': ['f1', 'f2'],
  }


GIB = 2**30


@pytest.mark.parametrize(
  ('limit', 'expected', 'compilations'),
  [
    (0, 32, [32]),
    (80 * GIB, 128, [32, 128]),
    (24 * GIB, 32, [32]),
    (14 * GIB, 16, [32, 16]),
    (5 * GIB, 1, [32, 1]),
    (60 * GIB, 64, [32, 64]),
  ],
)
def test_the_largest_step_that_fits_is_found(
  monkeypatch, limit, expected, compilations
):
  """Four GiB of state, and half a GiB a row; nothing is compiled."""
  tried = []
  monkeypatch.setattr(fitting, 'is_accelerator', lambda: True)
  monkeypatch.setattr(fitting, '_memory_limit', lambda: limit)
  monkeypatch.setattr(fitting, 'synthetic_step', lambda _, rows, length: rows)
  monkeypatch.setattr(fitting, '_state_bytes', lambda _: 4 * GIB)
  monkeypatch.setattr(
    fitting, '_compiled', lambda rows: tried.append(rows) or rows
  )
  monkeypatch.setattr(
    fitting, 'predicted_bytes', lambda rows: (4 + rows / 2) * GIB
  )
  rows, _, _ = fitting.largest_that_fits(None, 512)
  assert rows == expected and tried == compilations


def test_a_step_that_never_fits_is_left_out(monkeypatch):
  monkeypatch.setattr(fitting, '_memory_limit', lambda: GIB)
  monkeypatch.setattr(fitting, 'synthetic_step', lambda *_: None)
  monkeypatch.setattr(fitting, '_state_bytes', lambda _: GIB // 2)
  monkeypatch.setattr(fitting, '_compiled', lambda step: None)
  (why,) = recipes.run(Setting(recipes=('bert_tiny',))).left_out.values()
  assert why.startswith('a row of 64 takes more than the 0.9 GiB')


def test_stages_of_a_users_own_recipe_are_timed(monkeypatch):
  own = recipes.RECIPES['bert_tiny']()
  own.data.stages = (Stage(num_steps=1), Stage(num_steps=1, row_length=32))
  own.data.row_length = 64
  monkeypatch.setattr(recipes, 'time_recipe', lambda name, _, length: length)
  assert recipes.run(Setting(own_recipe=own)).timed == (32, 64)


def test_every_recipe_makes_a_step():
  assert set(recipes.MFU_GOALS) <= set(recipes.RECIPES)
  assert recipes.names_for('gpu')[:2] == (
    'bert_base',
    'bert_base_no_attention_dropout',
  )
  for name, make in recipes.RECIPES.items():
    experiment = make()
    length = experiment.model.max_positions
    experiment.model.num_layers = 2
    with recipes.one_device():
      step = synthetic_step(experiment, 2, length)
    assert step.program.abstract.params, name
    assert step.batch(0)['input_ids'].shape == (2, length)


@pytest.mark.parametrize(
  ('words', 'line'),
  [
    (
      ['--part=peak'],
      "--part: there is no part 'peak'; give some of peaks, attention, "
      'precision, recipes, determinism',
    ),
    (
      ['--json=nowhere/device.json'],
      '--json=nowhere/device.json: there is no folder nowhere',
    ),
    (
      [
        '--config=experiments/pretrain/bert_mini.py',
        '--config.model.vocab_size=100',
        '--recipes=bert_base',
      ],
      '--recipes=bert_base: --config is timed in their place; leave one out',
    ),
  ],
)
def test_flags_that_cannot_be_are_refused(words, line):
  done = subprocess.run(
    [sys.executable, '-m', 'bert_jax', 'check_device', *words],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stderr == f'bert-jax check_device: {line}\n'


def test_a_field_is_not_set_without_the_package_for_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ml_collections.config_flags', None)
  own = recipes.RECIPES['bert_tiny']()
  with pytest.raises(InputError, match='--config.seed needs the package ml_'):
    set_field(own, 'seed', '1')


def test_refusals_are_one_line():
  with pytest.raises(InputError, match="there is no recipe 'bert_bass'; give"):
    recipes.check_names(('bert_base', 'bert_bass'))
  with pytest.raises(InputError, match='FinetuneExperiment has no step'):
    recipes.check_own(FinetuneExperiment(num_epochs=1, batch_size=8))
  with pytest.raises(InputError, match='model.vocab_size is 0, and there is'):
    own = recipes.RECIPES['bert_tiny']()
    own.model.vocab_size = 0
    recipes.check_own(own)


def test_preflight_finds_what_it_reads_of_a_timed_recipe():
  fields = {field.name for field in dataclasses.fields(recipes.Timed)}
  read = {field.name for field in dataclasses.fields(MeasuredStep)} - {'share'}
  assert read | {'share_of_roofline'} <= fields
