"""Names of others' parameters under a wrapper, another prefix or an adapter.

| names | what happens |
|---|---|
| _orig_mod. and FSDP's anywhere, module. before all | taken off, with a note |
| any other prefix, an encoder in another model | refused: strip it |
| two encoders | refused: save one |
| PEFT's or another adapter's, in or beside the weights | refused: merge it |
| other names, or none | refused, and the names that are there are shown |
"""

import json

import numpy as np
import pytest
from other_models import (
  assert_same_params,
  flat_params,
  save_folder,
  weights_of,
  with_prefix,
)
from refusals import refusal
from safetensors.numpy import load_file, save_file

from bert_jax.errors import InputError
from bert_jax.pretrained import open_pretrained

MASKED_LM = [
  *('BertForPreTraining', 'RobertaForMaskedLM', 'ModernBertForMaskedLM'),
  *('ElectraForMaskedLM', 'AlbertForMaskedLM', 'DistilBertForMaskedLM'),
]
ENCODERS = [
  *('BertModel', 'RobertaModel', 'ModernBertModel'),
  *('ElectraModel', 'AlbertModel', 'DistilBertModel'),
]


def refusal_of(folder, name, change=lambda weights: weights, **config) -> str:
  save_folder(folder, name, change, **config)
  return refusal(open_pretrained, str(folder))


def inside(part: str, at: str):
  """A change: one more part of a name, before the part `at`."""
  return lambda weights: {
    name.replace(f'.{at}', f'.{part}.{at}', 1): x for name, x in weights.items()
  }


@pytest.mark.parametrize('name', MASKED_LM)
@pytest.mark.parametrize(
  'prefix', ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.']
)
def test_a_wrapper_of_training_is_taken_off(tmp_path, name, prefix):
  expected = flat_params(save_folder(tmp_path / 'bare', name))
  wrapped = save_folder(tmp_path / 'wrapped', name, with_prefix(prefix))
  found = open_pretrained(str(wrapped))
  for part in filter(None, prefix.split('.')):
    notes = [n for n in found.checkpoint.notes if f'bear {part}. (of' in n]
    assert len(notes) == 1 and notes[0].count(str(len(weights_of(name)[1])))
  assert found.checkpoint.left_out == ()
  assert found.checkpoint.no_comparison
  assert_same_params(found.load_params(), expected)


@pytest.mark.parametrize(
  'part, at, origin',
  [
    ('_orig_mod', 'encoder', 'torch.compile'),
    ('_fsdp_wrapped_module', 'encoder', 'FullyShardedDataParallel'),
    ('_checkpoint_wrapped_module', 'attention', 'activation checkpointing'),
  ],
)
def test_a_part_that_was_wrapped(tmp_path, part, at, origin):
  expected = flat_params(save_folder(tmp_path / 'bare', 'BertModel'))
  folder = save_folder(tmp_path / 'wrapped', 'BertModel', inside(part, at))
  found = open_pretrained(str(folder))
  assert f'bear {part}. (of {origin})' in found.checkpoint.notes[0]
  assert_same_params(found.load_params(), expected)


def test_a_parameter_that_is_there_twice(tmp_path):
  name = 'bert.embeddings.LayerNorm.weight'
  message = refusal_of(
    *(tmp_path, 'BertModel'),
    lambda weights: weights | {f'_orig_mod.{name}': weights[name] + 1},
  )
  assert f'{name} are the same parameter' in message


@pytest.mark.parametrize('name', ENCODERS)
@pytest.mark.parametrize(
  'prefix', ['model.', 'student.', 'encoder.', 'net.backbone.', '0.auto_model.']
)
def test_another_prefix_is_named_with_what_to_do(tmp_path, name, prefix):
  if name == 'ModernBertModel' and prefix == 'model.':
    # The family's own: without it, as its bare class has it, or with it.
    open_pretrained(str(save_folder(tmp_path, name, with_prefix(prefix))))
    return
  message = refusal_of(tmp_path, name, with_prefix(prefix))
  count = len(weights_of(name)[1])
  assert f'all {count} names begin with {prefix!r}' in message
  assert f'strip it, for instance by saving {{n.removeprefix({prefix!r})' in (
    message
  )


def test_the_advice_helps(tmp_path):
  expected = flat_params(save_folder(tmp_path / 'bare', 'BertForPreTraining'))
  folder = tmp_path / 'folder'
  refusal_of(folder, 'BertForPreTraining', with_prefix('model.'))
  path = folder / 'model.safetensors'
  weights = {
    n.removeprefix('model.'): x
    for n, x in load_file(path).items()
    if n.startswith('model.')
  }
  save_file(weights, path)
  assert_same_params(flat_params(folder), expected)


