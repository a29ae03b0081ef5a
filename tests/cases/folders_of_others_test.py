"""What stands beside the weights, or in their place, and fields of a config.

| folder | what happens |
|---|---|
| weights twice, equal | read |
| weights twice, different | refused: remove the one that is not meant |
| weights of another program, name or folder | refused, with what to do |
| modules of sentence-transformers, code of its own | a note: left out |
| a field that changes the function | read, or refused by name |
"""

import json

import numpy as np
import pytest
from other_models import save_folder
from refusals import refusal
from safetensors.numpy import load_file, save_file

from bert_jax.errors import InputError
from bert_jax.interop import torch_pickle, weights_files
from bert_jax.pretrained import open_pretrained

NORM = 'bert.embeddings.LayerNorm.weight'


def notes_of(folder) -> str:
  return '; '.join(open_pretrained(str(folder)).checkpoint.notes)


def refused(folder) -> str:
  return refusal(open_pretrained, str(folder))


def shard(folder, weights) -> None:
  """The same weights a second time, in shards."""
  names = sorted(weights)
  where = {
    name: f'part-{number % 2}.safetensors' for number, name in enumerate(names)
  }
  for part in set(where.values()):
    mine = {name: weights[name] for name in names if where[name] == part}
    save_file(mine, folder / part)
  index = folder / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': where}))


@pytest.mark.parametrize('second', ['shards', 'pytorch_model.bin'])
@pytest.mark.parametrize('half', [False, True])
def test_weights_that_are_there_twice(tmp_path, monkeypatch, second, half):
  folder = save_folder(tmp_path, 'BertModel')
  weights = load_file(folder / 'model.safetensors')
  if half:
    weights = {n: x.astype(np.float16) for n, x in weights.items()}

  def write(weights):
    if second == 'shards':
      shard(folder, weights)
      return
    (folder / second).write_bytes(b'x')
    monkeypatch.setattr(torch_pickle, 'read', lambda path: weights)

  write(weights)
  assert notes_of(folder) == ''
  write(weights | {NORM: weights[NORM] + 1})
  message = refused(folder)
  assert 'model.safetensors and ' in message
  assert f'differ in 1 of 39 parameters, such as {NORM}; remove' in message
  write({f'x.{name}': x for name, x in weights.items()})
  assert 'has none of the names of model.safetensors' in notes_of(folder)


def test_second_weights_that_cannot_be_read(tmp_path):
  folder = save_folder(tmp_path, 'BertModel')
  (folder / 'pytorch_model.bin').write_bytes(b'junk')
  assert 'pytorch_model.bin was not compared' in notes_of(folder)


@pytest.mark.parametrize(
  'name, words',
  [
    ('tf_model.h5', 'there is tf_model.h5; convert it with transformers 4'),
    ('flax_model.msgpack', 'from_flax=True).save_pretrained'),
    ('model.fp16.safetensors', 'if it holds them, name it model.safetensors'),
    ('best.safetensors', 'there is best.safetensors; if it holds them, name'),
    ('weights.pt', 'if it holds them, name it pytorch_model.bin'),
    ('epoch=3.ckpt', 'there is epoch=3.ckpt; if it holds them'),
    (
      'model-00001-of-00002.safetensors',
      'no model.safetensors.index.json; fetch it too',
    ),
    ('bert_model.ckpt.index', 'with bert_config.json beside it'),
    ('training_args.bin', 'fetch the weights too'),
  ],
)
@pytest.mark.parametrize('has_config', [True, False])
def test_what_is_there_in_the_place_of_weights(
  tmp_path, name, words, has_config
):
  folder = save_folder(tmp_path, 'BertModel')
  (folder / 'model.safetensors').unlink()
  if not has_config:
    (folder / 'config.json').unlink()
  (folder / name).write_bytes(b'x')
  assert words in refused(folder)


@pytest.mark.parametrize(
  'inner', ['0_Transformer', 'checkpoint-500', 'snapshots/8f1c']
)
def test_weights_that_lie_in_a_folder_within(tmp_path, inner):
  save_folder(tmp_path / inner, 'BertModel')
  assert f"they lie in '{inner}'; give that folder" in refused(tmp_path)
  (tmp_path / 'config.json').write_text('{"__version__": "0.2.0"}')
  assert f"they lie in '{inner}'; give that folder" in refused(tmp_path)


def test_a_file_is_no_folder(tmp_path):
  folder = save_folder(tmp_path, 'BertModel')
  message = refused(folder / 'model.safetensors')
  assert 'is a file; give the folder that it belongs to' in message


@pytest.mark.parametrize('made_by', ['tf', 'flax'])
def test_weights_laid_out_by_another_program(tmp_path, made_by):
  folder = save_folder(tmp_path, 'BertModel')
  weights = load_file(folder / 'model.safetensors')
  save_file(weights, folder / 'model.safetensors', {'format': made_by})
  assert f'(format {made_by!r}); convert it with transformers 4' in refused(
    folder
  )
  for fine in ({'format': 'pt'}, {'format': 'np'}, {'other': 'x'}):
    save_file(weights, folder / 'model.safetensors', fine)
    assert notes_of(folder) == ''


