"""Spans as places in rows and back: windows, offsets, n-best, no answer."""

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal
from tokenizer_files import write_vocabulary
from trained_tokenizers import train

from bert_jax.data.examples import Examples
from bert_jax.data.tables.values import AnswerSpan
from bert_jax.data.tokenizers import base, load_tokenizer, wordpiece
from bert_jax.tasks import answers
from bert_jax.tasks.question_answering import QuestionAnsweringConfig
from bert_jax.tasks.span_rows import SpanRow, best_spans, encode_questions

TOKENS = [*base.SPECIAL_TOKENS, *'abcdefgh?', '##a', '##b']
QUESTION = 'which 北京 café?'
# Repeated spaces, emoji, accents apart from their letters, Chinese, an
# Arabic word, ligatures, a capital that becomes two letters, a zero-width
# space, a written special token, quotes.
CONTEXT = (
  '  The Café  of 我爱北京。 has\u00a0😀👍 seats,\n\n\u200bİstanbul '
  'e\u0301te\u0301 has ﬁne  “tea” and مرحبا ; [SEP] is text [E1] here.'
)
# Kind, size and whether it is lower case.
FORMS = {
  'wordpiece': ('wordpiece', 140, True),
  'byte_bpe': ('byte_bpe', 320, False),
  'unigram': ('sentencepiece_unigram', 330, True),
}


@pytest.fixture(scope='module')
def tokenizer():
  return wordpiece.WordPiece(TOKENS, lowercase=True)


def task_of(tokenizer, threshold=0.0, **fields):
  config = QuestionAnsweringConfig(train_path='a', eval_path='b', **fields)
  config.validate()
  return config.build(tokenizer.table, {'null_threshold': threshold})


def examples_of(*rows):
  """Examples of (question, context, answers as texts at their places)."""
  return Examples(
    columns={
      'texts': [row[:2] for row in rows],
      'labels': [
        tuple(AnswerSpan(*answer) for answer in right) for *_, right in rows
      ],
    },
    origins=[f'file:{number}' for number, _ in enumerate(rows, 1)],
  )


def at(context, text, first=0):
  return text, context.index(text, first)


def certain(labels_R2, length):
  """Logits [rows, 2, T] of a model that is sure of the labelled columns."""
  columns = np.arange(length)
  return np.where(labels_R2[..., None] == columns, 10.0, 0.0).astype(np.float32)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('max_length', [96, 256])
def test_answers_come_back_as_they_stand_in_the_text(form, max_length):
  """Labels of each word, then logits of these labels, then the span."""
  kind, size, lowercase = FORMS[form]
  texts = [f'{QUESTION} {CONTEXT}'] * 30
  tokenizer = train(kind, texts, size, lowercase=lowercase)
  words = [
    'Café',
    '😀👍',
    'İstanbul',
    'e\u0301te\u0301',
    'مرحبا',
    'here',
    'The',
  ]
  words += ['The Café  of', 'text [E1]', '[SEP] is']
  if form != 'unigram':
    # A word of SentencePiece may hold what other forms part.
    words += ['北京', 'tea', 'seats', 'ﬁne  “tea”']
  rows = [(QUESTION, CONTEXT, [at(CONTEXT, word)]) for word in words]
  task = task_of(tokenizer)
  features = task.featurize(examples_of(*rows), tokenizer, max_length)
  assert len(features.cut) == 1
  labels_R2 = features.rows['labels']
  is_right = labels_R2[:, 0] > 0
  # Windows that lack an answer say nothing here.
  logits = certain(labels_R2, max_length) * is_right[:, None, None]
  found = task.values(task.decode(logits, features))
  for answer, word in zip(found, words, strict=True):
    under = CONTEXT[answer.start : answer.end]
    assert answer.text == under
    if form == 'wordpiece' or word.isascii():
      assert under == word
    else:
      # A token may stand for a part of a character, or for more than a word.
      assert set(word) & set(under) and len(under) <= len(word) + 2


def test_added_tokens(tmp_path):
  entries = [*base.SPECIAL_TOKENS, 'the', 'baker', 'moon', 'e', '##1', '[', ']']
  folder = write_vocabulary(
    *(tmp_path, entries),
    tokenizer_config={'tokenizer_class': 'BertTokenizer'},
    added_tokens={'[E1]': len(entries), 'COVID-19': len(entries) + 1},
  )
  tokenizer = load_tokenizer(folder)
  context = 'the  [E1] baker  COVID-19 moon'
  rows = [
    ('moon', context, [at(context, word)]) for word in ('[E1]', 'COVID-19')
  ]
  task = task_of(tokenizer)
  features = task.featurize(examples_of(*rows), tokenizer, 24)
  found = task.decode(certain(features.rows['labels'], 24), features)
  assert [one['text'] for one in found] == ['[E1]', 'COVID-19']


