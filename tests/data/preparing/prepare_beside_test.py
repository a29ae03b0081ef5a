"""Preparing pairs and word starts: what comes out, whoever works on it."""

import collections
import random

import numpy as np
import pytest
import small_texts
from other_process import verb
from small_texts import ListSource, contents, plug_pulled

from bert_jax.data.preparing.inspect_corpus import describe_corpus
from bert_jax.data.preparing.preview import preview
from bert_jax.data.preparing.summary import format_summary
from bert_jax.data.preparing.verify import verify_corpus
from bert_jax.data.side_files import NEXT_SENTENCE, PAIR_KINDS, SENTENCE_ORDER
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS
from bert_jax.data.tokenizers.wordpiece import WordPiece
from bert_jax.errors import InputError

PAD, CLS, SEP = 0, 2, 3
NUM_DOCUMENTS = 60
CHINESE = '南京市长江大桥很长。我爱北京天安门，天气真好！'


pytestmark = pytest.mark.usefixtures('small_blocks')


@pytest.fixture(scope='module')
def tokenizer():
  """A word for each sentence of the corpus, and Chinese characters."""
  words = [
    f'd{document}s{sentence}'
    for document in range(NUM_DOCUMENTS)
    for sentence in range(9)
  ]
  tokens = [*SPECIAL_TOKENS, *words, *sorted(set(CHINESE)), 'nine', '##teen']
  return WordPiece(tokens, lowercase=True)


@pytest.fixture(scope='module')
def texts():
  """Lines of a document's own words: 'd7s0 d7s0 d7s0', 'd7s1', ..."""
  rng = random.Random(0)
  return [
    '\n'.join(
      ' '.join([f'd{document}s{sentence}'] * rng.randint(1, 12))
      for sentence in range(rng.randint(1, 9))
    )
    for document in range(NUM_DOCUMENTS)
  ]


def run(texts, tokenizer, output, **options):
  sizes = {'row_lengths': (32, 64), 'eval_fraction': 0.2}
  return small_texts.run(texts, tokenizer, output, **(sizes | options))


def read_pairs(folder, tokenizer):
  """[(words of A, words of B, label)] of a prepared folder, and its padding."""
  corpus = TokenRows(folder)
  arrays = corpus.arrays(np.arange(corpus.num_rows))
  found = []
  for ids, labels in zip(
    arrays['input_ids'].tolist(), arrays['pair_labels'].tolist(), strict=True
  ):
    text = ids[: ids.index(PAD)] if PAD in ids else ids
    assert set(ids[len(text) :]) <= {PAD}
    *_, last = text
    assert last == SEP
    pairs = ''.join(map(chr, text)).split(chr(CLS))[1:]
    assert [label >= 0 for label in labels] == [
      number < len(pairs) for number in range(len(labels))
    ]
    for pair, label in zip(pairs, labels, strict=False):
      a, b, rest = pair.split(chr(SEP))
      assert a and b and not rest
      a, b = ([tokenizer.token(ord(i)) for i in part] for part in (a, b))
      found.append((a, b, label))
  return found


def place(word):
  """(document, sentence) of a word."""
  document, sentence = word.removeprefix('d').split('s')
  return int(document), int(sentence)


