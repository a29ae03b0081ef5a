"""Predictions for the examples of a table: a result for each, in order."""

import collections
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from bert_jax.config.json_files import json_digest
from bert_jax.data.example_file import ExampleFile
from bert_jax.data.examples import Examples
from bert_jax.data.progress import TextProgress
from bert_jax.data.tokenizers import unknown
from bert_jax.errors import InputError
from bert_jax.inference import WINDOW, TrainedModel
from bert_jax.jobs import one_run
from bert_jax.jobs.growing_file import grown_by_first
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
  results: list[Result] = []
  with TextProgress(
    examples.num_bytes, distributed.is_first(), 'evaluate'
  ) as progress:
    for window, found in results_of_all(model, examples, cut):
      results += found
      progress.update(window.num_bytes)
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


def look_over(
  model: TrainedModel, examples: Examples | ExampleFile, source: str
) -> None:
  """Prints what is odd about the examples of a file, before they are computed.

  Raises InputError if processes have other software, models or examples.
  """
  if distributed.several():
    one_run.require_alike(model.experiment)
    facts = model.identity() | {'content of --input': _digest(examples)}
    distributed.require_equal(facts)
  for note in (*model.tokenizer.notes, *examples.notes):
    print(note, flush=True)
  is_file = isinstance(examples, ExampleFile)
  texts = examples.sample() if is_file else examples.texts
  unknown.report(source, texts, model.tokenizer, num_texts=len(examples))


def results_of_all(
  model: TrainedModel,
  examples: Examples | ExampleFile,
  cut: collections.Counter[str],
  num_done: int = 0,
) -> Iterator[tuple[Examples, list[Result]]]:
  """Yields windows of examples in order, with their results, in each process.

  What is done with long examples is counted in `cut`. The processes take
  windows in turn. A window holds the examples that it would hold in a single
  process, so results are equal bit for bit. The first `num_done` examples,
  which end a window, are left out.
  """
  windows = examples.windows(WINDOW)
  left = itertools.islice(windows, -(-num_done // WINDOW), None)
  for together, mine in one_run.in_turn(left):
    cut_here: collections.Counter[str] = collections.Counter()
    found = [[*model.results(window, cut_here)] for window in mine]
    everybody = distributed.agree('results', [found, cut_here])
    for window, (part, cut_there) in zip(together, everybody, strict=False):
      cut.update(cut_there)
      yield window, part[0]


def request_of(
  model: TrainedModel, examples: Examples | ExampleFile
) -> dict[str, str]:
  """Digests and names of all that decides on the bytes of predictions."""
  experiment = model.experiment
  return {
    'content of --input': _digest(examples),
    **model.identity(),
    'max_length': str(experiment.max_length),
    'task': str(experiment.task),
    **distributed.software(),
  }


def write_predictions(
  model: TrainedModel,
  examples: Examples | ExampleFile,
  output: pathlib.Path,
  request: Mapping[str, str] | None = None,
) -> collections.Counter[str]:
  """Writes a JSON line for each example, in order.

  The keys are record (from 1), line (if the input has lines), id (if it has a
  column of ids), and those of the task's results. Process 0 writes for all.
  Returns what was done with long examples; see tasks.base.Features.

  The file has its name once it is whole. If a command with an equal `request`
  was stopped, its results are taken, and without one never; see
  growing_file.py.
  """
  cut: collections.Counter[str] = collections.Counter()
  with grown_by_first(output, request or {}, examples.num_bytes, 'predict') as (
    growing,
    added,
    progress,
  ):
    cut.update(added.counts)
    for window, found in results_of_all(
      model, examples, cut, added.num_records
    ):
      if growing:  # the others compute their share of them
        growing.add(_lines(window, found), len(window), cut)
      progress.update(window.num_bytes)
  return cut


def _lines(window: Examples, results: Sequence[Result]) -> bytes:
  lines = [
    # An id may have a type that JSON lacks, or contain a lone surrogate.
    json.dumps(
      window.place(row) | shown_result(result), ensure_ascii=False, default=str
    )
    + '\n'
    for row, result in enumerate(results)
  ]
  return ''.join(lines).encode(errors='backslashreplace')


def _digest(examples: Examples | ExampleFile) -> str:
  if isinstance(examples, ExampleFile):
    return examples.digest
  return json_digest(repr([examples.columns, examples.lines, examples.ids]))
