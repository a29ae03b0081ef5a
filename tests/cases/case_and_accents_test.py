"""Case and accents are those of the vocabulary as a whole, and it is said why.

| vocabulary, without a word in a config | taken as |
|---|---|
| uncased with [E1], BOS or a few capitals | uncased |
| a tenth of the entries or more with capitals | cased |
| uncased with accents (German, French) | uncased, accents kept |
| Japanese, Hindi, Korean: marks in the entries | accents kept |
| any of these in a folder of transformers | its defaults; what does not suit \
is noted |
"""

import pytest
from tokenizer_files import tokens_of_text, write_vocabulary

from bert_jax.data.tokenizers import base, load_tokenizer
from bert_jax.data.tokenizers.vocabulary_case import of_entries

SPECIAL = [*base.SPECIAL_TOKENS]
LOWER = [a + b for a in 'bcdfghklmnprst' for b in 'aeiou'] * 1
CASED = [*LOWER, *(word.title() for word in LOWER[::3])]


def write(folder, entries, **files):
  write_vocabulary(folder, [*SPECIAL, *entries], **files)
  return load_tokenizer(folder)


@pytest.mark.parametrize(
  ('entries', 'lowercase', 'strips'),
  [
    (LOWER, True, True),
    ([*LOWER, '[E1]', '[/E1]', '<URL>'], True, True),
    ([*LOWER, 'BOS', 'ℝ', 'Ka'], True, True),
    (CASED, False, False),
    ([*LOWER, *(f'{word}é' for word in LOWER[:9])], True, False),
    ([*'かがきぎくぐ日本語', *LOWER[:3]], True, False),
    (['हिन्दी', 'क्षेत्र', 'मे'], True, False),
    (['한국', '각', '나'], True, False),
    ([*'かきくけこ日本語'], True, True),
  ],
)
def test_a_vocabulary_as_a_whole(entries, lowercase, strips):
  found = of_entries([*SPECIAL, *entries])
  assert (found.lowercase, found.strip_accents) == (lowercase, strips)


@pytest.mark.parametrize(
  ('entries', 'text', 'expected'),
  [
    ([*LOWER, 'BOS'], 'Ba É BOS', 'ba [UNK] [UNK]'),
    ([*LOWER, '[E1]', 'é', 'über'], 'Ba É ÜBER', 'ba é über'),
    ([*'かがき日本'], 'がか日', 'が か 日'),
    ([*CASED, 'é'], 'Ba É é', 'Ba [UNK] é'),
  ],
)
def test_what_comes_of_a_text(tmp_path, entries, text, expected):
  entries = [*entries, *(f'##{entry}' for entry in 'かがき')]
  tokenizer = write(tmp_path, entries)
  words = ' '.join(tokens_of_text(tokenizer, text))
  assert words.replace('##', '') == expected
  (note,) = tokenizer.notes
  assert 'taken as' in note and 'entries have a capital' in note


def test_a_config_decides_without_a_note(tmp_path):
  tokenizer = write(tmp_path, CASED, tokenizer_config={'do_lower_case': False})
  assert tokenizer.notes == ()
  (tmp_path / 'tokenizer_config.json').write_text('{"do_lower_case": true}')
  (note,) = load_tokenizer(tmp_path).notes
  assert note.startswith('vocab.txt: do_lower_case is true by the files')


@pytest.mark.parametrize(
  ('entries', 'text', 'expected', 'note'),
  [
    ([*LOWER, 'BOS', '[E1]'], 'BA', 'ba', ''),
    ([*LOWER, 'u', 'é', 'ü', 'ö'], 'Ü', 'u', 'accents are stripped as'),
    (CASED, 'Ba', 'Ba', 'transformers takes do_lower_case true'),
  ],
)
def test_a_folder_of_transformers(tmp_path, entries, text, expected, note):
  tokenizer = write(tmp_path, entries, config={'model_type': 'bert'})
  assert tokens_of_text(tokenizer, text) == [expected]
  assert len(tokenizer.notes) == (2 if note else 1)
  assert note in tokenizer.notes[-1]


def test_a_file_is_read_with_what_lies_beside_it(tmp_path):
  write(tmp_path, LOWER, tokenizer_config={'do_lower_case': False})
  alone = load_tokenizer(tmp_path / 'vocab.txt')
  assert alone.fingerprint == load_tokenizer(tmp_path).fingerprint
  assert alone.encode_batch(['BA'])[0].tolist() == [alone.table.unk_id]
