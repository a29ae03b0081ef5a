"""Sentence embeddings: the batch as a whole, its parts, and bad input."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
import toys
from refusals import refusal
from tuning import tuning

from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.tasks.sentence_embedding import SentenceEmbeddingConfig
from bert_jax.train.adversarial import steepest
from bert_jax.train.cached_gradients import CachedConfig
from bert_jax.train.gradients import plain
from bert_jax.train.state import init_state
from bert_jax.train.step import make_train_step

MODEL = EncoderConfig(
  num_layers=1,
  embed_dim=8,
  num_heads=2,
  mlp_dim=16,
  max_positions=16,
  vocab_size=toys.table().vocab_size,
  dropout=0.1,
  attention_dropout=0.1,
)
SCORED = dict(text_columns=('one', 'two'), label_column='score')
# Parameters after a step differ by the gradients.
OPTIMIZER = optax.scale(-1.0)


def config(**fields) -> SentenceEmbeddingConfig:
  paths = dict(train_path='train.tsv', eval_path='dev.tsv')
  return SentenceEmbeddingConfig(**paths | fields)


@functools.cache
def first_params():
  model = model_with_heads(MODEL, {}, 'float32')
  return jax.device_get(jax.jit(model.init)(jax.random.key(0)))


def batch_of(num_texts: int, batch_size: int = 16) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  rows = toys.batch(batch_size * num_texts, 16)['input_ids']
  return {
    'input_ids': np.asarray(rows).reshape(batch_size, num_texts, 16),
    'text_ids': rng.integers(0, 40, (batch_size, num_texts)).astype(np.int32),
    'labels': rng.random(batch_size).astype(np.float32),
    'label_weights': np.ones(batch_size, np.float32),
    'example_number': np.stack(
      [np.zeros(batch_size), np.arange(batch_size)], 1
    ).astype(np.uint32),
  }


def after_a_step(
  task_config, num_texts, *, gradients=plain, num_devices=1, num_microbatches=1
):
  """(params, metrics) after a step, as host arrays."""
  task = task_config.build(toys.table(), {})
  model = model_with_heads(MODEL, task.heads(), 'float32')
  step = make_train_step(
    task,
    model,
    OPTIMIZER,
    lambda step: 1.0,
    gradients=gradients,
    num_microbatches=num_microbatches,
  )
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  with jax.set_mesh(mesh):
    key = jax.random.key(0)
    state = init_state(first_params(), OPTIMIZER, keep_best=False)
    batch = jax.device_put(batch_of(num_texts), batch_sharding(mesh))
    state, metrics = jax.jit(step)(state, {}, batch, key)
  return jax.device_get((state.params, metrics))


assert_same = functools.partial(
  jax.tree.map,
  lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5),
)


def test_a_batch_is_compared_as_a_whole():
  """On eight devices, and in cached parts on two, as on one at once."""
  chosen = config(symmetric=True, matryoshka_dims=(8, 4), pooling='max')
  expected = after_a_step(chosen, 3)
  assert np.isfinite(expected[1]['loss']) and expected[1]['loss'] > 0
  assert_same(after_a_step(chosen, 3, num_devices=8), expected)
  parts = CachedConfig(num_parts=4).build(8)
  assert_same(after_a_step(chosen, 3, gradients=parts, num_devices=2), expected)
  with pytest.raises(InputError, match='num_parts=4: .* is a multiple of 32'):
    after_a_step(chosen, 3, gradients=parts, num_devices=8)


def test_microbatches_are_refused_where_examples_are_compared():
  expected = 'num_microbatches=2 would compare .*--config.gradients.num_parts=2'
  for loss in ('in_batch_negatives', 'cosent'):
    with pytest.raises(InputError, match=expected):
      after_a_step(config(loss=loss), 2, num_microbatches=2)
  # The others add up over the parts of a batch.
  _, metrics = after_a_step(config(loss='cosine'), 2, num_microbatches=2)
  assert metrics['loss'] > 0


def test_parts_need_a_loss_on_vectors():
  objective = MaskedLMConfig().build(toys.table())
  model = toys.model(objective)
  step = make_train_step(
    objective,
    model,
    OPTIMIZER,
    lambda step: 1.0,
    gradients=CachedConfig(num_parts=2).build(8),
  )
  key = jax.random.key(0)
  state = jax.eval_shape(
    lambda key: init_state(model.init(key), OPTIMIZER, keep_best=False), key
  )
  with pytest.raises(InputError, match='num_parts=2 is for losses on vectors'):
    jax.eval_shape(step, state, {}, toys.batch(32, 32), key)
  with pytest.raises(InputError, match='num_parts is 0; it must be 1 or more'):
    CachedConfig(num_parts=0).validate()


def test_adversarial_moves_all_texts_of_an_example():
  gradient_BKTE = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
  moved = steepest(gradient_BKTE, 0.5)
  np.testing.assert_allclose(
    np.linalg.norm(moved.reshape(3, -1), axis=1), 0.5, rtol=1e-5
  )


def test_the_same_text_twice_has_other_dropout():
  """SimCSE learns from that alone; without dropout both vectors are equal."""
  task = config().build(toys.table(), {})
  model = model_with_heads(MODEL, {}, 'float32')
  batch = batch_of(2)
  batch['input_ids'] = np.repeat(batch['input_ids'][:, :1], 2, axis=1)
  prepared = task.prepare(batch, jax.random.key(0))

  @jax.jit
  def vectors(params, seeds):
    encoded = task.encode(model.bind(params), prepared, seeds)
    return encoded['vectors'].swapaxes(0, 1)

  params = first_params()
  one, two = vectors(params, np.arange(16, dtype=np.uint32))
  assert np.abs(one - two).max(axis=1).min() > 1e-3
  one, two = vectors(params, None)
  np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (dict(loss='ranking'), "task.loss is 'ranking'; choose one of in_batch"),
    (dict(eval_path=''), 'eval_path is empty, and only pairs with scores'),
    (dict(pooling='sum'), "task.pooling is 'sum'; choose one of mean, cls"),
    (dict(scale=0.0), 'task.scale is 0.0; it must be above 0'),
    (dict(score_range=(5.0, 1.0)), 'task.score_range is .5.0, 1.0.; give the'),
    (dict(matryoshka_dims=(8, 8)), 'task.matryoshka_dims is .*above 0 once'),
    (dict(vector_dim=4, matryoshka_dims=(8,)), 'vector_dim=4: give one of'),
    (dict(text_columns=('a',)), 'text_columns names 1 .*train_columns'),
    (dict(loss='triplet'), 'text_columns names 2 .* triplet needs 3'),
    (
      dict(loss='cosent', text_columns=('a', 'b')),
      'label_column is empty, and the loss cosent learns scores',
    ),
    (SCORED, 'in_batch_negatives takes all pairs .* whatever their score'),
    (
      SCORED | dict(loss='cosent', metric='mrr_at_10'),
      'mrr_at_10 needs no task.label_column; choose spearman or',
    ),
    (dict(metric='pearson'), 'pearson needs a task.label_column; choose ndcg'),
  ],
)
def test_configs_that_cannot_be(fields, message):
  with pytest.raises(InputError, match=message):
    config(**fields).validate()


def test_columns():
  """SimCSE with pairs to evaluate on; names as flags give them."""
  chosen = config(**SCORED, train_columns=('text',))
  chosen.text_columns = ('one,two',)
  chosen.validate()
  assert [column.name for column in chosen.columns()] == ['one', 'two', 'score']
  assert [column.name for column in chosen.training_columns()] == ['text']
  assert chosen.metric == 'spearman'
  with pytest.raises(InputError, match='dropout is 0, .* --config.dropout=0.1'):
    tuning(chosen, init_from='run', dropout=0.0).validate()
  chosen = config(text_columns=('a', 'b', 'c'))
  chosen.validate()
  assert chosen.metric == 'ndcg_at_10'
  assert chosen.training_columns() == chosen.columns()


def featurized(tmp_path, tokenizer, content, **fields):
  path = tmp_path / 'data.tsv'
  path.write_text(content)
  chosen = config(**fields)
  chosen.validate()
  examples = read_examples(path, chosen.training_columns())
  chosen.fit(examples)
  task = chosen.build(tokenizer.table, {})
  return task.featurize(examples, tokenizer, 16)


def test_rows(tmp_path, small_tokenizer):
  content = 'anchor\tpositive\nthe array\ta number\na number\tthe array\n'
  rows = featurized(tmp_path, small_tokenizer, content).rows
  assert rows['input_ids'].shape == (2, 2, 16)
  np.testing.assert_array_equal(
    rows['input_ids'][0], rows['input_ids'][1, ::-1]
  )
  assert rows['text_ids'].tolist() == [[0, 1], [1, 0]]
  content = 'one\ttwo\tscore\nthe array\ta number\t1\na\tb\t4\n'
  scored = SCORED | dict(loss='cosine', score_range=(1.0, 5.0))
  rows = featurized(tmp_path, small_tokenizer, content, **scored).rows
  assert rows['labels'].tolist() == [0, 0.75]
  one = SCORED | dict(train_columns=('text',))
  found = featurized(tmp_path, small_tokenizer, 'text\nthe array\n', **one)
  assert found.rows['text_ids'].tolist() == [[0, 0]]


@pytest.mark.parametrize(
  ('content', 'fields', 'message'),
  [
    ('anchor\tb\na\tb\n', {}, "no column .*'positive'"),
    ('anchor\tpositive\na\tb\nc\t \n', {}, 'data.tsv:3: .* is empty'),
    (
      'anchor\tpositive\tno\na\tb\tc\nd\te\te \n',
      dict(text_columns=('anchor', 'positive', 'no')),
      "data.tsv:3: negative 1 equals its positive, 'e '; mend",
    ),
    (
      'one\ttwo\tscore\na\tb\t1\na\tb\t5.5\n',
      SCORED | dict(loss='cosent', score_range=(0.0, 5.0)),
      'data.tsv:3: the score is 5.5, outside task.score_range=0,5; mend it',
    ),
    (
      'one\ttwo\tscore\na\tb\tnan\n',
      SCORED | dict(loss='cosent'),
      'data.tsv:2: .* which is no number',
    ),
    (
      'one\ttwo\tscore\na\tb\t1\nc\td\t1\n',
      SCORED | dict(loss='cosent'),
      'every example has the score 1; there is nothing to learn',
    ),
  ],
)
def test_bad_examples(tmp_path, small_tokenizer, content, fields, message):
  said = refusal(
    lambda: featurized(tmp_path, small_tokenizer, content, **fields)
  )
  assert len(said.splitlines()) == 1
  with pytest.raises(InputError, match=message):
    featurized(tmp_path, small_tokenizer, content, **fields)


def test_sizes_above_that_of_the_vectors():
  with pytest.raises(InputError, match='matryoshka_dims has 9, and vectors ha'):
    after_a_step(dataclasses.replace(config(), matryoshka_dims=(9,)), 2)
