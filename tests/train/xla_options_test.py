"""Options of XLA: what is read, and what is refused before any data is read."""

import pytest

from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.train.xla_options import check, parse

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
