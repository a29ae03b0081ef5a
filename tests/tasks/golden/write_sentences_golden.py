"""Writes sentences.npz: losses and figures of sentence-transformers.

The file is committed, so that the tests need neither torch nor that package. To
write it again, in an environment of its own (Python 3.11):

  python3.11 -m venv torch_env
  torch_env/bin/pip install torch==2.13.0 sentence-transformers==6.2.0
  torch_env/bin/python tests/tasks/golden/write_sentences_golden.py

  vectors f32 [B, 4, D], scores f32 [B]: what the losses are given
  NAME, NAME_gradient   a loss, and its gradient with respect to the vectors
  queries f32 [Q, D], documents f32 [N, D], relevant int [R, 2]: pairs of query
    and document; the figures of retrieval by name
  pearson, spearman     of the cosines of the first two columns with the scores
"""

import pathlib

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import evaluation, losses
from sentence_transformers.sentence_transformer.losses import matryoshka

OUTPUT = pathlib.Path(__file__).with_name('sentences.npz')
BOTH = dict(
  directions=('query_to_doc', 'doc_to_query'), partition_mode='per_direction'
)


class Given(SentenceTransformer):
  """A model whose texts are the numbers of given vectors."""

  def __init__(self, vectors: dict[str, np.ndarray]):
    super().__init__(modules=[torch.nn.Identity()], device='cpu')
    self._given = vectors

  def encode(self, sentences, **options):
    vectors = np.stack([self._given[one] for one in sentences])
    if options.get('convert_to_tensor'):
      return torch.from_numpy(vectors)
    return vectors

  encode_query = encode_document = encode


def of_losses(vectors: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
  model = Given({})
  labels = torch.from_numpy(scores)
  ranking = losses.MultipleNegativesRankingLoss
  cosine = losses.TripletDistanceMetric.COSINE
  triplet = losses.TripletLoss(model, cosine, triplet_margin=0.5)
  chosen = {
    'in_batch_2': (2, ranking(model)),
    'in_batch_4': (4, ranking(model)),
    'symmetric_2': (2, ranking(model, **BOTH)),
    'symmetric_4': (4, ranking(model, **BOTH)),
    'cosine': (2, losses.CosineSimilarityLoss(model)),
    'cosent': (2, losses.CoSENTLoss(model)),
    'triplet': (3, triplet),
  }
  found = {}

  def add(name, columns, function):
    tensor = torch.tensor(vectors[:, :columns], requires_grad=True)
    loss = function([tensor[:, column] for column in range(columns)])
    loss.backward()
    found[name] = loss.detach().numpy()
    found[f'{name}_gradient'] = tensor.grad.numpy()

  for name, (columns, loss) in chosen.items():
    add(
      name,
      columns,
      lambda parts, loss=loss: loss.compute_loss_from_embeddings(parts, labels),
    )
  loss = ranking(model)
  add(
    'matryoshka',
    2,
    lambda parts: sum(
      loss.compute_loss_from_embeddings(
        [matryoshka.shrink(part, dim) for part in parts], labels
      )
      for dim in (8, 4)
    ),
  )
  return found


def of_evaluators(
  vectors: np.ndarray, scores: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
  documents = rng.normal(size=(40, 8)).astype(np.float32)
  noise = rng.normal(size=(12, 8)).astype(np.float32)
  queries = documents[:12] + 1.5 * noise
  relevant = [{number} for number in range(12)]
  relevant[3] |= {20, 21}
  relevant[4] |= {*range(20, 34)}
  texts = {f'q{n}': x for n, x in enumerate(queries)}
  texts |= {f'd{n}': x for n, x in enumerate(documents)}
  evaluator = evaluation.InformationRetrievalEvaluator(
    {f'{n}': f'q{n}' for n in range(12)},
    {f'{n}': f'd{n}' for n in range(40)},
    {f'{n}': {str(one) for one in of} for n, of in enumerate(relevant)},
    precision_recall_at_k=[1, 10],
    name='given',
  )
  found = evaluator(Given(texts))
  pairs = {f'{k}{n}': vectors[n, k] for n in range(len(scores)) for k in (0, 1)}
  numbers = range(len(scores))
  similarity = evaluation.EmbeddingSimilarityEvaluator(
    [f'0{n}' for n in numbers],
    [f'1{n}' for n in numbers],
    scores.tolist(),
    main_similarity='cosine',
    name='given',
  )
  found |= similarity(Given(pairs))
  names = {
    'recall_at_1': 'given_cosine_recall@1',
    'recall_at_10': 'given_cosine_recall@10',
    'mrr_at_10': 'given_cosine_mrr@10',
    'ndcg_at_10': 'given_cosine_ndcg@10',
    'pearson': 'given_pearson_cosine',
    'spearman': 'given_spearman_cosine',
  }
  return {
    'queries': queries,
    'documents': documents,
    'relevant': np.array([(q, d) for q, of in enumerate(relevant) for d in of]),
    **{ours: np.float64(found[theirs]) for ours, theirs in names.items()},
  }


def main() -> None:
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(6, 4, 8)).astype(np.float32)
  scores = np.array([0.2, 0.8, 0.5, 0.5, 1.0, 0.0], np.float32)
  np.savez(
    OUTPUT,
    vectors=vectors,
    scores=scores,
    **of_losses(vectors, scores),
    **of_evaluators(vectors, scores, rng),
  )


if __name__ == '__main__':
  main()
