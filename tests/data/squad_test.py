"""Questions in SQuAD's .json, in JSON lines and Parquet; what is refused."""

import json

import pytest
from refusals import refusal

from bert_jax.data.labelled import ID_COLUMNS, read_examples
from bert_jax.tasks.question_answering import QuestionAnsweringConfig

CONTEXT = 'Ada wrote in London.'
ADA = {'text': 'Ada', 'answer_start': 0}
LONDON = {'text': 'London', 'answer_start': 13}


def question(number, answers, **fields):
  return {
    'id': f'q{number}',
    'question': f'Question {number}?',
    'answers': answers,
    **fields,
  }


def document(*paragraphs, context=CONTEXT):
  of_context = [{'context': context, 'qas': [*qas]} for qas in paragraphs]
  return {
    'version': 'v2.0',
    'data': [
      {'title': 'A', 'paragraphs': of_context[:1]},
      {'title': 'B', 'paragraphs': of_context[1:]},
    ],
  }


WHOLE = document(
  [question(1, [ADA, LONDON], is_impossible=False)],
  [question(2, []), question(3, [], is_impossible=True)],
)


def read(path, **fields):
  return read_examples(path, QuestionAnsweringConfig(**fields).columns())


def saved(path, value):
  path.write_text(json.dumps(value, indent=1))
  return path


def test_articles_become_questions(tmp_path):
  path = saved(tmp_path / 'train.json', WHOLE)
  found = read(path)
  assert found.texts == [(f'Question {n}?', CONTEXT) for n in (1, 2, 3)]
  assert found.labels == [(('Ada', 0), ('London', 13)), (), ()]
  assert found.ids == ['q1', 'q2', 'q3']
  assert found.origins[2] == f'{path}: article 2, paragraph 1, question 2'
  assert found.place(1) == {'record': 2, 'id': 'q2'}
  columns = QuestionAnsweringConfig().columns()
  columns = [column for column in columns if not column.is_answer]
  again = read_examples(path, columns, id_columns=ID_COLUMNS)
  assert again.ids == found.ids and not again.labels


def test_columns_of_a_table(tmp_path):
  """Answers are read as Hugging Face's `squad` has them, and as a list."""
  pa = pytest.importorskip('pyarrow')
  import pyarrow.parquet

  rows = [
    {
      'id': f'q{number}',
      'question': f'Question {number}?',
      'context': CONTEXT,
      'answers': {
        'text': [one['text'] for one in answers],
        'answer_start': [one['answer_start'] for one in answers],
      },
    }
    for number, answers in ((1, [ADA, LONDON]), (2, []), (3, []))
  ]
  expected = read(saved(tmp_path / 'train.json', WHOLE))
  pyarrow.parquet.write_table(
    pa.Table.from_pylist(rows), tmp_path / 'train.parquet'
  )
  listed = [
    rows[0] | {'answers': [ADA, LONDON]},
    *({**row, 'answers': []} for row in rows[1:]),
  ]
  for name, records in (('a.jsonl', rows), ('b.jsonl', listed)):
    lines = '\n'.join(map(json.dumps, records))
    (tmp_path / name).write_text(lines + '\n')
  for name in ('train.parquet', 'a.jsonl', 'b.jsonl'):
    found = read(tmp_path / name)
    assert found.columns == expected.columns and found.ids == expected.ids


@pytest.mark.parametrize(
  ('whole', 'message'),
  [
    (
      document([question(1, [ADA])], [question(1, [ADA])]),
      "article 2, paragraph 1, question 1: the id the string 'q1' is that of",
    ),
    (
      document([question(1, [ADA]) | {'question': ' '}]),
      "article 1, paragraph 1, question 1: column 'question' is empty",
    ),
    (
      document([question(1, [{'text': '', 'answer_start': 0}])]),
      "answer 1 in column 'answers' has the text the string ''",
    ),
    (
      document([question(1, [{'text': 'Ada'}])]),
      'and answer_start null; give a text',
    ),
    (
      document([question(1, 'Ada')]),
      "column 'answers' is the string 'Ada'; give a list",
    ),
    (
      document([question(1, {'text': ['Ada'], 'answer_start': []})]),
      'has 1 texts and 0 answer_start',
    ),
    (
      document([question(1, [ADA], is_impossible=True)]),
      'question 1: is_impossible is true, and there are answers',
    ),
    (document(['a question']), 'paragraph 1: qas is not a list of objects'),
    ({'data': [{'paragraphs': [{'qas': []}]}]}, 'paragraph 1: has no context'),
    ({'data': [{'paragraphs': 1}]}, 'article 1: paragraphs is not a list'),
    ({'data': [{'paragraphs': []}]}, 'there are no examples in it'),
    ({'data': [{}]}, "no column 'question'; there are 'data'"),
  ],
)
def test_refused_with_file_and_place(tmp_path, whole, message):
  path = saved(tmp_path / 'train.json', whole)
  said = refusal(read, path)
  assert said.startswith(f'{path}:') and message in said
