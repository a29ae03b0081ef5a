"""Options in a tokenizer's files are followed, or refused by name.

| files | result |
|---|---|
| strip_accents, tokenize_chinese_chars apart from do_lower_case | done |
| do_basic_tokenize false, never_split, word_tokenizer_type | refused |
| tokenizer_class of another kind, named or by model_type | refused |
| add_prefix_space, keep_accents | done or refused |
| a normalizer that the class would not read | refused |
| tokenizer.json and tokenizer_config.json that disagree | refused |
| words of 101 to 200 letters | as the folder's own files want them |
"""

import json

import pytest
from tokenizer_files import byte_level, tokens_of_text, write_vocabulary

from bert_jax.data.tokenizers import base, load_tokenizer, wordpiece
from bert_jax.errors import InputError

WORDS = [
  *('der', 'bäcker', 'backer', 'Bäcker', 'Backer', 'café', '中', '国', '中国'),
  *('か', 'が', 'x', '##x', 'Der'),
]
ENTRIES = [*base.SPECIAL_TOKENS, *WORDS]
TEXT = 'Der Bäcker 中国 が'


def write(folder, **files):
  return write_vocabulary(folder, ENTRIES, **files)


def tokens(tokenizer, text=TEXT):
  return ' '.join(tokens_of_text(tokenizer, text))


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    ({'do_lower_case': True}, 'der backer 中 国 か'),
    ({'do_lower_case': True, 'strip_accents': True}, 'der backer 中 国 か'),
    ({'do_lower_case': True, 'strip_accents': False}, 'der bäcker 中 国 が'),
    ({'do_lower_case': False}, 'Der Bäcker 中 国 が'),
    ({'do_lower_case': False, 'strip_accents': True}, 'Der Backer 中 国 か'),
    (
      {'do_lower_case': True, 'tokenize_chinese_chars': False},
      'der backer 中国 か',
    ),
  ],
)
def test_case_accents_and_chinese_apart(tmp_path, options, expected):
  tokenizer = load_tokenizer(write(tmp_path, tokenizer_config=options))
  assert tokens(tokenizer) == expected
  ((ids, places),) = tokenizer.encode_with_offsets([TEXT])
  assert ids.tolist() == tokenizer.encode_batch([TEXT])[0].tolist()
  assert TEXT[slice(*places[1])] == 'Bäcker'
  tokenizer.save(tmp_path / 'ours')
  again = load_tokenizer(tmp_path / 'ours')
  assert again.fingerprint == tokenizer.fingerprint
  assert tokens(again) == expected


def test_fingerprints_of_the_usual_options_do_not_change():
  known = wordpiece.WordPiece(ENTRIES, lowercase=True)
  stated = wordpiece.WordPiece(
    ENTRIES, lowercase=True, strip_accents=True, tokenize_chinese_chars=True
  )
  assert stated.fingerprint == known.fingerprint
  rare = {
    wordpiece.WordPiece(ENTRIES, lowercase=True, **options).fingerprint
    for options in (
      {'strip_accents': False},
      {'tokenize_chinese_chars': False},
      {'strip_accents': False, 'tokenize_chinese_chars': False},
    )
  }
  assert len(rare | {known.fingerprint}) == 4


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ({'tokenizer_config': {'do_basic_tokenize': False}}, 'do_basic_tokenize'),
    ({'tokenizer_config': {'never_split': ['x']}}, 'never_split is'),
    ({'tokenizer_config': {'word_tokenizer_type': 'mecab'}}, 'word_tokenizer'),
    ({'tokenizer_config': {'strip_accents': 'no'}}, "accents is 'no'; it must"),
    (
      {'tokenizer_config': {'tokenizer_class': 'BertJapaneseTokenizer'}},
      "tokenizer_class is 'BertJapaneseTokenizer'",
    ),
    (
      {'config': {'tokenizer_class': 'XLMRobertaTokenizer'}},
      "tokenizer_class is 'XLMRobertaTokenizer'",
    ),
    (
      {'config': {'model_type': 'bert-japanese'}},
      "model_type is 'bert-japanese', so its tokenizer_class",
    ),
    ({'config': {'model_type': 'roberta'}}, 'none of tokenizer.json, vocab'),
    ({'tokenizer_config': {'tokenizer_class': ['x']}}, r"class is \['x'\]"),
  ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, files, message):
  write(tmp_path, **files)
  with pytest.raises(InputError, match=message) as error:
    load_tokenizer(tmp_path)
  assert '\n' not in str(error.value)


def wordpiece_json(**options):
  tokenizer = wordpiece.WordPiece(
    ENTRIES, **({'lowercase': True, 'max_word_characters': 100} | options)
  )
  return tokenizer.tokenizer_json()


