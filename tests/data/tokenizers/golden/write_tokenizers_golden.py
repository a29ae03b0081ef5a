"""Writes tokenizers.npz: ids of transformers' fast tokenizers, for golden_test.

The file is committed, so that the test does not need transformers. To write it
again, in an environment of its own (Python 3.11):

  python3.11 -m venv env
  env/bin/pip install transformers==5.24.0 sentencepiece protobuf
  env/bin/python tests/data/tokenizers/golden/write_tokenizers_golden.py

The tokenizers are small and trained here, on the lines that are encoded.
Special tokens that a line spells out are encoded as ordinary text.

What the file holds, as the bytes of an xz file but for the lengths:
  texts           JSON list of lines
  charsmap        the rules of NFKC, which all SentencePiece models share
  files/NAME      tokenizer.json as transformers has it, or for SentencePiece
                  the .model without its rules
  ids/NAME        uint16, the ids of all lines, one after the other
  lengths/NAME    uint16, the number of ids of each line
NAMEs: bert_uncased, bert_cased, roberta, modernbert (as its tokenizer.json is
built: NFC, runs of spaces as added tokens), albert_cased, albert_uncased
(unigram), spm_unigram, spm_bpe (with a piece for each byte).
"""

import io
import json
import lzma
import pathlib
import random
import re
import string
import tempfile

import numpy as np
import sentencepiece
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import SpmConverter

OUTPUT = pathlib.Path(__file__).with_name('tokenizers.npz')
SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
ROBERTA = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
NUM_RANDOM = 180

LINES = [
  'The quick brown fox jumps over the lazy dog.',
  "Don't re-arrange John's arrays; they're well-ordered, aren't they?",
  'def f(x: int) -> str:\n    return f"{x!r}"  # a comment\n',
  'https://example.org/a/b?q=1&r=%20#top user@example.org C:\\Temp\\x.txt',
  '3.14159 1,000,000 0x1F 1e-9 50% $20 €30 £40 ½ ² ₃ Ⅷ ① №',
  'naïve café Ångström Zoë façade jalapeño Žižek Dvořák Łódź ĐÐ İstanbul ıI',
  'e\u0301 a\u0300\u0323 n\u0303 \u1e9b\u0323 o\u0308\u0304 q\u0307\u0323',
  '東京都は日本の首都です。 人口は約1400万人。カタカナ・ひらがな ｶﾀｶﾅ',
  '北京是中华人民共和国的首都，全国政治中心。\u3000全角　空格',
  '서울은 대한민국의 수도이다. 한글 \u1112\u1161\u11ab',
  'Ελλάδα και Αθήνα; Привет, мир! Україна їжак ґанок',
  'مرحبا بالعالم، كيف حالك؟ שלום עולם שָׁלוֹם',
  'नमस्ते दुनिया ไทยสวัสดี தமிழ் ქართული Հայերեն አማርኛ',
  '😀 😀👍🏽 👩‍👩‍👧‍👦 🇯🇵🇫🇷 ❤️ ☎ ♥︎ 1️⃣ 🏴\U000e0067\U000e007f',
  'ﬁnance ﬂow ﬀ Ǆ ǅ Ⅳ ㎏ ㍿ ｆｕｌｌ　ｗｉｄｔｈ ＡＢＣ１２３ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚 ℝ ℌ',
  'control\x00\x01\x02 \x07bell\x08 \x1b[31m \x7f\x80\x85\x9f del',
  'zero\u200bwidth\u200cnon\u200djoiner soft\xadhyphen \ufeffbom\u2060 '
  '\u200e\u200f',
  'spaces  two   three    four     five\xa0nbsp\u2009thin\u3000wide\u1680x',
  '\ttab\t\ttabs\nline\n\nlines\r\ncrlf\x0bvt\x0cff\u2028ls\u2029ps end ',
  '   leading and trailing   ',
  '',
  ' ',
  '\n',
  '\ufffd replacement \ufffd\ufffd \ue000 private \U000f0000 \ufdd0 \uffff',
  '[CLS] The [MASK] of [SEP] an array [PAD] [UNK] [cls] [ SEP ] ##s ##',
  '<s> The <mask> of </s> an array <pad> <unk> <|endoftext|> <0x41> ▁ ▁a a▁b',
  '“Quotes” ‘single’ «guillemets» „low“ — – ‐ ‑ … ‥ · • ¿qué? ¡ay! 「括弧」',
  '!"#$%&()*+,-./:;<=>?@[\\]^_{|}~ a!b#c _under_score_ ~x~ a^b',
  '𠀀𠀁 𪜀 𫝀 龥鿿 㐀䶵 豈 丽 〇 々 ゝ ー ㄅㄆ',
  'Straße GROẞE ſtrange Kelvin K Å Ω µ ŉ ΐ',
  *('x' * n for n in (15, 16, 17, 99, 100, 101, 199, 200, 201, 3000)),
  *(f'a{"é" * n}b' for n in (98, 99)),
  '日' * 150,
  '😀' * 120,
  'ab' * 60 + ' ' + 'na' * 49 + 's.',
]
POOLS = [
  string.ascii_lowercase * 3 + '    ',
  string.ascii_letters + string.digits + string.punctuation + '   ',
  ''.join(map(chr, range(0xA1, 0x250))) + '  ',
  ''.join(map(chr, range(0x386, 0x52F))) + '  ',
  ''.join(map(chr, range(0x5D0, 0x5EA)))
  + ''.join(map(chr, range(0x621, 0x64A))),
  ''.join(map(chr, range(0x3041, 0x30FF))) + '日本語東京都中国人口一二三。、',
  ''.join(map(chr, range(0x4E00, 0x4F00))) + '，。 ',
  ''.join(map(chr, range(0xAC00, 0xAD00))) + '  ',
  ''.join(map(chr, range(0x2000, 0x2070))) + string.ascii_lowercase,
  ''.join(map(chr, range(0x2100, 0x2200))) + 'abc ',
  ''.join(map(chr, range(0xFF01, 0xFFEF))) + ' ',
  ''.join(map(chr, range(0x1F600, 0x1F650))) + 'abc  ',
  ''.join(map(chr, range(0, 0xA1))),
]


