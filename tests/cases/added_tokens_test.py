"""Tokens that a tokenizer got after its training are tokens, with their ids.

| files | what must come of a text |
|---|---|
| added_tokens.json; added_tokens_decoder; tokenizer.json | the added ids |
| additional_special_tokens, bos_token, special_tokens_map.json | likewise |
| the same beside vocab.json, a .model, a byte-level tokenizer.json | likewise |
| an id that transformers would not give; files that disagree | refused |
| a folder of ours, an export, a grown model | the same ids again |

The ids are those of transformers 5.24 (tests/interop/tokenizer_ids_test.py).
"""

import json
import pickle

import pytest
from tokenizer_files import (
  added_token,
  byte_level,
  tokens_of_text,
  write_vocabulary,
)
from tokenizers import Tokenizer
from trained_tokenizers import sentencepiece_model

from bert_jax.data.tokenizers import base, huggingface, load_tokenizer
from bert_jax.data.tokenizers.extension import never_drawn, pieces_of_new
from bert_jax.errors import InputError

WORDS = ['the', 'baker', '##s', 'e', '##1', '[', ']', '/', 'moon', 'cake', '.']
ENTRIES = [*base.SPECIAL_TOKENS, *WORDS]
SIZE = len(ENTRIES)
BERT = {'tokenizer_class': 'BertTokenizer', 'do_lower_case': True}


def write(folder, config=BERT, entries=ENTRIES, **files):
  return write_vocabulary(folder, entries, tokenizer_config=config, **files)


def exported(tokenizer, folder) -> Tokenizer:
  """Writes a folder for transformers; returns what its package reads there."""
  folder.mkdir()
  huggingface.save(tokenizer, folder, max_length=64)
  return Tokenizer.from_file(str(folder / 'tokenizer.json'))


def decoder(*added, first=SIZE):
  listed = [added_token(name, special=True) for name in base.SPECIAL_TOKENS]
  found = {str(i): value for i, value in enumerate(listed)}
  return found | {str(first + i): value for i, value in enumerate(added)}


@pytest.mark.parametrize(
  'files',
  [
    {'added_tokens': {'[E1]': SIZE, 'moomcake': SIZE + 1}},
    {
      'config': BERT
      | {
        'added_tokens_decoder': decoder(
          added_token('[E1]', special=True),
          added_token('moomcake', normalized=True),
        )
      }
    },
    {'config': BERT | {'additional_special_tokens': ['[E1]', 'moomcake']}},
    {'config': BERT | {'extra_special_tokens': ['[E1]', 'moomcake']}},
    {'config': BERT | {'bos_token': '[E1]', 'eos_token': 'moomcake'}},
    {'config': BERT | {'ner_token': '[E1]', 'bos_token': None}},
    {'special_tokens_map': {'additional_special_tokens': ['[E1]']}},
  ],
)
def test_they_are_found_in_texts(tmp_path, files):
  tokenizer = load_tokenizer(write(tmp_path, **files))
  words = tokens_of_text(tokenizer, 'The [E1] bakers[E1]. [SEP]')
  assert words[:5] == ['the', '[E1]', 'baker', '##s', '[E1]'] or words[:5] == [
    *('the', '[e1]', 'baker', '##s', '[e1]')
  ]
  ids = tokenizer.encode_batch(['[E1] moomcake'])[0].tolist()
  assert ids[0] == SIZE
  if tokenizer.table.vocab_size > SIZE + 1:
    assert ids == [SIZE, SIZE + 1]
  # The five are ordinary text, as ever.
  five = tokenizer.encode_batch(' '.join(base.SPECIAL_TOKENS).split())
  assert all(tokenizer.table.cls_id not in part for part in five)
  assert all(tokenizer.table.mask_id not in part for part in five)


@pytest.mark.parametrize(
  ('flags', 'text', 'expected'),
  [
    ({}, 'the moons [E1]', 'the moon ##s [E1]'),
    ({'normalized': True}, 'The [e1]s', 'the [e1] [UNK]'),
    ({'single_word': True}, 'the[E1] [E1]', 'the [ e ##1 ] [E1]'),
    ({'lstrip': True, 'rstrip': True}, 'the  [E1]  moon', 'the [E1] moon'),
  ],
)
def test_flags_mean_what_they_say(tmp_path, flags, text, expected):
  config = BERT | {
    'added_tokens_decoder': decoder(added_token('[E1]', **flags))
  }
  tokenizer = load_tokenizer(write(tmp_path, config))
  assert ' '.join(tokens_of_text(tokenizer, text)) == expected