@pytest.mark.parametrize(
  ('config', 'options', 'expected'),
  [
    ({}, {'strip_accents': False}, 'der bäcker 中 国 が'),
    ({}, {'lowercase': False}, 'Der Bäcker 中 国 が'),
    ({'do_lower_case': False}, {}, 'Der Bäcker 中 国 が'),
    (
      {'tokenizer_class': 'PreTrainedTokenizerFast'},
      {'tokenize_chinese_chars': False},
      'der backer 中国 か',
    ),
    (
      {'tokenizer_class': 'BertTokenizer', 'do_lower_case': False},
      {},
      'Der Bäcker 中 国 が',
    ),
  ],
)
def test_of_two_files_one_says_it(tmp_path, config, options, expected):
  spec = wordpiece_json(**options)
  write(tmp_path, tokenizer_config=config, tokenizer=spec)
  assert tokens(load_tokenizer(tmp_path)) == expected
  (tmp_path / 'vocab.txt').unlink()
  assert tokens(load_tokenizer(tmp_path)) == expected


@pytest.mark.parametrize(
  ('config', 'options', 'message'),
  [
    (
      {'tokenizer_class': 'BertTokenizer'},
      {'lowercase': False},
      'it says no do_lower_case, and tokenizer.json False',
    ),
    (
      {'tokenizer_class': 'BertTokenizer'},
      {'strip_accents': False},
      'it says no strip_accents, and tokenizer.json False',
    ),
    (
      {'tokenizer_class': 'PreTrainedTokenizerFast', 'do_lower_case': False},
      {},
      'it says False for do_lower_case, and tokenizer.json True',
    ),
  ],
)
def test_files_that_disagree_are_refused(tmp_path, config, options, message):
  write(tmp_path, tokenizer_config=config, tokenizer=wordpiece_json(**options))
  with pytest.raises(InputError, match=message):
    load_tokenizer(tmp_path)


def byte_level_spec(pre_tokenizer=None, **changes):
  vocab = ['<s>', '<pad>', '</s>', '<unk>', '<mask>', 'a', '\u0120']
  spec = byte_level(vocab, **changes)
  spec['pre_tokenizer'] |= pre_tokenizer or {}
  return spec


@pytest.mark.parametrize(
  ('config', 'changes', 'expected'),
  [
    ({'add_prefix_space': True}, {}, 'Ġ a'),
    ({'add_prefix_space': False}, {}, 'a'),
    ({}, {'normalizer': {'type': 'NFC'}}, 'normalizer is'),
    ({}, {'pre_tokenizer': {'use_regex': False}}, 'use_regex is False'),
    (
      {},
      {'pre_tokenizer': {'add_prefix_space': True}},
      'no add_prefix_space, and tokenizer.json True',
    ),
    (
      {'tokenizer_class': 'PreTrainedTokenizerFast', 'add_prefix_space': True},
      {},
      'add_prefix_space is True, and in tokenizer.json False',
    ),
  ],
)
def test_rules_of_roberta(tmp_path, config, changes, expected):
  config = {'tokenizer_class': 'RobertaTokenizer'} | config
  for name, content in (
    ('tokenizer', byte_level_spec(**changes)),
    ('tokenizer_config', config),
  ):
    (tmp_path / f'{name}.json').write_text(json.dumps(content))
  if ' is' in expected or 'no ' in expected:
    with pytest.raises(InputError, match=expected):
      load_tokenizer(tmp_path)
  else:
    assert tokens(load_tokenizer(tmp_path), 'a') == expected


@pytest.mark.parametrize(
  ('files', 'limit'),
  [
    ({}, 200),  # Google's
    ({'tokenizer_config': {'do_lower_case': True}}, 200),
    ({'config': {'model_type': 'bert'}}, 100),
    ({'tokenizer_config': {'tokenizer_class': 'BertTokenizerFast'}}, 100),
    ({'tokenizer': wordpiece_json(max_word_characters=150)}, 150),
    (
      {'tokenizer_config': {'lowercase': True, 'max_word_characters': 120}},
      120,
    ),
  ],
)
def test_long_words(tmp_path, files, limit):
  tokenizer = load_tokenizer(write(tmp_path, **files))
  lengths = [len(i) for i in tokenizer.encode_batch(['x' * limit, 'x' * 201])]
  assert lengths == [limit, 1]
  (ids,) = tokenizer.encode_batch(['x' * (limit + 1)])
  assert ids.tolist() == [tokenizer.table.unk_id]


@pytest.mark.parametrize(
  ('config', 'lowers'),
  [
    ({'do_lower_case': True}, True),
    ({'do_lower_case': True, 'keep_accents': True}, None),
    ({'do_lower_case': False, 'keep_accents': False}, None),
    ({'do_lower_case': False}, False),
    ({'do_lower_case': False, 'tokenizer_class': 'AlbertTokenizer'}, None),
    ({'do_lower_case': True, 'remove_space': False}, None),
  ],
)
def test_options_of_albert(tmp_path, config, lowers):
  from bert_jax.data.sources.base import Document
  from bert_jax.data.tokenizers import sentencepiece_training

  trained = sentencepiece_training.train_sentencepiece(
    [Document('Der Bäcker backt, the baker bakes', '')] * 20,
    model_type='unigram',
    vocab_size=300,
    lowercase=False,
  )
  trained.save(tmp_path)
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  if lowers is None:
    with pytest.raises(InputError, match='keep_accents|remove_space'):
      load_tokenizer(tmp_path)
    return
  tokenizer = load_tokenizer(tmp_path)
  text = tokenizer.decode(tokenizer.encode_batch(['Der Bäcker'])[0])
  assert text == ('der backer' if lowers else 'Der Bäcker')
