"""A run that names its attention backend, and changes it on the way."""

import json

import pytest

from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models.attention import choose
from bert_jax.models.attention.reference import ReferenceAttention


def test_a_run_may_go_on_with_another_backend(
  small_experiment, tmp_path, capfd
):
  small_experiment.num_steps = 2
  pretrain(small_experiment, tmp_path)
  choose._printed.clear()
  capfd.readouterr()
  small_experiment.num_steps = 4
  small_experiment.attention = (ReferenceAttention(),)
  pretrain(small_experiment, tmp_path, allow_change=('num_steps',))
  assert 'ReferenceAttention, as configured' in capfd.readouterr().err
  config = json.loads((tmp_path / 'config.json').read_text())
  (recorded,) = config['attention']
  assert recorded == {
    '_type': 'bert_jax.models.attention.reference.ReferenceAttention'
  }
  small_experiment.attention = ('reference',)
  with pytest.raises(InputError, match=r'attention\[0\] is a str'):
    pretrain(small_experiment, tmp_path, allow_change=('num_steps',))
