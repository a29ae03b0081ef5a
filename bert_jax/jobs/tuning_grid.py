"""A grid of fine-tuning runs, of which the evaluation part chooses one.

Its runs lie in WORKDIR/grid, each a workdir of its own. So the same command
goes on where a grid was stopped, and a larger grid keeps the runs it has. At
the end the best one is copied to WORKDIR, which opens as any tuned model.
"""

import copy
import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from bert_jax import durable_files
from bert_jax.buckets import BucketPath
from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_files import read_object
from bert_jax.config.json_values import Number, Text
from bert_jax.config.overrides import config_fields, find_field, set_field
from bert_jax.data.sources.content import STAMPS_NAME
from bert_jax.errors import InputError, shown
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs import one_run
from bert_jax.jobs.finetune import finetune
from bert_jax.parallel import distributed
from bert_jax.tasks.base import AGAIN
from bert_jax.train.grid import Cell, Grid, grid_lines
from bert_jax.train.loop import Outcome
from bert_jax.workdir import Workdir

# Numbers that are no choice: the best of several seeds says nothing of others.
_NO_CHOICE = ('seed', 'num_seeds')
# Files of a run that are of its own folder.
_NOT_COPIED = ('lock', STAMPS_NAME)


class _Spread(TypedDict):
  mean: Number
  std: Number


class _Results(TypedDict):
  metric: Text
  summary: dict[str, _Spread]


def read_axes(words: Sequence[str]) -> dict[str, list[str]]:
  """Reads FIELD=VALUE,VALUE texts; raises InputError on any other."""
  axes: dict[str, list[str]] = {}
  for word in words:
    field, _, values = word.partition('=')
    axis = values.split(',')
    if not field or not all(axis) or field in axes:
      raise InputError(
        f'--grid={shown(word)}: give each field once, with its values, such as '
        '--grid=optimizer.learning_rate=1e-4,1e-3'
      )
    axes[field] = axis
  return axes


def cells_of(
  experiment: FinetuneExperiment, axes: Mapping[str, Sequence[str]]
) -> dict[str, FinetuneExperiment]:
  """The runs of a grid by their names, in order, each of them validated.

  Raises InputError on a field that is no number or no choice, on a value that
  does not fit, and on one that is given twice.
  """
  cells = {}
  for values in itertools.product(*axes.values()):
    cell = copy.deepcopy(experiment)
    for field, value in zip(axes, values, strict=True):
      found = find_field(field, config_fields(cell)).value
      if field in _NO_CHOICE or not isinstance(found, int | float):
        raise InputError(
          f'--grid={shown(field)}: a grid is over numbers that are a choice, '
          'such as optimizer.learning_rate, batch_size and num_epochs'
        )
      set_field(cell, field, value)
    cell.validate()
    fields = config_fields(cell)
    name = ','.join(f'{field}={fields[field].value}' for field in axes)
    if name in cells:
      raise InputError(f'--grid: {name} is there twice; give each value once')
    cells[name] = cell
  return cells


def require_no_grid(workdir_path: str | os.PathLike) -> None:
  """Raises InputError if the workdir holds a grid that is not finished."""
  workdir = Workdir(workdir_path)
  if workdir.grid.exists() and not workdir.results.exists():
    raise InputError(
      f'--workdir={workdir.path} holds a grid that is not finished; give its '
      '--grid, or another --workdir'
    )


def finetune_grid(
  experiment: FinetuneExperiment,
  workdir_path: str | os.PathLike,
  axes: Mapping[str, Sequence[str]],
  *,
  allow_change: tuple[str, ...] = (),
  began: float | None = None,
) -> Outcome:
  """Runs, or continues, a run for each combination of the values of `axes`.

  The one with the highest mean of the task's metric over the seeds becomes the
  model of the workdir; of equal ones the first. The other arguments are those
  of `finetune`, and so are its errors.
  """
  workdir = Workdir(workdir_path)
  if isinstance(workdir.path, BucketPath):
    raise InputError(
      f'--grid: --workdir={workdir.path} is in a bucket; give '
      'a folder on a disk'
    )
  cells = cells_of(experiment, axes)
  distributed.require_equal({'--grid': str(list(cells))})
  is_other = workdir.config.exists() and not workdir.grid.exists()
  if distributed.as_first('other run', is_other):
    raise InputError(
      f'--workdir={workdir.path} holds a run without a grid; give another'
    )
  with one_run.held(workdir):
    for number, (name, cell) in enumerate(cells.items(), 1):
      print(f'grid: run {number} of {len(cells)}, {name}', flush=True)
      outcome = finetune(
        cell, workdir.grid / name, allow_change=allow_change, began=began
      )
      if outcome.stopped_by:
        return outcome
      began = None
    if distributed.is_first():
      grid = _compare(workdir, list(cells), experiment.num_seeds)
      print(*grid_lines(grid), sep='\n', flush=True)
      _take(workdir, grid)
    distributed.as_first('grid', '')
  return Outcome()


def _compare(workdir: Workdir, names: Sequence[str], num_seeds: int) -> Grid:
  figures, metric = {}, ''
  for name in names:
    path = Workdir(workdir.grid / name).results
    decoder = Decoder(where=str(path), fix=AGAIN)
    results = decoder.decode(read_object(path, AGAIN), _Results)
    metric = results['metric']
    figures[name] = results['summary'][metric]
  return Grid(
    metric=metric,
    num_seeds=num_seeds,
    # A figure that is not a number, as of runs that diverged, comes last.
    best=max(
      names, key=lambda n: np.nan_to_num(figures[n]['mean'], nan=-np.inf)
    ),
    cells=[
      Cell(name=name, mean=figures[name]['mean'], std=figures[name]['std'])
      for name in names
    ],
  )


def _take(workdir: Workdir, grid: Grid) -> None:
  """Copies the best run to the workdir, its results last."""
  if workdir.results.exists() and workdir.grid_record.exists():
    before = read_object(workdir.grid_record, AGAIN)
    if before == grid:
      return
  workdir.results.unlink(missing_ok=True)
  best = Workdir(workdir.grid / grid['best'])
  for path in best.path.iterdir():
    target = workdir.path / path.name
    if path.is_dir():
      durable_files.remove_tree(target)
      shutil.copytree(path, target)
      durable_files.sync_tree(target)
    elif path not in (best.results, *(best.path / n for n in _NOT_COPIED)):
      with durable_files.new_file(target) as file:
        file.write(path.read_bytes())
  durable_files.write_json(workdir.grid_record, grid)
  with durable_files.new_file(workdir.results) as file:
    file.write(best.results.read_bytes())