def test_windows_overlap_and_hold_the_whole_context(tokenizer):
  context = ' '.join('abcdefgh'[n % 8] for n in range(40))
  texts = [('ab?', context), ('c', 'd e')]
  ids_RT, spans, cut = encode_questions(tokenizer, texts, ['1', '2'], 18)
  assert cut == {'divided into rows of max_length=18 tokens': 1}
  assert [span.example for span in spans] == [0] * (len(spans) - 1) + [1]
  table, covered = tokenizer.table, set()
  for row_T, span in zip(ids_RT, spans, strict=True):
    length = len(span.offsets)
    used = row_T[: span.column + length + 1]
    question = [
      table.cls_id,
      *tokenizer.encode_batch([texts[span.example][0]])[0],
    ]
    assert used[: span.column].tolist() == [*question, table.sep_id]
    assert used[-1] == table.sep_id
    assert (row_T[len(used) :] == table.pad_id).all()
    of_row = texts[span.example][1]
    for token_id, (first, end) in zip(
      row_T[span.column :], span.offsets, strict=False
    ):
      assert tokenizer.token(int(token_id)) == of_row[first:end]
    if not span.example:
      covered |= {*range(span.offsets[0, 0], span.offsets[-1, 1])}
  assert covered == {*range(len(context))}
  ends = [(s.offsets[0, 0], s.offsets[-1, 1]) for s in spans[:-1]]
  for (_, end), (start, _) in zip(ends, ends[1:], strict=False):
    assert start < end  # neighbours share tokens


def test_a_window_without_the_answer_points_at_cls(tokenizer):
  context = ' '.join(['a'] * 30 + ['b c'] + ['d'] * 8)
  rows = [
    ('e', context, [at(context, 'b c'), at(context, 'a')]),
    ('e', context, []),
  ]
  task = task_of(tokenizer, unanswerable=True)
  features = task.featurize(examples_of(*rows), tokenizer, 18)
  spans, _ = features.kept
  labels_R2 = features.rows['labels']
  assert labels_R2.dtype == np.int32
  for label, span, ids_T in zip(
    labels_R2, spans, features.rows['input_ids'], strict=True
  ):
    shows = (
      span.example == 0
      and span.offsets[0, 0] <= context.index('b c')
      and context.index('b c') + 3 <= span.offsets[-1, 1]
    )
    assert (label > 0).all() if shows else (label == 0).all()
    if shows:
      words = [tokenizer.token(int(i)) for i in ids_T[label[0] : label[1] + 1]]
      assert words == ['b', 'c']
  assert 1 <= np.count_nonzero(labels_R2[:, 0]) < len(labels_R2)
  assert len(features.cut) == 1


def test_an_answer_longer_than_a_window_is_counted(tokenizer):
  context = ' '.join(['a'] * 30)
  rows = [('e', context, [(context, 0)])]
  features = task_of(tokenizer).featurize(examples_of(*rows), tokenizer, 18)
  assert features.cut['answers that no row shows as a whole'] == 1


def test_the_best_spans_of_a_row():
  """Held against all pairs, one by one."""
  rng = np.random.default_rng(0)
  row = SpanRow(0, 4, np.array([[n, n + 1] for n in range(9)]))
  start_T, end_T = rng.normal(size=(2, 16)).astype(np.float32)
  for max_length, count in ((1, 3), (4, 20), (30, 1000)):
    found = best_spans(row, start_T, end_T, max_length=max_length, count=count)
    expected = sorted(
      (
        (float(start_T[4 + i]) + float(end_T[4 + j]), i, j + 1)
        for i in range(9)
        for j in range(i, min(9, i + max_length))
      ),
      reverse=True,
    )[:count]
    np.testing.assert_allclose(found, expected, atol=1e-6)
  empty = SpanRow(0, 4, np.zeros((0, 2), int))
  assert best_spans(empty, start_T, end_T, max_length=3, count=3) == []


def decoded(**options):
  """Two windows of 'ab cd': the second shows 'cd' alone."""
  spans = [
    SpanRow(0, 2, np.array([[0, 2], [2, 5]])),  # the space is the word's
    SpanRow(0, 2, np.array([[2, 5]])),
  ]
  logits = np.zeros((2, 2, 5), np.float32)
  logits[0, 0], logits[0, 1] = [2, 0, 3, 1, 0], [1, 0, 1, 4, 0]
  logits[1, 0], logits[1, 1] = [0, 0, 2.5, 0, 0], [1.5, 0, 4, 0, 0]
  settings = dict(max_length=30, num_best=3, threshold=0.0) | options
  (found,) = answers.decoded(spans, logits, ['ab cd'], **settings)
  return answers.answer_of(found)


