"""LoRA in the layout of the `peft` package: written, read back, refused.

That `peft` computes the same is shown in peft_package_test.py.
"""

import dataclasses
import json

import numpy as np
import pytest
from adapters import (
  FAMILIES,
  RANK,
  save_base,
  write_adapter,
)
from safetensors.numpy import load_file, save_file
from tuning import classification, tuning

from bert_jax import inference
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.interop import peft_lora
from bert_jax.jobs.convert import convert
from bert_jax.jobs.finetune import finetune
from bert_jax.models import functional
from bert_jax.models.task_head import WORDS, TaskHead
from bert_jax.peft.lora import LoRAConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.pretrained.adapters import why_no_adapter


def assert_same(found, expected):
  found, expected = map(functional.flatten, (found, expected))
  assert found.keys() == expected.keys()
  for path in expected:
    np.testing.assert_allclose(
      found[path], expected[path], atol=1e-6, err_msg=path
    )


@pytest.mark.parametrize(
  'targets', [('query', 'value'), ('all_linear',)], ids=len
)
@pytest.mark.parametrize('family', FAMILIES)
def test_what_is_written_is_read(tmp_path, small_tokenizer, family, targets):
  base = save_base(tmp_path / 'base', family, small_tokenizer)
  merged = write_adapter(tmp_path / 'adapter', base, targets=targets)
  found = open_pretrained(str(tmp_path / 'adapter'))
  assert_same(found.load_params(), merged)
  assert found.facts == {'labels': ['LABEL_0', 'LABEL_1', 'LABEL_2']}


def test_a_fused_layer_has_stacked_a_and_blocks_of_b(tmp_path, small_tokenizer):
  base = save_base(tmp_path / 'base', 'modernbert', small_tokenizer)
  write_adapter(tmp_path / 'two', base)
  config = json.loads((tmp_path / 'two' / peft_lora.CONFIG).read_text())
  assert (config['r'], config['lora_alpha']) == (RANK, 5.0)
  assert config['rank_pattern'] == {'Wqkv': 2 * RANK}
  assert config['alpha_pattern'] == {'Wqkv': 10.0}
  tensors = load_file(tmp_path / 'two' / peft_lora.WEIGHTS)
  name = 'base_model.model.model.layers.1.attn.Wqkv'
  b = tensors[f'{name}.lora_B.weight']
  assert tensors[f'{name}.lora_A.weight'].shape == (2 * RANK, 16)
  query, key, value = np.split(b, 3)
  assert query[:, :RANK].all() and not query[:, RANK:].any()
  assert value[:, RANK:].all() and not value[:, :RANK].any()
  assert not key.any()
  write_adapter(tmp_path / 'all', base, targets=('all_linear',))
  config = json.loads((tmp_path / 'all' / peft_lora.CONFIG).read_text())
  assert config['rank_pattern'] == {'Wqkv': 3 * RANK, 'Wi': 2 * RANK}
  assert config['modules_to_save'] == ['classifier', 'head']


@pytest.mark.parametrize(
  'change, message',
  [
    (dict(use_dora=True), 'use_dora is True, and a LoRA here can only have F'),
    (dict(bias='all'), "bias is 'all', and a LoRA here can only have 'none'"),
    (dict(layer_replication=[[0, 1]]), 'layer_replication is'),
    (dict(task_type='TOKEN_CLS'), "task_type is 'TOKEN_CLS'"),
  ],
  ids=str,
)
def test_what_the_config_says_otherwise_is_refused(
  tmp_path, small_tokenizer, change, message
):
  base = save_base(tmp_path / 'base', 'bert', small_tokenizer)
  write_adapter(tmp_path / 'adapter', base)
  path = tmp_path / 'adapter' / peft_lora.CONFIG
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(InputError, match=message):
    open_pretrained(str(tmp_path / 'adapter'))


