"""Runs on corpora with side files, which reach the step and are shown."""

import re

import jax
import numpy as np
import pytest
from runs import prepared_lines, records

from bert_jax.data.config import Corpus
from bert_jax.data.reading.stream import Stream
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS
from bert_jax.data.tokenizers.wordpiece import WordPiece
from bert_jax.errors import InputError
from bert_jax.jobs.inspect import describe_examples, read_experiment
from bert_jax.jobs.pretrain import open_data, pretrain
from bert_jax.objectives.mlm import MaskedLMConfig

CHINESE = '南京市长江大桥很长。我爱北京天安门，天气真好！'


@pytest.fixture
def pairs(small_text, small_tokenizer, tmp_path):
  return prepared_lines(
    small_text,
    small_tokenizer,
    tmp_path / 'pairs',
    pairs='next_sentence',
    word_segmenter='jieba',
  )


def test_a_run_on_pairs(small_experiment, pairs, tmp_path):
  small_experiment.data.path = str(pairs)
  small_experiment.objective.selection = 'whole_word'
  small_experiment.num_steps = small_experiment.evaluation.every_steps = 2
  pretrain(small_experiment, tmp_path / 'run')
  assert records(tmp_path / 'run', 'train').keys() == {2}
  assert np.isfinite(records(tmp_path / 'run', 'eval')[2]['mlm_loss'])
  lines = list(describe_examples(read_experiment(tmp_path / 'run'), step=1))
  corpus = TokenRows(pairs / '32')
  shown = 0
  for line in lines:
    if match := re.match(r'example \d+: row (\d+) of', line):
      labels = corpus.arrays([int(match[1])])['pair_labels'][0]
    elif match := re.match(r'  (\d+) \((\d), (\w.*?)\): (.*)', line):
      assert labels[int(match[1]) - 1] == int(match[2])
      assert match[3] == ('the next', 'random')[int(match[2])]
      a, b = match[4].split(' | ')
      assert a.startswith('[CLS] ') and a.endswith(' [SEP]')
      assert b.endswith(' [SEP]') and '[CLS]' not in b
      shown += 1
  assert shown >= 8


def test_corpora_with_and_without_side_files(
  small_experiment, pairs, small_corpus
):
  small_experiment.data.path = ''
  small_experiment.data.corpora = (
    Corpus(path=str(small_corpus)),
    Corpus(path=str(pairs)),
  )
  message = (
    r'pairs/32 has the side files pair_labels, word_starts, .*prepared/32 has '
    'none; prepare both with the same --word_segmenter and --pairs'
  )
  with (
    pytest.raises(InputError, match=message),
    open_data(small_experiment),
  ):
    pass


def test_words_of_jieba_are_masked_whole(tmp_path):
  """Follows jieba's words from the text to the masks.

  By the table alone, each character would be a word.
  """
  (tmp_path / 'a.txt').write_text(f'{CHINESE}\n{CHINESE}{CHINESE}\n' * 20)
  tokenizer = WordPiece(
    [*SPECIAL_TOKENS, *sorted(set(CHINESE))], lowercase=True
  )
  assert tokenizer.table.word_starts.all()
  folder = prepared_lines(
    tmp_path / 'a.txt', tokenizer, tmp_path / 'out', word_segmenter='jieba'
  )
  batch = Stream(TokenRows(folder / '32'), seed=0).batch(np.arange(48))
  objective = MaskedLMConfig(selection='whole_word', mask_rate=0.2).build(
    tokenizer.table
  )
  seen = jax.device_get(jax.jit(objective.prepare)(batch, jax.random.key(0)))
  words = set()
  for ids, positions, weights in zip(
    batch['input_ids'],
    seen['masked_positions'],
    seen['masked_weights'],
    strict=True,
  ):
    masked = np.zeros(len(ids) + 1, bool)
    masked[positions[weights > 0]] = True
    edges = np.flatnonzero(np.diff(masked.astype(int), prepend=0))
    for first, end in edges.reshape(-1, 2):
      words.add(tokenizer.decode(ids[first:end]).replace(' ', ''))
  # Each run of masked characters is one whole word or several.
  whole = '南京市 长江大桥 很长 。 我 爱 北京 天安门 ， 天气 真 好 ！'.split()
  assert {'南京市', '很长', '北京', '天安门', '天气'} <= words
  for run in words:
    assert re.fullmatch(f'(?:{"|".join(whole)})+', run)
