"""SentencePiece: literal special tokens, words, files, models of others."""

import functools
import io
import json
import pickle

import numpy as np
import pytest
from tokenizer_files import tokens_of_text
from trained_tokenizers import train

from bert_jax.data.tokenizers import (
  load_tokenizer,
  sentencepiece,
  sentencepiece_training,
)
from bert_jax.errors import InputError

SPACE = '\u2581'
TEXT = 'The arrays are arranged in an array, of Arrays. [SEP] Café 日本 😀!'


@functools.cache
def trained(model_type='unigram', vocab_size=330, lowercase=False):
  kind = f'sentencepiece_{model_type}'
  return train(kind, [TEXT] * 40, vocab_size, lowercase=lowercase)


@functools.cache
def foreign(*symbols, user_defined=(), **changes):
  """A model of another project, with these control symbols."""
  from sentencepiece import SentencePieceTrainer

  model = io.BytesIO()
  options = {
    'model_writer': model,
    'vocab_size': 60,
    'hard_vocab_limit': False,
    'control_symbols': list(symbols),
    'user_defined_symbols': list(user_defined),
    'minloglevel': 2,
  }
  SentencePieceTrainer.train(
    sentence_iterator=iter([TEXT] * 40), **(options | changes)
  )
  return model.getvalue()


@pytest.fixture(params=sentencepiece_training.MODEL_TYPES)
def tokenizer(request):
  return trained(request.param)


def test_special_tokens_come_first(tokenizer):
  table = tokenizer.table
  assert [tokenizer.token(i) for i in range(5)] == [
    '[PAD]',
    '[UNK]',
    '[CLS]',
    '[SEP]',
    '[MASK]',
  ]
  ids = (table.pad_id, table.unk_id, table.cls_id, table.sep_id, table.mask_id)
  assert ids == (0, 1, 2, 3, 4)
  assert table.special_ids.tolist() == [0, 1, 2, 3, 4]
  assert table.ordinary_ids.tolist() == list(range(5, table.vocab_size))
  assert tokenizer.token(5) == '<0x00>'


@pytest.mark.parametrize(
  'text', ['[SEP]', 'The [SEP] array[MASK][CLS]s [PAD] [UNK]', '［ＳＥＰ］']
)
def test_literal_special_tokens_are_ordinary_text(tokenizer, text):
  (ids,) = tokenizer.encode_batch([text])
  assert len(ids) and not np.isin(ids, tokenizer.table.special_ids).any()
  expected = text if text[0] != '［' else '[SEP]'
  assert tokenizer.decode(ids) == expected


def test_no_text_is_unknown(tokenizer):
  text = 'Żółw \U0001f9a5 한국 \x00 tab\tend'
  (ids,) = tokenizer.encode_batch([text])
  assert ids.dtype == np.int32
  assert tokenizer.table.unk_id not in ids
  assert tokenizer.decode(ids) == 'Żółw \U0001f9a5 한국 \x00 tab end'


def test_a_batch_is_its_texts(tokenizer):
  texts = [TEXT, '', ' ', 'arrays', 'x' * 5000]
  batch = tokenizer.encode_batch(texts)
  assert [len(ids) for ids in batch[1:3]] == [0, 0]
  for text, ids in zip(texts, batch, strict=True):
    assert ids.dtype == np.int32
    assert ids.tolist() == tokenizer.encode_batch([text])[0].tolist()


def test_words_start_at_spaces(tokenizer):
  table = tokenizer.table
  assert table.word_starts[table.special_ids].all()
  for token_id in table.ordinary_ids:
    starts = tokenizer.token(token_id).startswith(SPACE)
    assert table.word_starts[token_id] == starts
  assert not table.word_starts[5:261].any()  # bytes


@pytest.mark.parametrize('model_type', sentencepiece_training.MODEL_TYPES)
def test_uncased(model_type):
  lower = trained(model_type, lowercase=True)
  same = ['THE CAFÉ Arrays', 'the cafe arrays']
  first, second = lower.encode_batch(same)
  assert first.tolist() == second.tolist()
  assert lower.decode(first) == 'the cafe arrays'
  first, second = trained(model_type).encode_batch(same)
  assert first.tolist() != second.tolist()


def test_masks_take_the_space_before_them(tokenizer):
  mask = tokenizer.table.mask_id
  (text_ids,) = tokenizer.encode_batch(['The arrays are'])
  ids = tokenizer.encode_with_mask('The [MASK] are')
  assert ids.dtype == np.int32
  (the,), (are,) = (tokenizer.encode_batch([w]) for w in ('The', 'are'))
  assert ids.tolist() == [*the, mask, *are]
  assert set(ids) - {mask} <= set(text_ids)
  # What follows a mask directly does not begin a word.
  tokens = [tokenizer.token(i) for i in tokenizer.encode_with_mask('[MASK].')]
  assert tokens == ['[MASK]', '.']
  assert tokenizer.encode_with_mask('[MASK][MASK] ').tolist() == [mask, mask]
  assert tokenizer.encode_with_mask('').tolist() == []
  assert tokenizer.decode(ids) == 'The [MASK] are'


