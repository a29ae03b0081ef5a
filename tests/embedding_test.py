"""Vectors of texts, and the folders that say how they are made."""

import json
import pathlib

import jax
import numpy as np
import pytest
from other_models import save_folder
from other_process import said
from refusals import refusal
from safetensors.numpy import load_file

import bert_jax
from bert_jax.data.example_file import ExampleFile
from bert_jax.data.examples import text_columns
from bert_jax.embedding import Embedder
from bert_jax.interop.sentence_transformers import VectorForm, read_form
from bert_jax.jobs import embed
from bert_jax.jobs.convert import convert
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.base import derive_layout

TEXTS = ('a b c d e f g h i j k l m n', '', 'b', 'x y z x', 'a cat', 'x y')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
  return save_folder(tmp_path_factory.mktemp('model') / 'bert', 'BertModel')


@pytest.fixture(scope='module')
def model(folder):
  return bert_jax.load(folder)


def states_of(model, text: str) -> np.ndarray:
  """The last states of a text's tokens, [T, D], computed without padding."""
  table = model.tokenizer.table
  (ids,) = model.tokenizer.encode_batch([text])
  row = np.array([[table.cls_id, *ids, table.sep_id]], np.int32)
  config: EncoderConfig = model.experiment.model
  encoder = model_with_heads(config, {}, 'float32')

  @jax.jit
  def states(params, row):
    return encoder.bind(params).encoder(row, derive_layout(row, table))

  params = {'encoder': model._params['encoder']}
  return np.asarray(states(params, row))[0]


@pytest.mark.parametrize(
  'pooling,normalize,batch_tokens,pooled',
  [
    ('mean', True, 2048, lambda states: states.mean(axis=0)),
    ('cls', False, 1, lambda states: states[0]),
    ('max', False, 40, lambda states: states.max(axis=0)),
  ],
)
def test_vectors(model, pooling, normalize, batch_tokens, pooled):
  """Each is that of the text alone, whatever it is computed with."""
  embedder = model.embedder(pooling, normalize)
  found = embedder(TEXTS, batch_tokens=batch_tokens)
  assert found.shape == (len(TEXTS), 16) and found.dtype == np.float32
  for text, vector in zip(TEXTS, found, strict=True):
    expected = pooled(states_of(model, text))
    if normalize:
      expected = expected / np.linalg.norm(expected)
    np.testing.assert_allclose(vector, expected, atol=1e-5, err_msg=text)


def test_similarity(model):
  found = model.similarity(['a cat', 'b'], ['b', 'a cat', 'c d'])
  assert found.shape == (2, 3)
  np.testing.assert_allclose(found[[0, 1], [1, 0]], 1, atol=1e-5)
  assert (np.abs(found) < 1 + 1e-5).all()


def test_long_texts(model):
  """Refused by their number, or cut and counted."""
  longest = ' '.join(30 * 'a')  # 32 tokens with [CLS] and [SEP]
  texts = ['b', longest + ' b c', longest]
  assert 'text 2 has 34 tokens with [CLS] and [SEP], the model takes 32' in (
    refusal(model.embed, texts)
  )
  found = model.embed(texts, cut=True)
  np.testing.assert_allclose(found[1], found[2], atol=1e-6)
  assert model.embed([]).shape == (0, 16)
  assert "pooling='median': choose mean, cls, max" in refusal(
    model.embed, ['a'], pooling='median'
  )


@pytest.mark.parametrize(
  'texts,message',
  [
    ('abc', "texts='abc': give a list of texts"),
    (['a', None], 'text 2 is a NoneType: give a str'),
    (['a', 'b', '\ud800'], 'text 3 holds half of a surrogate pair'),
  ],
)
def test_what_is_no_list_of_texts(model, texts, message):
  assert message in refusal(model.embed, texts)


def module(kind: str, path: str = '') -> dict[str, str]:
  return {'path': path, 'type': f'sentence_transformers.models.{kind}'}


PLAIN = [module('Transformer'), module('Pooling', '1_Pooling')]


