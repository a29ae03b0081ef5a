"""Each warning for a config that deserves it, and none for the others."""

import dataclasses
import pathlib

import pytest
from flights import figures_of

from bert_jax.config.experiment_file import load_config
from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs import preflight_lints
from bert_jax.models.config import (
  albert_base,
  bert_base,
  modernbert_base,
  roberta_base,
)
from bert_jax.objectives.mask_rate import MaskRate
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.lamb import LambConfig
from bert_jax.optim.muon import MuonConfig

PRETRAIN = pathlib.Path(__file__).resolve().parents[2] / 'experiments/pretrain'


def experiment_of(model=None, rate=1e-4, batch_size=256, **fields):
  """BERT-base as published, with rows as long as its positions."""
  model = model or bert_base(vocab_size=30592, max_positions=128)
  fields = {'optimizer': AdamWConfig(learning_rate=rate)} | fields
  return PretrainExperiment(
    num_steps=10, batch_size=batch_size, model=model, **fields
  )


def test_the_published_recipe_passes():
  lines = preflight_lints.lints(experiment_of(), 30592, figures_of(0))
  assert list(lines) == []


def test_an_uneven_vocabulary():
  experiment = experiment_of(bert_base(vocab_size=30522))
  (line,) = preflight_lints.vocabulary(experiment, 30522)
  # 70 rows of 768 numbers in f32, three times.
  assert line == (
    'a table of 30,522 tokens is no multiple of 128, the tile of a matrix '
    'unit; --config.model.vocab_multiple=128 makes it 30,592, for 0.6 MiB of '
    'parameters and optimizer'
  )
  experiment.model.vocab_multiple = 128
  assert not list(preflight_lints.vocabulary(experiment, 30522))
  experiment.model.vocab_multiple, experiment.init_from = 1, 'model'
  assert not list(preflight_lints.vocabulary(experiment, 30522))


def test_a_vocabulary_larger_than_that_of_the_tokenizer():
  experiment = experiment_of(bert_base(vocab_size=51200))
  (line,) = preflight_lints.vocabulary(experiment, 1024)
  assert line == (
    'model.vocab_size=51200 is 50,176 more than the tokenizer has: 441.0 MiB '
    "of parameters and optimizer that no text trains; 0 takes the tokenizer's"
  )


def test_positions_that_no_row_reaches():
  (line,) = preflight_lints.positions(experiment_of(bert_base()))
  assert line.startswith(
    'no row has more than 128 tokens: positions from 128 on of '
    'model.max_positions=512 are never trained; '
  )
  rotary = experiment_of(modernbert_base())
  assert not list(preflight_lints.positions(rotary))
  continued = experiment_of(bert_base(), init_from='model')
  assert not list(preflight_lints.positions(continued))


@pytest.mark.parametrize(
  ('fields', 'end'),
  [
    (dict(rate=1e-4), ''),
    (dict(rate=3.9e-4), ''),
    (
      dict(rate=2e-3),
      'is 20 times the published rate of bert at this width: 0.0001 in batches '
      'of 256 (Devlin et al. 2019), which is 0.0001 in batches of 256 by the '
      'square root',
    ),
    (dict(rate=2e-5), 'is 0.2 times the published rate of bert at this width'),
    # RoBERTa took 6e-4 with 8,192 rows: BERT's by the square root.
    (dict(rate=6e-4, batch_size=8192), ''),
    (dict(rate=6e-4, batch_size=64), 'is 12 times the published rate of bert'),
    (
      dict(model=roberta_base(vocab_size=50265), rate=6e-4, batch_size=256),
      'is 5.7 times the published rate of roberta',
    ),
    (dict(model=modernbert_base(), rate=8e-4, batch_size=4608), ''),
    # Rates of other optimizers do not compare.
    (dict(optimizer=MuonConfig(learning_rate=0.02)), ''),
    (
      dict(
        model=albert_base(),
        optimizer=LambConfig(learning_rate=1.76e-2),
        batch_size=4096,
      ),
      'is 10 times the published rate of albert at this width: 0.00176',
    ),
    (dict(model=albert_base(), rate=1.0), ''),
    # No width of 640 is published, nor a BERT whose norm comes first.
    (dict(model=bert_base(embed_dim=640, num_heads=10), rate=1.0), ''),
    (dict(model=bert_base(norm_placement='pre'), rate=1.0), ''),
    (dict(rate=2e-3, init_from='model'), ''),
  ],
)
def test_a_rate_far_from_the_published_one(fields, end):
  lines = list(preflight_lints.learning_rate(experiment_of(**fields)))
  assert len(lines) == bool(end)
  assert end in ''.join(lines)


@pytest.mark.parametrize('path', sorted(PRETRAIN.glob('*.py')), ids=str)
def test_no_shipped_recipe_has_a_rate_far_from_its_own(path):
  experiment = load_config(str(path))
  assert not list(preflight_lints.learning_rate(experiment))


def test_masks_of_evaluation():
  def lines(first, last, evaluation, wrap=lambda mlm: mlm):
    rates = (MaskRate(step=0, rate=first), MaskRate(step=9, rate=last))
    mlm = MaskedLMConfig(mask_rate=evaluation, mask_rates=rates)
    return list(preflight_lints.mask_rates(experiment_of(objective=wrap(mlm))))

  assert lines(0.3, 0.2, 0.15) == lines(0.3, 0.2, 0.2) == []
  (line,) = lines(0.3, 0.2, 0.4)
  assert line.startswith(
    'evaluation masks mask_rate=0.4 of the tokens, training 0.2 in the end; '
  )
  assert lines(0.3, 0.2, 0.4, lambda mlm: ReplacedTokenConfig(mlm=mlm))
  assert lines(
    *(0.3, 0.2, 0.4),
    lambda mlm: WeightedSumConfig(objectives=(mlm, SentencePairsConfig())),
  )


def test_microbatches_too_small_for_their_products():
  """Four devices of a v5e, which does 240 FLOPs in the time of a byte."""
  figures = figures_of(0)  # 40 rows of 100 tokens
  experiment = experiment_of(batch_size=40)
  assert not list(preflight_lints.small_products(experiment, figures))
  experiment.num_microbatches = 5
  (line,) = preflight_lints.small_products(experiment, figures)
  assert line.startswith(
    'batch_size=40 leaves 2 rows of 100 tokens for a device at once; below 241 '
    'tokens, '
  )
  experiment.mesh.tensor = 4  # one device in place of four shares the rows
  assert not list(preflight_lints.small_products(experiment, figures))


def test_recomputation_where_memory_stays_free():
  experiment = experiment_of(remat='full')
  # 4 of 16 GiB are taken, and 3.5.
  assert not list(preflight_lints.remat(experiment, figures_of(0)))
  figures = figures_of(0, temporaries=2**29)
  (line,) = preflight_lints.remat(experiment, figures)
  assert line.startswith('remat=full computes again what would fit: 78% of')
  experiment.remat = 'none'
  assert not list(preflight_lints.remat(experiment, figures))
  experiment.remat = 'full'
  stage = dataclasses.replace(figures.stages[0], memory=None, refusal='no')
  refused = dataclasses.replace(figures, stages=(stage,))
  assert not list(preflight_lints.remat(experiment, refused))
