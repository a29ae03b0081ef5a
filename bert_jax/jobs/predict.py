"""Predictions for the examples of a table: a result for each, in order."""

import json
import os
import pathlib

from bert_jax import durable_files
from bert_jax.data.examples import Examples
from bert_jax.errors import InputError
from bert_jax.inference import TrainedModel
from bert_jax.tasks.base import shown_result
from bert_jax.tasks.metrics import report_table


def evaluation_table(model: TrainedModel, examples: Examples) -> str:
  """The figures of a model on examples with answers, for a terminal.

  Raises:
    InputError: the model cannot give one of the answers.
  """
  task = model.require_task('evaluate')
  for note in task.about('eval', examples).notes:
    print(note, flush=True)
  results = [*model.results(examples)]
  return report_table(task.score(results, examples))


def check_output(output: pathlib.Path, source: str) -> None:
  """Refuses a path that cannot be replaced by a new file of results.

  Args:
    output: the absolute path.
    source: the table that is read.

  Raises:
    InputError: the path has no folder to write to, or names the table, a
      folder, a device or standard output.
  """
  why = ''
  if not output.parent.is_dir():
    why = f'there is no folder {output.parent}; make it first'
  elif output.is_dir():
    why = 'is a folder; name a file in it'
  # /dev/stdout leads to a file if the shell redirects to one, so its name
  # decides.
  elif (
    output.name == '-'
    or output.is_relative_to('/dev')
    or (output.exists() and not output.is_file())
  ):
    why = 'results go to a file alone, which is there whole or not; name one'
  elif output.exists() and os.path.exists(source):
    if output.samefile(source):
      why = 'is the table that is read; name another file'
  if why:
    raise InputError(f'--output={output}: {why}')


def write_predictions(
  model: TrainedModel, examples: Examples, output: pathlib.Path
) -> None:
  """Writes a JSON line for each example, in order, or no file.

  The keys are record (from 1), line (if the input has lines), id (if it has a
  column of ids), and those of the task's results.
  """
  with durable_files.new_file(output) as file:
    for row, found in enumerate(model.results(examples)):
      result = examples.place(row) | shown_result(found)
      # An id may have a type that JSON lacks, or contain a lone surrogate.
      line = json.dumps(result, ensure_ascii=False, default=str) + '\n'
      file.write(line.encode(errors='backslashreplace'))