def test_windows_are_joined_by_characters():
  found = decoded()
  assert [(c.text, c.start, c.end, c.score) for c in found.candidates] == [
    ('ab cd', 0, 5, 7),
    ('cd', 3, 5, 6.5),  # from the second window; 5 in the first
    ('ab', 0, 2, 4),
  ]
  assert (found.text, found.start, found.end) == ('ab cd', 0, 5)
  assert found.null_difference == 1.5 - 7  # the least of all windows
  scores = np.exp([1.5, 7, 6.5, 4])
  np.testing.assert_allclose(
    [one.probability for one in found.candidates], scores[1:] / scores.sum()
  )
  assert found.probability == found.candidates[0].probability
  assert decoded(max_length=1).text == 'cd'
  assert len(decoded(num_best=1).candidates) == 1


def test_no_answer_above_the_threshold():
  found = decoded(threshold=-6.0)
  assert (found.text, found.start, found.end) == ('', None, None)
  scores = np.exp([1.5, 7, 6.5, 4])
  assert found.probability == pytest.approx(scores[0] / scores.sum())
  assert found.candidates[0].text == 'ab cd'
  assert decoded(threshold=-5.5).text == 'ab cd'  # equal to it is no more
  always = decoded(threshold=None)
  assert always.text == 'ab cd' and always.null_difference is None


def test_the_loss_is_the_mean_of_two_cross_entropies(tokenizer):
  task = task_of(tokenizer)

  class Model:
    def span_head(self, hidden_BTD):
      return hidden_BTD

  logits_BT2 = np.random.default_rng(0).normal(size=(3, 5, 2))
  segment_ids = np.ones((3, 5), np.int32)
  segment_ids[0, 3:] = 0
  labels_B2 = np.array([[1, 2], [0, 0], [3, 4]])
  weights_B = np.array([1.0, 1.0, 0.0])
  losses, metrics = task.losses(
    Model(),
    {
      'hidden_states': jnp.asarray(logits_BT2, jnp.float32),
      'segment_ids': jnp.asarray(segment_ids),
      'labels': jnp.asarray(labels_B2),
      'label_weights': jnp.asarray(weights_B),
    },
    None,
  )
  expected = 0.0
  for row, labels, length in ((0, (1, 2), 3), (1, (0, 0), 5)):
    for end, label in enumerate(labels):
      logits = logits_BT2[row, :length, end]
      expected += (np.log(np.exp(logits).sum()) - logits[label]) / 2
  total, weight = losses['span_loss']
  assert weight == 2
  assert total == pytest.approx(expected, rel=1e-5)
  assert metrics['accuracy'][1] == 2


@pytest.mark.parametrize(
  ('row', 'fields', 'message'),
  [
    (('a?', 'b c', [('c', 9)]), {}, "file:1: the answer 'c' at 9 lies outside"),
    (('a?', 'b c', [('b', -1)]), {}, "'b' at -1 lies outside its context of 3"),
    (('a?', 'b c', [('d', 2)]), {}, "is 'd', and the context has 'c' at 2"),
    (
      ('a?', 'b c', []),
      {},
      'file:1: the question has no answer, and the model',
    ),
    (('', 'b c', [('c', 2)]), {}, 'file:1: give a question and its context'),
    (
      ('a ' * 14, 'b ' * 9, [('b', 0)]),
      {},
      'the question has 14 tokens, which leaves too little of max_length=18',
    ),
  ],
)
def test_refused_with_the_place(tokenizer, row, fields, message):
  task = task_of(tokenizer, **fields)
  said = refusal(task.featurize, examples_of(row), tokenizer, 18)
  assert message in said


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'text_columns': ('question',)},
      'names one column; give those of question',
    ),
    ({'metric': 'best_f1'}, 'metric=best_f1 is of questions that may have no'),
    ({'num_best': 0}, 'task.num_best is 0; it must be 1 or more'),
    ({'max_answer_length': 0}, 'task.max_answer_length is 0'),
  ],
)
def test_settings_that_do_not_fit(fields, message):
  config = QuestionAnsweringConfig(train_path='a', eval_path='b', **fields)
  assert message in refusal(config.validate)


def test_facts():
  config = QuestionAnsweringConfig(unanswerable=True)
  some = examples_of(('a', 'b', [('b', 0)]), ('a', 'b', []))
  assert config.fit(some) == {'null_threshold': 0.0}
  assert config.fit(some, {'null_threshold': 2.5}) == {'null_threshold': 2.5}
  none = examples_of(('a', 'b', []))
  assert 'no question has an answer' in refusal(config.fit, none)
  assert 'f: it has no number' in refusal(config.read_facts, {}, 'f:')