def write_form(folder, modules=PLAIN, pooling=None, **files):
  (folder / '1_Pooling').mkdir(parents=True, exist_ok=True)
  (folder / 'modules.json').write_text(json.dumps(modules))
  (folder / '1_Pooling' / 'config.json').write_text(json.dumps(pooling or {}))
  for name, content in files.items():
    (folder / f'{name}.json').write_text(json.dumps(content))


def test_forms_of_folders(tmp_path):
  assert read_form(tmp_path) is None
  write_form(
    tmp_path,
    [*PLAIN, module('Normalize', '2_Normalize')],
    {'pooling_mode_cls_token': True, 'pooling_mode_mean_tokens': False},
    sentence_bert_config={'max_seq_length': 20, 'do_lower_case': False},
    config_sentence_transformers={
      'prompts': {'query': 'find: ', 'document': ''},
      'default_prompt_name': 'query',
    },
  )
  assert read_form(tmp_path) == VectorForm('cls', True, 20, 'find: ')
  texts_alone = read_form(tmp_path, pools=False)
  assert texts_alone == VectorForm(max_tokens=20, prompt='find: ')
  other = tmp_path / 'newer'
  write_form(other, pooling={'pooling_mode': 'max', 'embedding_dimension': 16})
  assert read_form(other) == VectorForm('max', False)


@pytest.mark.parametrize(
  'change,words',
  [
    (dict(modules=[*PLAIN, module('Dense')]), 'Transformer, Pooling, Dense'),
    (dict(modules='junk'), 'is no list of modules'),
    (dict(pooling={'pooling_mode': 'lasttoken'}), 'pools by lasttoken'),
    (dict(pooling={'pooling_mode': ['cls', 'mean']}), 'pools by cls, mean'),
    (
      dict(pooling={'pooling_mode_mean_sqrt_len_tokens': True}),
      'pools by mean_sqrt_len_tokens',
    ),
    (dict(pooling={'include_prompt': False}), 'include_prompt=false'),
    (dict(sentence_bert_config={'do_lower_case': True}), 'do_lower_case'),
    (
      dict(config_sentence_transformers={'truncate_dim': 0}),
      'truncate_dim is 0; give a number of 1 or more',
    ),
    (
      dict(config_sentence_transformers={'default_prompt_name': 'query'}),
      "default_prompt_name is 'query', which is none of its prompts",
    ),
  ],
)
def test_forms_that_are_not_computed(tmp_path, change, words):
  write_form(tmp_path, **change)
  assert words in refusal(read_form, tmp_path)


def test_a_folder_of_sentence_transformers(tmp_path):
  """Its form is the default; its prompt stays where pooling is given."""
  folder = save_folder(tmp_path, 'BertModel')
  write_form(
    folder,
    pooling={'pooling_mode': 'cls'},
    sentence_bert_config={'max_seq_length': 6},
    config_sentence_transformers={
      'prompts': {'query': 'q '},
      'default_prompt_name': 'query',
    },
  )
  model = bert_jax.load(folder)
  found = model.embed(['a b'])[0]
  np.testing.assert_allclose(found, states_of(model, 'q a b')[0], atol=1e-5)
  assert 'has 7 tokens' in refusal(model.embed, ['a b c d'])
  plain = model.embed(['a b'], pooling='mean', normalize=False)[0]
  expected = states_of(model, 'q a b').mean(axis=0)
  np.testing.assert_allclose(plain, expected, atol=1e-5)


@pytest.mark.parametrize('named', [False, True])
def test_a_folder_is_written(folder, tmp_path, named):
  """Read back, it gives the vectors of what it was made from."""
  source = folder
  if named:
    source = save_folder(tmp_path / 'source', 'BertModel')
    write_form(
      source,
      pooling={'pooling_mode': 'max'},
      sentence_bert_config={'max_seq_length': 6},
      config_sentence_transformers={
        'prompts': {'default': 'q '},
        'default_prompt_name': 'default',
      },
    )
  output = tmp_path / 'out'
  lines = convert(str(source), output, output_format='sentence_transformers')
  assert 'BertModel' in '\n'.join(lines)
  expected = VectorForm('max', False, 6, 'q ') if named else None
  assert read_form(source) == expected
  assert read_form(output) == (expected or VectorForm(max_tokens=32))
  np.testing.assert_array_equal(
    bert_jax.load(output).embed(['a b', 'c']),
    bert_jax.load(source).embed(['a b', 'c']),
  )


