"""A pretrained model from a workdir, a Hugging Face folder or Google's files.

This is the only module that decides which of these a path is.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax

from bert_jax import durable_files
from bert_jax.config.codec import encode
from bert_jax.config.json_files import read_object
from bert_jax.data.sources.files import describe_files
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import ConvertedModel, FinetuneExperiment
from bert_jax.interop import (
  beside_weights,
  google_bert,
  huggingface,
  peft_lora,
  recognise,
)
from bert_jax.interop.labels import pooling_of, problem_type
from bert_jax.local_paths import local_path
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.task_head import TaskHead
from bert_jax.peft.lora import LoRAConfig
from bert_jax.run_inputs import recorded_input
from bert_jax.tasks.base import Facts, Task
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.regression import RegressionConfig
from bert_jax.tasks.tagging import TaggingConfig
from bert_jax.train.checkpoint import load_params, save_params
from bert_jax.train.restore import Initial, split_workdir
from bert_jax.train.saved_params import fingerprint, params_digest
from bert_jax.workdir import Workdir

# The tasks for which a checkpoint of another library may have a head.
TASKS_ELSEWHERE = (ClassificationConfig, RegressionConfig, TaggingConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A model, wherever it came from.

  origin: the path as given. experiment: its config, a ConvertedModel if it was
  not trained here. facts: facts of its task, None without a head for one.
  load_params: () -> host arrays. describe: () -> the content of the parameters'
  files, for run_inputs.py. checkpoint: the checkpoint of another library, None
  for a workdir. seed, best_seed, num_seeds: in fine-tuning, this model's seed,
  the best one, and their number. load_tuned: () -> the parameters tuned beside
  a base, None without a base.
  """

  origin: str
  experiment: Any
  tokenizer: Tokenizer
  facts: Facts | None
  load_params: Callable[[], functional.Params]
  describe: Callable[[], dict[str, Any]]
  checkpoint: huggingface.Checkpoint | None = None
  seed: int = 0
  best_seed: int = 0
  num_seeds: int = 1
  load_tuned: Callable[[], functional.Params] | None = None

  @property
  def model(self) -> EncoderConfig:
    return self.experiment.model

  @property
  def task(self) -> Task | None:
    """The task that the head is for; None without a head."""
    if self.facts is None:
      return None
    return self.experiment.task.build(self.tokenizer.table, self.facts)

  @property
  def task_head(self) -> TaskHead | None:
    """The head in the terms of other libraries; None if they have none."""
    return self.task.elsewhere() if self.task else None

  @property
  def which_seed(self) -> str:
    """The seed in words, such as '1, the best of 3'; '' if it was the only."""
    if self.num_seeds == 1:
      return ''
    if self.seed == self.best_seed:
      return f'{self.seed}, the best of {self.num_seeds}'
    return f'{self.seed} of {self.num_seeds}, not the best'

  def print_notes(self) -> None:
    """Prints what was filled up or left out of a checkpoint, to stderr.

    Verbs that do not show the notes otherwise call this once.
    """
    for note in self.checkpoint.notes if self.checkpoint else ():
      print(f'{self.origin}: {note}', file=sys.stderr, flush=True)

  def initial(self) -> Initial:
    """The parameters to start a run from."""
    return Initial(self.origin, self.load_params)


def open_pretrained(path: str, seed: int | None = None) -> Pretrained:
  """Opens WORKDIR, WORKDIR@STEP, a Hugging Face folder or Google's.

  A fine-tuning run opens as the model of its best seed, or, with WORKDIR@STEP,
  of `seed`. A LoRA folder of the `peft` package opens as merged with the base
  that its config names.

  Raises:
    InputError: the path is none of these, or cannot be used.
  """
  folder, step = split_workdir(path)
  adapter = peft_lora.read_config(folder)
  if adapter and seed is None and step is None:
    return _open_adapter(path, folder, adapter)
  if google_bert.is_folder(folder):
    family, kind = google_bert, 'a checkpoint of google-research/bert'
  elif huggingface.is_folder(folder):
    family, kind = huggingface, 'a Hugging Face folder'
  else:
    return _open_workdir(path, Workdir(folder), step, seed)
  if seed is not None:
    raise InputError(f'--seed={seed}: {folder} is {kind}, which has no seeds')
  if step is not None:
    raise InputError(f'{path}: {folder} is {kind}, which has no steps')
  return _open_converted(path, folder, family.read, family.weights)


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


