"""Reranking: its losses, figures, rows, columns, and what is refused."""

import jax
import numpy as np
import optax
import pytest
import toys
from refusals import refusal

from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import model_with_heads
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.tasks.reranking import RerankingConfig
from bert_jax.train.state import init_state
from bert_jax.train.step import make_train_step

MODEL = EncoderConfig(
  num_layers=1,
  embed_dim=8,
  num_heads=2,
  mlp_dim=16,
  max_positions=16,
  vocab_size=toys.VOCAB_SIZE,
  dropout=0.1,
  attention_dropout=0.1,
  initializer_stddev=0.2,
)
OPTIMIZER = optax.scale(-1.0)
GROUPS = dict(train_columns=('q', 'p', 'n1', 'n2'))
HEAD = 'query\tdocument\tlabel\n'


def config(**fields) -> RerankingConfig:
  paths = dict(train_path='train.tsv', eval_path='dev.tsv')
  chosen = RerankingConfig(**paths | fields)
  chosen.validate()
  return chosen


def batch_of(num_documents: int, batch_size: int = 16) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  shape = batch_size, num_documents, 16
  ids = rng.integers(5, toys.VOCAB_SIZE, shape).astype(np.int32)
  ids[..., 0], ids[..., 5] = toys.CLS, toys.SEP
  for row in ids.reshape(-1, 16):
    end = rng.integers(8, 16)
    row[end], row[end + 1 :] = toys.SEP, toys.PAD
  return {
    'input_ids': ids,
    'labels': rng.choice([0, 0.25, 1], batch_size).astype(np.float32),
    'label_weights': (np.arange(batch_size) < batch_size - 2) * np.float32(1),
    'example_number': np.stack(
      [np.zeros(batch_size), np.arange(batch_size)], 1
    ).astype(np.uint32),
  }


def task_and_params(chosen):
  task = chosen.build(toys.table(), {})
  model = model_with_heads(MODEL, task.heads(), 'float32')
  params = jax.device_get(jax.jit(model.init)(jax.random.key(0)))
  # The scores of a new head hardly differ.
  output = params['classifier']['output']
  output['kernel'] = 50 * output['kernel']
  return task, model, params


def after_a_step(chosen, num_devices=1, num_microbatches=1):
  """(params, metrics) after a step, as host arrays."""
  task, model, params = task_and_params(chosen)
  step = make_train_step(
    *(task, model, OPTIMIZER, lambda step: 1.0),
    num_microbatches=num_microbatches,
  )
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  with jax.set_mesh(mesh):
    state = init_state(params, OPTIMIZER, keep_best=False)
    batch = jax.device_put(batch_of(3), batch_sharding(mesh))
    state, found = jax.jit(step)(state, {}, batch, jax.random.key(0))
  return jax.device_get((state.params, found))


def test_eight_devices_learn_what_one_does():
  """With dropout, and in two parts; no pair depends on where it lies."""
  chosen = config(**GROUPS, loss='listwise')
  params, found = after_a_step(chosen)
  assert np.isfinite(found['loss']) and found['loss'] > 0
  others, _ = after_a_step(chosen, num_devices=8, num_microbatches=2)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5),
    others,
    params,
  )


@pytest.mark.parametrize('loss', ['binary', 'margin', 'listwise'])
def test_losses_by_their_formulas(loss):
  """In numpy, from the scores of the same model; padding weighs nothing."""
  chosen = config(**({} if loss == 'binary' else GROUPS), loss=loss)
  chosen.margin = 0.3
  task, model, params = task_and_params(chosen)
  batch = batch_of(1 if loss == 'binary' else 3)

  @jax.jit
  def run(params, batch):
    module = model.bind(params)
    prepared = task.prepare(batch, jax.random.key(0))
    encoded = task.encode(module, prepared, None)
    return task.losses(module, encoded, None), task.predict(module, prepared)

  (losses, more), scores = jax.device_get(run(params, batch))
  scores = scores.astype(np.float64)
  assert scores.shape == batch['input_ids'].shape[:2] and np.ptp(scores) > 0.1
  if loss == 'binary':
    shares = 1 / (1 + np.exp(-scores[:, 0]))
    y = batch['labels']
    each = -y * np.log(shares) - (1 - y) * np.log(1 - shares)
    hits = (shares > 0.5) == (y >= 0.5)
  else:
    hits = scores.argmax(1) == 0
    each = -np.log(np.exp(scores[:, 0]) / np.exp(scores).sum(1))
    if loss == 'margin':
      positive, *negatives = scores.T
      each = sum(np.maximum(0, 0.3 - (positive - n)) for n in negatives) / 2
  ((name, (total, weight)),) = losses.items()
  assert name == f'{loss}_loss' and weight == 14
  np.testing.assert_allclose(total, each[:14].sum(), rtol=1e-5)
  assert more['accuracy'] == (hits[:14].sum(), 14)


