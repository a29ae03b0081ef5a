"""Labels of words that are out of order: counted, or refused."""

import pytest
from refusals import refusal

from bert_jax.data.examples import Examples
from bert_jax.tasks.tagging import TaggingConfig

EXAMPLES = Examples(
  columns={
    'texts': [('a', 'b'), ('c', 'd')],
    'labels': [('B-P', 'I-P'), ('O', 'I-P')],
  },
  origins=['x:1', 'x:4'],
)
FACTS = {'labels': ['B-P', 'I-P', 'O']}


@pytest.mark.parametrize('invalid', ['repair', 'refuse'])
def test_out_of_order(small_tokenizer, invalid):
  config = TaggingConfig(train_path='x', eval_path='x', invalid=invalid)
  config.validate()
  task = config.build(small_tokenizer.table, FACTS)
  what = "x:4, word 2: the label 'I-P' is out of order in IOB2"
  # One of the two entities begins with B-, so that this is no IOB1.
  if invalid == 'refuse':
    assert what in refusal(task.about, 'train', EXAMPLES)
  else:
    (note,) = task.about('train', EXAMPLES).notes
    assert what in note and '0 more' in note
  ordered = EXAMPLES.take([0])
  assert task.about('train', ordered).notes == []


def test_another_treatment():
  config = TaggingConfig(train_path='x', invalid='drop')
  assert "task.invalid is 'drop'; choose repair or refuse" in (
    refusal(config.validate)
  )