@pytest.mark.parametrize('kind', PAIR_KINDS)
def test_pairs_are_what_their_labels_say(tmp_path, tokenizer, texts, kind):
  summary = run(texts, tokenizer, tmp_path / 'out', pairs=kind)
  assert summary['blocks'] > 3
  list(verify_corpus(tmp_path / 'out', progress=False))
  sides = {False: set(), True: set()}
  for part in summary['parts']:
    folder = tmp_path / 'out' / part['folder']
    found = read_pairs(folder, tokenizer)
    facts = TokenRows(folder).manifest['pairs']
    assert facts == part['pairs'] and facts['kind'] == kind
    assert len(found) == facts['num_pairs'] == part['segments']
    assert sum(label for *_, label in found) == facts['label_1']
    placed = sum(len(a) + len(b) for a, b, _ in found)
    assert placed == (
      part['tokens']
      + facts['borrowed_tokens']
      - facts['truncated_tokens']
      - facts['unpaired_tokens']
    )
    for a, b, label in found:
      documents = [{place(word)[0] for word in part} for part in (a, b)]
      assert len(documents[0]) == len(documents[1]) == 1
      sides['eval' in part['folder']] |= documents[0] | documents[1]
      for words in (a, b):
        assert words == sorted(words, key=place)
      if kind == NEXT_SENTENCE:
        assert (documents[0] != documents[1]) == label
      else:
        assert documents[0] == documents[1]
      if kind == SENTENCE_ORDER or not label:
        first, second = (b, a) if kind == SENTENCE_ORDER and label else (a, b)
        assert place(first[-1]) <= place(second[0])
  # No text of the evaluation part is a random B of training, or the other way.
  assert not sides[False] & sides[True] and all(sides.values())
  assert 'tokens truncated (' in format_summary(summary, 'out')


def test_each_row_length_has_pairs_of_its_own(tmp_path, tokenizer, texts):
  run(texts, tokenizer, tmp_path / 'out', pairs=NEXT_SENTENCE)
  short, long = (
    {(a[0], b[0]) for a, b, _ in read_pairs(tmp_path / f'out/{n}', tokenizer)}
    for n in (32, 64)
  )
  assert len(short & long) < 0.5 * len(long)


def test_max_segments_is_that_of_the_row_with_most(tmp_path, tokenizer, texts):
  run(texts, tokenizer, tmp_path / 'out', pairs=SENTENCE_ORDER)
  for folder in ('32', '64', 'eval/32', 'eval/64'):
    corpus = TokenRows(tmp_path / 'out' / folder)
    arrays = corpus.arrays(np.arange(corpus.num_rows))
    pairs_of_rows = (arrays['input_ids'] == CLS).sum(axis=1)
    assert arrays['pair_labels'].shape[1] == pairs_of_rows.max()


