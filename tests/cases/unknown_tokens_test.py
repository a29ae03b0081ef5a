"""The share of unknown tokens is printed, and far too high a share refused.

| text and tokenizer | what must come of it |
|---|---|
| an uncased vocabulary that is read as cased | refused: do_lower_case |
| a vocabulary without accents that keeps them | refused: strip_accents |
| another script | refused: another language |
| a few unknown words | printed with the commonest words |
"""

import json

import numpy as np
import pytest

from bert_jax.data.preparing.prepare import prepare
from bert_jax.data.preparing.preview import preview
from bert_jax.data.preparing.summary import format_summary
from bert_jax.data.sources import open_inputs
from bert_jax.data.tokenizers import base, load_tokenizer, unknown, wordpiece
from bert_jax.errors import InputError

WORDS = ['the', 'quiet', 'keeper', 'cafe', 'of', 'a', 'village', '.']
ENTRIES = [*base.SPECIAL_TOKENS, *WORDS]
PLAIN = 'the quiet keeper of a village .'
CAPITALS = 'The quiet keeper of a village .'
ACCENTS = 'the quiet café of a village .'
RUSSIAN = 'тихий сторож деревни of a village .'
FEW = f'{PLAIN} ' * 19 + 'the weird keeper .'


def tokenizer(**options):
  return wordpiece.WordPiece(ENTRIES, **({'lowercase': True} | options))


def written(tmp_path, text, lines=50):
  path = tmp_path / 'text.txt'
  # Lengths differ, so that not all are alike to the hash for eval.
  path.write_text(
    ''.join(f'{text}{" ." * (i % 7)}\n' for i in range(lines)), 'utf-8'
  )
  return open_inputs(str(path), document='line')


def run(tmp_path, text, tokenizer, name='out', **options):
  return prepare(
    written(tmp_path, text),
    tokenizer,
    output=tmp_path / name,
    **{'num_workers': 1, 'progress': False} | options,
    row_lengths=(32,),
    eval_fraction=0.1,
  )


@pytest.mark.parametrize(
  ('text', 'options', 'reason'),
  [
    (CAPITALS, {'lowercase': False}, 'in lower case: say do_lower_case true'),
    (
      ACCENTS,
      {'strip_accents': False},
      'without accents: say strip_accents true',
    ),
    (
      'the quiet CAFÉ of a village .',
      {'lowercase': False},
      'in lower case without accents: say do_lower_case true',
    ),
    (RUSSIAN, {}, 'another language or script'),
  ],
)
def test_a_wrong_setting_is_refused_and_named(tmp_path, text, options, reason):
  wrong = tokenizer(**options)
  with pytest.raises(InputError, match=reason) as error:
    run(tmp_path, text, wrong)
  assert '--max_unknown=1 goes on' in str(error.value)
  assert not (tmp_path / 'out').exists()
  shown = preview(
    written(tmp_path, text),
    wrong,
    num_workers=1,
    row_lengths=(32,),
    eval_fraction=0.0,
  )
  assert 'prepare would refuse it' in shown and reason in shown
  # The finished block is kept, and the way out leads on.
  summary = run(tmp_path, text, wrong, max_unknown=1.0)
  assert summary['blocks_reused'] == 1
  assert 'unknown to the tokenizer: ' in format_summary(summary, 'out')


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    (PLAIN, '0.00% [UNK]'),
    (FEW, "0.71% [UNK] (50 of 6,997 tokens), such as 'weird'"),
    (
      f'{FEW} Quick brown .',
      "2.10% [UNK] (150 of 7,147 tokens), such as 'Quick', 'brown', 'weird'",
    ),
  ],
)
def test_the_share_and_the_words(tmp_path, text, expected):
  one = run(tmp_path, text, tokenizer())
  assert one['unknown']['line'] == f'unknown to the tokenizer: {expected}'
  two = run(tmp_path, text, tokenizer(), name='two', num_workers=2)
  assert two['unknown'] == one['unknown']
  again = run(tmp_path, text, tokenizer())
  assert again['already_complete'] and again['unknown'] == one['unknown']


@pytest.mark.parametrize('share', [0.0, -1.0, 1.5, float('nan')])
def test_a_share_that_cannot_be(tmp_path, share):
  with pytest.raises(InputError, match='--max_unknown='):
    run(tmp_path, PLAIN, tokenizer(), max_unknown=share)


@pytest.mark.parametrize(
  ('texts', 'options', 'reason'),
  [
    ([(CAPITALS,)], {'lowercase': False}, 'do_lower_case true'),
    ([(PLAIN, RUSSIAN)], {}, 'another language or script'),
    ([(ACCENTS, ACCENTS)], {'strip_accents': False}, 'strip_accents true'),
  ],
)
def test_labelled_texts(capsys, texts, options, reason):
  wrong = tokenizer(**options)
  with pytest.raises(InputError, match=f'train: .*{reason}.*; give more'):
    unknown.report('train', texts, wrong, max_share=0.2, way_out='give more')
  assert 'train: unknown to the tokenizer: ' in capsys.readouterr().out
  unknown.report('in.tsv', texts, wrong)
  out = capsys.readouterr().out
  assert 'in.tsv: warning: ' in out and reason in out
  unknown.report('train', [(PLAIN,)], wrong, max_share=0.2)
  assert capsys.readouterr().out.count('\n') == 1


def test_bytes_are_never_unknown(tmp_path):
  names = wordpiece_free_bytes()
  (tmp_path / 'tokenizer.json').write_text(json.dumps(names))
  found = load_tokenizer(tmp_path)
  (ids,) = found.encode_batch([RUSSIAN])
  assert not np.any(ids == found.table.unk_id)
  unknown.report('train', [(RUSSIAN,)], found, max_share=0.2)


def wordpiece_free_bytes():
  from bert_jax.data.tokenizers.byte_bpe import bytes_of_characters

  entries = [*base.SPECIAL_TOKENS, *bytes_of_characters()]
  level = {'type': 'ByteLevel', 'add_prefix_space': False, 'use_regex': True}
  return {
    'added_tokens': [],
    'normalizer': None,
    'pre_tokenizer': level | {'trim_offsets': True},
    'model': {
      'type': 'BPE',
      'vocab': {entry: i for i, entry in enumerate(entries)},
      'merges': [],
    },
  }