def test_saved_and_pickled_tokenizers_are_the_same(tokenizer, tmp_path):
  tokenizer.save(tmp_path / 'one')
  config = json.loads((tmp_path / 'one/tokenizer_config.json').read_text())
  assert config == {'kind': 'sentencepiece', 'lowercase': False}
  for other in (
    load_tokenizer(tmp_path / 'one'),
    load_tokenizer(tmp_path / 'one' / 'tokenizer.model'),
    pickle.loads(pickle.dumps(tokenizer)),
  ):
    assert other.fingerprint == tokenizer.fingerprint
    assert tokens_of_text(other, TEXT) == tokens_of_text(tokenizer, TEXT)


def test_fingerprints_differ():
  one, other = trained('unigram'), trained('bpe')
  lower = sentencepiece.SentencePiece(one._model, lowercase=True)
  assert len({t.fingerprint for t in (one, other, lower)}) == 3
  assert len(one.fingerprint) == 64


ALBERT = {'pad_id': 0, 'unk_id': 1, 'bos_id': -1, 'eos_id': -1}
ROBERTA = {'pad_id': 3, 'unk_id': 0, 'bos_id': 1, 'eos_id': 2}


@pytest.mark.parametrize(
  ('model', 'names'),
  [
    (
      foreign('[CLS]', '[SEP]', '[MASK]', **ALBERT),
      '<pad> <unk> [CLS] [SEP] [MASK]',
    ),
    (
      foreign('<cls>', '<sep>', '<pad>', '<mask>', '<eod>'),
      '<pad> <unk> <cls> <sep> <mask>',
    ),
    (foreign('<mask>', **ROBERTA), '<pad> <unk> <s> </s> <mask>'),
    (
      foreign(user_defined=('<mask>', '[', '.'), **ROBERTA),
      '<pad> <unk> <s> </s> <mask>',
    ),
  ],
)
def test_models_of_others(model, names, tmp_path):
  (tmp_path / 'spiece.model').write_bytes(model)
  tokenizer = load_tokenizer(tmp_path)
  table = tokenizer.table
  ids = (table.pad_id, table.unk_id, table.cls_id, table.sep_id, table.mask_id)
  assert ' '.join(map(tokenizer.token, ids)) == names
  assert table.special_ids.tolist() == sorted(ids)
  (found,) = tokenizer.encode_batch([f'The arrays {names} <mask>'])
  assert not np.isin(found, [*set(ids) - {table.unk_id}]).any()
  tokenizer.save(tmp_path / 'saved')
  saved = (tmp_path / 'saved' / 'tokenizer.model').read_bytes()
  assert saved == model
  # The unknown character is one [UNK].
  (found,) = tokenizer.encode_batch(['ж'])
  assert table.unk_id in found


@pytest.mark.parametrize(
  ('model', 'message'),
  [
    (
      foreign(),
      r'\[PAD\] or <pad>, \[MASK\] or <mask>; train the .*--control_',
    ),
    (foreign(bos_id=-1, pad_id=3), r'\[CLS\] or <cls> or <s>, \[MASK\]'),
    (b'', 'it is no SentencePiece model'),
    (b'\xff\xfe\xfd' * 9, 'it is no SentencePiece model'),
    (foreign('<mask>', **ROBERTA)[:700], 'SentencePiece model'),
  ],
)
def test_what_cannot_be_loaded_is_one_clear_line(tmp_path, model, message):
  path = tmp_path / 'any.model'
  path.write_bytes(model)
  with pytest.raises(InputError, match=message) as error:
    load_tokenizer(path)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)


def test_case_of_a_model_of_others(tmp_path):
  symbols = ('[CLS]', '[SEP]', '[MASK]')
  lower = foreign(*symbols, normalization_rule_name='nmt_nfkc_cf', **ALBERT)
  assert not sentencepiece.case_of(lower).strip_accents
  (tmp_path / 'spiece.model').write_bytes(trained(lowercase=True)._model)
  assert tokens_of_text(load_tokenizer(tmp_path), 'CAFÉ') == tokens_of_text(
    trained(lowercase=True), 'cafe'
  )
  (tmp_path / 'spiece.model').write_bytes(
    foreign(*symbols, character_coverage=1.0, **ALBERT)
  )
  cased = tokens_of_text(load_tokenizer(tmp_path), 'Arrays')
  (tmp_path / 'tokenizer_config.json').write_text('{"do_lower_case": true}')
  assert tokens_of_text(load_tokenizer(tmp_path), 'Arrays') != cased
