"""The grid that a tuned model was chosen from, as a section of its report."""

from bert_jax.report.html import escape, note, number, section, table
from bert_jax.report.records import Run
from bert_jax.train.grid import how_chosen, read_grid


def grid_section(run: Run) -> str:
  """A row for each run of the grid; '' if there was none."""
  grid = read_grid(run.workdir)
  if grid is None:
    return ''
  several = grid['num_seeds'] > 1  # one seed has no spread
  rows = [
    [
      f'<b>{escape(cell["name"])}</b>'
      if cell['name'] == grid['best']
      else escape(cell['name']),
      number(cell['mean']),
      *([number(cell['std'])] if several else []),
    ]
    for cell in grid['cells']
  ]
  head = ['Run', f'Mean {grid["metric"]}']
  head += ['Standard deviation'] if several else []
  words = f'The run in bold was {how_chosen(grid)}.'
  return section(
    f'Grid of {run.workdir.path.name}', table(head, rows), note(words)
  )
