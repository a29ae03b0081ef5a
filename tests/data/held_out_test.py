"""The part of the training examples that is held out."""

import collections

import pytest

from bert_jax.data.examples import Examples, text_columns
from bert_jax.data.held_out import held_out
from bert_jax.data.tables.values import AnswerSpan
from bert_jax.errors import InputError
from bert_jax.tasks.question_answering import QuestionAnsweringConfig
from bert_jax.tasks.reranking import RerankingConfig
from bert_jax.tasks.tagging import TaggingConfig

COLUMNS = text_columns(('text',), 'label')


def examples_of(texts, labels):
  count = len(labels)
  return Examples(
    columns={'texts': texts, 'labels': labels},
    origins=[f'a:{n}' for n in range(count)],
    lines=[*range(count)],
  )


def parts(texts, labels, columns=COLUMNS):
  examples = examples_of(texts, labels)
  train, held = held_out(examples, columns, 'a.tsv')
  assert sorted(train.lines + held.lines) == examples.lines
  assert held.lines == sorted(held.lines)
  assert not {*train.lines} & {*held.lines}
  return train, held


def test_a_tenth_of_each_class():
  labels = ['a'] * 60 + ['b'] * 25 + ['c'] * 5 + ['d'] * 3
  texts = [(f'text {n}',) for n in range(len(labels))]
  train, held = parts(texts, labels)
  assert collections.Counter(held.labels) == {'a': 6, 'b': 2, 'c': 1}
  assert {*train.labels} == {'a', 'b', 'c', 'd'}
  (note,) = held.notes
  assert '9 of 93 examples of a.tsv are held out, a tenth of' in note
  again, _ = parts(texts, labels)
  assert again.lines == train.lines


def test_numbers_of_every_size():
  labels = [float(n) for n in range(100)]
  _, held = parts([(f'{n}',) for n in range(100)], labels)
  assert [int(label) // 10 for label in held.labels] == [*range(10)]


def test_documents_of_one_query_stay_together():
  """Though a document is longer, and the labels are numbers."""
  texts = [(f'q{n // 5}', f'a long document {n % 7}') for n in range(100)]
  labels = [float(n % 5 == 4) for n in range(100)]
  train, held = parts(texts, labels, RerankingConfig().columns())
  assert len(held) == 10 and sum(held.labels) == 2
  assert not {q for q, _ in train.texts} & {q for q, _ in held.texts}
  assert 'held out, a tenth of the texts of column query, and' in held.notes[0]


def test_questions_on_one_context_stay_together():
  contexts = [f'a long context {n // 5}' for n in range(100)]
  texts = [(f'q{n}', context) for n, context in enumerate(contexts)]
  answers = [(AnswerSpan('a', 0),)] * 100
  columns = QuestionAnsweringConfig().columns()
  train, held = parts(texts, answers, columns)
  assert len(held) == 10
  assert not {c for _, c in train.texts} & {c for _, c in held.texts}


def test_sentences_of_words():
  """A long word that all of them have does not keep them together."""
  texts = [('internationally', f'w{n}') for n in range(40)]
  columns = TaggingConfig().columns()
  _, held = parts(texts, [('O', 'O')] * 40, columns)
  assert len(held) == 4


@pytest.mark.parametrize('texts', [['a', 'b', 'c'], ['a'] * 30])
def test_too_few(texts):
  with pytest.raises(InputError, match='a.tsv: .* too few .*eval_path=FILE'):
    parts([(text,) for text in texts], ['x'] * len(texts))
