"""WordPiece: equal to Google's tokenizer, literal special tokens, files."""

import json
import os
import pathlib
import pickle
import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.tokenizers import base, load_tokenizer, wordpiece
from bert_jax.errors import InputError

SPECIAL = list(base.SPECIAL_TOKENS)
WORDS = ['the', 'un', '##aff', '##able', 'array', '##s', '.', ',', '[', ']']
UNCASED = [*SPECIAL, *WORDS, 'sep', 'mask', 'pad', 'naive', '日', 'a', '##b']
CASED = [*SPECIAL, *WORDS, 'The', 'SEP', 'naïve']
# A folder with bert-base-uncased.vocab.txt and -cased.vocab.txt, as Google
# published them; they are not part of the checkout.
PUBLISHED = os.environ.get('BERT_JAX_VOCABULARIES', '')


def google_words(text, lowercase):
  """BasicTokenizer of google-research/bert/tokenization.py, in short."""
  cleaned = ''
  for c in text:
    category = unicodedata.category(c)
    if c in '\t\n\r' or category == 'Zs':
      cleaned += ' '
    elif c in '\0\ufffd' or category in ('Cc', 'Cf'):
      continue
    elif is_chinese(ord(c)):
      cleaned += f' {c} '
    else:
      cleaned += c
  words = []
  for word in cleaned.split():
    if lowercase:
      decomposed = unicodedata.normalize('NFD', word.lower())
      word = ''.join(c for c in decomposed if unicodedata.category(c) != 'Mn')
    for c in word:
      if is_punctuation(c):
        words += ['', c, '']
      elif words and words[-1] is not None and words[-1] != '':
        words[-1] += c
      else:
        words.append(c)
    words.append('')
  return [word for word in words if word]


def is_chinese(code):
  return any(
    first <= code <= last
    for first, last in (
      (0x4E00, 0x9FFF),
      (0x3400, 0x4DBF),
      (0x20000, 0x2A6DF),
      (0x2A700, 0x2B73F),
      (0x2B740, 0x2B81F),
      (0x2B820, 0x2CEAF),
      (0xF900, 0xFAFF),
      (0x2F800, 0x2FA1F),
    )
  )


def is_punctuation(c):
  if c.isascii():
    return c.isprintable() and not c.isalnum() and c != ' '
  return unicodedata.category(c).startswith('P')


def google_ids(text, tokens, lowercase):
  """FullTokenizer of the same file: greedy, longest match first."""
  ids = {token: i for i, token in enumerate(tokens)}
  found = []
  for word in google_words(text, lowercase):
    pieces, start = [], 0
    while start < len(word) <= 200:
      for end in range(len(word), start, -1):
        piece = ('##' if start else '') + word[start:end]
        if piece in ids:
          pieces.append(ids[piece])
          start = end
          break
      else:
        break
    found += pieces if start == len(word) else [ids['[UNK]']]
  return found


def assert_equals_google(text, tokens, lowercase):
  tokenizer = wordpiece.WordPiece(tokens, lowercase=lowercase)
  (found,) = tokenizer.encode_batch([text])
  assert found.dtype == np.int32
  assert found.tolist() == google_ids(text, tokens, lowercase)


# Private use, and what came to Unicode late, are excepted (see WordPiece).
CHARACTERS = st.characters(
  exclude_categories=('Cs', 'Co', 'Cn'), max_codepoint=0x05FF
) | st.sampled_from(
  '日本語\U0002b820\U0002b91f\u200b\u3000\ufeff\ufffd😀가İΣß—…'
)


@settings(max_examples=300, deadline=None)
@given(st.text(CHARACTERS, max_size=30), st.booleans())
def test_words_equal_googles(text, lowercase):
  words = google_words(text, lowercase)
  tokens = [*SPECIAL, *dict.fromkeys(w for w in words if w not in SPECIAL)]
  assert_equals_google(text, tokens, lowercase)


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40), st.booleans())
def test_word_by_word_equals_the_whole_text(text, lowercase):
  """Of any Unicode text, so that nothing reaches across the ends of words."""
  characters = dict.fromkeys(google_words(text, lowercase=False))
  pieces = [
    c for word in characters for c in (*word, *(f'##{c}' for c in word))
  ]
  tokens = dict.fromkeys([*SPECIAL, *UNCASED, *pieces, *map(str.lower, pieces)])
  tokenizer = wordpiece.WordPiece(tuple(tokens), lowercase=lowercase)
  prepared = wordpiece.prepare_text(text, lowercase)
  (whole,) = tokenizer._encode_words([prepared])
  assert tokenizer.encode_batch([text])[0].tolist() == whole