@pytest.mark.parametrize(
  'add, message',
  [
    (
      {'bert.pooler.dense.lora_A.weight': (3, 16)},
      "'bert.pooler.dense.lora_A.weight' has no place in a LoRA on the encoder",
    ),
    (
      {'bert.encoder.layer.0.attention.self.query.lora_A.weight': (3, 8)},
      r'layer.0.attention.self.query: lora_A is \(3, 8\) and lora_B \(16, 3\)',
    ),
    ({'classifier.weight': None}, 'it has no classifier.weight, and so no cla'),
    ({'classifier.bias': None}, 'neither it nor its base has classifier.bias'),
  ],
  ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_weights_without_a_place_are_refused(
  tmp_path, small_tokenizer, add, message
):
  base = save_base(tmp_path / 'base', 'bert', small_tokenizer)
  write_adapter(tmp_path / 'adapter', base)
  path = tmp_path / 'adapter' / peft_lora.WEIGHTS
  tensors = load_file(path)
  for name, shape in add.items():
    tensors.pop(f'base_model.model.{name}', None)
    if shape:
      tensors[f'base_model.model.{name}'] = np.ones(shape, np.float32)
  save_file(tensors, path)
  with pytest.raises(InputError, match=message):
    open_pretrained(str(tmp_path / 'adapter'))


def experiment_on(folder, family, tokenizer, **task) -> FinetuneExperiment:
  """Two epochs of LoRA beside a Hugging Face folder, all below `folder`."""
  save_base(folder / 'base', family, tokenizer)
  rows = [
    row
    for n in range(4)
    for row in (('a value', 'one'), (f'the values {n}', 'many'))
  ]
  return tuning(
    dataclasses.replace(classification(folder, rows, rows), **task),
    num_seeds=1,
    num_epochs=2,
    batch_size=4,
    max_unknown=1.0,
    init_from=str(folder / 'base'),
    peft=LoRAConfig(rank=2, alpha=8.0),
  )


def test_a_tuned_run_goes_out_and_comes_back(
  tmp_path, small_tokenizer, one_device, capsys
):
  experiment = experiment_on(tmp_path, 'modernbert', small_tokenizer)
  finetune(experiment, tmp_path / 'run')
  assert '--output_format=peft' not in capsys.readouterr().out
  lines = convert(
    str(tmp_path / 'run'), tmp_path / 'adapter', output_format='peft'
  )
  assert "its outputs are 'many', 'one'" in '\n'.join(lines)
  found = open_pretrained(str(tmp_path / 'adapter'))
  tuned = open_pretrained(str(tmp_path / 'run'))
  assert_same(found.load_params(), tuned.load_params())
  texts = [('the value',), ('values',)]
  np.testing.assert_allclose(
    inference.load(tmp_path / 'adapter').predict(texts),
    inference.load(tmp_path / 'run').predict(texts),
    atol=1e-5,
  )
  convert(
    str(tmp_path / 'run'), tmp_path / 'whole', output_format='huggingface'
  )
  whole = open_pretrained(str(tmp_path / 'whole'))
  assert_same(whole.load_params(), tuned.load_params())
  with pytest.raises(InputError, match='is for what was tuned with LoRA'):
    convert(str(tmp_path / 'base'), tmp_path / 'no', output_format='peft')


def test_what_will_be_refused_is_said_before_training(
  tmp_path, small_tokenizer, one_device, capsys
):
  experiment = experiment_on(tmp_path, 'bert', small_tokenizer, pooling='mean')
  finetune(experiment, tmp_path / 'run')
  printed = capsys.readouterr().out
  with pytest.raises(InputError) as refusal:
    convert(str(tmp_path / 'run'), tmp_path / 'no', output_format='peft')
  _, _, reason = str(refusal.value).partition(f'--input={tmp_path / "run"}: ')
  assert reason.startswith('task.pooling is mean, but peft would use cls, from')
  note = f'note: convert --output_format=peft will refuse this run: {reason}\n'
  assert printed.index(note) < printed.index('starting at step 0')
  # The other reasons: heads of words or of no library, and the kind of base.
  base = open_pretrained(str(tmp_path / 'base'))
  of_words = TaskHead(kind=WORDS, output_names=('a', 'b'))
  for head in (of_words, None):
    assert why_no_adapter(base, head).startswith('--output_format=peft holds')
  of_texts = TaskHead(output_names=('a', 'b'))
  workdir = open_pretrained(str(tmp_path / 'base_workdir'))
  assert 'base_workdir, which is a workdir;' in why_no_adapter(
    workdir, of_texts
  )
  # A checkpoint of Google's, or an adapter, lies in a folder without config.
  other = dataclasses.replace(base, origin=str(tmp_path))
  assert 'which is no Hugging Face folder' in why_no_adapter(other, of_texts)
  assert not why_no_adapter(base, of_texts)
