"""Byte-level BPE: literal special tokens, words, files, models of others."""

import copy
import functools
import json
import pickle

import numpy as np
import pytest
import trained_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_files import tokens_of_text
from tokenizers import Tokenizer
from trained_tokenizers import fingerprint_elsewhere, many_words

from bert_jax.data.tokenizers import (
  byte_bpe,
  huggingface,
  load_tokenizer,
)
from bert_jax.errors import InputError
from bert_jax.tasks.text_rows import encode_examples

TEXT = 'The arrays are arranged in an array, of Arrays. [SEP] Café 日本 😀!'


def train(texts, vocab_size=330):
  return trained_tokenizers.train('byte_bpe', texts, vocab_size)


@functools.cache
def trained():
  return train([TEXT] * 40)


def roberta():
  """tokenizer.json as RoBERTa's: other names, <mask> last, older merges."""
  spec = copy.deepcopy(trained()._spec)
  model = spec['model']
  tokens = sorted(model['vocab'], key=model['vocab'].__getitem__)
  names = ['<s>', '<pad>', '</s>', '<unk>', *tokens[5:], '<mask>']
  model['vocab'] = {token: i for i, token in enumerate(names)}
  model['merges'] = [' '.join(pair) for pair in model['merges']]
  proto = spec['added_tokens'][0]
  special = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
  spec['added_tokens'] = [
    proto | {'id': names.index(name), 'content': name} for name in special
  ]
  spec['added_tokens'][-1]['lstrip'] = True
  spec['post_processor'] = None
  return spec


def modernbert():
  """As ModernBERT's: NFC, and added tokens of both kinds above the others."""
  spec = copy.deepcopy(trained()._spec)
  model = spec['model']
  tokens = sorted(model['vocab'], key=model['vocab'].__getitem__)[5:]
  model['vocab'] = {token: i for i, token in enumerate(tokens)}
  proto = spec['added_tokens'][0]
  names = ['<|end|>', '   ', '  ', '[UNK]', '[CLS]', '[SEP]', '[PAD]', '[MASK]']
  spec['added_tokens'] = [
    proto
    | {
      'id': len(tokens) + i,
      'content': name,
      'special': name[0] in '<[' and name != '[unused0]',
      'normalized': name[0] not in '<[',
    }
    for i, name in enumerate([*names, '[unused0]'])
  ]
  spec['normalizer'] = {'type': 'NFC'}
  spec['post_processor'] = None
  return spec


def encode(tokenizer, text):
  return tokenizer.encode_batch([text])[0]


@pytest.fixture(params=[trained, roberta, modernbert])
def tokenizer(request):
  made = request.param()
  return made if request.param is trained else byte_bpe.ByteBpe(made)


def test_special_tokens_come_first():
  table = trained().table
  ids = (table.pad_id, table.unk_id, table.cls_id, table.sep_id, table.mask_id)
  assert ids == (0, 1, 2, 3, 4)
  assert table.special_ids.tolist() == [0, 1, 2, 3, 4]
  assert table.ordinary_ids.tolist() == list(range(5, table.vocab_size))
  assert trained().token(4) == '[MASK]'
  assert trained().token(5) == '!'


@pytest.mark.parametrize(
  ('spec', 'names'),
  [
    (roberta, '<pad> <unk> <s> </s> <mask>'),
    (modernbert, '[PAD] [UNK] [CLS] [SEP] [MASK]'),
  ],
)
def test_special_tokens_of_others(spec, names):
  tokenizer = byte_bpe.ByteBpe(spec())
  table = tokenizer.table
  ids = (table.pad_id, table.unk_id, table.cls_id, table.sep_id, table.mask_id)
  assert ' '.join(map(tokenizer.token, ids)) == names
  assert table.special_ids.tolist() == sorted(ids)
  assert table.vocab_size == len(table.ordinary_ids) + 5


@pytest.mark.parametrize(
  'text',
  [
    '[SEP]',
    'The [SEP] array[MASK][CLS]s [PAD] [UNK]',
    '<s></s> <mask> <pad><unk> <|end|>',
  ],
)
def test_literal_special_tokens_are_ordinary_text(tokenizer, text):
  ids = encode(tokenizer, text)
  assert not np.isin(ids, tokenizer.table.special_ids).any()
  assert tokenizer.decode(ids) == text
  assert len(ids) > text.count('>') + text.count(']')


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back(text):
  ids = encode(trained(), text)
  assert ids.dtype == np.int32
  assert not np.isin(ids, trained().table.special_ids).any()
  assert trained().decode(ids) == ' '.join(text.split())
  written = b''.join(trained()._bytes[i] for i in ids)
  assert written.decode() == text


