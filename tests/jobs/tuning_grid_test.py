"""A grid of runs: what is run, what is chosen, and going on with it."""

import json
import types

import jax
import numpy as np
import pytest
from runs import stop_after
from tuning import classification, results, tuning

from bert_jax.errors import InputError
from bert_jax.jobs import tuning_grid
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.tuning_grid import finetune_grid, read_axes
from bert_jax.models.config import EncoderConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.report.tuning_grid import grid_section
from bert_jax.train.grid import grid_lines, read_grid
from bert_jax.workdir import Workdir

RATE = 'optimizer.learning_rate'
ROWS = [
  (f'the {word} returns' + n * ' a value', word)
  for n in range(4)
  for word in ('array', 'matrix')
]


@pytest.fixture
def experiment(small_corpus, one_device, tmp_path):
  model = EncoderConfig(
    num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
  )
  return tuning(
    classification(tmp_path, ROWS, ROWS),
    num_epochs=12,
    eval_every_epochs=6,
    model=model,
    tokenizer=str(small_corpus / 'tokenizer'),
  )


def test_the_best_run_becomes_the_model(
  experiment, tmp_path, monkeypatch, capsys
):
  """Stopped in its second run; then continued, given again, and widened."""
  folder, axes = tmp_path / 'run', {RATE: ['1e-9', '3e-2']}
  with monkeypatch.context() as patch:
    stop_after(patch, 14)
    outcome = finetune_grid(experiment, folder, axes)
  assert (outcome.stopped_by, outcome.saved_step) == ('SIGTERM', 2)
  with pytest.raises(InputError, match='holds a grid that is not finished'):
    tuning_grid.require_no_grid(folder)
  assert f'grid: run 2 of 2, {RATE}=0.03\n' in capsys.readouterr().out
  assert not finetune_grid(experiment, folder, axes).stopped_by
  printed = capsys.readouterr().out
  assert 'continuing ' in printed and printed.count('starting at step') == 0

  cells = [folder / 'grid' / f'{RATE}={rate}' for rate in ('1e-09', '0.03')]
  means = [results(cell)['summary']['accuracy']['mean'] for cell in cells]
  best = cells[int(np.argmax(means))]
  assert best == cells[1] and means[1] > means[0]
  grid = read_grid(Workdir(folder))
  assert [cell['mean'] for cell in grid['cells']] == means
  assert grid['best'] == best.name
  assert f'* {best.name}   {means[1]:8.4f}  ' in printed
  alone = '\n'.join(grid_lines(grid | {'num_seeds': 1}))
  assert f'* {best.name}   {means[1]:8.4f}\n' in alone and 'std' not in alone
  assert results(folder) == results(best)
  tuning_grid.require_no_grid(folder)
  ours, theirs = (
    open_pretrained(str(path)).load_params() for path in (folder, best)
  )
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  section = grid_section(types.SimpleNamespace(workdir=Workdir(folder)))
  assert f'<b>{best.name}</b>' in section and 'optimistic' in section

  # A copy that was cut off is made again.
  Workdir(folder).results.unlink()
  finetune_grid(experiment, folder, axes)
  assert results(folder) == results(best)

  # All is done; a wider grid keeps it, and a run by itself is the chosen one.
  finetune_grid(experiment, folder, {RATE: ['1e-9', '3e-2', '1e-8']})
  assert capsys.readouterr().out.count('starting at step') == 1
  assert len(read_grid(Workdir(folder))['cells']) == 3
  experiment.optimizer.learning_rate = 0.03
  finetune(experiment, folder)
  assert results(folder) == results(best)


@pytest.mark.parametrize(
  'words, message',
  [
    (['batch_size'], r'--grid=batch_size: give each field once'),
    (['batch_size=4,'], 'give each field once, with its values'),
    (['batch_size=4', 'batch_size=8'], 'give each field once'),
    (['batch_size=4,4'], '--grid: batch_size=4 is there twice'),
    (['batch_size=4,a'], 'batch_size=a: should be an integer'),
    (['batch_size=4,0'], 'batch_size=0 and num_microbatches=1 must be 1'),
    (['seed=1,2'], '--grid=seed: a grid is over numbers that are a choice'),
    (['task.metric=f1'], 'a grid is over numbers that are a choice'),
    (['learning_rat=1'], 'learning_rat: no such field; the nearest is'),
  ],
)
def test_what_is_no_grid_is_refused(experiment, tmp_path, words, message):
  with pytest.raises(InputError, match=message):
    finetune_grid(experiment, tmp_path / 'run', read_axes(words))
  assert not (tmp_path / 'run').exists()


def test_a_folder_of_another_run_is_refused(experiment, tmp_path):
  Workdir(tmp_path / 'run').create()
  (tmp_path / 'run' / 'config.json').write_text(json.dumps({}))
  with pytest.raises(InputError, match='holds a run without a grid; give an'):
    finetune_grid(experiment, tmp_path / 'run', {'batch_size': ['4']})
