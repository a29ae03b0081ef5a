"""The families beside BERT: what transformers writes of each, there and back.

golden/families.json holds the configs, names and shapes; the values are drawn.
"""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import other_models
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.errors import InputError
from bert_jax.interop import family as families
from bert_jax.interop import huggingface, recognise
from bert_jax.interop.export_form import generator_form
from bert_jax.jobs.convert import convert
from bert_jax.models import config as presets
from bert_jax.models import functional
from bert_jax.models.generator import Generator
from bert_jax.models.heads import ReplacedTokenHead, model_with_heads
from bert_jax.models.masks import row_layout
from bert_jax.pretrained import open_pretrained

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'families.json'
CLASSES = json.loads(GOLDEN.read_text('utf-8'))
LEFT_OUT = {'RobertaModel': ['pooler.dense.bias', 'pooler.dense.weight']}
MASKED_LM = [name for name in CLASSES if name.endswith('ForMaskedLM')]
COPIES = {
  'RobertaForMaskedLM': {
    'lm_head.decoder.weight': 'roberta.embeddings.word_embeddings.weight',
    'lm_head.decoder.bias': 'lm_head.bias',
  },
  'ModernBertForMaskedLM': {
    'decoder.weight': 'model.embeddings.tok_embeddings.weight'
  },
  'ElectraForMaskedLM': {
    'generator_lm_head.weight': 'electra.embeddings.word_embeddings.weight'
  },
  'AlbertForMaskedLM': {
    'predictions.decoder.weight': 'albert.embeddings.word_embeddings.weight',
    'predictions.decoder.bias': 'predictions.bias',
  },
  'DistilBertForMaskedLM': {
    'vocab_projector.weight': 'distilbert.embeddings.word_embeddings.weight'
  },
}


@functools.cache
def weights_of(name: str) -> dict[str, np.ndarray]:
  return other_models.weights_of(name)[1]


def save(folder, name, weights=None, **changes) -> pathlib.Path:
  config = CLASSES[name]['config'] | changes
  (folder / 'config.json').write_text(json.dumps(config))
  save_file(weights or weights_of(name), folder / 'model.safetensors')
  return folder


def read(folder) -> huggingface.Checkpoint:
  return huggingface.read(folder, tokenizer_size=61)


def write(folder, checkpoint, architecture, **changes) -> list[str]:
  folder.mkdir()
  left_out, _ = huggingface.write(
    folder,
    checkpoint.family,
    architecture,
    checkpoint.model,
    checkpoint.params,
    head=checkpoint.head,
    **dict(pad_id=0, cls_id=2, sep_id=3) | changes,
  )
  return left_out


def ids_of(config) -> dict[str, int]:
  """Of the special tokens, where a config names them."""
  names = dict(pad_id='pad', cls_id='bos', sep_id='eos')
  found = {ours: config[f'{name}_token_id'] for ours, name in names.items()}
  return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize('name', CLASSES)
def test_there_and_back_is_bit_equal(tmp_path, name):
  checkpoint = read(save(tmp_path, name))
  lost = LEFT_OUT.get(name, [])
  assert list(checkpoint.left_out) == lost
  assert checkpoint.notes == ()
  assert checkpoint.family.architecture(checkpoint.heads) == name
  theirs = CLASSES[name]['config']
  out = tmp_path / 'out'
  write(out, checkpoint, name, **ids_of(theirs))
  found = load_file(out / 'model.safetensors')
  expected = weights_of(name)
  assert found.keys() == expected.keys() - set(lost)
  for key, array in found.items():
    np.testing.assert_array_equal(array, expected[key], err_msg=key)
  written = json.loads((out / 'config.json').read_text())
  told = {k: v for k, v in written.items() if k in theirs}
  assert told == {key: theirs[key] for key in told}
  assert len(told) >= 13
  assert read(out).model == checkpoint.model


@pytest.mark.parametrize('name', MASKED_LM)
def test_a_preset_is_exported_as_its_family(tmp_path, name):
  """Also with a vocabulary that fills its table up."""
  checkpoint = read(save(tmp_path, name))
  family = checkpoint.family
  preset = getattr(presets, f'{family.model_type}_base')(vocab_size=61)
  assert recognise.family_of(preset, ['mlm_head']) is family
  assert recognise.family_of(checkpoint.model, ['mlm_head']) is family
  filled = dataclasses.replace(
    checkpoint.model, vocab_size=59, vocab_multiple=61
  )
  assert recognise.family_of(filled, ['mlm_head']) is family
  checkpoint = dataclasses.replace(checkpoint, model=filled)
  write(tmp_path / 'out', checkpoint, name, pad_id=1)
  again = huggingface.read(tmp_path / 'out', tokenizer_size=59)
  assert again.model.table_size == 59
  flat = functional.flatten(checkpoint.params)
  for path, array in functional.flatten(again.params).items():
    expected = flat[path][:59] if flat[path].shape[0] == 61 else flat[path]
    np.testing.assert_array_equal(array, expected, err_msg=path)