def test_numbers_of_a_type_that_numpy_lacks(tmp_path):
  header = {'a': {'dtype': 'F8_E4M3', 'shape': [2], 'data_offsets': [0, 2]}}
  text = json.dumps(header).encode()
  path = tmp_path / 'model.safetensors'
  path.write_bytes(len(text).to_bytes(8, 'little') + text + b'\0\0')
  with pytest.raises(InputError, match='of a type that cannot be read'):
    weights_files.read(path)


def module(number, name, path=''):
  kind = f'sentence_transformers.models.{name}'
  return {'idx': number, 'name': str(number), 'path': path, 'type': kind}


@pytest.mark.parametrize(
  'modules, pooling, words',
  [
    (
      [module(0, 'Transformer'), module(1, 'Pooling', '1_Pooling')],
      {'pooling_mode_cls_token': False, 'pooling_mode_mean_tokens': True},
      "without 'Pooling (mean_tokens)'",
    ),
    (
      [
        *(module(0, 'Transformer'), module(1, 'Pooling', '1_Pooling')),
        *(module(2, 'Dense', '2_Dense'), module(3, 'Normalize')),
      ],
      {'pooling_mode': 'lasttoken'},
      "without 'Pooling (lasttoken)', 'Dense', 'Normalize'",
    ),
    ([module(0, 'Transformer')], {}, 'the encoder alone is read'),
    ('junk', {}, 'the encoder alone is read'),
  ],
)
def test_modules_of_sentence_transformers(tmp_path, modules, pooling, words):
  folder = save_folder(tmp_path, 'BertModel')
  (folder / 'modules.json').write_text(json.dumps(modules))
  (folder / '1_Pooling').mkdir()
  (folder / '1_Pooling' / 'config.json').write_text(json.dumps(pooling))
  sentences = {'max_seq_length': 16, 'do_lower_case': True}
  path = folder / 'sentence_bert_config.json'
  path.write_text(json.dumps(sentences))
  notes = notes_of(folder)
  assert words in notes
  assert 'max_seq_length 16 of sentence_bert_config.json is not kept' in notes
  assert 'makes every text lowercase' in notes


@pytest.mark.parametrize(
  'num_tokens, words',
  [
    (None, ''),
    (60, 'the tokenizer has 60 entries, the embedding 61: the last ones are'),
    (60, '61 is no round number'),
    (30, 'more than twice as many; they are of different models'),
  ],
)
def test_a_tokenizer_of_another_size(tmp_path, num_tokens, words):
  folder = save_folder(tmp_path, 'RobertaModel', num_tokens=num_tokens)
  if num_tokens == 30:
    assert words in refused(folder)
  else:
    notes = notes_of(folder)
    assert words in notes and bool(words) == bool(notes)


def test_a_table_that_is_filled_up_is_usual(tmp_path):
  def fill_up(weights):
    key = 'embeddings.word_embeddings.weight'
    return weights | {key: np.ones((64, 16), np.float32)}

  folder = save_folder(
    tmp_path, 'RobertaModel', fill_up, vocab_size=64, num_tokens=61
  )
  notes = notes_of(folder)
  assert 'the last ones are never used' in notes and 'WARNING' not in notes


BERT, MODERN = 'BertModel', 'ModernBertModel'


@pytest.mark.parametrize(
  'name, fields, message',
  [
    (BERT, {'position_embedding_type': 'relative_key'}, 'embedding_type is'),
    (BERT, {'position_embedding_type': 'alibi'}, 'position_embedding_type is'),
    (BERT, {'is_decoder': True}, 'is_decoder is True'),
    (BERT, {'add_cross_attention': True}, 'add_cross_attention is True'),
    (BERT, {'hidden_act': 'gelu_new'}, "hidden_act is 'gelu_new'"),
    (BERT, {'hidden_act': 'relu'}, "hidden_act is 'relu'"),
    (BERT, {'pruned_heads': {'0': [1]}}, 'pruned_heads is'),
    (BERT, {'layer_norm_eps': float('nan')}, 'layer_norm_eps is nan'),
    (BERT, {'layer_norm_eps': float('inf')}, 'layer_norm_eps is inf'),
    (BERT, {'quantization_config': {'bits': 4}}, 'its weights are quantised'),
    ('DistilBertModel', {'activation': 'relu'}, "activation is 'relu'"),
    (
      *('DistilBertModel', {'num_attention_heads': 4}),
      'n_heads is 2 and num_attention_heads 4, which mean the same',
    ),
    (
      *('DistilBertModel', {'num_hidden_layers': 1}),
      'n_layers is 2 and num_hidden_layers 1, which mean the same',
    ),
    ('AlbertModel', {'inner_group_num': 2}, 'inner_group_num is 2'),
    ('AlbertModel', {'hidden_act': 'relu'}, "hidden_act is 'relu'"),
    ('ElectraModel', {'hidden_act': 'gelu_new'}, "hidden_act is 'gelu_new'"),
    (MODERN, {'attention_bias': True}, 'attention_bias is True'),
    (MODERN, {'mlp_bias': True}, 'mlp_bias is True'),
    (MODERN, {'hidden_activation': 'silu'}, "hidden_activation is 'silu'"),
    (MODERN, {'rope_scaling': {'type': 'linear'}}, 'rope_scaling is'),
    (MODERN, {'sliding_window': 7}, 'and sliding_window 7, which is half'),
    (
      *(MODERN, {'rope_parameters': {'full_attention': {'type': 'linear'}}}),
      "ours can only be of rope_type 'default'",
    ),
    (
      *(MODERN, {'rope_parameters': {'rope_theta': 7.0}}),
      'one for full_attention and one for sliding_attention',
    ),
  ],
)
def test_a_field_that_ours_cannot_be(tmp_path, name, fields, message):
  assert message in refused(save_folder(tmp_path, name, **fields))


