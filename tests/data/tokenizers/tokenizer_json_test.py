"""tokenizer.json: a WordPiece from it, and what is refused in one line."""

import json

import pytest
import tokenizers as hf
from tokenizers import models, normalizers, pre_tokenizers

from bert_jax.data.tokenizers import base, load_tokenizer, wordpiece
from bert_jax.errors import InputError

TOKENS = [*base.SPECIAL_TOKENS, 'the', 'array', '##s', 'cafe', 'Café', '[', ']']
TOKENS += ['sep', '日', '本']


def spec(lowercase=True, **changes):
  tokenizer = hf.Tokenizer(
    models.WordPiece(
      {token: i for i, token in enumerate(TOKENS)}, unk_token='[UNK]'
    )
  )
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.add_special_tokens(list(base.SPECIAL_TOKENS))
  content = json.loads(tokenizer.to_str())
  for path, value in changes.items():
    *parents, last = path.split('__')
    inner = content
    for parent in parents:
      inner = inner[parent]
    inner[last] = value
  return content


def write(folder, content):
  path = folder / 'tokenizer.json'
  path.write_text(json.dumps(content))
  return path


@pytest.mark.parametrize('lowercase', [True, False])
def test_wordpiece(tmp_path, lowercase):
  path = write(tmp_path, spec(lowercase))
  ours = wordpiece.WordPiece(
    TOKENS, lowercase=lowercase, max_word_characters=100
  )
  for found in (load_tokenizer(path), load_tokenizer(tmp_path)):
    assert found.fingerprint == ours.fingerprint
    (ids,) = found.encode_batch(['The Café arrays日本 [SEP]'])
    words = found.decode(ids)
    assert words == (
      'the cafe arrays 日 本 [ sep ]'
      if lowercase
      else '[UNK] Café arrays 日 本 [ [UNK] ]'
    )


def test_limit_of_words_is_kept_when_saved(tmp_path):
  tokenizer = load_tokenizer(write(tmp_path, spec()))
  tokenizer.save(tmp_path / 'saved')
  saved = load_tokenizer(tmp_path / 'saved')
  assert saved.fingerprint == tokenizer.fingerprint
  google = wordpiece.WordPiece(TOKENS, lowercase=True)
  assert google.fingerprint != tokenizer.fingerprint
  texts = ['array' + 's' * 95, 'array' + 's' * 96]
  lengths = [len(ids) for ids in saved.encode_batch(texts)]
  assert lengths == [96, 1]
  assert [len(ids) for ids in google.encode_batch(texts)] == [96, 97]


def test_a_vocab_txt_beside_it_must_be_the_same(tmp_path):
  path = write(tmp_path, spec())
  (tmp_path / 'vocab.txt').write_text('\n'.join(TOKENS))
  alone = load_tokenizer(path)
  assert load_tokenizer(tmp_path).fingerprint == alone.fingerprint
  (tmp_path / 'vocab.txt').write_text('\n'.join([*TOKENS[:-1], 'other']))
  with pytest.raises(InputError, match="entry '本' is None there and 14 in"):
    load_tokenizer(tmp_path)


def test_config_beside_it_decides_the_case(tmp_path):
  write(tmp_path, spec())
  (tmp_path / 'tokenizer_config.json').write_text('{"do_lower_case": false}')
  (ids,) = load_tokenizer(tmp_path).encode_batch(['Café'])
  assert ids.tolist() == [TOKENS.index('Café')]


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ({}, r'no tokenizer\.json'),
    ([], r'no tokenizer\.json'),
    (
      spec(model__type='Unigram'),
      r"'Unigram' .* there are wordpiece .*\.model",
    ),
    (spec(model__type='WordLevel'), "'WordLevel' .* there are wordpiece"),
    (spec(model__type='BPE'), "'BPE' as it stands there is not known"),
    (spec(normalizer=None), r'normalizer\.type is None; .* must have'),
    (spec(normalizer__clean_text=False), 'normalizer.clean_text is False'),
    (spec(normalizer__lowercase='yes'), "normalizer.lowercase is 'yes'; it"),
    (spec(model__continuing_subword_prefix=''), "prefix is ''; .* '##'"),
    (spec(model__vocab={'[PAD]': 0, 'a': 2}), 'its ids are not those of a vo'),
  ],
)
def test_what_cannot_be_loaded_is_one_clear_line(tmp_path, content, message):
  path = write(tmp_path, content)
  with pytest.raises(InputError, match=message) as error:
    load_tokenizer(path)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)


def byte_level(vocab, **changes):
  content = spec(model__type='BPE', pre_tokenizer={'type': 'ByteLevel'})
  content['added_tokens'] = []
  content['model'] = {'type': 'BPE', 'vocab': vocab, 'merges': []}
  return content | changes


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (byte_level({'<s>': 0, '</s>': 1}), r'\[PAD\] or <pad>, .*; add each to'),
    (
      byte_level({t: i for i, t in enumerate([*base.SPECIAL_TOKENS, 'a'], 1)}),
      'not 0 to 5, each once',
    ),
    (
      byte_level(
        {t: i for i, t in enumerate(base.SPECIAL_TOKENS)},
        normalizer={'type': 'x'},
      ),
      'the tokenizers package cannot read it',
    ),
  ],
)
def test_byte_bpe_that_cannot_be_loaded(tmp_path, content, message):
  path = write(tmp_path, content)
  with pytest.raises(InputError, match=message) as error:
    load_tokenizer(path)
  assert '\n' not in str(error.value)


def test_kind_of_the_config_must_be_that_of_the_file(tmp_path):
  write(tmp_path, spec())
  (tmp_path / 'tokenizer_config.json').write_text('{"kind": "byte_bpe"}')
  with pytest.raises(InputError, match="kind is 'byte_bpe', .* 'wordpiece'"):
    load_tokenizer(tmp_path)