def _open_converted(
  path: str,
  folder: pathlib.Path,
  read: Callable[..., huggingface.Checkpoint],
  weights: Callable[[pathlib.Path], list[pathlib.Path]],
) -> Pretrained:
  problems, size, pad_id, tokenizer = [], 0, None, None
  try:
    tokenizer = load_tokenizer(folder)
    size, pad_id = tokenizer.table.vocab_size, tokenizer.table.pad_id
  except InputError as error:
    problems.append(str(error))
  checkpoint = read(
    folder, tokenizer_size=size, pad_id=pad_id, problems=problems
  )
  assert tokenizer is not None  # read() refuses a folder without one
  experiment = _converted(checkpoint)
  return Pretrained(
    origin=path,
    experiment=experiment,
    tokenizer=tokenizer,
    facts=experiment.facts,
    load_params=lambda: checkpoint.params,
    describe=lambda: {'files': describe_files(weights(folder))},
    checkpoint=checkpoint,
  )


def _open_adapter(
  path: str, folder: pathlib.Path, config: dict[str, Any]
) -> Pretrained:
  source = open_pretrained(config['base_model_name_or_path'])
  checkpoint = source.checkpoint
  if checkpoint is None:
    raise InputError(
      f'{folder}: its base {source.origin} is a workdir; name the Hugging Face '
      f'folder that it was tuned on, as base_model_name_or_path of '
      f'{peft_lora.CONFIG}'
    )
  heads = {n: p for n, p in checkpoint.params.items() if n != 'encoder'}
  adapter = peft_lora.read(
    folder, config, checkpoint.family, checkpoint.model, heads
  )
  # The factors already contain alpha / rank, so the scale here is 1.
  params = (
    LoRAConfig(rank=1, alpha=1.0)
    .build()
    .merge(adapter.params | {'encoder': checkpoint.params['encoder']})
  )
  in_base = huggingface.read_json(local_path(source.origin) / recognise.CONFIG)
  merged = dataclasses.replace(
    checkpoint,
    params=params,
    heads=tuple(name for name in params if name != 'encoder'),
    head=TaskHead(
      problem_type=problem_type(adapter.num_classes),
      output_names=_output_names(checkpoint.head, adapter.num_classes),
      pooling=pooling_of(checkpoint.family, in_base),
    ),
    no_classifier='',
    no_comparison='transformers loads an adapter by peft alone',
  )
  experiment = _converted(merged)
  return dataclasses.replace(
    source,
    origin=path,
    experiment=experiment,
    facts=experiment.facts,
    load_params=lambda: params,
    describe=lambda: (
      source.describe()
      | {'adapter': describe_files([folder / peft_lora.WEIGHTS])}
    ),
    checkpoint=merged,
  )


def _output_names(head: TaskHead | None, count: int) -> tuple[str, ...]:
  """Names of the outputs: the base's if as many, as an adapter names none."""
  if head and len(head.output_names) == count:
    return head.output_names
  return tuple(f'LABEL_{number}' for number in range(count))


def _converted(checkpoint: huggingface.Checkpoint) -> ConvertedModel:
  task, facts = _task_of(checkpoint.head)
  return ConvertedModel(
    model=checkpoint.model,
    family=checkpoint.family.model_type,
    heads=checkpoint.heads,
    no_classifier=checkpoint.no_classifier,
    task=task,
    facts=facts,
  )


def _task_of(head: TaskHead | None) -> tuple[Any, Facts | None]:
  """The task that another library's head is for, and its facts.

  Without a head, returns classification with its usual columns, and no facts.
  """
  if head is None:
    return ClassificationConfig(train_path='', eval_path=''), None
  for config in TASKS_ELSEWHERE:
    if found := config.from_elsewhere(head):
      return found
  raise AssertionError('interop reads heads of these tasks alone')


def _open_workdir(
  path: str, workdir: Workdir, step: int | None, seed: int | None
) -> Pretrained:
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
  experiment = workdir.read_config()
  facts, results = _facts_and_results(workdir, experiment)
  num_seeds = getattr(experiment, 'num_seeds', 1)
  best_seed = results.get('best_seed', 0)
  if seed is not None:
    _check_seed(path, step, seed, num_seeds if results else 0)

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
      return _with_base(workdir, experiment, tuned)
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


def describe_base(base: functional.Params) -> dict[str, Any]:
  """Describes the base's parameters, not its files, for run_inputs.py."""
  return {'sha256': fingerprint(base)}


def _with_base(
  workdir: Workdir, experiment: FinetuneExperiment, tuned: functional.Params
) -> functional.Params:
  """The parameters that a run has tuned, merged with those of its base.

  Raises InputError if the base is missing or has been replaced by another.
  """
  method = experiment.peft.build()
  source = open_pretrained(experiment.init_from)
  _, base = method.split(source.load_params())
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
      f'{workdir.config}: task is a {type(task).__name__}, which is none; '
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
