"""Opens workdirs: pretrained, tuned, converted and grown ones; saves them."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax

from bert_jax import durable_files
from bert_jax.config.codec import encode
from bert_jax.config.json_files import read_object
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import ConvertedModel, FinetuneExperiment
from bert_jax.interop import beside_weights
from bert_jax.models import functional
from bert_jax.pretrained.model import Pretrained
from bert_jax.run_inputs import recorded_input
from bert_jax.tasks.base import Facts
from bert_jax.train.checkpoint import load_params, save_params
from bert_jax.train.saved_params import fingerprint, params_digest
from bert_jax.workdir import Workdir


def save_model(
  folder: pathlib.Path,
  experiment: ConvertedModel,
  tokenizer: Tokenizer,
  params: functional.Params,
) -> None:
  """Turns an existing folder into a workdir that opens as this model."""
  workdir = Workdir(folder)
  durable_files.write_json(workdir.config, encode(experiment))
  tokenizer.save(workdir.tokenizer)
  save_params(workdir.checkpoints, params)


def open_workdir(
  path: str,
  workdir: Workdir,
  step: int | None,
  seed: int | None,
  open_base: Callable[[str], Pretrained],
) -> Pretrained:
  """Opens a workdir of any run, at `step` or at its end.

  open_base: opens what a run has tuned its parameters beside.

  Raises InputError if it is no workdir, is not finished, or has no such seed.
  """
  _check_folder(path, workdir)
  experiment = workdir.read_config()
  facts, results = _facts_and_results(workdir, experiment)
  num_seeds = getattr(experiment, 'num_seeds', 1)
  best_seed = results.get('best_seed', 0)
  if seed is not None:
    _check_seed(path, step, seed, num_seeds if results else 0)
  if step is not None and getattr(experiment, 'average_decay', 0):
    raise InputError(
      f'{path}: the parameters of a step are not their moving average, which '
      f'was evaluated; give {workdir.path}, which holds the best one'
    )

  def load_tuned() -> functional.Params:
    if step is None:
      return load_params(workdir.best)[0]
    params, _ = load_params(workdir.checkpoints, step)
    chosen = results.get('best_seed') if seed is None else seed
    return _of_seed(workdir, chosen, params)

  def load() -> functional.Params:
    if not results:
      return load_params(workdir.checkpoints, step)[0]
    tuned = load_tuned()
    if experiment.peft.has_base:
      return _with_base(workdir, tuned, experiment, open_base)
    return tuned

  def describe() -> dict[str, Any]:
    if results and step is None:
      return {'sha256': params_digest(workdir.best)}
    return {'sha256': params_digest(workdir.checkpoints, step)}

  return Pretrained(
    origin=path,
    experiment=experiment,
    tokenizer=load_tokenizer(workdir.tokenizer),
    facts=facts,
    load_params=load,
    describe=describe,
    seed=best_seed if seed is None else seed,
    best_seed=best_seed,
    num_seeds=num_seeds,
    load_tuned=load_tuned if results and experiment.peft.has_base else None,
  )


def _check_folder(path: str, workdir: Workdir) -> None:
  """Raises InputError unless a workdir's config is there."""
  if workdir.path.is_file():
    raise InputError(f'{path} is a file; give the folder that it belongs to')
  if not workdir.path.is_dir():
    raise InputError(
      f'{path} is not a workdir and not a Hugging Face folder (it is not '
      'there); fetch a model of the Hub first (hf download NAME '
      '--local-dir=FOLDER)'
    )
  if not workdir.config.is_file():
    raise InputError(
      f'{path} is not a workdir and not a Hugging Face folder (it has no '
      'config.json and no weights): '
      f'{beside_weights.why_no_weights(workdir.path)}'
    )


def describe_base(base: functional.Params) -> dict[str, Any]:
  """Describes the base's parameters, not its files, for run_inputs.py."""
  return {'sha256': fingerprint(base)}


def _with_base(
  workdir: Workdir,
  tuned: functional.Params,
  experiment: FinetuneExperiment,
  open_base: Callable[[str], Pretrained],
) -> functional.Params:
  """The parameters that a run has tuned, merged with those of its base.

  Raises InputError if the base is missing or has been replaced by another.
  """
  method = experiment.peft.build()
  source = open_base(experiment.init_from)
  base = source.base_of(method)
  if describe_base(base) != recorded_input(workdir, 'init_from'):
    raise InputError(
      f'{workdir.path} was tuned beside another base than {source.origin}, its '
      'init_from, is now; put back the parameters that lay there'
    )
  return method.merge(method.join(tuned, base))


def _check_seed(path: str, step: int | None, seed: int, num_seeds: int) -> None:
  """Refuses a --seed that a checkpoint lacks; `num_seeds` 0: not fine-tuned."""
  if not num_seeds:
    raise InputError(f'--seed={seed}: {path} is no fine-tuning run')
  if not 0 <= seed < num_seeds:
    raise InputError(
      f'--seed={seed}: the seeds of {path} are 0 to {num_seeds - 1}'
    )
  if step is None:
    raise InputError(
      f'--seed={seed}: give {path}@STEP, of one of its checkpoints; without it '
      'there is the best seed alone'
    )


def _of_seed(
  workdir: Workdir, seed: Any, params: functional.Params
) -> functional.Params:
  """Takes one seed's params; fine-tuning stacks all in each leaf's axis 0."""
  leaf = jax.tree.leaves(params)[0]
  if type(seed) is not int or not 0 <= seed < len(leaf):
    raise InputError(
      f'{workdir.results}: it does not say which seed was best; give the '
      'workdir without @STEP'
    )
  return jax.tree.map(lambda leaf: leaf[seed], params)


def _facts_and_results(
  workdir: Workdir, experiment: Any
) -> tuple[Facts | None, dict[str, Any]]:
  """Returns (the task's facts, None without a head; results.json or {})."""
  task = getattr(experiment, 'task', None)
  if task is None:
    return None, {}
  if not hasattr(task, 'read_facts'):
    raise InputError(
      f'{workdir.config}: task is a {type(task).__name__}, not a task; '
      'restore it or start anew'
    )
  if isinstance(experiment, ConvertedModel):
    facts = experiment.facts
    if facts is not None:
      facts = task.read_facts(facts, f'{workdir.config}:')
    return facts, {}
  if not workdir.results.is_file():
    raise InputError(
      f'{workdir.path} is a fine-tuning run that is not finished; give its '
      'bert-jax finetune command again'
    )
  again = (
    'remove it, and give the bert-jax finetune command of this workdir again'
  )
  results = read_object(workdir.results, again)
  try:
    return task.read_facts(results, f'{workdir.results}:'), results
  except InputError as error:
    raise InputError(f'{error}; {again}') from None