def test_one_that_the_vocabulary_has_keeps_its_id(tmp_path):
  entries = [*ENTRIES[:5], '[E1]', *ENTRIES[6:]]
  config = BERT | {'additional_special_tokens': ['[E1]', '[/E1]']}
  tokenizer = load_tokenizer(write(tmp_path, config, entries))
  ids = tokenizer.encode_batch(['[E1] baker [/E1]'])[0].tolist()
  assert ids == [5, ENTRIES.index('baker'), SIZE]


def test_table_masks_offsets_and_decoding(tmp_path):
  added = {'[E1]': SIZE, 'COVID-19': SIZE + 1}
  tokenizer = load_tokenizer(write(tmp_path, added_tokens=added))
  table = tokenizer.table
  assert table.vocab_size == SIZE + 2
  assert table.ordinary_ids.tolist() == list(range(5, SIZE + 2))
  assert table.word_starts[SIZE:].all()
  text = 'İ Bakers  covid-19[E1]\U0002b820moon'
  ((ids, places),) = tokenizer.encode_with_offsets([text])
  assert ids.tolist() == tokenizer.encode_batch([text])[0].tolist()
  by_id = dict(zip(ids.tolist(), places.tolist(), strict=True))
  assert text[slice(*by_id[SIZE + 1])] == 'covid-19'
  assert text[slice(*by_id[SIZE])] == '[E1]'
  assert text[slice(*by_id[ENTRIES.index('moon')])] == 'moon'
  ids = tokenizer.encode_with_mask('the [MASK] [E1] [MASK]moon').tolist()
  assert tokenizer.decode(ids) == 'the [MASK] [e1] [MASK] moon'


def test_a_letter_that_becomes_two_is_not_lost(tmp_path):
  """Lowered without accents, one letter of Korean is several characters."""
  entries = [*ENTRIES, '\u1100', '\u1161', '##\u1161', '##\u11a8', '\u11a8']
  added = {'가': len(entries)}
  tokenizer = load_tokenizer(
    write(tmp_path, entries=entries, added_tokens=added)
  )
  ((ids, places),) = tokenizer.encode_with_offsets(['각'])
  assert ids.tolist() == [len(entries), entries.index('\u11a8')]
  assert places.tolist() == [[0, 1], [0, 1]]


def test_saved_pickled_and_exported_it_is_the_same(tmp_path):
  added = {'[E1]': SIZE, 'COVID-19': SIZE + 1}
  tokenizer = load_tokenizer(write(tmp_path / 'in', added_tokens=added))
  tokenizer.save(tmp_path / 'ours')
  theirs = exported(tokenizer, tmp_path / 'theirs')
  text = 'The [E1] of Covid-19. [MASK]'
  for other in (
    load_tokenizer(tmp_path / 'ours'),
    load_tokenizer(tmp_path / 'theirs'),
    pickle.loads(pickle.dumps(tokenizer)),
  ):
    assert other.fingerprint == tokenizer.fingerprint
    assert tokens_of_text(other, text) == tokens_of_text(tokenizer, text)
  assert theirs.encode('[E1]x covid-19', add_special_tokens=False).ids[0] == (
    SIZE
  )
  plain = load_tokenizer(write(tmp_path / 'plain'))
  assert plain.fingerprint != tokenizer.fingerprint


def test_an_export_looks_at_every_added_token(tmp_path, monkeypatch):
  """One that would be found otherwise, among many entries."""
  tokenizer = load_tokenizer(write(tmp_path, added_tokens={'[E1]': SIZE}))
  spec = tokenizer.tokenizer_json()
  spec['added_tokens'][0]['single_word'] = True
  monkeypatch.setattr(tokenizer, 'tokenizer_json', lambda: spec)
  out = tmp_path / 'out'
  out.mkdir()
  with pytest.raises(InputError, match=r"it would encode 'glued\[E1\]glued"):
    huggingface.save(tokenizer, out, max_length=64)
  assert not list(out.iterdir())


