"""Where words, lines and sentences begin among the tokens of a text."""

import functools

import numpy as np
import pytest
from trained_tokenizers import train

from bert_jax.data.preparing.encoding import Encoder
from bert_jax.data.preparing.word_segmenter import WordSegmenter
from bert_jax.errors import InputError

CHINESE = '南京市长江大桥很长。我爱北京天安门，天气真好！'
TRAIN = f'{CHINESE} New York is (not) far from here, unlike Old Amsterdam.'


KINDS = {
  'wordpiece': ('wordpiece', 120),
  'byte_bpe': ('byte_bpe', 290),
  'sentencepiece': ('sentencepiece_unigram', 330),
}


@functools.cache
def made(kind):
  form, vocab_size = KINDS[kind]
  return train(form, [TRAIN] * 30, vocab_size)


def pieces(tokenizer, ids, starts):
  """The text of each run of tokens that a flag begins."""
  assert starts.dtype == bool and len(starts) == len(ids) and starts[0]
  parts = np.split(ids, np.flatnonzero(starts)[1:])
  return [tokenizer.decode(part).replace(' ', '') for part in parts]


def words_of(tokenizer, text, segmenter):
  (encoded,) = Encoder(tokenizer, segmenter)([text])
  np.testing.assert_array_equal(encoded.ids, tokenizer.encode_batch([text])[0])
  return pieces(tokenizer, encoded.ids, encoded.word_starts)


def test_nothing_is_done_that_is_not_asked_for(monkeypatch):
  tokenizer = made('wordpiece')
  monkeypatch.setattr(type(tokenizer), 'encode_with_offsets', None)
  (encoded,) = Encoder(tokenizer)([TRAIN])
  assert encoded[1:] == (None, None, None)


@pytest.mark.parametrize('kind', KINDS)
def test_jiebas_words(kind):
  found = words_of(made(kind), CHINESE, WordSegmenter('jieba'))
  words = '南京市 长江大桥 很长 。 我 爱 北京 天安门 ， 天气 真 好 ！'.split()
  if kind == 'sentencepiece':  # its NFKC
    words = [word.replace('，', ',').replace('！', '!') for word in words]
  assert found == words


def segmenter(monkeypatch, tmp_path, body):
  """One of the user's, in a file."""
  name = f'my_words_{abs(hash(body))}'
  (tmp_path / f'{name}.py').write_text(f'def words(text):\n  return {body}\n')
  monkeypatch.syspath_prepend(tmp_path)
  return WordSegmenter(f'{name}:words')


@pytest.mark.parametrize('kind', KINDS)
def test_words_of_a_function(kind, monkeypatch, tmp_path):
  words = [
    'New York',
    ' ',
    'is',
    ' ',
    '(',
    'not',
    ')',
    ' ',
    'far',
    '\n\t',
    'Old',
  ]
  mine = segmenter(monkeypatch, tmp_path, repr(words))
  found = words_of(made(kind), ''.join(words), mine)
  # White space goes with the word after it.
  assert found == ['NewYork', 'is', '(', 'not', ')', 'far', 'Old']


def test_a_character_of_several_tokens_is_one_word(monkeypatch, tmp_path):
  mine = segmenter(monkeypatch, tmp_path, 'list(text)')
  tokenizer = made('byte_bpe')
  (encoded,) = Encoder(tokenizer, mine)(['鑫 é😀'])
  found = np.split(encoded.ids, np.flatnonzero(encoded.word_starts)[1:])
  texts = [tokenizer.decode(ids) for ids in found]
  assert texts == ['鑫', 'é', '😀']
  assert [len(ids) for ids in found] == [3, 3, 4]


def test_texts_without_a_token(monkeypatch, tmp_path):
  mine = segmenter(monkeypatch, tmp_path, 'list(text)')
  encode = Encoder(made('wordpiece'), mine, sentences=True)
  for text in ('', ' \n', '\x07'):
    (encoded,) = encode([text])
    assert [len(flags) for flags in encoded] == [0, 0, 0, 0]


@pytest.mark.parametrize(
  'body, message',
  [
    ('text.split()', r"its words, .* are not the text 'New York'; it must"),
    ('[1, 2]', "gave other things than words for 'New York'"),
  ],
)
def test_words_that_are_not_the_text(body, message, monkeypatch, tmp_path):
  mine = segmenter(monkeypatch, tmp_path, body)
  with pytest.raises(InputError, match=message):
    mine('New York')


@pytest.mark.parametrize(
  'name, message',
  [
    ('jiebe', "--word_segmenter=jiebe: give MODULE:FUNCTION, .* or 'jieba'"),
    ('no_such_module:words', 'PYTHONPATH'),
    ('os:no_such_function', 'os has no such function'),
  ],
)
def test_segmenters_that_are_none(name, message):
  with pytest.raises(InputError, match=message):
    WordSegmenter(name)


def test_the_package_of_jieba_is_named_where_it_is_missing(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'rjieba', None)
  with pytest.raises(InputError, match='a package: pip install rjieba'):
    WordSegmenter('jieba')


SENTENCES = [
  'He said "Go." ',
  'Then he went!? ',
  'At 3.14 it was not... ',
  '(So it was.) ',
  'अच्छा है। ',
  'क्या?\n\n',
  '我爱北京。',
  '他说：“好！”',
  '真的？！',
  'no end',
]


@pytest.mark.parametrize('kind', KINDS)
def test_sentences_and_lines(kind):
  tokenizer = made(kind)
  text = ''.join(SENTENCES)
  (encoded,) = Encoder(tokenizer, sentences=True)([text])
  np.testing.assert_array_equal(encoded.ids, tokenizer.encode_batch([text])[0])
  _, offsets = tokenizer.encode_with_offsets([text])[0]
  ends = np.cumsum([len(sentence) for sentence in SENTENCES])

  def parts(flags):
    """The number of the part of each token, by where its first letter lies."""
    return (np.cumsum(flags) - 1).tolist()

  def expected(ends):
    letters = [len(text) - len(text[n:].lstrip()) for n in offsets[:, 0]]
    return np.searchsorted(ends, letters, side='right').tolist()

  assert parts(encoded.line_starts) == expected(ends[5:6])
  assert parts(encoded.sentence_starts) == expected(ends[:-1])