# Of these SentencePiece lines differ (golden_test tells why): a few are enough.
DIFFERS = re.compile('[\\[<\u0300-\u036f\u022b\u1e9b\u1100-\u11ff]')


def all_lines() -> list[str]:
  """LINES, and random ones: of their words, and of the characters of POOLS."""
  rng = random.Random(0)
  words = [
    word for word in ' '.join(LINES[:30]).split(' ') if not DIFFERS.search(word)
  ]
  lines = list(LINES)
  for _ in range(NUM_RANDOM // 2):
    lines.append(' '.join(rng.choice(words) for _ in range(rng.randint(3, 15))))
  for number in range(NUM_RANDOM // 2):
    pool = POOLS[number % len(POOLS)]
    lines.append(''.join(rng.choice(pool) for _ in range(rng.randint(5, 60))))
  return lines


def bert(lines: list[str], lowercase: bool):
  tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token='[UNK]'))
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  trainer = trainers.WordPieceTrainer(
    vocab_size=1200, special_tokens=SPECIAL, limit_alphabet=400
  )
  tokenizer.train_from_iterator(lines, trainer)
  return transformers.BertTokenizer(
    vocab=tokenizer.get_vocab(), do_lower_case=lowercase
  ).backend_tokenizer


def byte_bpe(lines: list[str], special: list[str]) -> dict:
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  trainer = trainers.BpeTrainer(
    vocab_size=800,
    special_tokens=special,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
  )
  tokenizer.train_from_iterator(lines, trainer)
  return json.loads(tokenizer.to_str())


def roberta(lines: list[str]):
  model = byte_bpe(lines, ROBERTA)['model']
  return transformers.RobertaTokenizer(
    vocab=model['vocab'], merges=[tuple(pair) for pair in model['merges']]
  ).backend_tokenizer