def test_a_model_grows_by_them(tmp_path):
  one = BERT | {'additional_special_tokens': ['[E1]']}
  two = BERT | {'additional_special_tokens': ['[E1]', '[/E1]']}
  old = load_tokenizer(write(tmp_path / 'old', one))
  new = load_tokenizer(write(tmp_path / 'new', two))
  (ids,) = pieces_of_new(old, new, 'NEW')
  assert [old.token(int(i)) for i in ids] == ['[', '/', 'e', '##1', ']']
  assert never_drawn(new, SIZE) == []
  other = BERT | {
    'added_tokens_decoder': decoder(added_token('[E1]', lstrip=True))
  }
  other['added_tokens_decoder'][str(SIZE + 1)] = added_token('[/E1]')
  changed = load_tokenizer(write(tmp_path / 'other', other))
  with pytest.raises(InputError, match=r"added token '\[E1\]' .* is another"):
    pieces_of_new(old, changed, 'NEW')
  longer = write(tmp_path / 'longer', one, entries=[*ENTRIES, 'lamp'])
  with pytest.raises(InputError, match='new ones go to the end of added_token'):
    pieces_of_new(old, load_tokenizer(longer), 'NEW')


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ({'added_tokens': {'[E1]': SIZE + 3}}, 'has the id 19 .* gives it 16'),
    ({'added_tokens': {'[E1]': 7}}, 'has the id 7 .* gives it 16'),
    ({'added_tokens': {'moon': SIZE}}, 'gives it 13, the vocabulary has it'),
    ({'added_tokens': {'[E1]': '16'}}, r"\{'\[E1\]': '16'\} is no added tok"),
    (
      {'added_tokens': {'[E1]': SIZE, '[/E1]': SIZE}},
      r"'\[/E1\]' has the id 16 .* gives it 17",
    ),
    (
      {
        'added_tokens': {'[E1]': SIZE},
        'config': BERT | {'added_tokens_decoder': decoder(added_token('x'))},
      },
      r"'\[E1\]' is not in added_tokens_decoder",
    ),
    ({'config': BERT | {'added_tokens_decoder': [3]}}, r'\[3\] is no added'),
    ({'config': BERT | {'additional_special_tokens': 'x'}}, "'x' is no added"),
    (
      {'added_tokens': {'[E1]': SIZE}, 'entries': [*ENTRIES, 'the']},
      'has an entry twice',
    ),
    (
      {'config': BERT | {'mask_token': '<m>'}},
      r"mask_token is '<m>', but .* '\[MASK\]'",
    ),
  ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, files, message):
  write(tmp_path, **files)
  with pytest.raises(InputError, match=message) as error:
    load_tokenizer(tmp_path)
  assert '\n' not in str(error.value)


def test_byte_level_pairs_of_files(tmp_path):
  letters = [*'abcdefghijklmnopqrstuvwxyz', '\u0120', '[', ']', '1', 'E']
  vocab = ['<s>', '<pad>', '</s>', '<unk>', '<mask>', *letters]
  write_json(tmp_path / 'vocab.json', {t: i for i, t in enumerate(vocab)})
  (tmp_path / 'merges.txt').write_text('#version: 0.2\n')
  size = len(vocab)
  write_json(tmp_path / 'added_tokens.json', {'moomcake': size})
  write_json(
    tmp_path / 'tokenizer_config.json',
    {
      'tokenizer_class': 'RobertaTokenizer',
      'additional_special_tokens': ['[E1]'],
    },
  )
  tokenizer = load_tokenizer(tmp_path)
  words = ['a', '\u0120', 'moomcake', '[E1]', 's']
  assert tokens_of_text(tokenizer, 'a moomcake[E1]s') == words
  assert tokenizer.table.vocab_size == size + 2
  assert tokenizer.table.word_starts[size:].all()
  tokenizer.save(tmp_path / 'ours')
  exported(tokenizer, tmp_path / 'theirs')
  for folder in ('ours', 'theirs'):
    again = load_tokenizer(tmp_path / folder)
    assert again.fingerprint == tokenizer.fingerprint
    assert tokens_of_text(again, 'a moomcake[E1]s') == words


def test_byte_level_folders_of_before_stay_as_they_were(tmp_path):
  """Their special tokens were ordinary text, in corpora that exist."""
  letters = [*'abcdefghijklmnopqrstuvwxyz', '\u0120', '[', ']', '1', 'E']
  vocab = ['<s>', '<pad>', '</s>', '<unk>', '<mask>', *letters]
  added = [
    *({'id': i, **added_token(vocab[i], special=True)} for i in range(5)),
    {'id': len(vocab), **added_token('[E1]', special=True)},
  ]
  spec = byte_level(vocab, added_tokens=added)
  write_json(tmp_path / 'tokenizer.json', spec)
  found = load_tokenizer(tmp_path)
  assert tokens_of_text(found, 'a[E1]') == ['a', '[E1]']
  write_json(tmp_path / 'tokenizer_config.json', {'kind': 'byte_bpe'})
  before = load_tokenizer(tmp_path)
  assert tokens_of_text(before, 'a[E1]') == ['a', '[', 'E', '1', ']']
  assert before.fingerprint != found.fingerprint
  # Its export must not find them either.
  theirs = exported(before, tmp_path / 'theirs')
  assert theirs.encode('a[E1]', add_special_tokens=False).tokens == [
    *('a', '[', 'E', '1', ']')
  ]