@pytest.fixture
def words_module(tmp_path, monkeypatch):
  """--word_segmenter=words_for_test:of; a worker process finds it as well."""
  (tmp_path / 'words_for_test.py').write_text(
    'import re\n\n\ndef of(text):\n  return re.findall(r"\\W+|.{1,3}", text)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  return 'words_for_test:of'


def test_same_bytes_for_any_workers_and_interruption(
  tmp_path, tokenizer, texts, words_module, monkeypatch
):
  options = {'pairs': NEXT_SENTENCE, 'word_segmenter': words_module}
  run(texts, tokenizer, tmp_path / 'one', **options)
  with plug_pulled(monkeypatch):
    run(texts, tokenizer, tmp_path / 'two', num_workers=2, **options)
  summary = run(texts, tokenizer, tmp_path / 'two', num_workers=2, **options)
  assert summary['blocks_reused'] == summary['blocks'] > 3
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
  assert run(texts, tokenizer, tmp_path / 'one', **options)['already_complete']


@pytest.mark.parametrize(
  'options, change, what',
  [
    ({}, {'pairs': NEXT_SENTENCE}, 'pairs was null'),
    (
      {'pairs': NEXT_SENTENCE},
      {},
      r'pairs was \["next_sentence", 1\], now null',
    ),
    ({}, {'word_segmenter': 'jieba'}, 'word_segmenter was null, now .*jieba'),
    ({'word_segmenter': 'jieba'}, {}, 'word_segmenter was .*jieba.*, now null'),
  ],
)
def test_another_request_is_refused(
  tmp_path, tokenizer, texts, options, change, what
):
  run(texts, tokenizer, tmp_path / 'out', **options)
  with pytest.raises(InputError, match=what):
    run(texts, tokenizer, tmp_path / 'out', **change)


def test_words_of_jieba_lie_beside_the_rows(tmp_path, tokenizer):
  texts = [CHINESE, f'{CHINESE} nineteen', CHINESE * 3] * 20
  summary = run(texts, tokenizer, tmp_path / 'out', word_segmenter='jieba')
  words = collections.Counter()
  for part in summary['parts']:
    corpus = TokenRows(tmp_path / 'out' / part['folder'])
    assert corpus.manifest['word_segmenter']['name'] == 'jieba'
    arrays = corpus.arrays(np.arange(corpus.num_rows))
    ids, starts = arrays['input_ids'], arrays['word_starts']
    special = ids < len(SPECIAL_TOKENS)
    assert not starts[special].any()
    after_special = np.roll(special, 1, axis=1) & ~special
    assert starts[after_special].all()
    row = np.flatnonzero(starts.reshape(-1))
    flat, is_special = ids.reshape(-1), special.reshape(-1)
    for first in row:
      end = first + 1
      while not is_special[end] and not starts.reshape(-1)[end]:
        end += 1
      words[tokenizer.decode(flat[first:end]).replace(' ', '')] += 1
  whole = '南京市 长江大桥 很长 。 我 爱 北京 天安门 ， 天气 真 好 ！ nineteen'
  assert set(whole.split()) <= set(words)
  # Beside them only what the end of a row has cut.
  cut = sum(words.values()) - sum(words[word] for word in whole.split())
  assert cut < 0.1 * sum(words.values())


def test_without_the_options_nothing_changes(tmp_path, tokenizer, texts):
  run(texts, tokenizer, tmp_path / 'out')
  names = {path.name.partition('-')[0] for path in tmp_path.rglob('*.npy')}
  assert names == {'rows'}
  text = (tmp_path / 'out/prepare.json').read_text()
  assert 'word_segmenter' not in text and 'pairs' not in text


def test_a_corpus_in_figures(tmp_path, tokenizer, texts):
  run(
    texts,
    tokenizer,
    tmp_path / 'out',
    pairs=SENTENCE_ORDER,
    word_segmenter='jieba',
  )
  text = '\n'.join(describe_corpus(tmp_path / 'out'))
  corpus = TokenRows(tmp_path / 'out/32')
  assert f'  pair_labels: int8 [{corpus.num_rows}, ' in text
  assert f'  word_starts: uint8 [{corpus.num_rows}, 4]' in text
  assert '  word segmenter: name jieba, rjieba ' in text
  assert f'  sentence_order: {corpus.manifest["pairs"]["num_pairs"]} pairs' in (
    text
  )
  assert 'parts of pairs' in text


def test_no_pair_at_all(tmp_path, tokenizer):
  options = {'pairs': NEXT_SENTENCE, 'eval_fraction': 0.0}
  with pytest.raises(InputError, match='--pairs: no document gives a pair'):
    run(['d1s1 d1s1 d1s1'], tokenizer, tmp_path / 'out', **options)
  assert not list(tmp_path.iterdir())


def test_a_preview_says_what_pairs_there_would_be(tokenizer, texts):
  text = preview(
    ListSource(texts),
    tokenizer,
    row_lengths=(32, 64),
    eval_fraction=0.1,
    num_workers=1,
    pairs=NEXT_SENTENCE,
    word_segmenter='jieba',
  )
  lines = [line for line in text.splitlines() if ' pairs, ' in line]
  assert len(lines) == 2 and all('tokens truncated' in line for line in lines)
  assert 'unknown to the tokenizer: 0.00%' in text


def test_the_command(tmp_path, texts, tokenizer):
  tokenizer.save(tmp_path / 'tokenizer')
  (tmp_path / 'a.txt').write_text('\n\n'.join(texts))

  words = (
    *('prepare', '--input=a.txt', '--document=paragraph'),
    *('--tokenizer=tokenizer', '--output=out'),
  )
  pairs = '--pairs=next_sentence', '--word_segmenter=jieba'
  done = verb(tmp_path, *words, *pairs)
  assert '\n128: ' in done.stdout and ' pairs, ' in done.stdout
  assert sorted(TokenRows(tmp_path / 'out/128').side_files) == [
    'pair_labels',
    'word_starts',
  ]
  done = verb(tmp_path, *words, '--pairs=nsp', status=2)
  assert done.stderr.startswith("bert-jax prepare: --pairs='nsp': give one of ")
