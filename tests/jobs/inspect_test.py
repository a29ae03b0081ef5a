"""What `inspect` shows is what the training step saw."""

import re

import jax
import numpy as np
import pytest

from bert_jax.data.preparing.inspect_corpus import describe_corpus
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError
from bert_jax.jobs.inspect import describe_examples, read_experiment
from bert_jax.jobs.pretrain import pretrain
from bert_jax.objectives.mask_rate import MaskRate
from bert_jax.objectives.mlm import MaskedLM


def test_the_batch_of_a_step_is_that_of_training(
  small_experiment, tmp_path, monkeypatch
):
  """Recorded inside the compiled step of a real run."""
  seen = {}
  prepare = MaskedLM.prepare

  def recorded(objective, batch, key, step=None):
    prepared = prepare(objective, batch, key, step)
    if 'row_weights' not in batch:  # not evaluation
      jax.debug.callback(
        lambda numbers, ids: seen.update(
          dict(zip(numbers[:, 1].tolist(), ids, strict=True))
        ),
        batch['example_number'],
        prepared['input_ids'],
      )
    return prepared

  with monkeypatch.context() as patch:
    patch.setattr(MaskedLM, 'prepare', recorded)
    small_experiment.num_steps = 4
    # So that the rate is another at each step.
    small_experiment.objective.mask_rates = (
      MaskRate(step=0, rate=0.5),
      MaskRate(step=3, rate=0.1),
    )
    pretrain(small_experiment, tmp_path / 'run')
    jax.effects_barrier()
  from bert_jax.jobs.pretrain import open_data

  with open_data(small_experiment) as (_, tokenizer):
    pass
  lines = list(describe_examples(small_experiment, step=2, rows=99))
  assert lines[0] == 'step 2: examples 16 to 23'
  text = '\n'.join(lines)
  for number in range(16, 24):
    shown = re.search(rf'^example {number}: .*\n((?:  .*\n?)*)', text, re.M)[1]
    words = []
    for line in re.findall(r'^  \d+: (.*)$', shown, re.M):
      for word in line.split():
        masked = re.fullmatch(r'\{(.+)>(.+)\}', word)
        if masked:
          word = masked[1] if masked[2] == '=' else masked[2]
        words.append(word)
    ids = np.asarray(seen[number])
    expected = [tokenizer.token(int(i)) for i in ids if i != 0]
    assert words == expected


def test_one_example_and_its_place(finished_run, small_corpus):
  first, *segments = describe_examples(
    read_experiment(finished_run), example=77
  )
  match = re.fullmatch(
    r'example 77: row (\d+) of prepared, epoch 0, step 9', first
  )
  row = TokenRows(small_corpus / '32').rows(np.array([int(match[1])]))[0]
  assert sum('{' in line for line in segments) >= 1
  assert len([s for s in segments if 'padding' not in s]) == (row == 2).sum()


@pytest.mark.parametrize(
  'number, message',
  [
    (dict(step=10), '--step=10: this run has 0 to 9'),
    (dict(step=-1), '--step=-1'),
    (dict(example=80), '--example=80: this run has 0 to 79'),
  ],
)
def test_numbers_outside(finished_run, number, message):
  with pytest.raises(InputError, match=message):
    list(describe_examples(read_experiment(finished_run), **number))


def test_a_corpus_in_figures(small_corpus, tmp_path):
  lines = list(describe_corpus(small_corpus))
  assert lines[0].startswith('32: ') and 'rows of 32 in 1 shard(s)' in lines[0]
  assert any(line.startswith('eval/32: ') for line in lines)
  counts = [
    int(m[1]) for m in map(re.compile(r'-\d+ +(\d+)').search, lines) if m
  ]
  assert sum(counts) > 300
  with pytest.raises(InputError, match='no prepared corpus'):
    list(describe_corpus(tmp_path))