def examples_of(tmp_path, content, **fields):
  path = tmp_path / 'data.tsv'
  path.write_text(content)
  chosen = config(**fields)
  return chosen, read_examples(path, chosen.columns())


def test_figures_by_hand(tmp_path, small_tokenizer):
  """Two queries count; the right documents stand at 2, and at 1 and 3.

  Equal scores rank the wrong document first. A query without a right document
  and one with right ones alone do not count.
  """
  rows = [
    *(('a', 'x', 1, 0.5), ('a', 'y', 0, 0.5), ('a', 'z', 0, -3.0)),
    *(('b', 'x', 0, 1.0), ('b', 'y', 1, 2.0), ('b', 'z', 1, -1.0)),
    *(('c', 'x', 0, 1.0), ('d', 'x', 1, 1.0)),
  ]
  lines = [f'{query}\t{text}\t{label}' for query, text, label, _ in rows]
  chosen, examples = examples_of(tmp_path, HEAD + '\n'.join(lines))
  task = chosen.build(small_tokenizer.table, {})
  features = task.featurize(examples, small_tokenizer, 16)
  assert features.rows['input_ids'].shape == (8, 1, 16)
  outputs = np.array([[row[-1]] for row in rows], np.float32)
  results = task.decode(outputs, features)
  np.testing.assert_allclose(
    [one['score'] for one in results], 1 / (1 + np.exp(-outputs[:, 0]))
  )
  found = task.score(results, examples)
  log3 = np.log2(3)
  expected = {
    'ndcg_at_10': (1 / log3 + (1 + 1 / 2) / (1 + 1 / log3)) / 2,
    'mrr_at_10': (1 / 2 + 1) / 2,
    'recall_at_1': (0 + 1 / 2) / 2,
    'recall_at_10': 1.0,
    'accuracy': 4 / 8,
    'eval_loss': np.mean(
      [np.log1p(np.exp(-o if label else o)) for _, _, label, o in rows]
    ),
  }
  for name, value in expected.items():
    assert found[name] == pytest.approx(value), name
  # Precision at each right document: outputs 2, 1 (with two wrong ones), 0.5
  # (with a wrong one), -1.
  shares = [1, 2 / 4, 3 / 6, 4 / 7]
  assert found['average_precision'] == pytest.approx(np.mean(shares))
  about = task.about('eval', examples)
  counts = {'queries': 4, 'documents': 8, 'right': 4}
  # A right document is as likely at each of the places 1 to 3.
  gains = 1 + 1 / log3 + 1 / 2
  chance = np.mean([gains / 3, gains * 2 / 3 / (1 + 1 / log3)])
  assert about.record == {
    'ranked': counts,
    'ndcg_of_chance': pytest.approx(chance),
  }
  assert about.notes == [
    'of 4 queries 1 have no right document and 1 only right ones; the figures '
    'are without them'
  ]
  # The other losses give scores as they are, and figures of queries alone.
  other = config(**GROUPS, loss='margin').build(small_tokenizer.table, {})
  results = other.decode(outputs, features)
  assert [one['score'] for one in results] == outputs[:, 0].tolist()
  assert other.score(results, examples).keys() == {*list(expected)[:4]}


