"""Opens checkpoints of other libraries: Hugging Face folders and Google's."""

import pathlib
from collections.abc import Callable

from bert_jax.data.sources.files import describe_files
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import ConvertedModel
from bert_jax.interop import huggingface
from bert_jax.models.task_head import TaskHead
from bert_jax.pretrained.model import Pretrained
from bert_jax.tasks.base import Facts, TaskConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.multiple_choice import MultipleChoiceConfig
from bert_jax.tasks.question_answering import QuestionAnsweringConfig
from bert_jax.tasks.regression import RegressionConfig
from bert_jax.tasks.reranking import RerankingConfig
from bert_jax.tasks.tagging import TaggingConfig

# The tasks for which a checkpoint of another library may have a head.
_TASKS = (
  ClassificationConfig,
  RegressionConfig,
  RerankingConfig,
  TaggingConfig,
  QuestionAnsweringConfig,
  MultipleChoiceConfig,
)


def open_converted(
  path: str,
  folder: pathlib.Path,
  read: Callable[..., huggingface.Checkpoint],
  weights: Callable[[pathlib.Path], list[pathlib.Path]],
) -> Pretrained:
  """Opens a folder by the functions of its kind, `read` and `weights`.

  Raises InputError that names all problems of the folder.
  """
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
  experiment = converted_model(checkpoint)
  return Pretrained(
    origin=path,
    experiment=experiment,
    tokenizer=tokenizer,
    facts=experiment.facts,
    load_params=lambda: checkpoint.params,
    describe=lambda: {'files': describe_files(weights(folder))},
    checkpoint=checkpoint,
  )


def converted_model(checkpoint: huggingface.Checkpoint) -> ConvertedModel:
  """The config of a checkpoint, with the task that its head is for."""
  task, facts = _task_of(checkpoint.head)
  return ConvertedModel(
    model=checkpoint.model,
    family=checkpoint.family.model_type,
    heads=checkpoint.heads,
    no_classifier=checkpoint.no_classifier,
    task=task,
    facts=facts,
  )


def _task_of(head: TaskHead | None) -> tuple[TaskConfig, Facts | None]:
  """The task that another library's head is for, and its facts.

  Without a head, returns classification with its usual columns, and no facts.
  """
  if head is None:
    return ClassificationConfig(train_path='', eval_path=''), None
  for config in _TASKS:
    if found := config.from_elsewhere(head):
      return found
  raise AssertionError('interop reads heads of these tasks alone')
