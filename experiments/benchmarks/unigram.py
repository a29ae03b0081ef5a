"""Losses that token frequencies alone reach on a run's held-out rows.

.venv/bin/python experiments/benchmarks/unigram.py --workdir=RUN --corpus=DIR

Prints the losses, in nats, of two models that see no context, at the places
that the run's evaluation masks (and, for ELECTRA, for samples of its
generator):

mlm_loss       each token is as likely as its count in the training rows plus
               one.
replaced_loss  a token is a replacement as often as it was one in 4,096 training
               rows, at any place; rare tokens are as likely as the average.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging

from bert_jax.data.token_rows import TokenRows
from bert_jax.experiment import model_of
from bert_jax.jobs.pretrain import open_data
from bert_jax.models import functional
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.train.evaluation import RowsInOrder

_TRAINING_ROWS = 4096

_WORKDIR = flags.DEFINE_string('workdir', None, 'A run.', required=True)
_CORPUS = flags.DEFINE_string('corpus', None, 'Its corpus.', required=True)


def main(unused_argv: Sequence[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  print(json.dumps(unigram_losses(_WORKDIR.value, _CORPUS.value)))


def unigram_losses(workdir: str, corpus_path: str) -> dict[str, float]:
  source = open_pretrained(workdir)
  experiment = dataclasses.replace(
    source.experiment,
    data=dataclasses.replace(source.experiment.data, path=corpus_path),
    compute_dtype='float32',
    attention=(),
  )
  evaluation = experiment.evaluation
  with (
    open_data(experiment) as ([corpus], tokenizer),
    jax.set_mesh(MeshConfig().build(jax.devices()[:1])),
  ):
    objective = experiment.objective.build(tokenizer.table)
    prepare = jax.jit(
      functools.partial(objective.prepare, key=jax.random.key(evaluation.seed))
    )
    [rows] = corpus.rows.values()

    def prepared(rows: TokenRows, max_rows: int) -> Iterator[dict[str, Any]]:
      read = RowsInOrder(rows.arrays, min(rows.num_rows, max_rows))
      for numbers in read.batches(evaluation.batch_size):
        yield prepare(read.batch(numbers))

    held_out = list(prepared(corpus.held_out, evaluation.max_rows or 2**63))
    log_probs_V = _log_frequencies(rows, tokenizer.table)
    losses = {'mlm_loss': _mlm_loss(held_out, log_probs_V)}
    if 'generator' in objective.heads():
      shown = _shown_tokens(
        objective,
        model_of(experiment, objective),
        jax.device_put(source.load_params()),
      )
      losses['replaced_loss'] = _replaced_loss(
        [shown(batch) for batch in prepared(rows, _TRAINING_ROWS)],
        [shown(batch) for batch in held_out],
        tokenizer.table.vocab_size,
      )
  return losses


def _log_frequencies(rows: TokenRows, table: Any) -> np.ndarray:
  """Log frequencies f64 [V] of ordinary tokens; -inf for special ones."""
  counts_V = np.ones(table.vocab_size)
  for first in range(0, rows.num_rows, 4096):
    numbers = np.arange(first, min(first + 4096, rows.num_rows))
    counts_V += np.bincount(
      rows.rows(numbers).ravel(), minlength=table.vocab_size
    )
  counts_V[list(table.special_ids)] = 0
  with np.errstate(divide='ignore'):
    return np.log(counts_V / counts_V.sum())


def _mlm_loss(
  batches: Sequence[dict[str, Any]], log_probs_V: np.ndarray
) -> float:
  ids = [np.asarray(b['masked_ids'])[b['masked_weights'] > 0] for b in batches]
  return float(-np.mean(log_probs_V[np.concatenate(ids)]))


def _shown_tokens(
  objective: Any, model: functional.Model, params: functional.Params
) -> Callable[[dict[str, Any]], np.ndarray]:
  """A function from a prepared batch to the judged tokens, int [2, n].

  The second row is 1 for replaced tokens.
  """

  @jax.jit
  def encode(batch):
    encoded = objective.encode(model.bind(params), batch, None)
    return encoded['input_ids'], encoded['is_replaced']

  def shown(batch: dict[str, Any]) -> np.ndarray:
    is_asked_BT = np.asarray(batch['token_weights']) > 0
    return np.stack([np.asarray(x)[is_asked_BT] for x in encode(batch)])

  return shown


def _replaced_loss(
  training: Sequence[np.ndarray],
  held_out: Sequence[np.ndarray],
  vocab_size: int,
) -> float:
  ids, is_new = np.concatenate(training, axis=1)
  share = is_new.mean()
  times_V = np.bincount(ids, minlength=vocab_size)
  new_V = np.bincount(ids, weights=is_new, minlength=vocab_size)
  # Smoothing adds ten occurrences of each token at the average rate.
  rate_V = (new_V + 10 * share) / (times_V + 10)
  ids, is_new = np.concatenate(held_out, axis=1)
  rates = np.where(is_new > 0, rate_V[ids], 1 - rate_V[ids])
  return float(-np.mean(np.log(rates)))


if __name__ == '__main__':
  app.run(main)
