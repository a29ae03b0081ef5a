"""A user's own method of training a part of the parameters, in one file."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import toys
from other_process import said

from bert_jax.experiment import ConvertedModel
from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.pretrained import save_model
from bert_jax.train.checkpoint import load_params

OWN = pathlib.Path(__file__).parent / 'own' / 'biases_alone.py'
TEXTS = {'one': 'the array returns a number', 'many': 'the arrays return'}


@pytest.mark.processes
def test_every_verb(tmp_path, small_tokenizer):
  shutil.copy(OWN, tmp_path)
  config = toys.encoder_config(vocab_size=small_tokenizer.table.vocab_size)
  params = model_with_heads(config, {}, 'float32').init(jax.random.key(0))
  (tmp_path / 'base').mkdir()
  model = ConvertedModel(model=config)
  save_model(tmp_path / 'base', model, small_tokenizer, params)
  rows = [{'label': name, 'text': text} for name, text in TEXTS.items()] * 8
  lines = '\n'.join(map(json.dumps, rows)) + '\n'
  (tmp_path / 'data.jsonl').write_text(lines)

  config = '--config=biases_alone.py'
  said(tmp_path, 'finetune', config, '--workdir=run')
  saved, _ = load_params(tmp_path / 'run' / 'checkpoints')
  flat = functional.flatten(saved['encoder'])
  assert flat and {path.split('/')[-1] for path in flat} == {'bias'}
  base = functional.flatten(params['encoder'])
  for path, leaf in flat.items():
    assert leaf.shape == (2, *base[path].shape)
    # A bias that is added to all keys does not change attention.
    assert np.any(leaf != base[path]) or path.endswith('key/bias')
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  best = results['runs'][results['best_seed']]['accuracy']
  words = 'evaluate', '--workdir=run', '--input=data.jsonl'
  assert 'give --import=biases_alone' in said(tmp_path, *words, status=2)
  assert f'accuracy {best:.4f}' in said(tmp_path, *words, config)
