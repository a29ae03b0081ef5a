"""LoRA through whole runs: what is saved, resumed, loaded and refused.

The base is an encoder of ModernBERT's kind, with random parameters.
"""

import json

import jax
import numpy as np
import pytest
from adapters import save_workdir
from runs import stop_after
from tuning import classification, results, stop_at_step_5, tuning

from bert_jax import inference
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.finetune import finetune
from bert_jax.models import functional
from bert_jax.peft.lora import LoRAConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.train import checkpoint_items
from bert_jax.train.adversarial import FGMConfig
from bert_jax.train.checkpoint import load_params
from bert_jax.workdir import Workdir

WORDS = {'one': 'this array takes a value', 'many': 'these arrays take values'}


@pytest.fixture
def experiment(small_tokenizer, one_device, tmp_path) -> FinetuneExperiment:
  save_workdir(tmp_path / 'base', 'modernbert', small_tokenizer)
  train, held_out = (
    [
      (f'{text} {number}', label)
      for number in range(count)
      for label, text in WORDS.items()
    ]
    for count in (8, 3)
  )
  return tuning(
    classification(tmp_path, train, held_out),
    batch_size=4,
    num_microbatches=2,
    max_unknown=1.0,
    init_from=str(tmp_path / 'base'),
    peft=LoRAConfig(rank=4, alpha=8.0, dropout=0.1),
    gradients=FGMConfig(epsilon=0.1),
    eval_batch_size=4,
  )


def test_what_is_trained_is_what_is_saved(experiment, tmp_path, capsys):
  """Corrections and heads, of every seed; the base once, and never written."""
  before = load_params(Workdir(tmp_path / 'base').checkpoints)[0]
  finetune(experiment, tmp_path / 'run')
  printed = capsys.readouterr().out
  line = 'base; new: classifier (2), lora (16), pooler (2); left out: none\n'
  assert line in printed
  workdir = Workdir(tmp_path / 'run')
  saved, _ = load_params(workdir.checkpoints)
  assert saved.keys() == {'lora', 'pooler', 'classifier'}
  factors = functional.flatten(saved['lora'])
  assert {leaf.shape[0] for leaf in factors.values()} == {2}
  assert all(np.abs(leaf).max() > 0 for leaf in factors.values())
  (step,) = workdir.checkpoints.glob('[0-9]*')
  digests = json.loads((step / 'data/data.json').read_text())['data']['digests']
  assert not [path for path in digests if 'encoder/embeddings' in path]
  moments = [path for path in digests if '/mu/' in path]
  assert len(moments) == len(functional.flatten(saved))

  found = results(tmp_path / 'run')
  source = open_pretrained(str(tmp_path / 'run'))
  merged = source.load_params()
  assert merged.keys() == {'encoder', 'pooler', 'classifier'}
  for path, leaf in functional.flatten(before).items():
    is_target = path.endswith(('query/kernel', 'value/kernel'))
    same = np.array_equal(leaf, functional.flatten(merged)[path])
    assert same != is_target, path
  model = inference.load(tmp_path / 'run')
  texts = [(f'{text} {n}',) for n in range(3) for text in WORDS.values()]
  chosen = np.argmax(model.predict(texts), axis=1)
  labels = [found['labels'].index(label) for _ in range(3) for label in WORDS]
  accuracy = np.mean(chosen == labels)
  assert accuracy == found['runs'][found['best_seed']]['accuracy']
  of_step = open_pretrained(f'{tmp_path / "run"}@{step.name}', seed=1)
  assert of_step.load_params().keys() == merged.keys()


def test_a_stopped_run_ends_as_if_never_stopped(
  experiment, tmp_path, monkeypatch
):
  finetune(experiment, tmp_path / 'whole')
  stop_at_step_5(experiment, tmp_path / 'stopped', monkeypatch)
  finetune(experiment, tmp_path / 'stopped')
  assert results(tmp_path / 'stopped') == results(tmp_path / 'whole')
  ends = [
    load_params(Workdir(tmp_path / name).checkpoints)[0]
    for name in ('whole', 'stopped')
  ]
  jax.tree.map(np.testing.assert_array_equal, *ends)


def test_the_base_is_read_once(experiment, tmp_path, monkeypatch):
  read, load = [], checkpoint_items.load_params

  def counting(path):
    read.append(path.relative_to(tmp_path).parts[0])
    return load(path)

  monkeypatch.setattr(checkpoint_items, 'load_params', counting)
  experiment.num_epochs = 1
  with monkeypatch.context() as patch:
    stop_after(patch, 2)
    finetune(experiment, tmp_path / 'run')
  assert read == ['base']
  finetune(experiment, tmp_path / 'run')
  assert read == ['base'] * 2
  inference.load(tmp_path / 'run')
  assert read == ['base'] * 2 + ['run', 'base']


def test_another_base_is_refused(experiment, tmp_path, small_tokenizer):
  experiment.num_epochs = 1
  finetune(experiment, tmp_path / 'run')
  (tmp_path / 'base').rename(tmp_path / 'moved')
  with pytest.raises(InputError, match='base is not a workdir'):
    inference.load(tmp_path / 'run')
  save_workdir(tmp_path / 'base', 'modernbert', small_tokenizer, seed=1)
  with pytest.raises(InputError, match='was tuned beside another base than'):
    inference.load(tmp_path / 'run')
  with pytest.raises(InputError, match='init_from: its content has changed'):
    finetune(experiment, tmp_path / 'run', allow_change=('init_from',))
  # A base is known by its parameters, wherever they lie.
  experiment.init_from = str(tmp_path / 'moved')
  finetune(experiment, tmp_path / 'run')


def test_a_base_is_needed(experiment, tmp_path):
  experiment.init_from, experiment.tokenizer = '', 'vocab.txt'
  with pytest.raises(InputError, match='LoRAConfig trains beside a base; give'):
    finetune(experiment, tmp_path / 'run')