SPACES = st.text(
  ' \t\n\r\x0b\x1c\x1f\x85\xa0\u2003\u2028\u3000a.é\u0301[', max_size=30
)


@settings(max_examples=600, deadline=None)
@given(st.text(max_size=40) | SPACES)
def test_word_by_word_equals_the_whole_text(text):
  for tokenizer in cached_tokenizers():
    assert tokenizer._cache
    (whole,) = tokenizer._encode_words([text])
    assert encode(tokenizer, text).tolist() == whole


@functools.cache
def cached_tokenizers():
  return [byte_bpe.ByteBpe(made()) for made in (roberta, modernbert)]


def test_added_tokens_that_are_not_special_are_found():
  tokenizer = byte_bpe.ByteBpe(modernbert())
  found = tokens_of_text(tokenizer, 'arrays   e\u0301 [unused0]')
  assert '   ' in found and '[unused0]' in found
  assert (
    encode(tokenizer, 'e\u0301').tolist() == encode(tokenizer, '\xe9').tolist()
  )
  assert tokenizer.decode(encode(tokenizer, 'a   b[unused0]')) == (
    'a b[unused0]'
  )


def test_words_start_at_white_space(tokenizer):
  table = tokenizer.table
  assert table.word_starts[table.special_ids].all()
  for token_id in table.ordinary_ids:
    # In order: space, line feed, tab, carriage return, VT and FF.
    starts = (
      tokenizer.token(token_id)[0] in ' \u0120\u010a\u0109\u010d\u010b\u010c'
    )
    assert table.word_starts[token_id] == starts


def test_masks_take_the_space_before_them(tokenizer):
  mask = tokenizer.table.mask_id
  found = tokenizer.encode_with_mask('The [MASK] are')
  assert found.dtype == np.int32
  expected = [*encode(tokenizer, 'The'), mask, *encode(tokenizer, ' are')]
  assert found.tolist() == expected
  assert tokenizer.encode_with_mask('[MASK][MASK] ')[:2].tolist() == [mask] * 2
  assert tokenizer.encode_with_mask('').tolist() == []
  mask_name = tokenizer.token(mask)
  assert tokenizer.decode(expected) == f'The {mask_name} are'


def test_a_prefix_space_is_of_the_first_text_alone():
  spec = copy.deepcopy(trained()._spec)
  spec['pre_tokenizer']['add_prefix_space'] = True
  tokenizer = byte_bpe.ByteBpe(spec)
  assert tokens_of_text(tokenizer, 'arrays') == tokens_of_text(
    tokenizer, ' arrays'
  )
  found = tokenizer.encode_with_mask('arrays [MASK]. array')
  (dot,) = encode(trained(), '.')
  assert found.tolist() == [
    *encode(tokenizer, 'arrays'),
    4,
    dot,
    *encode(trained(), ' array'),
  ]


def test_saved_and_pickled_tokenizers_are_the_same(tokenizer, tmp_path):
  tokenizer.save(tmp_path / 'one')
  config = json.loads((tmp_path / 'one/tokenizer_config.json').read_text())
  assert config == {'kind': 'byte_bpe'}
  for other in (
    load_tokenizer(tmp_path / 'one'),
    load_tokenizer(tmp_path / 'one' / 'tokenizer.json'),
    pickle.loads(pickle.dumps(tokenizer)),
  ):
    assert other.fingerprint == tokenizer.fingerprint
    assert encode(other, TEXT).tolist() == encode(tokenizer, TEXT).tolist()


def test_fingerprint_is_of_what_changes_ids():
  spec = copy.deepcopy(trained()._spec)
  spec['post_processor'] = None
  spec['model']['dropout'] = 0.1
  assert byte_bpe.ByteBpe(spec).fingerprint == trained().fingerprint
  spec['pre_tokenizer']['add_prefix_space'] = True
  others = [spec, roberta(), modernbert()]
  found = {byte_bpe.ByteBpe(other).fingerprint for other in others}
  assert len(found | {trained().fingerprint}) == 4


def test_the_same_text_gives_the_same_bytes_in_every_process():
  expected = train([' '.join(many_words())] * 2, 1000).fingerprint
  call = "train('byte_bpe', [' '.join(many_words())] * 2, 1000)"
  for threads in ('1', '4'):
    found = fingerprint_elsewhere(call, RAYON_NUM_THREADS=threads)
    assert found == expected


def test_a_vocabulary_too_small_for_the_bytes_is_an_error():
  with pytest.raises(InputError, match='--vocab_size=260: .* at least 261 en'):
    train([TEXT], 260)
  assert train([TEXT], 261).table.vocab_size == 261


