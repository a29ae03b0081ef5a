"""Record of a grid of tuned runs: WORKDIR/grid.json, and its table."""

from typing import TypedDict

from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_files import read_object
from bert_jax.config.json_values import Count, Number, Text
from bert_jax.tasks.base import AGAIN
from bert_jax.workdir import Workdir


class Cell(TypedDict):
  """A run of the grid: the fields it sets, and its figure over the seeds."""

  name: Text
  mean: Number
  std: Number


class Grid(TypedDict):
  """All runs of a grid; `best` names the one that was chosen by `metric`."""

  metric: Text
  num_seeds: Count
  best: Text
  cells: list[Cell]


def read_grid(workdir: Workdir) -> Grid | None:
  """The grid that a workdir's model was chosen from; None without one.

  Raises InputError if its file is damaged.
  """
  path = workdir.grid_record
  if not path.exists():
    return None
  decoder = Decoder(where=str(path), fix=AGAIN)
  return decoder.decode(read_object(path, AGAIN), Grid)


def how_chosen(grid: Grid) -> str:
  """The choice in words, with its bias."""
  return (
    f'chosen by the mean {grid["metric"]} over {grid["num_seeds"]} seeds on '
    f'the evaluation part; as the highest of {len(grid["cells"])} it is '
    'optimistic, so evaluate on other examples'
  )


def grid_lines(grid: Grid) -> list[str]:
  """The table for a terminal, with a star at the chosen run.

  One seed has no spread, so none is shown.
  """
  width = max(len(cell['name']) for cell in grid['cells'])
  several = grid['num_seeds'] > 1
  spread = '  std' if several else ''
  lines = [f'  {"grid":{width}s}  {grid["metric"]}{spread}']
  for cell in grid['cells']:
    star = '*' if cell['name'] == grid['best'] else ' '
    mean = f'{cell["mean"]:{len(grid["metric"])}.4f}'
    spread = f'  {cell["std"]:.4f}' if several else ''
    lines.append(f'{star} {cell["name"]:{width}s}  {mean}{spread}')
  return [*lines, f'* {how_chosen(grid)}']
