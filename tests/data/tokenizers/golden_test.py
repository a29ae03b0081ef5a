"""Ids equal those of transformers' fast tokenizers, made from the same files.

golden/write_tokenizers_golden.py tells how tokenizers.npz came about.
"""

import functools
import json
import lzma
import pathlib
import re

import numpy as np
import pytest

from bert_jax.data.tokenizers import load_tokenizer

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'tokenizers.npz'
NAMES = (
  'bert_uncased',
  'bert_cased',
  'roberta',
  'modernbert',
  'albert_cased',
  'albert_uncased',
  'spm_unigram',
  'spm_bpe',
)


@functools.cache
def golden():
  with np.load(GOLDEN, allow_pickle=False) as arrays:
    return dict(arrays)


def unpack(name):
  return lzma.decompress(golden()[name].tobytes())


def expected_ids(name):
  ids = np.frombuffer(unpack(f'ids/{name}'), np.uint16)
  return np.split(ids, np.cumsum(golden()[f'lengths/{name}'])[:-1])


def load(name, folder):
  content = unpack(f'files/{name}')
  if name.startswith(('albert', 'spm')):
    # Not above: it asks for a newer protobuf than Beam has.
    from sentencepiece import sentencepiece_model_pb2 as model_pb2

    proto = model_pb2.ModelProto.FromString(content)
    proto.normalizer_spec.precompiled_charsmap = unpack('charsmap')
    (folder / 'spiece.model').write_bytes(proto.SerializeToString())
    config = {'do_lower_case': name == 'albert_uncased'}
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
  else:
    (folder / 'tokenizer.json').write_bytes(content)
    if name == 'modernbert':
      # A folder of ours without added special tokens: the golden ids are
      # those of texts in which <|endoftext|> is ordinary text.
      (folder / 'tokenizer_config.json').write_text('{"kind": "byte_bpe"}')
  return load_tokenizer(folder)


# Where transformers differs from SentencePiece itself, which ours equals.
KNOWN_DIFFERENCES = re.compile(
  # It finds special tokens and the names of bytes in texts, of these kinds.
  r'\[[A-Z]+]|<[\w/]+>'
  # It applies the rules for NFKC to clusters of marks as a whole, or not.
  r'|[\u0300-\u036f]{2}|[\u1e9b\u022b\u1100-\u11ff\uffa0-\uffdc]'
  # Of two ways to cut a run that repeats it takes another.
  r'|(.)\1{16}|(ab){16}'
)
# It splits at white space of Unicode before the model sees it.
CASED_DIFFERENCES = re.compile(r'[\x1c-\x1f\x85]')
# It drops all marks of Unicode, where Google's code drops those that combine,
# and Hangul stays in parts, as the rules for NFKC are not applied to clusters.
UNCASED_DIFFERENCES = re.compile(
  r'[\u0900-\u0eff\u0488\u0489\u20e3\uac00-\ud7a3\ufe0e\ufe0f]'
)


def is_known(name, text):
  patterns = []
  if name.startswith(('albert', 'spm')):
    patterns = [KNOWN_DIFFERENCES]
  if name.startswith('albert'):
    patterns.append(CASED_DIFFERENCES)
  if name == 'albert_uncased':
    patterns.append(UNCASED_DIFFERENCES)
  return any(pattern.search(text) for pattern in patterns)


@pytest.mark.parametrize('name', NAMES)
def test_ids_equal_those_of_transformers(name, tmp_path):
  tokenizer = load(name, tmp_path)
  texts = json.loads(unpack('texts'))
  compared = 0
  for text, ours, theirs in zip(
    texts, tokenizer.encode_batch(texts), expected_ids(name), strict=True
  ):
    if not is_known(name, text):
      compared += 1
      assert ours.tolist() == theirs.tolist(), text
  assert compared > 0.6 * len(texts)
