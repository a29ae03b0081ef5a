"""A SentencePiece model as the tokenizer.json of the `tokenizers` package.

The conversion is that of transformers (convert_slow_tokenizer.py, ALBERT's and
Llama's), which its AutoTokenizer would do.
"""

import base64
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

from bert_jax.data.tokenizers import base

_SPACE = '\u2581'


def tokenizer_json(
  proto: Any,
  table: base.TokenTable,
  *,
  lowercase: bool,
  straight_quotes: bool = False,
) -> dict[str, Any]:
  """The content of the file, without special tokens around a text.

  `proto` is a ModelProto of sentencepiece_model.py.
  """
  trainer = proto.trainer_spec
  pieces = [(piece.piece, piece.score) for piece in proto.pieces]
  model = (
    _bpe(proto, table, pieces)
    if trainer.model_type == trainer.BPE
    else {
      'type': 'Unigram',
      'unk_id': table.unk_id,
      'vocab': pieces,
      'byte_fallback': trainer.byte_fallback,
    }
  )
  crosses_words = any(_SPACE in piece[1:] for piece, _ in pieces)
  metaspace = {
    'type': 'Metaspace',
    'replacement': _SPACE,
    'prepend_scheme': (
      'always' if proto.normalizer_spec.add_dummy_prefix else 'never'
    ),
    'split': not crosses_words,
  }
  return {
    'version': '1.0',
    'normalizer': {
      'type': 'Sequence',
      'normalizers': _normalizers(
        proto.normalizer_spec, lowercase, straight_quotes
      ),
    },
    'pre_tokenizer': metaspace,
    'decoder': metaspace,
    'model': model,
  }


def _normalizers(
  spec: Any, lowercase: bool, straight_quotes: bool
) -> list[dict[str, Any]]:
  def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {'type': 'Replace', 'pattern': pattern, 'content': content}

  found: list[dict[str, Any]] = []
  if lowercase or straight_quotes:
    found += [replace({'String': mark}, '"') for mark in ('``', "''")]
  if lowercase:
    found += [
      {'type': 'NFKD'},
      replace({'Regex': f'[{_combining_characters()}]'}, ''),
      {'type': 'Lowercase'},
    ]
    if 'nfkc' in spec.name:
      # Precompiled composes only within a grapheme of few bytes: it leaves the
      # letters of Korean apart.
      found.append({'type': 'NFC'})
  if spec.precompiled_charsmap:
    charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
    found.append({'type': 'Precompiled', 'precompiled_charsmap': charsmap})
  if spec.remove_extra_whitespaces:
    found.append({'type': 'Strip', 'strip_left': True, 'strip_right': True})
    found.append(replace({'Regex': ' {2,}'}, ' '))
  return found


def _combining_characters() -> str:
  """Ranges of combining characters to strip.

  StripAccents of the package also strips the vowel signs of Hindi.
  """
  places = [
    place
    for place in range(sys.maxunicode)
    if unicodedata.combining(chr(place))
  ]
  known = set(places)
  starts = [place for place in places if place - 1 not in known]
  ends = [place for place in places if place + 1 not in known]
  return ''.join(
    f'{chr(start)}-{chr(end)}' for start, end in zip(starts, ends, strict=True)
  )


def _bpe(
  proto: Any,
  table: base.TokenTable,
  pieces: Sequence[tuple[str, float]],
) -> dict[str, Any]:
  """The merges of a BPE model, which its file does not list.

  Every pair of pieces that together make a piece is a merge.
  """
  ids = {piece: i for i, (piece, _) in enumerate(pieces)}
  merges = []
  for piece, score in pieces:
    pairs = [
      (piece[:end], piece[end:])
      for end in range(1, len(piece))
      if piece[:end] in ids and piece[end:] in ids
    ]
    pairs.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    merges += [(score, pair) for pair in pairs]
  merges.sort(key=lambda merge: merge[0], reverse=True)
  return {
    'type': 'BPE',
    'vocab': ids,
    'merges': [list(pair) for _, pair in merges],
    'unk_token': pieces[table.unk_id][0],
    'fuse_unk': True,
    'byte_fallback': proto.trainer_spec.byte_fallback,
  }