def test_the_verb(folder, model, tmp_path):
  """Also with 1 byte a number, of as many of them as are asked for."""
  rows = ['text', 'a cat', 40 * 'a ', 'b', 'x y', '']
  (tmp_path / 'in.csv').write_text('\n'.join(rows[:-1]) + '\n')
  words = ['embed', f'--workdir={folder}', '--input=in.csv', '--output=out.npy']
  examples = ExampleFile(tmp_path / 'in.csv', text_columns(['text'], None))
  message = refusal(embed.refuse_long_texts, model.embedder(), examples)
  assert 'text 2 has 42 tokens' in message
  text = said(tmp_path, *words, '--cut')
  assert '1 of 4 texts were cut to 32 tokens' in text
  assert '4 vectors of 16 numbers' in text
  expected = model.embed(rows[1:-1], cut=True)
  np.testing.assert_allclose(np.load(tmp_path / 'out.npy'), expected, atol=1e-6)
  text = said(tmp_path, *words, '--cut', '--dim=8', '--precision=int8')
  assert 'int8: 8 bytes a vector, 32 in float32; of the 2 nearest' in text
  assert '0.00% of the numbers are outside' in text
  codes = np.load(tmp_path / 'out.npy')
  assert codes.shape == (4, 8) and codes.dtype == np.int8
  ranges = np.load(tmp_path / 'out.ranges.npy')
  steps = np.diff(ranges, axis=0) / 255
  vectors = ranges[0] + (codes.astype(float) + 128.5) * steps
  assert (np.abs(vectors - expected[:, :8]) <= 0.51 * steps + 1e-6).all()


def test_vectors_go_on(model, tmp_path, monkeypatch, capsys):
  """A stopped command's vectors are taken, and nothing else's."""
  (tmp_path / 'in.csv').write_text('text\n' + 'a cat\nb\nx y z\n' * 3)
  output, embedder = tmp_path / 'out.npy', model.embedder()
  examples = ExampleFile(tmp_path / 'in.csv', text_columns(['text'], None))
  monkeypatch.setattr(embed, 'WINDOW', 4)
  precision, _ = embed.fit_precision(embedder, examples, 'ubinary', False)
  expected = precision.codes(model.embed(['a cat', 'b', 'x y z'] * 3))
  seen = []

  def write(stop_after, name='ubinary'):
    def vectors(ids, batch_tokens):
      if len(seen) == stop_after:
        raise KeyboardInterrupt
      seen.append(len(ids))
      return Embedder._vectors(embedder, ids, batch_tokens)

    monkeypatch.setattr(embedder, '_vectors', vectors)
    request = embed.request_of(model, embedder, examples, name)
    return embed.write_vectors(
      embedder,
      examples,
      output,
      cut=False,
      precision=precision,
      request=request,
    )

  with pytest.raises(KeyboardInterrupt):
    write(2)
  assert '8 results are kept' in capsys.readouterr().out
  assert write(9) == {'cut': 0, 'outside': 0}
  assert seen == [4, 4, 1] and not [*tmp_path.glob('*.partial*')]
  np.testing.assert_array_equal(np.load(output), expected)
  with pytest.raises(KeyboardInterrupt):
    write(4)
  with pytest.raises(KeyboardInterrupt):
    write(5, 'another')
  assert seen == [4, 4, 1, 4, 4]
  assert 'is begun anew: what is there has another precision' in (
    capsys.readouterr().out
  )


def test_numbers_that_are_kept(model):
  np.testing.assert_array_equal(
    model.embed(['a cat'], dim=5), model.embed(['a cat'])[:, :5]
  )
  assert 'vectors have 16 numbers' in refusal(model.embed, ['a'], dim=17)


def test_weights_are_those_of_the_folder(folder, model):
  stored = load_file(folder / 'model.safetensors')
  table = stored['bert.embeddings.word_embeddings.weight']
  ours = model._params['encoder']['embeddings']['token']['embedding']
  np.testing.assert_array_equal(ours[: len(table)], table)
