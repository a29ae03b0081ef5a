"""Long texts in several rows: what each row has, and what is made of them."""

import numpy as np
import pytest
from refusals import refusal
from tuning import classification, results, tuning

from bert_jax import inference
from bert_jax.data.examples import Examples, examples_of
from bert_jax.jobs.finetune import finetune
from bert_jax.models.config import EncoderConfig
from bert_jax.tasks.regression import RegressionConfig
from bert_jax.tasks.text_rows import encode_examples, encode_windows

SMALL = EncoderConfig(
  num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
)


def test_rows(small_tokenizer):
  """A row has the next tokens of a text, or of an empty one none."""
  texts = [('array',), (20 * 'array ',), ('',), (9 * 'array ',)]
  windows = encode_windows(small_tokenizer, texts, 8, 2)
  assert windows.example_R.tolist() == [0, 1, 1, 2, 3, 3]
  assert (windows.num_divided, windows.num_cut) == (2, 1)
  alone = [(n * 'array ',) for n in (1, 6, 6, 0, 6, 3)]
  expected, _ = encode_examples(small_tokenizer, alone, 8)
  np.testing.assert_array_equal(windows.ids_RT, expected)


def test_shares_and_means(small_tokenizer):
  """The rows of a text weigh as much as one, and are averaged."""
  task = RegressionConfig(num_windows=3).build(small_tokenizer.table, {})
  examples = Examples(
    columns={'texts': [(15 * 'array ',), ('array',)], 'labels': [2.0, 7.0]},
    origins=['a:1', 'a:2'],
  )
  features = task.featurize(examples, small_tokenizer, 8)
  assert features.rows['labels'].tolist() == [2, 2, 2, 7]
  np.testing.assert_allclose(features.rows['shares'], [*3 * [1 / 3], 1])
  assert features.cut == {
    'divided into rows of max_length=8 tokens': 1,
    'cut to 3 rows of max_length=8 tokens': 0,
  }
  batch = features.rows | {'label_weights': np.ones(4, np.float32)}
  prepared = task.prepare(batch, None)
  np.testing.assert_allclose(task.weights(batch)['squared_error'], 4)
  np.testing.assert_allclose(task.weights(prepared)['squared_error'], 2)
  found = task.decode(np.array([1, 2, 6, 5], np.float32), features)
  assert found == [{'value': 3}, {'value': 5}]


def test_the_end_of_a_text_decides(tmp_path, one_device, small_corpus):
  """The word that tells the classes apart stands in the second row."""
  rows = [
    (12 * 'the ' + f'{word} returns', word) for word in ('array', 'matrix')
  ]
  task = classification(tmp_path, rows * 8, rows * 8)
  options = dict(
    max_length=16,
    num_epochs=10,
    model=SMALL,
    tokenizer=str(small_corpus / 'tokenizer'),
  )
  task.num_windows, task.pooling = 2, 'mean'
  finetune(tuning(task, **options), tmp_path / 'run')
  assert results(tmp_path / 'run')['summary']['accuracy']['mean'] == 1
  model = inference.load(tmp_path / 'run')
  assert model.tokenizer.encode_batch([rows[0][0]])[0].size > 14
  ids = model.tokenizer.encode_batch([rows[0][0]])[0]
  features = model.task.featurize(
    examples_of([(rows[0][0],)]), model.tokenizer, 16
  )
  assert len(features.rows['input_ids']) == 2 and ids.size <= 28
  log_probabilities = model._predictions(features.rows['input_ids'])
  np.testing.assert_allclose(
    model.predict([(rows[0][0],)])[0],
    np.exp(log_probabilities).mean(axis=0),
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  'fields,message',
  [
    ({'num_windows': 0}, 'task.num_windows is 0'),
    (
      {'num_windows': 2, 'text_columns': ('a', 'b')},
      'task.num_windows=2: a pair of texts cannot be divided',
    ),
  ],
)
def test_refused(fields, message):
  config = RegressionConfig(train_path='a.tsv', **fields)
  assert message in refusal(config.validate)


def test_a_pair_is_refused(small_tokenizer):
  message = refusal(encode_windows, small_tokenizer, [('a', 'b')], 8, 2)
  assert 'a pair of texts cannot be divided' in message
