"""Options of XLA: what is read, and what is refused before any data is read."""

import dataclasses
import json

import jax
import pytest

from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.train import xla_options
from bert_jax.train.xla_options import (
  DETERMINISTIC,
  check,
  deterministic_options,
  parse,
  print_promise,
  step_options,
)

FAST_MATH = 'xla_cpu_enable_fast_math'


def test_values_are_read_by_their_form():
  assert parse(['a=true', 'b=false', 'c=-3', 'd=0.5', 'e=x=y']) == {
    'a': True,
    'b': False,
    'c': -3,
    'd': 0.5,
    'e': 'x=y',
  }


@pytest.mark.parametrize(
  ('texts', 'message'),
  [
    (['a=1', 'b'], r"xla_options\[1\] is 'b'; give NAME=VALUE"),
    (['=1'], r"xla_options\[0\] is '=1'; give NAME=VALUE"),
    (['a='], r"xla_options\[0\] is 'a='; give NAME=VALUE"),
    (['a=1', 'a=2'], "xla_options gives 'a' twice"),
    (['xla_none=1'], "refused by XLA on cpu: .*compile option: 'xla_none'"),
    ([f'{FAST_MATH}=maybe'], "refused by XLA on cpu: .*'maybe' is not a valid"),
  ],
)
def test_what_xla_would_not_take_is_refused(texts, message):
  with pytest.raises(InputError, match=message):
    check(texts)


def test_a_run_has_its_options(small_experiment, tmp_path):
  """The refusal comes from XLA, and leaves no run behind."""
  small_experiment.xla_options = ('xla_none=1',)
  with pytest.raises(InputError, match='xla_none'):
    pretrain(small_experiment, tmp_path / 'run')
  assert not (tmp_path / 'run' / 'config.json').exists()
  small_experiment.xla_options = (f'{FAST_MATH}=false',)
  small_experiment.num_steps = 1
  pretrain(small_experiment, tmp_path / 'run')
  assert FAST_MATH in (tmp_path / 'run' / 'config.json').read_text()


@dataclasses.dataclass
class Fields:
  """The two fields of an experiment that become options."""

  xla_options: tuple[str, ...] = ()
  deterministic: bool = True


def test_deterministic_sets_options_on_a_gpu_alone():
  options = {
    'xla_gpu_exclude_nondeterministic_ops': True,
    'xla_gpu_autotune_level': 0,
  }
  for platform in ('gpu', 'cuda', 'rocm'):
    assert step_options(Fields(), platform) == options
    assert step_options(Fields(('a=1',)), platform) == {'a': 1, **options}
    assert step_options(Fields(deterministic=False), platform) == {}
    assert deterministic_options(True, platform) == options
  for platform in ('cpu', 'tpu'):
    assert step_options(Fields(), platform) == {}
    assert step_options(Fields(('a=1',)), platform) == {'a': 1}


def test_xla_knows_the_options():
  """The compiler for the CPU reads those of a GPU too, and refuses others."""
  assert jax.jit(lambda: 1, compiler_options=dict(DETERMINISTIC))() == 1
  for name in DETERMINISTIC:
    with pytest.raises(jax.errors.JaxRuntimeError, match=f'{name}x'):
      jax.jit(lambda: 2, compiler_options={f'{name}x': 1})()


def test_an_option_that_undoes_deterministic_is_refused(small_experiment):
  small_experiment.deterministic = True
  small_experiment.xla_options = ('xla_gpu_autotune_level=0',)
  small_experiment.validate()
  small_experiment.xla_options = ('xla_gpu_autotune_level=4',)
  with pytest.raises(InputError) as error:
    small_experiment.validate()
  assert str(error.value) == (
    'xla_options gives xla_gpu_autotune_level=4, but deterministic is true and '
    'needs 0; leave one out'
  )


def test_what_is_not_promised_on_a_gpu_is_said(monkeypatch, capsys):
  for platform, deterministic, said in [
    ('gpu', False, True),
    ('gpu', True, False),
    ('cpu', False, False),
    ('tpu', False, False),
  ]:
    monkeypatch.setattr(jax, 'default_backend', lambda p=platform: p)
    print_promise(deterministic)
    out = capsys.readouterr().out
    assert out.count('\n') == said
    assert ('may differ in its last bits' in out) == said


def test_a_deterministic_run_has_its_options(
  small_experiment, tmp_path, monkeypatch
):
  """An unknown name in their place is refused at the start, and by the step."""
  small_experiment.deterministic = True
  small_experiment.num_steps = 1
  monkeypatch.setattr(xla_options, '_GPU', ('cpu',))
  pretrain(small_experiment, tmp_path / 'run')
  config = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert config['deterministic'] is True
  monkeypatch.setattr(xla_options, 'DETERMINISTIC', {'xla_none': True})
  with pytest.raises(InputError, match='xla_none'):
    pretrain(small_experiment, tmp_path / 'another')
  monkeypatch.setattr(xla_options, 'check', lambda *_: None)
  with pytest.raises(jax.errors.JaxRuntimeError, match='xla_none'):
    pretrain(small_experiment, tmp_path / 'another')
