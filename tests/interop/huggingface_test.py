"""Hugging Face folders: a sound one, untidy ones, and what is refused."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from other_models import assert_same_params
from safetensors.numpy import load_file, save_file

from bert_jax.errors import InputError
from bert_jax.interop import family as families
from bert_jax.interop import huggingface, name_table, recognise
from bert_jax.interop.bert import BERT
from bert_jax.interop.name_table import Rule
from bert_jax.models import functional
from bert_jax.models.masks import RowLayout
from bert_jax.param_info import ParamInfo

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'bert'
TOKENS = 55
IDS = dict(pad_id=0, cls_id=2, sep_id=3)
HEADS = ('pooler', 'mlm_head', 'next_sentence_head')
WORD = 'bert.embeddings.word_embeddings.weight'
QUERY = 'bert.encoder.layer.1.attention.self.query.weight'


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """A copy of what transformers wrote, without its other files."""
  for name in ('config.json', 'model.safetensors'):
    shutil.copy(GOLDEN / name, tmp_path / name)
  return tmp_path


def read(folder) -> huggingface.Checkpoint:
  return huggingface.read(folder, tokenizer_size=TOKENS)


def change_config(folder, **fields) -> None:
  """None takes a field away."""
  path = folder / 'config.json'
  config = json.loads(path.read_text()) | fields
  config = {name: x for name, x in config.items() if x is not None}
  path.write_text(json.dumps(config))


def change_weights(folder, change) -> None:
  """change(weights) -> weights, in model.safetensors."""
  path = folder / 'model.safetensors'
  weights = {name: np.array(x) for name, x in load_file(path).items()}
  save_file(change(weights), path)


def test_it_computes_what_transformers_computes():
  checkpoint = read(GOLDEN)
  assert checkpoint.heads == HEADS
  assert checkpoint.left_out == checkpoint.notes == ()
  model = families.build(checkpoint.model, checkpoint.heads)
  with np.load(GOLDEN / 'expected.npz') as file:
    expected = dict(file)
  segments = expected.pop('segment_ids')
  layout = RowLayout(
    segments,
    np.arange(segments.shape[1]) * segments,
    expected.pop('token_type_ids'),
  )
  input_ids = expected.pop('input_ids')

  @jax.jit
  def run(params):
    module = model.bind(params)
    states = module.encoder.hidden_states(
      input_ids, RowLayout(*map(jnp.asarray, layout))
    )
    table = module.encoder.embeddings.token.embedding[...]
    pooled = module.pooler(states[-1][:, 0])
    return {
      'hidden': jnp.stack(states),
      'mlm_logits': module.mlm_head(states[-1], table),
      'pooled': pooled,
      'next_sentence_logits': module.next_sentence_head(pooled),
    }

  computed = run(checkpoint.params)
  is_text = segments > 0
  for name, value in expected.items():
    mine = np.asarray(computed[name])
    if name in ('hidden', 'mlm_logits'):
      mine, value = mine[..., is_text, :], value[..., is_text, :]
    np.testing.assert_allclose(mine, value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
  'architecture', ['BertForPreTraining', 'BertForMaskedLM', 'BertModel']
)
def test_there_and_back_is_bit_equal(tmp_path, architecture):
  checkpoint = read(GOLDEN)
  left_out, _ = huggingface.write(
    tmp_path,
    BERT,
    architecture,
    checkpoint.model,
    checkpoint.params,
    **IDS,
  )
  found = load_file(tmp_path / 'model.safetensors')
  expected = load_file(GOLDEN / 'model.safetensors')
  if architecture == 'BertModel':
    # As AutoModel wants it: names without the prefix.
    found = {f'bert.{name}': array for name, array in found.items()}
  for name in found:
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
  missing = {name for name in expected if name not in found}
  prefixes = {
    'BertForPreTraining': ('none',),
    'BertForMaskedLM': ('bert.pooler', 'cls.seq'),
    'BertModel': ('cls',),
  }
  wanted = prefixes[architecture]
  assert missing == {name for name in expected if name.startswith(wanted)}
  again = read(tmp_path)
  assert again.model == checkpoint.model
  assert {*again.heads, *left_out} == {*HEADS}


def rename(pairs):
  def change(weights):
    for old, new in pairs:
      weights = {name.replace(old, new): x for name, x in weights.items()}
    return weights

  return change


UNTIDY = {
  'without a prefix': rename([('bert.', '')]),
  'old norms': rename(
    [('Norm.weight', 'Norm.gamma'), ('Norm.bias', 'Norm.beta')]
  ),
  'a buffer': lambda weights: (
    weights | {'bert.embeddings.position_ids': np.arange(32)[None]}
  ),
  'copies': lambda weights: (
    weights
    | {
      'cls.predictions.decoder.weight': weights[WORD],
      'cls.predictions.decoder.bias': weights['cls.predictions.bias'],
    }
  ),
  'a copy alone': rename(
    [('cls.predictions.bias', 'cls.predictions.decoder.bias')]
  ),
}


@pytest.mark.parametrize('name', UNTIDY)
def test_untidy_names_give_the_same(folder, name):
  change_weights(folder, UNTIDY[name])
  found = read(folder)
  assert_same_params(found.params, read(GOLDEN).params)
  assert found.left_out == ()


@pytest.mark.parametrize('name', ['zip.bin', 'old.bin'])
def test_torch_files_give_the_same(folder, name):
  (folder / 'model.safetensors').unlink()
  shutil.copy(GOLDEN / name, folder / 'pytorch_model.bin')
  assert_same_params(read(folder).params, read(GOLDEN).params)


def test_a_torch_file_as_the_one_shard(folder):
  names = load_file(folder / 'model.safetensors')
  (folder / 'model.safetensors').unlink()
  shutil.copy(GOLDEN / 'old.bin', folder / 'pytorch_model-1.bin')
  index = {'weight_map': dict.fromkeys(names, 'pytorch_model-1.bin')}
  path = folder / 'pytorch_model.bin.index.json'
  path.write_text(json.dumps(index))
  assert_same_params(read(folder).params, read(GOLDEN).params)


def shard(folder) -> dict:
  weights = load_file(folder / 'model.safetensors')
  (folder / 'model.safetensors').unlink()
  names = sorted(weights)
  parts = {'a.safetensors': names[:20], 'b.safetensors': names[20:]}
  for part, mine in parts.items():
    save_file({name: weights[name] for name in mine}, folder / part)
  where = {name: part for part, mine in parts.items() for name in mine}
  return {'metadata': {}, 'weight_map': where}


def test_shards_give_the_same_and_a_missing_one_is_named(folder):
  index = shard(folder)
  path = folder / 'model.safetensors.index.json'
  path.write_text(json.dumps(index))
  assert_same_params(read(folder).params, read(GOLDEN).params)
  path.write_text(json.dumps({'weight_map': {'a': '../a.safetensors'}}))
  with pytest.raises(InputError, match='is no file of the folder'):
    read(folder)
  path.write_text('{"weight_map": 3}')
  with pytest.raises(InputError, match='has no weight_map'):
    read(folder)
  index['weight_map']['more'] = 'a.safetensors'
  path.write_text(json.dumps(index))
  with pytest.raises(InputError, match='more is not in a.safetensors'):
    read(folder)
  (folder / 'b.safetensors').unlink()
  with pytest.raises(InputError, match='its shard b.safetensors is missing'):
    read(folder)


def test_half_precision_is_taken_exactly(folder):
  change_weights(
    folder, lambda w: {name: x.astype(np.float16) for name, x in w.items()}
  )
  found = functional.flatten(read(folder).params)
  expected = functional.flatten(read(GOLDEN).params)
  for path, leaf in found.items():
    assert leaf.dtype == np.float32
    np.testing.assert_array_equal(leaf, expected[path].astype(np.float16))


def test_unknown_heads_are_listed_and_kept_out(folder):
  extra = {'qa_outputs.weight': np.ones((2, 16), np.float32)}
  change_weights(folder, lambda weights: weights | extra)
  found = read(folder)
  assert found.left_out == ('qa_outputs.weight',)
  assert_same_params(found.params, read(GOLDEN).params)


def with_classifier(folder, rows=3, **config) -> None:
  def change(weights):
    kept = {n: x for n, x in weights.items() if not n.startswith('cls')}
    return kept | {
      'classifier.weight': np.ones((rows, 16), np.float32),
      'classifier.bias': np.zeros(rows, np.float32),
    }

  change_weights(folder, change)
  change_config(
    folder,
    **{
      'architectures': ['BertForSequenceClassification'],
      'id2label': {'0': 'x', '1': 'y', '2': 'z'},
    }
    | config,
  )


@pytest.mark.parametrize(
  'config, labels, note',
  [
    ({}, ('x', 'y', 'z'), None),
    ({'num_labels': 2}, ('x', 'y', 'z'), 'num_labels is 2'),
    (
      {'id2label': None, 'num_labels': 3},
      ('LABEL_0', 'LABEL_1', 'LABEL_2'),
      'id2label is missing',
    ),
    (
      {'architectures': ['BertForNextSentencePrediction']},
      (),
      'not one of whole',
    ),
    (
      {'architectures': ['BertForMultipleChoice']},
      (),
      'has 3 outputs, not one',
    ),
    ({'architectures': None}, (), 'config.json has no architectures'),
    ({'problem_type': 'regression'}, (), "problem_type 'regression'"),
  ],
)
def test_the_labels_of_a_classifier(folder, config, labels, note):
  with_classifier(folder, **config)
  found = read(folder)
  assert (found.head.output_names if found.head else ()) == labels
  assert ('classifier' in found.params) == bool(labels)
  assert bool(found.left_out) == (not labels)
  assert note in ''.join(found.notes) if note else not found.notes
  assert bool(found.no_classifier) == (not labels)


def test_the_tags_of_a_classifier_of_words(folder):
  with_classifier(folder, architectures=['BertForTokenClassification'])
  found = read(folder)
  assert found.head.output_names == ('x', 'y', 'z')
  assert 'token_classifier' in found.params
  assert not found.left_out and not found.notes


@pytest.mark.parametrize(
  'config, message',
  [
    ({'id2label': {'0': 'x', '1': 'x'}}, 'name each label once'),
    ({'id2label': 1}, 'names no labels'),
  ],
)
def test_labels_that_do_not_fit(folder, config, message):
  with_classifier(folder, **config)
  with pytest.raises(InputError, match=message):
    read(folder)


def test_a_config_without_model_type(folder):
  change_config(folder, model_type=None)
  assert 'BertForPreTraining is of bert' in read(folder).notes[0]
  change_config(folder, architectures=None)
  assert 'the names are those of bert' in read(folder).notes[0]
  assert_same_params(read(folder).params, read(GOLDEN).params)


@pytest.mark.parametrize(
  'config, message',
  [
    ({'hidden_act': 'relu'}, "hidden_act is 'relu', ours can only be 'gelu'"),
    ({'position_embedding_type': 'relative_key'}, 'position_embedding_type'),
    ({'is_decoder': True}, 'is_decoder is True'),
    ({'hidden_size': '16'}, "hidden_size is '16', which is no size"),
    ({'num_attention_heads': 3}, 'num_heads=3 does not divide'),
    (
      {'vocab_size': 60},
      r'word_embeddings.weight has shape \(55, 16\), by the config it must be '
      r'\(60, 16\)',
    ),
    ({'vocab_size': 50}, 'tokenizer has 55 entries, .* only 50'),
    (
      {'num_hidden_layers': 3},
      r'16 of 62 parameters are missing, such as bert',
    ),
    ({'num_hidden_layers': 1}, 'left_out'),
    ({'tokenizer_class': 'RobertaTokenizer'}, 'a tokenizer of another kind'),
  ],
)
def test_a_config_that_does_not_fit(folder, config, message):
  change_config(folder, **config)
  if message == 'left_out':
    assert len(read(folder).left_out) == 16
    return
  with pytest.raises(InputError, match=message):
    read(folder)


def untie(weights):
  return weights | {'cls.predictions.decoder.weight': weights[WORD] + 1}


@pytest.mark.parametrize(
  'change, message',
  [
    (
      lambda w: w | {QUERY: w[QUERY][:8]},
      r'has shape \(8, 16\), .* \(16, 16\)',
    ),
    (lambda w: w | {QUERY: w[QUERY] * np.nan}, 'values that are not finite'),
    (lambda w: w | {QUERY: w[QUERY].astype(np.int64)}, 'is of type int64'),
    (untie, 'decoder.weight differs from bert.embeddings.word_embeddings'),
    (
      lambda w: w | {QUERY.removeprefix('bert.'): w[QUERY]},
      'are the same parameter',
    ),
    (
      lambda w: {name: x for name, x in w.items() if name != QUERY},
      f'1 of 46 parameters are missing, such as {QUERY}',
    ),
  ],
)
def test_weights_that_do_not_fit(folder, change, message):
  change_weights(folder, change)
  with pytest.raises(InputError, match=message):
    read(folder)


def test_all_problems_are_in_one_line(folder):
  change_weights(
    folder,
    lambda w: (
      {name: x for name, x in w.items() if name != WORD}
      | {QUERY: w[QUERY][:8], 'cls.predictions.bias': np.zeros(3, np.float32)}
    ),
  )
  with pytest.raises(InputError) as caught:
    huggingface.read(folder, tokenizer_size=99, problems=['no [MASK] in it'])
  message = str(caught.value)
  assert len(message.splitlines()) == 1
  for part in ('no [MASK]', QUERY, 'predictions.bias', WORD, '99 entries'):
    assert part in message


def test_a_wrong_width_is_not_told_of_every_parameter(folder):
  change_config(folder, hidden_size=32)
  with pytest.raises(InputError, match='nor do 38 other shapes fit') as caught:
    read(folder)
  assert str(caught.value).count('has shape') == 4


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
def test_weights_that_git_did_not_fetch(folder, name):
  (folder / 'model.safetensors').unlink()
  pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n'
  (folder / name).write_text(pointer)
  with pytest.raises(InputError, match='a pointer of Git LFS, .* git lfs pull'):
    read(folder)


def test_files_that_are_missing_or_damaged(folder):
  path = folder / 'model.safetensors'
  whole = path.read_bytes()
  for size in (0, 5, 100, len(whole) - 1):
    path.write_bytes(whole[:size])
    with pytest.raises(InputError, match='cut short or damaged'):
      read(folder)
  path.unlink()
  with pytest.raises(InputError, match='has neither model.safetensors nor'):
    read(folder)
  path.write_bytes(whole)
  for text in ('{', '[]', '[' * 100_000):
    (folder / 'config.json').write_text(text)
    with pytest.raises(InputError, match='config.json: is no'):
      read(folder)
  (folder / 'config.json').unlink()
  with pytest.raises(InputError, match='config.json: is missing'):
    read(folder)


def test_an_unknown_architecture_names_the_nearest(folder):
  change_config(folder, model_type='robert')
  # Whatever it is called.
  with pytest.raises(InputError, match='nearest is bert, .* all names are'):
    read(folder)
  change_config(folder, model_type='bort')
  change_weights(
    folder,
    rename([('attention.self.query', 'attention.q'), ('cls.', 'lm_head.')]),
  )
  with pytest.raises(InputError) as caught:
    read(folder)
  message = str(caught.value)
  assert "model_type 'bort' is not known; there are bert" in message
  assert 'nearest is bert, of which it lacks 2 kinds of parameter' in message
  assert 'such as bert.encoder.layer.{}.attention.self.query.bias' in message
  assert 'and it has' in message and 'layer.{}.attention.q.bias' in message
  change_config(folder, model_type=None, architectures=['BortModel'])
  with pytest.raises(
    InputError, match="architectures 'BortModel' is not known"
  ):
    read(folder)


def test_a_tokenizer_that_ours_is_not(folder):
  options = {'tokenizer_class': 'BertJapaneseTokenizer'}
  (folder / 'tokenizer_config.json').write_text(json.dumps(options))
  with pytest.raises(InputError, match='tokenizer_class'):
    read(folder)


@pytest.mark.parametrize(
  'wanted, heads, message',
  [
    ('BertForPreTraining', ('mlm_head',), 'needs next_sentence_head, pooler'),
    ('BertForCausalLM', HEADS, 'for bert there are BertForSequence'),
  ],
)
def test_an_architecture_that_cannot_be_written(wanted, heads, message):
  with pytest.raises(InputError, match=message):
    huggingface.choose_architecture(BERT, heads, wanted)


def test_the_architecture_follows_from_the_heads():
  def choose(*heads):
    return huggingface.choose_architecture(BERT, heads)

  assert choose(*HEADS) == 'BertForPreTraining'
  assert choose('pooler', 'mlm_head') == 'BertForMaskedLM'
  assert choose('pooler', 'classifier') == 'BertForSequenceClassification'
  assert choose('pooler') == choose() == 'BertModel'


def test_an_encoder_that_no_family_can_say(monkeypatch):
  """A family whose config would lose a field is not taken."""
  model = read(GOLDEN).model
  assert recognise.family_of(model) is BERT
  fields = {n: f for n, f in BERT.fields.items() if n != 'max_positions'}
  smaller = dataclasses.replace(BERT, fields=fields)
  monkeypatch.setattr(recognise, 'FAMILIES', (smaller,))
  with pytest.raises(InputError, match='no class for this encoder among bert'):
    recognise.family_of(model)


def test_several_of_ours_in_one_of_theirs():
  """As families have it that keep queries, keys and values together."""
  names = ('query', 'key', 'value')
  ours = tuple(f'layers/{{}}/{name}/kernel' for name in names)
  table = (
    Rule(ours, 'layers.{}.Wqkv.weight', transposed=True),
    Rule('layers/{}/out/kernel', 'layers.{}.out.weight', transposed=True),
  )
  rng = np.random.default_rng(0)
  params = {
    f'layers/7/{name}/kernel': rng.normal(size=(6, 2, 3)) for name in names
  } | {'layers/7/out/kernel': rng.normal(size=(2, 3, 6))}
  shapes = {path: array.shape for path, array in params.items()}
  infos = {
    path: ParamInfo((None,) * 3, 'head', 2 if 'out' in path else 1)
    for path in params
  }
  joined, out = name_table.entries(table, params)
  assert joined.name == 'layers.7.Wqkv.weight'
  assert name_table.their_shape(joined, shapes, infos) == (18, 6)
  theirs = name_table.to_theirs(joined, params, infos)
  x = rng.normal(size=6)
  expected = [x @ params[path].reshape(6, 6) for path in joined.paths]
  np.testing.assert_allclose(theirs @ x, np.concatenate(expected))
  back = name_table.to_ours(joined, theirs, shapes, infos)
  of_out = name_table.to_theirs(out, params, infos)
  back |= name_table.to_ours(out, of_out, shapes, infos)
  for path, array in params.items():
    np.testing.assert_array_equal(back[path], array)