@pytest.mark.parametrize('lowercase', [True, False])
@pytest.mark.parametrize(
  'text',
  [
    'The unaffable arrays, naïve.',
    'THE ARRAY [SEP] [MASK] [UNK] ##s',
    'x' * 200 + ' ' + 'x' * 201,
    'a' + 'b' * 199 + ' ' + 'a' + 'b' * 200,
    'ΟΔΟΣ ΑΣ. Σ Σα',
    'İstanbul ǅ ﬁ Å',
    'tab\tnew\nline\r\n\x0bvt \x85 nel \xa0 nbsp \u2028 ls',
    '日本\U0002b820\U0002b91f語 カタカナ 한국',
    'zero\u200bwidth\xadsoft \ufeff',
    '',
  ],
)
def test_special_cases_equal_googles(text, lowercase):
  known = google_words(text, lowercase)[::2]
  tokens = list(dict.fromkeys([*UNCASED, *known]))
  assert_equals_google(text, tokens, lowercase)


@pytest.mark.parametrize(
  ('name', 'lowercase'), [('uncased', True), ('cased', False)]
)
def test_published_vocabularies(name, lowercase):
  path = pathlib.Path(PUBLISHED) / f'bert-base-{name}.vocab.txt'
  if not PUBLISHED:
    pytest.skip("BERT_JAX_VOCABULARIES does not name Google's vocabularies")
  tokenizer = load_tokenizer(path)
  tokens = wordpiece.read_vocab(path)
  assert tokenizer.table.vocab_size == len(tokens)
  rng = random.Random(0)
  pieces = [t.removeprefix('##') for t in tokens]
  texts = [
    ''.join(rng.choice(pieces) + rng.choice(['', ' ', '-']) for _ in range(40))
    for _ in range(200)
  ]
  texts.append("Unaffable naïve café's L'Étoile DON'T stop (3.5%) — 東京")
  for text, found in zip(texts, tokenizer.encode_batch(texts), strict=True):
    assert found.tolist() == google_ids(text, tokens, lowercase), text


def test_table():
  tokens = ['the', *SPECIAL, '##s']
  table = wordpiece.WordPiece(tokens, lowercase=True).table
  assert table.vocab_size == 7
  assert (table.pad_id, table.unk_id, table.cls_id) == (1, 2, 3)
  assert (table.sep_id, table.mask_id) == (4, 5)
  assert table.special_ids.tolist() == [1, 2, 3, 4, 5]
  assert table.ordinary_ids.tolist() == [0, 6]
  assert table.special_ids.dtype == table.ordinary_ids.dtype == np.int32
  assert table.word_starts.tolist() == [True] * 6 + [False]


@pytest.mark.parametrize('lowercase', [True, False])
def test_literal_special_tokens_are_ordinary_text(lowercase):
  tokens = UNCASED if lowercase else CASED
  tokenizer = wordpiece.WordPiece(tokens, lowercase=lowercase)
  text = '[CLS] the [SEP][PAD] [MASK]'
  (ids,) = tokenizer.encode_batch([text])
  structural = {tokens.index(t) for t in SPECIAL if t != '[UNK]'}
  assert not structural & set(ids.tolist())
  assert ids.tolist() == google_ids(text, tokens, lowercase)
  sep = 'sep' if lowercase else 'SEP'
  assert tokenizer.decode(tokenizer.encode_batch(['[SEP]'])[0]) == f'[ {sep} ]'
  assert base.count_literal_special_tokens(text + ' [sep] SEP') == 4


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('the [MASK] .', 'the [MASK] .'),
    ('[MASK][MASK]', '[MASK] [MASK]'),
    ('un[MASK]s', 'un [MASK] [UNK]'),
    ('the [mask] [SEP]', 'the [ mask ] [ sep ]'),
    ('', ''),
  ],
)
def test_encode_with_mask(text, expected):
  tokenizer = wordpiece.WordPiece(UNCASED, lowercase=True)
  ids = tokenizer.encode_with_mask(text)
  assert ids.dtype == np.int32
  assert ' '.join(tokenizer.token(i) for i in ids) == expected


