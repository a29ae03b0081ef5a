"""The parameters that a fine-tuning run takes from another model, or draws."""

import dataclasses

from bert_jax.errors import InputError, listed
from bert_jax.experiment import FinetuneExperiment
from bert_jax.models.functional import Model, Params, flatten
from bert_jax.peft.base import Method
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.base import Task
from bert_jax.train.initial import Initial


def starting_point(
  experiment: FinetuneExperiment, source: Pretrained | None, task: Task
) -> Initial | None:
  """The parameters of `source`, without a head that gives other answers.

  A head for equally many classes, in another order or with other names, would
  fit by shape, and the run would begin with exchanged scores.
  """
  if source is None:
    return None
  is_same = source.facts == task.facts and isinstance(
    experiment.task, type(source.experiment.task)
  )
  if source.facts is None or is_same:
    return source.initial()
  # A pooler does not depend on the answers.
  other = task.heads().keys() - {'pooler'}
  if not other:
    return source.initial()

  def load() -> Params:
    print(
      f'init_from={source.origin} is '
      f'{source.experiment.task.describe(source.facts)} with other answers; '
      f'left out: {listed(sorted(other))}',
      flush=True,
    )
    params = source.load_params()
    return {name: part for name, part in params.items() if name not in other}

  return Initial(source.origin, load)


def with_fresh_top(
  initial: Initial | None,
  experiment: FinetuneExperiment,
  model: Model,
  method: Method,
) -> Initial | None:
  """The same start, with `reinit_layers` top layers drawn from the seed.

  All that lies above these layers is drawn as well: a last norm, the pooler and
  the heads. Raises InputError if there are fewer layers, or if the method
  freezes one of them.
  """
  number = experiment.reinit_layers
  if not initial or not number:
    return initial
  count = max(info.depth or 0 for info in model.infos.values())
  if number > count:
    raise InputError(
      f'reinit_layers is {number}; init_from={initial.origin} has {count} '
      'layers with parameters of their own, give that or less'
    )
  fresh = frozenset(
    path
    for path, info in model.infos.items()
    if info.depth is None or info.depth > count - number
  )
  _, frozen = method.split(model.abstract_params(), model.infos)
  if both := sorted(fresh & flatten(frozen).keys()):
    raise InputError(
      f'reinit_layers={number} would draw {both[0]} anew, which '
      f'{type(experiment.peft).__name__} freezes; train it, or set '
      'reinit_layers to 0'
    )
  return dataclasses.replace(initial, fresh=fresh)