def modernbert(lines: list[str]):
  tokenizer = tokenizers.Tokenizer.from_str(json.dumps(byte_bpe(lines, [])))
  tokenizer.normalizer = normalizers.NFC()
  tokenizer.add_tokens(
    [
      tokenizers.AddedToken(' ' * n, normalized=True, special=False)
      for n in range(24, 1, -1)
    ]
  )
  tokenizer.add_special_tokens(['<|endoftext|>', *SPECIAL])
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, unk_token='[UNK]', mask_token='[MASK]'
  ).backend_tokenizer


def spm(lines: list[str], **options) -> bytes:
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=(line for line in lines if line.strip()),
    model_writer=model,
    vocab_size=1600,
    hard_vocab_limit=False,
    character_coverage=0.98,
    max_sentence_length=100_000,
    minloglevel=2,
    **options,
  )
  return model.getvalue()


def albert(model: bytes, lowercase: bool):
  with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, 'spiece.model').write_bytes(model)
    return transformers.AlbertTokenizer.from_pretrained(
      folder, do_lower_case=lowercase, keep_accents=not lowercase
    ).backend_tokenizer


def converted(model: bytes):
  """As transformers reads a .model of a class that it does not know."""
  proto = model_pb2.ModelProto.FromString(model)
  pieces = [(piece.piece, piece.score) for piece in proto.pieces]
  if proto.trainer_spec.model_type == model_pb2.TrainerSpec.BPE:
    pieces = {piece: i for i, (piece, _) in enumerate(pieces)}
  return SpmConverter.build_tokenizer_from_spm_proto(proto, pieces)


def to_bytes(data: bytes) -> np.ndarray:
  return np.frombuffer(lzma.compress(data, preset=9), np.uint8)


def main() -> None:
  lines = all_lines()
  albert_options = {
    'pad_id': 0,
    'unk_id': 1,
    'bos_id': -1,
    'eos_id': -1,
    'control_symbols': ['[CLS]', '[SEP]', '[MASK]'],
  }
  byte_options = albert_options | {'byte_fallback': True}
  cased = spm(lines, **albert_options)
  uncased = spm([line.lower() for line in lines], **albert_options)
  spms = {
    'spm_unigram': spm(lines, **byte_options),
    'spm_bpe': spm(lines, model_type='bpe', **byte_options),
  }
  made = {
    'bert_uncased': bert(lines, True),
    'bert_cased': bert(lines, False),
    'roberta': roberta(lines),
    'modernbert': modernbert(lines),
    'albert_cased': albert(cased, False),
    'albert_uncased': albert(uncased, True),
    **{name: converted(model) for name, model in spms.items()},
  }
  spms |= {'albert_cased': cased, 'albert_uncased': uncased}
  arrays = {'texts': to_bytes(json.dumps(lines).encode())}
  for name, tokenizer in made.items():
    if name in spms:
      proto = model_pb2.ModelProto.FromString(spms[name])
      arrays['charsmap'] = to_bytes(proto.normalizer_spec.precompiled_charsmap)
      proto.normalizer_spec.precompiled_charsmap = b''
      arrays[f'files/{name}'] = to_bytes(proto.SerializeToString())
    else:
      arrays[f'files/{name}'] = to_bytes(tokenizer.to_str().encode())
    tokenizer.encode_special_tokens = True
    encoded = tokenizer.encode_batch(lines, add_special_tokens=False)
    ids = [encoding.ids for encoding in encoded]
    flat = np.array([i for row in ids for i in row], np.uint16)
    arrays[f'ids/{name}'] = to_bytes(flat.tobytes())
    arrays[f'lengths/{name}'] = np.array([len(row) for row in ids], np.uint16)
  arrays['versions'] = np.array(
    f'transformers {transformers.__version__}, tokenizers '
    f'{tokenizers.__version__}, sentencepiece {sentencepiece.__version__}'
  )
  np.savez(OUTPUT, **arrays)
  print(f'{OUTPUT}: {OUTPUT.stat().st_size:,} bytes, {len(lines)} lines')


if __name__ == '__main__':
  main()