def test_an_encoder_within_another_model(tmp_path):
  more = {'loss.weight': np.ones(3, np.float32)}
  message = refusal_of(
    tmp_path / 'one', 'BertModel', lambda w: with_prefix('net.')(w) | more
  )
  assert "39 of 40 names begin with 'net.'" in message
  message = refusal_of(
    *(tmp_path / 'two', 'BertModel'),
    lambda w: with_prefix('query.')(w) | with_prefix('passage.')(w),
  )
  assert "it has 2 encoders, under 'passage.', 'query.'" in message


def lora(weights):
  """Names of get_peft_model, where some of the layers have an adapter."""
  found = {}
  for name, array in weights.items():
    if '.query.' in name:
      name = name.replace('.query.', '.query.base_layer.')
    found[f'base_model.model.{name}'] = array
  key = 'base_model.model.bert.encoder.layer.0.attention.self.query.lora_A'
  return found | {f'{key}.default.weight': np.ones((4, 16), np.float32)}


def beside(key, shape=(4, 16)):
  return lambda weights: weights | {key: np.ones(shape, np.float32)}


LAYER = 'bert.encoder.layer.0'


@pytest.mark.parametrize(
  'change, named, remedy',
  [
    (lora, '.query.lora_A.default.weight', 'merge_and_unload()'),
    (with_prefix('base_model.model.'), 'base_model.model.', 'merge_and'),
    (
      beside(f'{LAYER}.attention.self.query.lora_B.weight'),
      *('query.lora_B.weight', 'merge it into its model first'),
    ),
    (
      beside(f'{LAYER}.attention.self.query.ia3_l'),
      *('query.ia3_l', 'merge it into its model first'),
    ),
    (
      beside(f'{LAYER}.output.adapters.task.adapter_down.0.weight'),
      *('adapters.task.adapter_down.0.weight', 'our encoder has no place'),
    ),
    (
      lambda w: with_prefix('module.')(lora(w)),
      *('.query.lora_A.default.weight', 'merge_and_unload()'),
    ),
  ],
)
def test_an_adapter_in_the_weights_is_refused(tmp_path, change, named, remedy):
  message = refusal_of(tmp_path, 'BertForPreTraining', change)
  assert named in message and remedy in message
  assert 'are missing' not in message


@pytest.mark.parametrize('with_model', [True, False])
@pytest.mark.parametrize(
  'config, words',
  [
    (
      {'peft_type': 'LORA', 'base_model_name_or_path': 'some/base'},
      ['adapter_config.json', "PEFT adapter (LORA) of 'some/base'", 'merge it'],
    ),
    ({'peft_type': 'IA3'}, ['PEFT adapter (IA3): merge it into its model']),
    ({'architecture': 'pfeiffer'}, ['the library adapters', 'a whole model']),
    ('junk', ['adapter_config.json', 'a whole model']),
  ],
)
def test_an_adapter_beside_the_weights(tmp_path, config, words, with_model):
  """transformers would load it too; alone it is no model."""
  save_folder(tmp_path, 'BertModel')
  (tmp_path / 'adapter_config.json').write_text(json.dumps(config))
  if not with_model:
    (tmp_path / 'config.json').unlink()
    path = tmp_path / 'model.safetensors'
    path.rename(tmp_path / 'adapter_model.safetensors')
  with pytest.raises(InputError) as caught:
    open_pretrained(str(tmp_path))
  for word in words:
    assert word in str(caught.value)


@pytest.mark.parametrize(
  'change, words',
  [
    (
      lambda w: {f'x{i}': x for i, x in enumerate(w.values())},
      ['37 of 37 parameters are missing', 'that are there have no place', 'x0'],
    ),
    (
      lambda w: {n.replace('attention.self', 'attn'): x for n, x in w.items()},
      ['12 of 39', 'such as bert.encoder.layer.0.attn.key.bias'],
    ),
    (
      lambda w: {n: x for n, x in w.items() if 'layer.1.output' not in n},
      ['4 of 39', 'the 35 names that are there all have their place'],
    ),
    (
      lambda w: {n: x for n, x in w.items() if not n},
      ['37 of 37', 'there are none at all'],
    ),
  ],
)
def test_the_names_that_are_there_are_shown(tmp_path, change, words):
  message = refusal_of(tmp_path, 'BertModel', change)
  for word in words:
    assert word in message