@pytest.mark.parametrize('name', MASKED_LM)
def test_untidy_names_give_the_same(tmp_path, name):
  """Without a prefix, with the buffers, and with copies of tied parameters."""
  expected = functional.flatten(read(save(tmp_path, name)).params)
  prefix = recognise.recognise(tmp_path, CLASSES[name]['config'], [], []).prefix
  weights, copies = weights_of(name), COPIES[name]
  more = {copy: weights[original] for copy, original in copies.items()}
  if name != 'ModernBertForMaskedLM':
    more[f'{prefix}embeddings.position_ids'] = np.arange(20)[None]
  bare = {
    key.removeprefix(prefix): array for key, array in (weights | more).items()
  }
  alone = {key: x for key, x in weights.items() if key not in copies.values()}
  for untidy in (weights | more, bare, alone | more):
    found = read(save(tmp_path, name, untidy))
    assert found.left_out == found.notes == ()
    found = functional.flatten(found.params)
    assert found.keys() == expected.keys()
    for path, array in found.items():
      np.testing.assert_array_equal(array, expected[path], err_msg=path)
  copy = next(iter(copies))
  untied = weights | {copy: more[copy] + 1}
  with pytest.raises(InputError, match=f'{copy} differs from'):
    read(save(tmp_path, name, untied))


@pytest.mark.parametrize(
  'name, changes, message',
  [
    ('Roberta', {'pad_token_id': 21}, 'is 22 and pad_token_id 21; positions'),
    ('Roberta', {'pad_token_id': None}, 'pad_token_id None'),
    ('Roberta', {'max_position_embeddings': '22'}, "embeddings is '22'"),
    (
      'Roberta',
      {'max_position_embeddings': 30},
      r'position_embeddings.weight has shape \(22, 16\), by the config it must '
      r'be \(30, 16\)',
    ),
    ('ModernBert', {'norm_bias': True}, 'norm_bias is True, ours can only'),
    ('ModernBert', {'mlp_dropout': 0.1}, 'embedding_dropout is 0.0 and'),
    ('ModernBert', {'layer_types': ['full_attention']}, 'every n-th layer'),
    ('ModernBert', {'layer_types': 7}, 'layer_types is 7; ours can only'),
    ('ModernBert', {'global_attn_every_n_layers': 2}, 'every n-th layer'),
    ('ModernBert', {'rope_parameters': [1]}, r'rope_parameters is \[1\]; ours'),
    (
      'ModernBert',
      {'rope_parameters': {'full_attention': {'rope_type': 'yarn'}}},
      "ours can only be of rope_type 'default'",
    ),
    ('ModernBert', {'local_attention': 7}, 'local_window is 7'),
    ('Electra', {'hidden_act': 'relu'}, "hidden_act is 'relu'"),
    ('Electra', {'embedding_size': 16}, r'must be \(61, 16\)'),
    ('Albert', {'num_hidden_groups': 2}, 'num_hidden_groups is 2, ours'),
    ('Albert', {'hidden_act': ['gelu']}, 'ours can only be gelu_new or'),
    ('Albert', {'embedding_size': 16}, 'theirs has a projection between'),
    ('DistilBert', {'activation': 'relu'}, "activation is 'relu', ours"),
    ('DistilBert', {'tokenizer_class': 'T5Tokenizer'}, 'tokenizer_class is'),
  ],
)
def test_what_does_not_fit(tmp_path, name, changes, message):
  save(tmp_path, f'{name}ForMaskedLM', **changes)
  with pytest.raises(InputError, match=message) as caught:
    read(tmp_path)
  assert len(str(caught.value).splitlines()) == 1


def test_padding_that_is_not_that_of_the_tokenizer(tmp_path):
  """RoBERTa counts its positions from there; to others it does not matter."""
  sizes = dict(tokenizer_size=61, pad_id=3)
  huggingface.read(save(tmp_path, 'ElectraForMaskedLM'), **sizes)
  save(tmp_path, 'RobertaForMaskedLM')
  with pytest.raises(
    InputError, match='pad_token_id is 1, .* the tokenizer has 3 for padding'
  ):
    huggingface.read(tmp_path, **sizes)
  huggingface.read(tmp_path, **sizes | {'pad_id': 1})
  save(tmp_path, 'RobertaForMaskedLM', pad_token_id=3)
  assert huggingface.read(tmp_path, **sizes).model.position_offset == 4


