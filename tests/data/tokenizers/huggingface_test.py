"""Tokenizers written for transformers: the same ids, with special tokens.

tests/interop/transformers_test.py asks AutoTokenizer itself.
"""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer
from trained_tokenizers import FORMS, train_on

from bert_jax.data.tokenizers import huggingface, load_tokenizer
from bert_jax.data.tokenizers.wordpiece import WordPiece
from bert_jax.errors import InputError

TEXTS = [
  'These arrays return a random number.',
  ' unknown: Zürich, 深度学习, हिन्दी 한국어  ',
  'tokens that\nhold "``every\'\'" value, two of it!',
]


@pytest.fixture(scope='module', params=FORMS, ids=lambda kind: str(kind))
def tokenizer(request, small_text, tmp_path_factory):
  kind, lowercase = request.param
  output = tmp_path_factory.mktemp('tokenizers') / kind
  return train_on(small_text, kind, lowercase, output)


def test_ids_and_special_tokens(tokenizer, tmp_path):
  huggingface.save(tokenizer, tmp_path, max_length=64)
  theirs = Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  table = tokenizer.table
  ids = tokenizer.encode_batch(TEXTS)
  for text, mine in zip(TEXTS, ids, strict=True):
    expected = [table.cls_id, *mine, table.sep_id]
    assert theirs.encode(text).ids == expected
  pair = theirs.encode(TEXTS[0], TEXTS[2])
  first = [table.cls_id, *ids[0], table.sep_id]
  second = [*ids[2], table.sep_id]
  assert pair.ids == first + second
  assert pair.type_ids == [0] * len(first) + [1] * len(second)
  config = json.loads((tmp_path / 'tokenizer_config.json').read_text())
  assert config['mask_token'] == '[MASK]'
  assert config['model_max_length'] == 64
  assert 'token_type_ids' in config['model_input_names']


def test_ours_again_from_the_same_folder(tokenizer, tmp_path):
  huggingface.save(tokenizer, tmp_path, max_length=64)
  again = load_tokenizer(tmp_path)
  assert again.fingerprint == tokenizer.fingerprint


def test_the_class_of_bert_where_its_rules_are_ours(small_tokenizer, tmp_path):
  tokens = [small_tokenizer.token(i) for i in range(160)]
  for limit, name in ((100, 'BertTokenizer'), (200, 'PreTrainedTokenizerFast')):
    tokenizer = WordPiece(tokens, lowercase=True, max_word_characters=limit)
    huggingface.save(tokenizer, tmp_path, max_length=64)
    config = json.loads((tmp_path / 'tokenizer_config.json').read_text())
    assert config['tokenizer_class'] == name


def test_what_cannot_be_written_is_said_before_anything_is(
  small_tokenizer, tmp_path, monkeypatch
):
  """A tokenizer whose file would give other ids."""
  monkeypatch.setattr(
    small_tokenizer,
    'encode_batch',
    lambda texts: [np.zeros(1, np.int32) for _ in texts],
  )
  with pytest.raises(InputError, match='it would encode .* otherwise'):
    huggingface.save(small_tokenizer, tmp_path, max_length=64)
  assert not list(tmp_path.iterdir())
