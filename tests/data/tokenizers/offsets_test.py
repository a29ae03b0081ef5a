"""Which characters a token stands for, of each kind of tokenizer."""

import functools
import unicodedata

import numpy as np
import pytest
from trained_tokenizers import train

from bert_jax.data.tokenizers.byte_bpe import ByteBpe, bytes_of_characters

TEXTS = [
  'The Café  naïve e\u0301t\u00e9 日本語 我爱北京。 😀👍\n\nHello\tworld, ﬁne '
  '½ ΣίσυφοΣ Istanbul 한국어 [SEP]! “quoted” ok ',
  "Capital Σ: İstanbul and \U0002b821x, \U0002b822 then ``it'' said '''a'''",
  '  leading\u00a0space, \u200bzero width\x07 and control',
  '',
  ' \n ',
]
TRAIN = 'the cafe is fine; hello world of 日本 and 我爱北京, quoted in istanbul'


KINDS = {
  'wordpiece': ('wordpiece', 120, True),
  'wordpiece_cased': ('wordpiece', 120, False),
  'byte_bpe': ('byte_bpe', 300, False),
  'byte_bpe_nfc': ('byte_bpe', 300, False),
  'unigram': ('sentencepiece_unigram', 330, False),
  'unigram_uncased': ('sentencepiece_unigram', 330, True),
  'bpe': ('sentencepiece_bpe', 330, False),
}


@functools.cache
def made(kind):
  form, vocab_size, lowercase = KINDS[kind]
  tokenizer = train(form, [TRAIN] * 30, vocab_size, lowercase=lowercase)
  if kind == 'byte_bpe_nfc':
    return ByteBpe(tokenizer._spec | {'normalizer': {'type': 'NFC'}})
  return tokenizer


def plain(text):
  """What any of the tokenizers may have made of a text."""
  text = unicodedata.normalize('NFKD', text).casefold()
  return ''.join(c for c in text if not unicodedata.combining(c))


def is_of(tokenizer, token_id, text, after):
  """Whether a token is made of this text, or of a part of it.

  `after` is the next character: a mark that makes one with the last.
  """
  token = tokenizer.token(token_id)
  if token_id == tokenizer.table.unk_id:
    return not text.isspace()
  # A quote of two characters is one to an uncased SentencePiece.
  if token not in ("'", '`'):
    text = text.replace("''", '"').replace('``', '"')
  joined = unicodedata.normalize('NFC', text + after)
  names = bytes_of_characters()
  if isinstance(tokenizer, ByteBpe):
    return bytes(names[c] for c in token) in (text + joined).encode()
  if token.startswith('<0x'):
    lower = joined.lower() + text.replace('Σ', 'ς')  # at the end of a word
    forms = text + joined + lower + plain(text)
    forms += unicodedata.normalize('NFKC', forms)
    return bytes([int(token[3:-1], 16)]) in forms.encode()
  token = plain(token.removeprefix('##').replace('\u2581', ' ')).strip()
  return token in plain(text)


@pytest.mark.parametrize('kind', KINDS)
def test_ids_are_those_of_encode_batch(kind):
  tokenizer = made(kind)
  texts = [*TEXTS, TRAIN]
  for ids, (same, offsets) in zip(
    tokenizer.encode_batch(texts),
    tokenizer.encode_with_offsets(texts),
    strict=True,
  ):
    np.testing.assert_array_equal(same, ids)
    assert same.dtype == np.int32
    assert offsets.shape == (len(ids), 2) and offsets.dtype == np.int64


@pytest.mark.parametrize('kind', KINDS)
def test_the_text_under_a_token_is_that_of_the_token(kind):
  tokenizer = made(kind)
  for text, (ids, offsets) in zip(
    TEXTS, tokenizer.encode_with_offsets(TEXTS), strict=True
  ):
    for i, (first, end) in zip(ids.tolist(), offsets.tolist(), strict=True):
      assert 0 <= first < end <= len(text)
      under, after = text[first:end], text[end : end + 1]
      assert is_of(tokenizer, i, under, after), (first, end)


@pytest.mark.parametrize('kind', KINDS)
def test_offsets_go_forward_and_leave_nothing_visible_out(kind):
  tokenizer = made(kind)
  for text, (_, offsets) in zip(
    TEXTS, tokenizer.encode_with_offsets(TEXTS), strict=True
  ):
    assert (np.diff(offsets, axis=0) >= 0).all()
    covered = np.zeros(len(text), bool)
    for first, end in offsets:
      covered[first:end] = True
    for c, has_token in zip(text, covered, strict=True):
      # Marks may be taken from their letters, and controls from the text.
      assert has_token or not plain(c).isprintable() or not plain(c).strip()


@pytest.mark.parametrize(
  'kind, text, expected',
  [
    # Lower case of a text with a capital sigma: two characters for the first.
    ('wordpiece', '\u0130 ΑΣ ok', ['\u0130', 'ΑΣ', 'ok']),
    # Spaces put around a character.
    ('wordpiece', 'x\U0002b821is', ['x', '\U0002b821', 'is']),
    # Two quotes made one, and accents dropped.
    ('unigram_uncased', "e\u0301 ``e\u0301''", ['e\u0301', ' ``e\u0301', "''"]),
  ],
)
def test_changes_of_the_text_are_traced_back(kind, text, expected):
  """Of tokenizers that change it before the package sees it."""
  ((_, offsets),) = made(kind).encode_with_offsets([text])
  starts = [text.index(part) for part in expected]
  assert set(starts) <= set(offsets[:, 0].tolist())
  ends = [
    start + len(part) for start, part in zip(starts, expected, strict=True)
  ]
  assert set(ends) <= set(offsets[:, 1].tolist())
