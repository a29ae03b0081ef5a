"""Training a tokenizer: the same text gives the same bytes, and good pieces."""

import pytest
import trained_tokenizers
from trained_tokenizers import fingerprint_elsewhere, many_words

from bert_jax.data.sources.base import Document
from bert_jax.data.tokenizers import training, wordpiece
from bert_jax.errors import InputError


def documents(texts):
  return (Document(text, 'origin') for text in texts)


def train(texts, vocab_size=200, lowercase=True):
  return trained_tokenizers.train(
    'wordpiece', texts, vocab_size, lowercase=lowercase
  )


def tokens_of(tokenizer):
  return [tokenizer.token(i) for i in range(tokenizer.table.vocab_size)]


TEXT = ['The arrays are arranged in an array of arrays.', 'Array! [SEP]'] * 20


def test_pieces_of_a_small_text():
  tokens = tokens_of(train(TEXT, 120))
  assert tokens[:5] == ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  assert len(set(tokens)) == len(tokens) <= 120
  assert 'array' in tokens and 'arrays' in tokens
  assert '##a' in tokens and 'y' in tokens
  # A punctuation mark is never inside a word.
  assert '.' in tokens and '##.' not in tokens


def test_case():
  text = ['É array Array'] * 10
  assert 'Array' in tokens_of(train(text, lowercase=False))
  assert 'É' in tokens_of(train(text, lowercase=False))
  uncased = tokens_of(train(text))
  assert 'Array' not in uncased and 'e' in uncased and 'é' not in uncased


def test_known_text_has_no_unknown_token():
  tokenizer = train(TEXT)
  (ids,) = tokenizer.encode_batch(['arranged yarra! saran'])
  assert tokenizer.table.unk_id not in ids


def test_rare_characters_get_no_entry():
  tokens = tokens_of(train(['a common text ' * 5000, 'ж 東']))
  assert 'a' in tokens and 'ж' not in tokens and '東' not in tokens
  assert '東' in tokens_of(train(['a common text ' * 5, '東 京']))


def test_chinese_characters_are_whole_words():
  tokens = tokens_of(train(['東京都 東北'] * 5))
  assert {'東', '京', '都', '北'} <= set(tokens)
  assert not any(token.startswith('##') for token in tokens)


@pytest.mark.parametrize('lowercase', [True, False])
def test_words_are_counted_as_they_are_encoded(lowercase):
  texts = [
    'Plain ASCII, with_underscores and (marks)!\tA tab.\r\n~x~ 3.14 a^b `c`',
    'control\x01led \x7f text\x0c here',
    'naïve café — 東京 ΟΔΟΣ.',
  ]
  words = training.count_words(documents(texts), lowercase)
  tokens = [*wordpiece.base.SPECIAL_TOKENS, *words]
  tokenizer = wordpiece.WordPiece(tokens, lowercase=lowercase)
  encoded = tokenizer.encode_batch(texts)
  assert sum(map(len, encoded)) == words.total()
  assert {tokenizer.token(i) for ids in encoded for i in ids} == set(words)


def test_memory_for_words_is_bounded(monkeypatch):
  monkeypatch.setattr(training, '_MAX_WORDS', 50)
  texts = [f'often often unique{i}' for i in range(500)]
  words = training.count_words(documents(texts), True)
  assert words['often'] == 1000
  assert len(words) <= 51


def test_a_large_corpus_is_scaled_down(monkeypatch):
  expected = tokens_of(train(TEXT * 50))
  monkeypatch.setattr(training, '_MAX_TRAINING_WORDS', 2000)
  words = training.count_words(documents(TEXT * 50), True)
  assert sum(len(t.split()) for t in training._training_text(words)) <= 2000
  assert tokens_of(train(TEXT * 50)) == expected


def test_the_same_text_gives_the_same_bytes_in_every_process():
  expected = train(many_words() * 2, 1000).fingerprint
  call = "train('wordpiece', many_words() * 2, 1000, lowercase=True)"
  for threads in ('1', '2', '4'):
    found = fingerprint_elsewhere(call, RAYON_NUM_THREADS=threads)
    assert found == expected


def test_a_vocabulary_too_small_for_the_characters_is_an_error():
  with pytest.raises(InputError, match=r'--vocab_size=20: .* at least \d+ en'):
    train(TEXT, 20)
