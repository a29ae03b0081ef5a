"""A tokenizer with more entries cuts the new ones as the old one did."""

import copy

import numpy as np
import pytest
from trained_tokenizers import train

from bert_jax.data.tokenizers import byte_bpe, sentencepiece, wordpiece
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS
from bert_jax.data.tokenizers.extension import never_drawn, pieces_of_new
from bert_jax.errors import InputError

TEXT = (
  'the arrays return zeros and the functions take ones, resting and testing'
)
WORDS = [
  *SPECIAL_TOKENS,
  *('the', 'value', 'a', '##r', '##ray', '##s', '-', 's', 'ray', '##ra'),
]


def word_pieces(*more: str, lowercase: bool = True, **options):
  return wordpiece.WordPiece([*WORDS, *more], lowercase=lowercase, **options)


def byte_pieces(*more: str, **changes) -> byte_bpe.ByteBpe:
  """Trained, with added tokens as transformers' add_tokens writes them."""
  spec = train('byte_bpe', [TEXT] * 20, 300).tokenizer_json()
  for number, content in enumerate(more):
    spec['added_tokens'].append(
      {
        'id': 300 + number,
        'content': content,
        'single_word': False,
        'lstrip': False,
        'rstrip': False,
        'normalized': True,
        'special': False,
      }
    )
  spec['pre_tokenizer'] |= changes
  return byte_bpe.ByteBpe(spec)


def model_pieces(*more: str) -> sentencepiece.SentencePiece:
  old = train('sentencepiece_unigram', [TEXT] * 20, 290)
  proto = sentencepiece._parse(old._model)
  for piece in more:
    proto.pieces.add(piece=piece, score=-1.0)
  return sentencepiece.SentencePiece(proto.SerializeToString(), lowercase=False)


def cuts(old, new) -> list[list[str]]:
  found = pieces_of_new(old, new, '--tokenizer=new')
  return [[old.token(i) for i in ids] for ids in found]


def test_what_goes_on_with_a_word_is_cut_as_such():
  new = word_pieces('array', '##rays', 'ß', 'Values', 'the-s', '##q')
  assert cuts(word_pieces(), new) == [
    ['a', '##r', '##ray'],
    ['##ray', '##s'],
    [],  # [UNK] is left out
    ['value', '##s'],
    ['the', '-', 's'],
    [],
  ]
  assert never_drawn(new, len(WORDS)) == ['Values', 'the-s']


def test_added_tokens_are_cut_as_they_are_written():
  old, new = byte_pieces(), byte_pieces('Zürich', '    ', ' testing', 'resting')
  assert cuts(old, new) == [
    ['Z', 'Ã', '¼', 'r', 'i', 'c', 'h'],
    ['Ġ'] * 4,
    ['Ġtesting'],
    ['r', 'esting'],
  ]
  assert never_drawn(new, 300) == []
  assert new.encode_batch(['in Zürich'])[0][-1] == 300


def test_part_of_a_letter_is_no_text():
  spec = copy.deepcopy(byte_pieces().tokenizer_json())
  # The two first bytes of three.
  spec['model']['vocab']['âĤ'] = 300
  spec['model']['merges'].append(['â', 'Ĥ'])
  assert cuts(byte_pieces(), byte_bpe.ByteBpe(spec)) == [[]]


def test_the_space_mark_counts_as_the_space():
  old = model_pieces()
  new = model_pieces('▁zeros▁and', 'urn', '▁take▁ones', 'é')
  found = cuts(old, new)
  assert [''.join(pieces) for pieces in found[:3]] == [
    '▁zeros▁and',
    'urn',
    '▁take▁ones',
  ]
  assert all(len(pieces) > 1 for pieces in found)
  assert found[3] == ['<0xC3>', '<0xA9>']
  size = old.table.vocab_size
  assert never_drawn(new, size) == []
  assert size in new.encode_batch(['zeros and'])[0]


@pytest.mark.parametrize(
  'new, message',
  [
    (lambda: word_pieces(), 'it has 15 entries, the model 15; append'),
    (
      lambda: wordpiece.WordPiece(
        [*WORDS[:6], 'worth', *WORDS[7:], 'more'], lowercase=True
      ),
      "its entry 6 is 'worth', that of the model 'value'; all 15 old",
    ),
    (
      lambda: word_pieces('more', lowercase=False),
      'normalizer.lowercase is False, of the model True; begin with a copy',
    ),
    (
      lambda: word_pieces('more', max_word_characters=9),
      'its max_word_characters is 9, of the model 200; begin',
    ),
    (
      lambda: word_pieces('more', 'the', 'more'),
      "2 of its new entries are there already, 'the', 'more'; leave them out",
    ),
    (
      lambda: byte_pieces('more'),
      'its kind is ByteBpe, of the model WordPiece; its',
    ),
  ],
)
def test_what_is_no_extension_is_refused_in_one_line(new, message):
  with pytest.raises(
    InputError, match=f'^--tokenizer=new: .*{message}'
  ) as error:
    pieces_of_new(word_pieces(), new(), '--tokenizer=new')
  assert '\n' not in str(error.value)


def test_another_space_before_a_text_is_refused():
  new = byte_pieces('more', add_prefix_space=True)
  with pytest.raises(
    InputError, match='pre_tokenizer.add_prefix_space is True'
  ):
    pieces_of_new(byte_pieces(), new, 'new')


def test_another_special_token_is_refused():
  tokens = ['<pad>', '<unk>', '<s>', '</s>', '<mask>']
  spec = byte_pieces().tokenizer_json()
  names = dict(zip(SPECIAL_TOKENS, tokens, strict=True))
  vocab = spec['model']['vocab']
  spec['model']['vocab'] = {names.get(t, t): i for t, i in vocab.items()}
  for token in spec['added_tokens']:
    token['content'] = names.get(token['content'], token['content'])
  old = byte_bpe.ByteBpe(copy.deepcopy(spec))
  spec['model']['vocab']['[PAD]'] = 300
  with pytest.raises(InputError, match=r"pad_id is 300, .* entry '\[PAD\]'"):
    pieces_of_new(old, byte_bpe.ByteBpe(spec), 'new')


def test_ids_are_arrays_of_numbers():
  (ids,) = pieces_of_new(word_pieces(), word_pieces('values'), 'new')
  assert ids.dtype == np.int32
