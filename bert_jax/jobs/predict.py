"""Predictions for the examples of a table: a result for each, in order."""

import json
import os
import pathlib

import numpy as np

from bert_jax import durable_files
from bert_jax.data.labelled import LabelledExamples
from bert_jax.errors import InputError, quoted
from bert_jax.inference import TrainedModel
from bert_jax.tasks import classes
from bert_jax.tasks.metrics import report_table


def evaluation_table(model: TrainedModel, examples: LabelledExamples) -> str:
  """The figures of a model on labelled examples, as lines for a terminal.

  Labels 0 to n - 1 are taken for the outputs of a model that calls these
  LABEL_0 to LABEL_n-1, and a line is printed that says so.

  Raises:
    InputError: A label is none of the model's.
  """
  names = classes.as_model_names(examples.labels, model.label_names)
  if names:
    examples.labels = names
    print(
      f'labels 0 to {len(model.label_names) - 1} are taken for the outputs of '
      f'the model, {model.label_names[0]} to {model.label_names[-1]}'
    )
  elif not classes.has_names(model.label_names):
    raise InputError(
      f'{examples.origins[0]}: the label is {quoted(examples.labels[0])}, and '
      'the model has no names for its outputs; write all labels as their '
      f'numbers, 0 to {len(model.label_names) - 1}'
    )
  labels = examples.label_ids(model.label_names)
  probabilities = model.predict(examples.texts)
  with np.errstate(divide='ignore'):
    figures = model.objective.score(labels, np.log(probabilities))
  return report_table(figures)


def check_output(output: pathlib.Path, source: str) -> None:
  """Refuses a path in whose place no new file of results may be put.

  Args:
    output: Absolute.
    source: The table that is read.

  Raises:
    InputError: There is no folder to write to, or the path is that of the
      table, a folder, a device or standard output.
  """
  why = ''
  if not output.parent.is_dir():
    why = f'there is no folder {output.parent}; make it first'
  elif output.is_dir():
    why = 'is a folder; name a file in it'
  # A link there leads to a file where the shell redirects to one.
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
  model: TrainedModel, examples: LabelledExamples, output: pathlib.Path
) -> None:
  """Writes a JSON line for each example, in order, or no file.

  Its keys: record (from 1), line (where the input has lines), id (where it has
  a column of ids), label, probabilities (by label).
  """
  with durable_files.new_file(output) as file:
    for row, probabilities in enumerate(model.predict(examples.texts)):
      by_label = dict(
        zip(model.label_names, map(float, probabilities), strict=True)
      )
      label = max(by_label, key=by_label.__getitem__)
      result = examples.place(row) | {'label': label, 'probabilities': by_label}
      # An id may be of a type that JSON has not, or half of a surrogate pair.
      line = json.dumps(result, ensure_ascii=False, default=str) + '\n'
      file.write(line.encode(errors='backslashreplace'))
