"""Whole runs of each objective: learning, exact resume, inspect and report."""

import pathlib

import numpy as np
import pytest
from runs import (
  arrays,
  assert_same_run,
  prepared_lines,
  records,
  stop_after,
)

from bert_jax import inference
from bert_jax.config.experiment_file import load_config
from bert_jax.errors import InputError
from bert_jax.jobs.inspect import describe_examples
from bert_jax.jobs.pretrain import open_data, pretrain
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.report.page import summary, write_report

EXPERIMENTS = pathlib.Path(__file__).parents[1] / 'experiments' / 'pretrain'


@pytest.fixture(scope='module')
def pairs(small_text, small_tokenizer, tmp_path_factory):
  folder = tmp_path_factory.mktemp('pairs') / 'prepared'
  return prepared_lines(
    small_text, small_tokenizer, folder, pairs='next_sentence'
  )


@pytest.fixture
def replaced_tokens(small_experiment):
  small_experiment.model.embedding_size = 8
  small_experiment.model.num_layers = 1
  small_experiment.objective = ReplacedTokenConfig(generator_width=0.5)
  return small_experiment


@pytest.fixture
def bert(small_experiment, pairs):
  """An experiment on MLM and next sentence, on the corpus of pairs."""
  small_experiment.model.num_layers = 1
  small_experiment.data.path = str(pairs)
  small_experiment.objective = WeightedSumConfig(
    objectives=(MaskedLMConfig(), SentencePairsConfig())
  )
  return small_experiment


def test_replaced_tokens(replaced_tokens, tmp_path, monkeypatch):
  workdir = tmp_path / 'whole'
  pretrain(replaced_tokens, workdir)
  with monkeypatch.context() as patch:
    stop_after(patch, 3)
    assert pretrain(replaced_tokens, tmp_path / 'run').saved_step == 3
  pretrain(replaced_tokens, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', workdir)
  train = records(workdir, 'train')
  assert train[10]['loss'] < train[2]['loss']
  held_out = records(workdir, 'eval')[10]
  assert held_out['perplexity'] == pytest.approx(np.exp(held_out['mlm_loss']))
  for name in ('masked', 'replaced'):
    assert 0 <= held_out[f'{name}_accuracy'] <= 1
  # Most tokens were not replaced, so even a constant answer is mostly right.
  assert held_out['replaced_accuracy'] > 0.8
  saved = {name for name in arrays(workdir) if name.startswith('params')}
  assert {name.split("'")[1] for name in saved} == {
    'encoder',
    'generator',
    'replaced_token_head',
  }
  # The generator makes the guesses.
  (guesses,) = inference.load(workdir).fill_mask('The function [MASK] it.')
  assert len(guesses) == 5
  assert 0 < sum(guess['probability'] for guess in guesses) <= 1
  assert 'replaced recall' in summary(workdir)
  page = write_report(workdir).read_text()
  assert 'Replaced precision' in page and 'Replaced loss' in page


def test_masked_lm_and_next_sentence(bert, tmp_path):
  workdir = tmp_path / 'run'
  pretrain(bert, workdir)
  held_out = records(workdir, 'eval')[10]
  for name in ('masked', 'next_sentence'):
    assert 0 <= held_out[f'{name}_accuracy'] <= 1
  assert 0.3 < held_out['next_sentence_loss'] < 1.5
  train = records(workdir, 'train')[10]
  assert train['loss'] == pytest.approx(
    train['mlm_loss'] + train['next_sentence_loss'], abs=0.2
  )
  line = summary(workdir)
  assert 'next sentence accuracy' in line and 'masked accuracy' in line
  lines = list(describe_examples(bert, step=1))
  assert any('{' in line and ' | ' in line for line in lines)


def test_next_sentence_alone(bert):
  """Next sentence alone masks nothing and predicts no token."""
  bert.objective = SentencePairsConfig()
  lines = list(describe_examples(bert, step=1))
  assert any(' | ' in line for line in lines)
  assert not any('{' in line for line in lines)
  with open_data(bert) as (_, tokenizer):
    model = inference.TrainedModel(bert, tokenizer, {'encoder': {}}, [])
  with pytest.raises(InputError, match='fill_mask needs a model that predicts'):
    model.fill_mask('The [MASK].')
  assert model.samples() == []


@pytest.mark.parametrize(
  'kind, path, message',
  [
    (
      'next_sentence',
      'small_corpus',
      r'prepared/32 has no pairs, it needs next_sentence; bert-jax prepare '
      '--pairs=next_sentence makes them$',
    ),
    (
      'sentence_order',
      'pairs',
      'prepared/32 has next_sentence pairs, it needs sentence_order;',
    ),
  ],
)
def test_a_corpus_without_the_pairs_is_refused(
  bert, tmp_path, request, kind, path, message
):
  bert.data.path = str(request.getfixturevalue(path))
  bert.objective.objectives[1].kind = kind
  with pytest.raises(InputError, match=message):
    pretrain(bert, tmp_path)
  assert not (tmp_path / 'checkpoints').exists()


def test_flags_reach_the_objectives_of_a_sum():
  from absl import flags as absl_flags

  from bert_jax.cli import flags

  path = EXPERIMENTS / 'bert_base_next_sentence.py'
  values = absl_flags.FlagValues()
  holder = flags.define_config(flag_values=values)
  arguments = [
    f'--config={path}',
    '--config.objective.objectives[0].mask_rate=0.2',
    '--config.objective.weights=1,0.5',
  ]
  import sys

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, 'argv', ['bert-jax', *arguments])  # ml_collections reads
    flags.parse('pretrain', arguments, values)
  objective = holder.value.objective
  assert objective.objectives[0].mask_rate == 0.2
  assert objective.weights == (1.0, 0.5)
  assert load_config(str(path)).objective.objectives[0].mask_rate == 0.15
