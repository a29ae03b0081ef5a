"""Reads results.json, the outcome of a fine-tuning run, and finds its task."""

from typing import Any, NotRequired, TypedDict

from bert_jax.config.codec import config_class
from bert_jax.config.json_decoder import Decoder
from bert_jax.config.json_values import Count, Number, Text, is_number
from bert_jax.errors import InputError, shown
from bert_jax.tasks.base import AGAIN, NUMBER, Figure, TaskConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.workdir import Workdir, read_json

Record = dict[str, Any]
# Fix that ends a message about a damaged file.
REMOVE = 'restore the file, or remove it'


class _Settings(TypedDict, total=False):
  learning_rate: Number
  num_epochs: Count


class _Details(TypedDict, total=False):
  hits: Text


class _SeedResult(TypedDict):
  seed: Count
  best_epoch: NotRequired[Count]
  eval_loss: NotRequired[Number]
  details: NotRequired[_Details]


class _Rows(TypedDict):
  lengths: list[Count]
  padding_share: dict[str, Number]
  cut: dict[str, dict[Text, Count]]


class _Spread(TypedDict):
  mean: Number
  std: Number


class _Results(TypedDict):
  notes: NotRequired[list[Text]]
  init_from: Text
  eval_path: Text
  num_eval: Count
  eval_sha256: NotRequired[Text]
  num_train: NotRequired[Count]
  best_seed: NotRequired[Count]
  metric: NotRequired[Text]
  config: NotRequired[_Settings]
  rows: NotRequired[_Rows]
  runs: list[_SeedResult]
  summary: dict[str, _Spread]


def read_results_json(workdir: Workdir, config: Record) -> Record:
  """Reads results.json; InputError unless it has the form finetune writes.

  Args:
    workdir: a fine-tuning workdir.
    config: its config.json, which names the task.
  """
  results = read_json(workdir.results)
  where = f'{workdir.results}:'
  task = task_of(config, str(workdir.config))
  shapes = Decoder(where=str(workdir.results), fix=REMOVE)
  shapes.decode(results, _Results)
  runs, metric = results['runs'], metric_of(results, task)
  if not runs or metric not in task.figures:
    raise InputError(
      f'{where} it has {len(runs)} runs and the metric {shown(metric)}; {AGAIN}'
    )
  for run in runs:
    # A task may lack some of its figures: they need labels of a certain kind.
    found = {metric, *task.figures} & {metric, *run}
    if any(
      not _is_figure(run.get(name), task.figures[name]) for name in found
    ) or any(not is_number(run.get(name)) for name in results['summary']):
      raise InputError(
        f'{where} the run of seed {run["seed"]} lacks figures; {AGAIN}'
      )
  _check_details(results, where)
  task.check_results(results, str(workdir.results))
  return results


def _check_details(results: Record, where: str) -> None:
  """Raises InputError unless best seed and hits fit runs and examples."""
  if results.get('best_seed', 0) not in range(len(results['runs'])):
    raise InputError(
      f'{where} best_seed is {results["best_seed"]} of '
      f'{len(results["runs"])} runs; {AGAIN}'
    )
  for run in results['runs']:
    hits = run.get('details', {}).get('hits')
    if hits is not None and (
      len(hits) != results['num_eval'] or set(hits) - {'0', '1'}
    ):
      raise InputError(
        f'{where} the hits of seed {run["seed"]} are not those of '
        f'{results["num_eval"]} examples; {AGAIN}'
      )


def task_of(config: Record, where: str = 'config.json') -> type[TaskConfig]:
  """The class of a fine-tuning run's task, which knows its figures.

  `where` is the path of the config, for messages.

  A config without a task, such as that of a lost run, counts as classification,
  the only task of earlier versions.
  """
  task = config.get('task')
  if not isinstance(task, dict):
    return ClassificationConfig
  found = config_class(task.get('_type'), where)
  if not hasattr(found, 'sections'):
    raise InputError(
      f'{where}: task is {shown(repr(task.get("_type")))}, which is no '
      f'task; {REMOVE}'
    )
  return found


def metric_of(results: Record, task: type[TaskConfig]) -> str:
  """The figure that chose the best epoch."""
  return results.get('metric', next(iter(task.figures)))


def _is_figure(value: Any, figure: Figure) -> bool:
  return is_number(value) and (figure.kind == NUMBER or -1 <= value <= 1)