def test_another_name_of_a_field_is_read(tmp_path):
  """transformers reads it; nothing else tells how many heads there are."""
  folder = save_folder(
    tmp_path, 'DistilBertModel', n_heads=None, num_attention_heads=4
  )
  found = open_pretrained(str(folder))
  assert found.model.num_heads == 4 and found.checkpoint.notes == ()


@pytest.mark.parametrize(
  'name, field, heads',
  [
    (BERT, 'num_attention_heads', 12),
    ('DistilBertModel', 'n_heads', 12),
    ('ElectraModel', 'num_attention_heads', 4),
  ],
)
def test_heads_that_nothing_tells_are_said(tmp_path, name, field, heads):
  folder = save_folder(tmp_path, name, **{field: None})
  if 16 % heads:
    assert 'num_heads=12 does not divide' in refused(folder)
    return
  assert f'{field} is missing in config.json: {heads} was taken' in notes_of(
    folder
  )


@pytest.mark.parametrize(
  'name, copy, word',
  [
    (
      *('BertForPreTraining', 'cls.predictions.decoder.weight'),
      'bert.embeddings.word_embeddings.weight',
    ),
    (
      *('RobertaForMaskedLM', 'lm_head.decoder.weight'),
      'roberta.embeddings.word_embeddings.weight',
    ),
    (
      *('ModernBertForMaskedLM', 'decoder.weight'),
      'model.embeddings.tok_embeddings.weight',
    ),
    (
      *('DistilBertForMaskedLM', 'vocab_projector.weight'),
      'distilbert.embeddings.word_embeddings.weight',
    ),
  ],
)
def test_a_decoder_of_its_own(tmp_path, name, copy, word):
  """Refused where the config ties it, else the head is left out."""

  def untie(weights):
    return weights | {copy: weights[word] + 1}

  message = refused(save_folder(tmp_path / 'tied', name, untie))
  assert f'{copy} differs from {word}; here they are one parameter' in message
  folder = save_folder(
    tmp_path / 'untied', name, untie, tie_word_embeddings=False
  )
  found = open_pretrained(str(folder))
  assert 'mlm_head' not in found.checkpoint.heads
  assert copy in found.checkpoint.left_out
  assert any(
    f'its MLM head was left out: tie_word_embeddings is false, and {copy}' in x
    for x in found.checkpoint.notes
  )
  alone = save_folder(tmp_path / 'alone', name, tie_word_embeddings=False)
  assert 'have no decoder of its own' in notes_of(alone)


@pytest.mark.parametrize(
  'name, fields, change, words',
  [
    (
      *(BERT, {'num_hidden_layers': 1}, None),
      '16 of those left out lie within the encoder, such as bert.encoder.lay',
    ),
    (
      *(BERT, {}),
      lambda w: (
        w
        | {
          'bert.encoder.layer.0.attention.self.distance_embedding.weight': (
            w[NORM]
          )
        }
      ),
      '1 of those left out lie within the encoder',
    ),
    (
      *(BERT, {}),
      lambda w: {n: x.astype(np.float16) for n, x in w.items()},
      'its weights are of float16; they are kept as float32',
    ),
    (
      *(BERT, {'auto_map': {'AutoModel': 'modeling.MyBert'}}, None),
      'code of its own (auto_map), which is not run',
    ),
  ],
)
def test_what_is_taken_otherwise_is_said(tmp_path, name, fields, change, words):
  change = change or (lambda weights: weights)
  assert words in notes_of(save_folder(tmp_path, name, change, **fields))


@pytest.mark.parametrize('name', ['BertModel', 'ModernBertForMaskedLM'])
def test_a_sound_folder_has_nothing_to_say(tmp_path, name):
  assert notes_of(save_folder(tmp_path, name)) == ''