def test_decode_joins_pieces():
  tokenizer = wordpiece.WordPiece(UNCASED, lowercase=True)
  (ids,) = tokenizer.encode_batch(['The unaffable arrays'])
  assert len(ids) == 6
  assert tokenizer.decode(ids) == 'the unaffable arrays'


def test_saved_and_pickled_tokenizers_are_the_same(tmp_path):
  tokenizer = wordpiece.WordPiece(CASED, lowercase=False)
  tokenizer.save(tmp_path / 'one')
  assert json.loads(
    (tmp_path / 'one' / 'tokenizer_config.json').read_text()
  ) == {
    'kind': 'wordpiece',
    'lowercase': False,
  }
  text = 'The unaffable arrays, naïve.'
  for other in (
    load_tokenizer(tmp_path / 'one'),
    pickle.loads(pickle.dumps(tokenizer)),
  ):
    assert other.fingerprint == tokenizer.fingerprint
    assert (
      (other.encode_batch([text])[0]).tolist()
      == (tokenizer.encode_batch([text])[0]).tolist()
    )


def test_fingerprint_is_of_vocabulary_and_options():
  def fingerprint(tokens, lowercase):
    return wordpiece.WordPiece(tokens, lowercase=lowercase).fingerprint

  same = fingerprint(UNCASED, True)
  assert same == fingerprint(tuple(UNCASED), True)
  assert len(same) == 64
  assert same != fingerprint(UNCASED, False)
  assert same != fingerprint([*UNCASED, 'more'], True)
  assert same != fingerprint([*UNCASED[:-2], *UNCASED[:-3:-1]], True)


def write_vocab(path, tokens):
  path.write_bytes('\n'.join(tokens).encode() + b'\n')
  return path


@pytest.mark.parametrize(
  ('tokens', 'lowercase'),
  [
    (UNCASED, True),
    (CASED, False),
    ([*UNCASED, 'É'], False),
    ([*UNCASED, 'ℝ'], True),
  ],
)
def test_case_of_a_plain_vocab_is_recognised(tmp_path, tokens, lowercase):
  path = write_vocab(tmp_path / 'vocab.txt', tokens)
  expected = wordpiece.WordPiece(tokens, lowercase=lowercase).fingerprint
  assert load_tokenizer(path).fingerprint == expected
  assert load_tokenizer(tmp_path).fingerprint == expected
  # Hugging Face's name for it wins over the guess.
  (tmp_path / 'tokenizer_config.json').write_text(
    json.dumps({'do_lower_case': not lowercase, 'model_max_length': 512})
  )
  assert load_tokenizer(tmp_path).fingerprint != expected


def test_ids_are_line_numbers(tmp_path):
  tokens = [*SPECIAL, 'a\u2028b', '', 'x', 'the', 'the']
  path = write_vocab(tmp_path / 'vocab.txt', tokens)
  tokenizer = load_tokenizer(path)
  assert tokenizer.table.vocab_size == 10
  assert tokenizer.encode_batch(['x the'])[0].tolist() == [7, 9]


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ({}, r'there is none of vocab\.txt, tokenizer\.model'),
    ({'vocab.txt': 'the\n[UNK]\n'}, r'\[PAD\], \[CLS\], \[SEP\], \[MASK\]'),
    ({'vocab.txt': b'\xff\xfe'}, r'vocab\.txt: is not UTF-8'),
    ({'tokenizer_config.json': '{"kind": "bytes"}'}, "kind 'bytes' is not"),
    ({'tokenizer_config.json': '{"lowercase": 1}'}, 'lowercase is 1; it must'),
    ({'tokenizer_config.json': '{'}, r'config\.json: is not JSON'),
    ({'tokenizer_config.json': '[]'}, r'config\.json: is no JSON object'),
  ],
)
def test_what_cannot_be_loaded_is_one_clear_line(tmp_path, files, message):
  if files and 'vocab.txt' not in files:
    write_vocab(tmp_path / 'vocab.txt', UNCASED)
  for name, content in files.items():
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(content)
  with pytest.raises(InputError, match=message) as error:
    load_tokenizer(tmp_path)
  assert '\n' not in str(error.value)