def write_two_files(folder, spec) -> None:
  """vocab.json and merges.txt, as RoBERTa was published with."""
  model = spec['model']
  (folder / 'vocab.json').write_text(json.dumps(model['vocab']), 'utf-8')
  lines = ['#version: 0.2', *model['merges'], '']
  (folder / 'merges.txt').write_text('\n'.join(lines), 'utf-8')


RULES = {
  'roberta': {
    'type': 'RobertaProcessing',
    **{'sep': ['</s>', 2], 'cls': ['<s>', 0]},
    **{'trim_offsets': True, 'add_prefix_space': False},
  },
  'bert': {
    'type': 'BertProcessing',
    **{'sep': ['</s>', 2], 'cls': ['<s>', 0]},
  },
}


@pytest.mark.parametrize(
  'rule, count',
  [
    (None, 1),
    (RULES['bert'], 1),
    (RULES['roberta'], 2),
    ({'type': 'Sequence', 'processors': [RULES['roberta']]}, 2),
  ],
)
def test_separators_between_texts_are_those_of_the_file(tmp_path, rule, count):
  tokenizer = byte_bpe.ByteBpe(roberta() | {'post_processor': rule})
  tokenizer.save(tmp_path / 'one')
  huggingface.save(tokenizer, tmp_path / 'one', max_length=64)
  pair = [('The arrays', 'of an array')]
  for one in (tokenizer, load_tokenizer(tmp_path / 'one')):
    assert one.table.pair_separators == count
    row = encode_examples(one, pair, 32)[0][0]
    first, second = (encode(one, text).tolist() for text in pair[0])
    ids = [0, *first, *[2] * count, *second, 2]
    assert row.tolist() == ids + [1] * (32 - len(ids))
    theirs = Tokenizer.from_file(str(tmp_path / 'one' / 'tokenizer.json'))
    assert theirs.encode(*pair[0]).ids == ids
  assert tokenizer.fingerprint == byte_bpe.ByteBpe(roberta()).fingerprint


def test_a_rule_of_separators_that_cannot_be():
  with pytest.raises(InputError, match='the tokenizers package cannot read'):
    byte_bpe.ByteBpe(roberta() | {'post_processor': {'type': 'Roberta'}})


@pytest.mark.parametrize('prefix_space', [False, True])
def test_a_vocab_and_merges_are_what_a_tokenizer_json_is(
  tmp_path, prefix_space
):
  from tokenizers.implementations import ByteLevelBPETokenizer

  write_two_files(tmp_path, roberta())
  options = {'add_prefix_space': prefix_space}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(options))
  ours = load_tokenizer(tmp_path)
  assert ours.table.pair_separators == 2
  theirs = ByteLevelBPETokenizer(
    str(tmp_path / 'vocab.json'), str(tmp_path / 'merges.txt'), **options
  )
  texts = [TEXT, 'arrays of an array', ' the  arrays\n', '']
  for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
    assert theirs.encode(text).ids == ids.tolist()
  expected = byte_bpe.ByteBpe(roberta()).table
  assert ours.table.pad_id == expected.pad_id == 1
  np.testing.assert_array_equal(ours.table.word_starts, expected.word_starts)
  ours.save(tmp_path / 'again')
  assert load_tokenizer(tmp_path / 'again').fingerprint == ours.fingerprint


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda f: (f / 'merges.txt').unlink(), 'merges.txt is missing beside it'),
    (lambda f: (f / 'merges.txt').write_bytes(b'\xff'), 'is not UTF-8'),
    (lambda f: (f / 'merges.txt').write_text('a b c'), "'a b c', which is no"),
    (lambda f: (f / 'merges.txt').write_text('qq zz'), 'package cannot read'),
    (lambda f: (f / 'vocab.json').write_text('{'), 'it is not JSON'),
    (lambda f: (f / 'vocab.json').write_text('[1]'), 'not give each token'),
    (
      lambda f: (f / 'vocab.json').write_text('{"<s>": 0}'),
      'lacks the special',
    ),
    (
      lambda f: (f / 'vocab.json').write_text(
        '{"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "<mask>": 9}'
      ),
      'are not 0 to 4',
    ),
  ],
)
def test_a_damaged_vocab_or_merges_is_named(tmp_path, change, message):
  write_two_files(tmp_path, roberta())
  change(tmp_path)
  with pytest.raises(InputError, match=message) as caught:
    load_tokenizer(tmp_path)
  assert str(caught.value).startswith(f'{tmp_path / "vocab.json"}: ')
  assert len(str(caught.value).splitlines()) == 1