def test_rows_of_a_query_and_its_documents(tmp_path, small_tokenizer):
  path = tmp_path / 'data.tsv'
  path.write_text(
    'q\tp\tn1\tn2\nthe array\ta number\tevery\ta value\n'
    'the array\tevery\ta number\tit\n'
  )
  chosen = config(loss='listwise', train_columns=('q,p,n1,n2',))
  examples = read_examples(path, chosen.training_columns())
  task = chosen.build(small_tokenizer.table, chosen.fit(examples))
  features = task.featurize(examples, small_tokenizer, 16)
  ids = features.rows['input_ids']
  assert features.rows.keys() == {'input_ids'} and ids.shape == (2, 3, 16)
  np.testing.assert_array_equal(ids[0, :2], ids[1, 1::-1])
  about = task.about('train', examples)
  assert about.record['ranked'] == {'queries': 1, 'documents': 6, 'right': 2}
  assert about.notes == [
    'warning: train: 2 documents are right for their query in one example and '
    'wrong in another'
  ]
  with pytest.raises(
    InputError, match='there are 4 texts; give a query and on'
  ):
    task.decode(np.zeros((2, 3)), features)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (dict(text_columns=('a',)), r'text_columns names 1 column \(a\); give two'),
    (dict(text_columns=('a,b,c',)), 'names 3 columns .*; give one or two'),
    (
      GROUPS | dict(loss='margin', eval_path=''),
      'eval_path is empty, and only pairs with labels are held out',
    ),
    (dict(loss='pair'), "loss is 'pair'; choose one of binary, margin, listw"),
    (dict(margin=0.0), 'task.margin is 0.0; it must be above 0'),
    (GROUPS, 'train_columns is q,p,n1,n2, and the loss binary learns text_c'),
    (dict(loss='margin'), r'train_columns names 0 columns \(\); the loss marg'),
    (
      dict(loss='listwise', train_columns=('q', 'p')),
      r'names 2 columns \(q,p\); the loss listwise needs three or more',
    ),
    (
      GROUPS | dict(loss='listwise', metric='accuracy'),
      'metric=accuracy needs probabilities, which the loss listwise does not',
    ),
  ],
)
def test_configs_that_cannot_be(fields, message):
  with pytest.raises(InputError, match=message):
    config(**fields)


def learned(tmp_path, tokenizer, content, part='train', **fields):
  path = tmp_path / 'data.tsv'
  path.write_text(content)
  chosen = config(**fields)
  train = part == 'train'
  columns = chosen.training_columns() if train else chosen.columns()
  examples = read_examples(path, columns)
  task = chosen.build(tokenizer.table, chosen.fit(examples) if train else {})
  task.featurize(examples, tokenizer, 16)
  task.about(part, examples)


@pytest.mark.parametrize(
  ('content', 'fields', 'message'),
  [
    (HEAD + 'a\tb\t1\na\t \t0\n', {}, "data.tsv:3: column 'document' is empty"),
    (HEAD + 'a\tb\t1\na\tc\t2\n', {}, 'data.tsv:3: the label is 2; give 1 for'),
    (HEAD + 'a\tb\t1\na\tc\tno\n', {}, 'data.tsv:3: .* which is no number'),
    (HEAD + 'a\tb\t1\na\tc\t1\n', {}, 'every example has the label 1; there'),
    (
      HEAD + 'a\tb\t1\nx\tb\t0\nx\tc\t0\n',
      {},
      "data.tsv:3: the query 'x' has 2 documents, all with the label 0; give",
    ),
    (
      HEAD + 'a\tb\t1\na\tb\t0.5\n',
      dict(part='eval'),
      'data.tsv:3: the label is 0.5; figures are of documents that are right',
    ),
    (
      HEAD + 'a\tb\t1\nc\tb\t0\n',
      dict(part='eval'),
      'data.tsv:2: of 2 queries 1 have no right document and 1 only right one',
    ),
    (
      'q\tp\tn1\tn2\na\tb\tc\td\na\tb\tc\tb\n',
      GROUPS | dict(loss='margin'),
      "data.tsv:3: negative 2 equals its positive, 'b'; mend one",
    ),
    ('q\tp\nq\tp\n', GROUPS | dict(loss='margin'), "no column .*'n1'"),
  ],
)
def test_bad_examples(tmp_path, small_tokenizer, content, fields, message):
  with pytest.raises(InputError, match=message):
    learned(tmp_path, small_tokenizer, content, **fields)
  refusal(learned, tmp_path, small_tokenizer, content, **fields)
