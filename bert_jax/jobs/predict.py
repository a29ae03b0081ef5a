"""Predictions for the examples of a table: a result for each, in order."""

import collections
import json
import os
import pathlib
from collections.abc import Iterator

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest
from bert_jax.data.examples import Examples
from bert_jax.data.progress import TextProgress
from bert_jax.data.tokenizers import unknown
from bert_jax.errors import InputError
from bert_jax.inference import WINDOW, TrainedModel
from bert_jax.jobs import one_run
from bert_jax.parallel import distributed
from bert_jax.tasks.base import Result, cut_phrase, shown_result
from bert_jax.tasks.metrics import report_table


def evaluation_table(model: TrainedModel, examples: Examples) -> str:
  """The figures of a model on examples with answers, for a terminal.

  Raises:
    InputError: the model cannot give one of the answers.
  """
  task = model.require_task('evaluate')
  for note in task.about('eval', examples).notes:
    print(note, flush=True)
  cut: collections.Counter[str] = collections.Counter()
  results = [*results_of_all(model, examples, cut)]
  if any(cut.values()):
    print(f'{len(examples):,} examples, {cut_phrase(cut)}', flush=True)
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


def look_over(model: TrainedModel, examples: Examples, source: str) -> None:
  """Prints what is odd about the examples of a file, before they are computed.

  Raises InputError if processes have other software, models or examples.
  """
  if distributed.several():
    one_run.require_alike(model.experiment)
    read = repr([examples.columns, examples.lines, examples.ids])
    facts = model.identity() | {'content of --input': json_digest(read)}
    distributed.require_equal(facts)
  for note in (*model.tokenizer.notes, *examples.notes):
    print(note, flush=True)
  unknown.report(source, examples.texts, model.tokenizer)


def results_of_all(
  model: TrainedModel, examples: Examples, cut: collections.Counter[str]
) -> Iterator[Result]:
  """Yields the result of each example, in order, in each process.

  What is done with long examples is counted in `cut`. The processes take
  windows in turn. A window holds the examples that it would hold in a single
  process, so results are equal bit for bit.
  """
  for mine in one_run.in_turn(len(examples), WINDOW):
    cut_here: collections.Counter[str] = collections.Counter()
    found = [*model.results(examples.take(mine), cut_here)]
    for part, cut_there in distributed.agree('results', [found, cut_here]):
      cut.update(cut_there)
      yield from part


def write_predictions(
  model: TrainedModel, examples: Examples, output: pathlib.Path
) -> collections.Counter[str]:
  """Writes a JSON line for each example, in order, or no file.

  The keys are record (from 1), line (if the input has lines), id (if it has a
  column of ids), and those of the task's results. Process 0 writes for all.
  Returns what was done with long examples; see tasks.base.Features.
  """
  cut: collections.Counter[str] = collections.Counter()
  results = results_of_all(model, examples, cut)
  if not distributed.is_first():
    collections.deque(results, maxlen=0)  # it computes its share of them
    return cut
  num_bytes = [
    sum(len(text.encode(errors='replace')) for text in texts)
    for texts in examples.texts
  ]
  with (
    durable_files.new_file(output) as file,
    TextProgress(sum(num_bytes), True, 'predict') as progress,
  ):
    for row, found in enumerate(results):
      progress.update(num_bytes[row])
      result = examples.place(row) | shown_result(found)
      # An id may have a type that JSON lacks, or contain a lone surrogate.
      line = json.dumps(result, ensure_ascii=False, default=str) + '\n'
      file.write(line.encode(errors='backslashreplace'))
  return cut
