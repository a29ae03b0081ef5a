"""A batch that makes the loss non-finite: skipped, counted, named."""

import jax.numpy as jnp
import numpy as np
import pytest
from runs import arrays, assert_same_run, records, stop_after

from bert_jax.jobs.pretrain import pretrain
from bert_jax.objectives.mlm import MaskedLM

POISON = 20  # an example number: with batches of 8, one of step 2


@pytest.fixture(autouse=True)
def poison(monkeypatch):
  prepare = MaskedLM.prepare

  def poisoned(objective, batch, key, step=None):
    prepared = prepare(objective, batch, key, step)
    if 'row_weights' in batch:  # evaluation
      return prepared
    bad_B = batch['example_number'][:, 1] == POISON
    weights_BM = prepared['masked_weights']
    return prepared | {
      'masked_weights': jnp.where(bad_B[:, None], jnp.inf, weights_BM)
    }

  monkeypatch.setattr(MaskedLM, 'prepare', poisoned)


@pytest.fixture
def untouched(module_folder, small_experiment, capsys):
  """A run that was never stopped; `untouched.txt` has what it printed."""
  workdir = module_folder / 'untouched'
  if not workdir.exists():
    pretrain(small_experiment, workdir)
    workdir.with_suffix('.txt').write_text(capsys.readouterr().out)
  return workdir


def test_skipped_counted_and_named(untouched):
  output = untouched.with_suffix('.txt').read_text()
  assert (
    'step 2: loss or gradient not finite, update skipped; examples 16 to 23'
  ) in output
  train = records(untouched, 'train')
  assert train[4]['nonfinite_steps'] == [2]
  assert [step for step in train if 'nonfinite_steps' in train[step]] == [4]
  assert [train[step]['skipped_updates'] for step in (2, 4, 10)] == [0, 1, 1]
  assert np.isfinite(train[4]['loss'])
  for name, array in arrays(untouched).items():
    assert np.isfinite(array.astype(np.float64)).all(), name


@pytest.mark.parametrize('num_steps', [2, 3, 4])
def test_a_run_resumed_over_it_agrees(
  small_experiment, untouched, tmp_path, monkeypatch, capsys, num_steps
):
  """Stopped before it, after it within the log's window, and after that."""
  with monkeypatch.context() as patch:
    stop_after(patch, num_steps)
    assert pretrain(small_experiment, tmp_path / 'run').saved_step == num_steps
  pretrain(small_experiment, tmp_path / 'run')
  assert_same_run(tmp_path / 'run', untouched)
  # Named once, by whoever wrote the line.
  assert capsys.readouterr().out.count('step 2: loss or gradient') >= 1
