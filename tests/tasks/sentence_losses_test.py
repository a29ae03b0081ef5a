"""Losses on vectors and figures of retrieval, against sentence-transformers."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.tasks import metrics, retrieval
from bert_jax.tasks import sentence_losses as losses

GOLDEN = np.load(pathlib.Path(__file__).parent / 'golden' / 'sentences.npz')
VECTORS, SCORES = GOLDEN['vectors'], GOLDEN['scores']


def in_batch(vectors_BKD, symmetric=False):
  batch_size, num_texts = vectors_BKD.shape[:2]
  nothing = np.zeros((batch_size, batch_size * (num_texts - 1)), bool)
  return jnp.mean(
    losses.in_batch_negatives(
      vectors_BKD, nothing, scale=20.0, symmetric=symmetric
    )
  )


def matryoshka(vectors_BKD):
  return sum(in_batch(vectors_BKD[..., :dim]) for dim in (8, 4))


@pytest.mark.parametrize(
  ('name', 'columns', 'loss'),
  [
    ('in_batch_2', 2, in_batch),
    ('in_batch_4', 4, in_batch),
    ('symmetric_2', 2, lambda x: in_batch(x, symmetric=True)),
    ('symmetric_4', 4, lambda x: in_batch(x, symmetric=True)),
    ('matryoshka', 2, matryoshka),
    ('cosine', 2, lambda x: losses.squared_cosine_error(x, SCORES).mean()),
    ('cosent', 2, lambda x: losses.cosent(x, SCORES, scale=20.0)),
    ('triplet', 3, lambda x: losses.triplet(x, margin=0.5).mean()),
  ],
)
def test_losses_and_gradients(name, columns, loss):
  function = jax.jit(jax.value_and_grad(loss))
  value, gradient = function(VECTORS[:, :columns])
  np.testing.assert_allclose(value, GOLDEN[name], rtol=1e-5)
  np.testing.assert_allclose(
    gradient, GOLDEN[f'{name}_gradient'], rtol=1e-4, atol=5e-6
  )


def test_false_negatives():
  """Candidates: positives 1 3 5 3, then negatives 6 0 7 7."""
  ids = np.array([[0, 1, 6], [2, 3, 0], [0, 5, 7], [4, 3, 7]])
  found = np.array(losses.false_negatives(ids)).astype(int)
  assert found.tolist() == [
    [0, 0, 1, 0, 0, 1, 0, 0],  # the same anchor's positive, the anchor itself
    [0, 0, 0, 1, 0, 0, 0, 0],  # the same positive again
    [1, 0, 0, 0, 0, 1, 0, 0],
    [0, 1, 0, 0, 0, 0, 0, 0],
  ]


def test_a_false_negative_adds_nothing():
  """Two examples with one positive give what each gives without the other."""
  vectors = VECTORS[:3, :2].copy()
  vectors[1, 1] = vectors[0, 1]
  ids = np.array([[0, 1], [2, 1], [3, 4]])
  loss = jax.jit(
    functools.partial(losses.in_batch_negatives, scale=20.0, symmetric=False)
  )
  found = loss(vectors, losses.false_negatives(ids))
  alone = loss(vectors[[0, 2]], np.zeros((2, 2), bool))
  np.testing.assert_allclose(found[0], alone[0], rtol=1e-5)


def test_vectors_of_zeros_have_finite_gradients():
  gradient = jax.jit(jax.grad(in_batch))(np.zeros((2, 2, 4), np.float32))
  assert np.isfinite(gradient).all()


def test_figures_of_retrieval():
  queries, documents = GOLDEN['queries'], GOLDEN['documents']
  queries /= np.linalg.norm(queries, axis=1, keepdims=True)
  documents /= np.linalg.norm(documents, axis=1, keepdims=True)
  relevant = [set() for _ in queries]
  for query, document in GOLDEN['relevant'].tolist():
    relevant[query].add(document)
  found = retrieval.figures(retrieval.top_k(queries, documents, 10), relevant)
  assert len(found) == 4 and 0 < found['recall_at_1'] < 1
  for name, value in found.items():
    assert value == pytest.approx(float(GOLDEN[name]), abs=1e-9), name


def test_figures_of_scores():
  cosines = losses.pair_cosines(VECTORS[:, 0], VECTORS[:, 1])
  found = metrics.correlations(SCORES, np.array(cosines))
  assert found.keys() == {'pearson', 'spearman'}
  for name, value in found.items():
    assert value == pytest.approx(float(GOLDEN[name]), abs=1e-6)


def test_top_k_is_exact(monkeypatch):
  """The same as of all at once, and of equals the first."""
  rng = np.random.default_rng(0)
  queries = rng.integers(-2, 3, (7, 3)).astype(np.float32)
  documents = rng.integers(-2, 3, (20, 3)).astype(np.float32)
  monkeypatch.setattr(retrieval, '_BLOCK', 2)
  for query, found in zip(
    queries, retrieval.top_k(queries, documents, 5), strict=True
  ):
    scores = (documents @ query).tolist()
    expected = sorted(range(20), key=lambda place: (-scores[place], place))
    assert found.tolist() == expected[:5]


def test_figures_of_examples():
  """Two anchors, of which one stands twice; documents x, y, z and w."""
  texts = [('a', 'x', 'w'), ('b', 'y', 'x'), ('a', 'z', 'y')]
  of = {
    'a': [1, 0],
    'b': [0, 1],
    'x': [1, 0.1],
    'y': [0.5, 0.6],
    'z': [0, 1],
    'w': [0.9, 0],
  }
  vectors = np.array([[of[text] for text in row] for row in texts])
  found = retrieval.figures_of_examples(texts, vectors)
  # a ranks x w y z, where x and z are right; b ranks z y x w, where y is.
  assert found['recall_at_1'] == pytest.approx((1 / 2 + 0) / 2)
  assert found['mrr_at_10'] == pytest.approx((1 + 1 / 2) / 2)
  assert found['recall_at_10'] == 1
