"""Multiple choice: its files, its rows, and what is refused."""

import json

import jax
import numpy as np
import pytest

from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError
from bert_jax.tasks.multiple_choice import MultipleChoiceConfig
from bert_jax.tasks.text_rows import encode_examples

SWAG = MultipleChoiceConfig(
  train_path='a.csv',
  eval_path='a.csv',
  text_columns=('sent1,sent2',),
  choice_columns=('ending0,ending1,ending2,ending3',),
)
# The form of SWAG's own train.csv.
SWAG_TEXT = (
  ',video-id,fold-ind,startphrase,sent1,sent2,gold-source,'
  'ending0,ending1,ending2,ending3,label\n'
  '0,v1,3,"A, b","the array, now",this function,gold,'
  'takes it,"returns, a value",holds,moves,1\n'
  '1,v2,4,C d,every value,it,gen,takes,returns,holds,moves every array,3\n'
)


def read(path, config, content, **options):
  path.write_text(content)
  return read_examples(path, config.columns(), **options)


def records(*changes):
  first = {'context': 'a', 'choices': ['b', 'c'], 'label': 0}
  return '\n'.join(json.dumps(first | change) for change in ({}, *changes))


def test_the_files_of_swag(tmp_path):
  SWAG.validate()
  path = tmp_path / 'a.csv'
  with pytest.raises(InputError, match=r'a.csv:1: column 1 .*header=yes'):
    read(path, SWAG, SWAG_TEXT)
  examples = read(path, SWAG, SWAG_TEXT, header='yes')
  assert examples.texts[0] == (
    *('the array, now', 'this function'),
    *('takes it', 'returns, a value', 'holds', 'moves'),
  )
  assert examples.labels == [1, 3] and examples.lines == [2, 3]
  assert examples.notes == [
    f'{path}:1: column 1 has no name, as pandas writes it'
  ]


def test_a_choice_reads_what_it_would_alone(tmp_path, small_tokenizer):
  """Its ids, positions and token types are those of a row of its own."""
  examples = read(tmp_path / 'a.csv', SWAG, SWAG_TEXT, header='yes')
  task = SWAG.build(small_tokenizer.table, {})
  features = task.featurize(examples, small_tokenizer, 16)
  (columns, _), rows = features.kept, features.rows
  layout = task.prepare({'input_ids': rows['input_ids']}, jax.random.key(0))
  for number, texts in enumerate(examples.texts):
    alone, _ = encode_examples(
      small_tokenizer, [(texts[0], f'{texts[1]} {c}') for c in texts[2:]], 16
    )
    of_alone = task.prepare({'input_ids': alone}, jax.random.key(0))
    for choice, column in enumerate(columns[number]):
      count = int((alone[choice] != small_tokenizer.table.pad_id).sum())
      for name in ('input_ids', 'position_ids', 'token_type_ids'):
        np.testing.assert_array_equal(
          layout[name][number, column : column + count],
          of_alone[name][choice, :count],
        )
    right = columns[number][examples.labels[number]]
    assert rows['labels'][number] == right
  assert rows['input_ids'].shape[1] <= 4 * 16
  assert features.cut == {'choices cut to max_length=16 tokens': 3}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'choices': 'b'}, "2: column 'choices' is the string 'b'; give a list"),
    ({'choices': ['b']}, r"2: column 'choices' is a list \(\[\"b\"\]\)"),
    ({'choices': ['b', ' ']}, "2: column 'choices' is a list"),
    ({'choices': ['b', 3]}, "2: column 'choices' is a list"),
    ({'context': ' '}, "2: column 'context' is empty"),
    ({'label': 'b'}, "2: the label is the string 'b' .* number of the right"),
    ({'label': -1}, '2: the label is the number -1'),
    ({'label': True}, '2: the label is true'),
    ({'label': 1.0}, '2: the label is the number 1.0'),
  ],
)
def test_what_is_no_example_is_named_by_line(tmp_path, change, message):
  with pytest.raises(InputError, match=f'a.jsonl:{message}'):
    read(tmp_path / 'a.jsonl', MultipleChoiceConfig(), records(change))


def test_answers_that_are_no_choice(tmp_path, small_tokenizer):
  config = MultipleChoiceConfig()
  task = config.build(small_tokenizer.table, {})
  content = records({'label': 2, 'choices': ['b', 'c', 'd']}, {'label': 2})
  examples = read(tmp_path / 'a.jsonl', config, content)
  for call in (
    lambda: task.featurize(examples, small_tokenizer, 16),
    lambda: task.about('train', examples),
  ):
    with pytest.raises(InputError, match='jsonl:3: the label is 2, .* 0 to 1;'):
      call()
  with pytest.raises(InputError, match='text 1: there are 2 texts; give a con'):
    examples = read(tmp_path / 'a.jsonl', config, records())
    examples.texts[0], examples.origins[0] = ('a', 'b'), 'text 1'
    task.featurize(examples, small_tokenizer, 16)


def test_figures_and_notes(tmp_path, small_tokenizer):
  """By hand: scores 0 and log 3 are the probabilities 1/4 and 3/4."""
  config = MultipleChoiceConfig()
  task = config.build(small_tokenizer.table, {})
  examples = read(tmp_path / 'a.jsonl', config, records({}))
  features = task.featurize(examples, small_tokenizer, 16)
  scores = np.full(features.rows['input_ids'].shape, -1e30, np.float32)
  for row, columns in zip(scores, features.kept[0], strict=True):
    row[columns] = 0, np.log(3)
  results = task.decode(scores, features)
  assert results[0]['choice'] == 1 and results[0]['text'] == 'c'
  assert results[0]['probabilities'] == pytest.approx([0.25, 0.75])
  figures = task.score(results, examples)
  assert figures == {'accuracy': 0.0, 'eval_loss': pytest.approx(np.log(4))}
  (note,) = task.about('train', examples).notes
  assert 'choice 0 is the right one of every example' in note