def test_byte_level_tokens_below_the_special_ones_are_exported(tmp_path):
  """ModernBERT's runs of spaces: tokenizer.json alone says their ids."""
  letters = [*'abcdefghijklmnopqrstuvwxyz', '\u0120']
  names = [
    *('   ', '  ', '|||IP|||', '[UNK]', '[CLS]', '[SEP]', '[PAD]', '[MASK]'),
    'moomcake',
  ]
  added = [
    {
      'id': len(letters) + i,
      **added_token(name, special=name[0] == '[', normalized=name[0] != '['),
    }
    for i, name in enumerate(names)
  ]
  spec = byte_level(letters, added_tokens=added, normalizer={'type': 'NFC'})
  write_json(tmp_path / 'tokenizer.json', spec)
  tokenizer = load_tokenizer(tmp_path)
  words = ['a', '  ', 'b', '   ', '|||IP|||', 'moomcake']
  assert tokens_of_text(tokenizer, 'a  b   |||IP|||moomcake') == words
  theirs = exported(tokenizer, tmp_path / 'theirs')
  found = theirs.encode('a  b   |||IP|||moomcake', add_special_tokens=False)
  assert found.ids == [0, 28, 1, 27, 29, 35]
  again = load_tokenizer(tmp_path / 'theirs')
  assert again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize('model_type', ['unigram', 'bpe'])
def test_sentencepiece_models(tmp_path, model_type):
  texts = ['the baker bakes [e1] cakes in the moon'] * 20
  model = sentencepiece_model(texts, model_type=model_type, vocab_size=40)
  (tmp_path / 'spiece.model').write_bytes(model)
  config = {'do_lower_case': True}
  write_json(tmp_path / 'tokenizer_config.json', config)
  size = load_tokenizer(tmp_path).table.vocab_size
  added = {'<special1>': size, 'Moomcake': size + 1}
  write_json(tmp_path / 'added_tokens.json', added)
  config['additional_special_tokens'] = ['<special1>']
  write_json(tmp_path / 'tokenizer_config.json', config)
  tokenizer = load_tokenizer(tmp_path)
  words = tokens_of_text(tokenizer, 'the <special1>moomcake moon')
  place = words.index('<special1>')
  assert ''.join(words[:place]) == '▁the'
  assert words[place + 1] == 'moomcake'
  assert ''.join(words[place + 2 :]) == '▁moon'
  text = 'THE <special1> moon  MOOMCAKE'
  ((ids, places),) = tokenizer.encode_with_offsets([text])
  assert ids.tolist() == tokenizer.encode_batch([text])[0].tolist()
  by_id = dict(zip(ids.tolist(), places.tolist(), strict=True))
  assert text[slice(*by_id[size])] == '<special1>'
  assert text[slice(*by_id[size + 1])] == 'MOOMCAKE'
  decoded = tokenizer.decode(tokenizer.encode_batch([text])[0])
  assert decoded == 'the <special1> moon moomcake'
  tokenizer.save(tmp_path / 'ours')
  exported(tokenizer, tmp_path / 'theirs')
  for folder in ('ours', 'theirs'):
    again = load_tokenizer(tmp_path / folder)
    assert again.fingerprint == tokenizer.fingerprint


def write_json(path, content):
  path.write_text(json.dumps(content), 'utf-8')


def test_a_sentencepiece_without_its_model_says_which_file(tmp_path):
  """transformers 5 writes tokenizer.json alone."""
  config = {'tokenizer_class': 'AlbertTokenizer', 'do_lower_case': True}
  write_json(tmp_path / 'tokenizer_config.json', config)
  model = {'type': 'Unigram', 'unk_id': 1, 'vocab': [['<pad>', 0.0]]}
  write_json(tmp_path / 'tokenizer.json', {'model': model, 'added_tokens': []})
  with pytest.raises(InputError, match=r'spiece\.model is needed; copy it'):
    load_tokenizer(tmp_path)