@pytest.mark.parametrize('name', CLASSES)
def test_a_pooler_that_has_no_place_is_listed(tmp_path, name):
  """RoBERTa's of pretraining; ELECTRA's and ModernBERT's of nobody."""
  prefix = recognise.recognise(tmp_path, CLASSES[name]['config'], [], []).prefix
  prefix = '' if name.endswith('Model') else prefix
  shapes = {'weight': (16, 16), 'bias': (16,)}
  pooler = {
    f'{prefix}pooler.dense.{part}': np.ones(shape, np.float32)
    for part, shape in shapes.items()
  }
  found = read(save(tmp_path, name, weights_of(name) | pooler))
  assert {*found.left_out} == {*pooler}
  assert found.notes == ()
  assert found.family.architecture(found.heads) == name


@pytest.mark.parametrize('theta', [160_000.0, 10_000.0])
def test_a_modernbert_of_before_version_5(tmp_path, theta):
  name = 'ModernBertForMaskedLM'
  old = {'global_rope_theta': theta, 'global_attn_every_n_layers': 3}
  save(tmp_path, name, rope_parameters=None, layer_types=None, **old)
  model = read(tmp_path).model
  assert (model.rotary_theta, model.global_every) == (theta, 3)
  write(tmp_path / 'out', read(tmp_path), name)
  assert read(tmp_path / 'out').model == model


@pytest.mark.parametrize(
  'name, changes, note',
  [
    ('ModernBert', {'classifier_pooling': 'max'}, 'only be cls or mean'),
    ('Roberta', {'problem_type': 'regression'}, 'it is a regression'),
    ('DistilBert', {'architectures': ['X']}, 'not one of whole texts'),
    ('Albert', {'architectures': ['X']}, 'not one of whole texts'),
  ],
)
def test_a_classifier_that_is_left_out(tmp_path, name, changes, note):
  """With all that is one thing with it; ALBERT's pooler is the encoder's."""
  save(tmp_path, f'{name}ForSequenceClassification', **changes)
  found = read(tmp_path)
  assert note in found.notes[0]
  assert found.heads == (('pooler',) if name == 'Albert' else ())
  assert any(key.startswith('classifier.') for key in found.left_out)
  heads = {
    'ModernBert': 'head.dense.weight',
    'DistilBert': 'pre_classifier.bias',
  }
  assert heads.get(name, found.left_out[0]) in found.left_out


def test_positions_are_moved_to_where_padding_has_them(tmp_path):
  """RoBERTa's first position follows from the tokenizer's padding."""
  name = 'RobertaForMaskedLM'
  checkpoint = read(save(tmp_path, name))
  assert checkpoint.model.position_offset == 2
  assert checkpoint.model.max_positions == 20
  table = 'roberta.embeddings.position_embeddings.weight'
  expected = weights_of(name)[table][2:]
  for pad_id in (0, 4):
    out = tmp_path / f'{pad_id}'
    write(out, checkpoint, name, pad_id=pad_id)
    config = json.loads((out / 'config.json').read_text())
    assert config['pad_token_id'] == pad_id
    assert config['max_position_embeddings'] == 21 + pad_id
    found = load_file(out / 'model.safetensors')[table]
    np.testing.assert_array_equal(found[pad_id + 1 :], expected)
    again = read(out).model
    assert (again.max_positions, again.position_offset) == (20, pad_id + 1)


@pytest.mark.parametrize(
  'preset, heads, architecture, model_type',
  [
    ('bert_base', ['mlm_head'], '', 'bert'),
    ('bert_base', ['replaced_token_head'], '', 'electra'),
    ('bert_base', ['mlm_head'], 'ElectraForMaskedLM', 'electra'),
    ('bert_base', ['pooler', 'classifier'], 'ElectraModel', 'bert'),
    ('electra_base', ['mlm_head'], '', 'electra'),
    ('electra_base', ['pooler', 'classifier'], '', 'electra'),
    ('electra_small', ['replaced_token_head'], '', 'electra'),
  ],
)
def test_of_several_families_the_best(preset, heads, architecture, model_type):
  model = getattr(presets, preset)(vocab_size=61)
  found = recognise.family_of(model, heads, architecture)
  assert found.model_type == model_type


