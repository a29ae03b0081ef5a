"""Records of a run in Weights & Biases, offline: no account, no network."""

import json

import wandb

from bert_jax.train.logging import LoggingConfig, MetricWriter


def test_records_reach_weights_and_biases(tmp_path, monkeypatch):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setenv('WANDB_DIR', str(tmp_path))
  monkeypatch.setenv('WANDB_SILENT', 'true')
  writer = MetricWriter(
    LoggingConfig(wandb_project='encoders'),
    tmp_path / 'metrics',
    tmp_path / 'tensorboard',
    run_config={'seed': 7},
  )
  writer.write({'kind': 'train', 'step': 2, 'loss': 4.5})
  writer.write({'kind': 'eval', 'corpus': 'a', 'step': 2, 'perplexity': 9.25})
  writer.close()
  lines = writer.path.read_text().splitlines()
  assert [json.loads(line)['kind'] for line in lines] == ['train', 'eval']
  # Its service, which writes the file, is a process of its own: under load, the
  # records were still in its memory here.
  wandb.teardown()
  (file,) = (tmp_path / 'wandb').glob('offline-run-*/run-*.wandb')
  written = file.read_bytes()
  for name in (b'train/loss', b'4.5', b'eval/a/perplexity', b'9.25', b'seed'):
    assert name in written
