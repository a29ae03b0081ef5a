"""A run with an attention backend that its user wrote, in one new file."""

import json

import pytest
from runs import records
from verbs_test import verb

from bert_jax.errors import InputError
from bert_jax.jobs.pretrain import pretrain
from bert_jax.models.attention.reference import ReferenceAttention

# What a user writes: everything that is in view counts alike.
USERS_FILE = """
import dataclasses

import jax.numpy as jnp

from bert_jax.experiment import DataConfig, PretrainExperiment
from bert_jax.models.config import EncoderConfig
from bert_jax.train.logging import LoggingConfig


@dataclasses.dataclass(kw_only=True, slots=True)
class MeanAttention:
  max_length: int = 64

  def validate(self):
    pass

  def supports(self, view, shapes, platform):
    return 'it has no dropout' if shapes.dropout else ''

  def attend(self, query, key, value, view, *, dropout_rate, dropout_seeds_B):
    seen = view.mask()[:, 0].astype(value.dtype)
    mean = jnp.einsum('BTS,BSNH->BTNH', seen, value)
    return mean / seen.sum(axis=-1)[..., None, None]


def get_config(dropout='0'):
  return PretrainExperiment(
    model=EncoderConfig(
      num_layers=1,
      embed_dim=16,
      num_heads=2,
      mlp_dim=32,
      max_positions=32,
      attention_dropout=float(dropout),
    ),
    num_steps=4,
    batch_size=8,
    data=DataConfig(row_length=32),
    logging=LoggingConfig(every_steps=4, tensorboard=False, peak_tflops=1.0),
    attention=(MeanAttention(),),
  )
"""


@pytest.fixture
def users_file(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(USERS_FILE)
  return path


def test_a_run_with_a_users_own_backend(users_file, small_corpus, tmp_path):
  words = [
    'pretrain',
    f'--config={users_file}',
    f'--config.data.path={small_corpus}',
    f'--workdir={tmp_path / "run"}',
  ]
  found = verb(*words)
  assert 'pretrain is complete' in found.stdout
  # Once for all traces of one program.
  assert found.stderr.count('MeanAttention, as configured') == 1
  assert 4 in records(tmp_path / 'run', 'train')
  (recorded,) = json.loads((tmp_path / 'run' / 'config.json').read_text())[
    'attention'
  ]
  assert recorded['_type'].endswith('.MeanAttention')
  assert recorded['max_length'] == 64
  # What it cannot do is refused before the first step.
  words[1] += ':0.1'
  words[-1] = f'--workdir={tmp_path / "refused"}'
  refused = verb(*words, status=2).stderr
  assert "attention=['MeanAttention']" in refused
  assert 'not MeanAttention: it has no dropout' in refused
  assert not (tmp_path / 'refused' / 'checkpoints').exists()


def test_a_run_may_go_on_with_another_backend(
  small_experiment, tmp_path, capfd
):
  small_experiment.num_steps = 2
  pretrain(small_experiment, tmp_path)
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