def test_a_folder_with_vocab_and_merges(tmp_path, without_transformers):
  """A RoBERTa as it was published: without a tokenizer.json."""
  folder = tmp_path / 'theirs'
  folder.mkdir()
  save(folder, 'RobertaForMaskedLM', tokenizer_class='RobertaTokenizer')
  with pytest.raises(InputError, match='tokenizer.json, vocab.json in it'):
    convert(str(folder), tmp_path / 'ours')
  letters = [*'abcdefghijklmnopqrstuvwxyz', '\u0120', 'th', 'the']
  tokens = ['<s>', '<pad>', '</s>', '<unk>', *letters, '<mask>']
  vocab = {token: i for i, token in enumerate(tokens)}
  (folder / 'vocab.json').write_text(json.dumps(vocab))
  with pytest.raises(InputError, match='merges.txt is missing beside it'):
    convert(str(folder), tmp_path / 'ours')
  (folder / 'merges.txt').write_text('#version: 0.2\nt h\nth e\n')
  convert(str(folder), tmp_path / 'ours')
  convert(str(tmp_path / 'ours'), tmp_path / 'out', output_format='huggingface')
  found = load_file(tmp_path / 'out' / 'model.safetensors')
  for key, expected in weights_of('RobertaForMaskedLM').items():
    np.testing.assert_array_equal(found[key], expected, err_msg=key)
  again = open_pretrained(str(tmp_path / 'out')).tokenizer
  assert again.table.pad_id == 1
  assert again.encode_batch(['the'])[0].tolist() == [vocab['the']]
  config = json.loads((tmp_path / 'out' / 'tokenizer_config.json').read_text())
  assert config['model_input_names'] == ['input_ids', 'attention_mask']


def test_a_generator_is_exported_as_a_masked_lm():
  """It computes the same with the encoder that it becomes."""
  config = presets.electra_base(
    **dict(num_layers=1, embed_dim=32, num_heads=2, mlp_dim=64),
    **dict(embedding_size=8, vocab_size=61, max_positions=20),
  )
  heads = {
    'replaced_token_head': ReplacedTokenHead,
    'generator': functools.partial(Generator, width_share=0.5),
  }
  whole = model_with_heads(config, heads, 'float32')
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
    whole.abstract_params(),
  )
  model, found = generator_form(config, params)
  assert recognise.family_of(model, ['mlm_head']).model_type == 'electra'
  ids_BT = jnp.asarray([[2, 7, 8, 4, 9, 3]])
  layout = row_layout(ids_BT, cls_id=2, sep_id=3, pad_id=0)

  @jax.jit
  def run(params, found):
    both = whole.bind(params)
    alone = families.build(model, ['mlm_head']).bind(found)
    embeddings = both.encoder.embeddings
    table_VE = embeddings.token.embedding[...]
    hidden_BTG = both.generator(embeddings, ids_BT, layout)
    alone_BTG = alone.encoder(ids_BT, layout)
    return (
      both.generator.mlm_head(hidden_BTG, table_VE),
      alone.mlm_head(alone_BTG, table_VE),
    )

  expected, logits = run(params, found)
  assert np.ptp(expected) > 1
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
  np.testing.assert_array_equal(
    found['encoder']['embeddings']['token']['embedding'],
    params['encoder']['embeddings']['token']['embedding'],
  )


def test_heads_of_no_family_are_listed_and_kept_out(tmp_path):
  name = 'AlbertForPreTraining'
  extra = {'qa_outputs.weight': np.ones((2, 16), np.float32)}
  found = read(save(tmp_path, name, weights_of(name) | extra))
  assert found.left_out == ('qa_outputs.weight',)
  assert found.heads == ('pooler', 'mlm_head', 'sentence_order_head')
  left_out = write(tmp_path / 'out', found, 'AlbertForMaskedLM')
  assert left_out == ['pooler', 'sentence_order_head']


def test_an_encoder_of_no_family():
  model = presets.albert_base(vocab_size=61, embedding_size=0)
  with pytest.raises(InputError, match='no class for this encoder among bert'):
    recognise.family_of(model)


def test_every_name_is_there_once():
  for family in recognise.FAMILIES:
    paths = [path for rule in family.table for path in rule.paths]
    assert len(paths) == len(set(paths)), family.model_type
    # Heads that share a name with another: a mark tells them apart, or the
    # class that a config names.
    shared = {*family.marks, 'token_classifier', 'span_head', 'choice_head'}
    names = [
      rule.theirs
      for rule in family.table
      if rule.paths[0].partition('/')[0] not in shared
    ]
    assert len(names) == len(set(names)), family.model_type
    assert families.CLASSIFIER in family.classifier_heads
