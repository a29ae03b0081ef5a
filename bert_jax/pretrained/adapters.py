"""LoRA folders of the `peft` package: opened with their base, or refused."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from bert_jax.data.sources.files import describe_files
from bert_jax.errors import InputError
from bert_jax.interop import huggingface, peft_lora, recognise
from bert_jax.interop.labels import pooling_of, problem_type
from bert_jax.local_paths import local_path
from bert_jax.models.task_head import TEXTS, TaskHead
from bert_jax.peft.lora import LoRAConfig
from bert_jax.pretrained.converted import converted_model
from bert_jax.pretrained.model import Pretrained


def open_adapter(
  path: str,
  folder: pathlib.Path,
  config: dict[str, Any],
  open_base: Callable[[str], Pretrained],
) -> Pretrained:
  """Opens a folder with `config`, its adapter_config.json.

  open_base: opens the base, which must be a Hugging Face folder.

  Raises InputError if the base or the adapter cannot be used.
  """
  source = open_base(config['base_model_name_or_path'])
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
  experiment = converted_model(merged)
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


def why_no_adapter(base: Pretrained, head: TaskHead | None) -> str:
  """The reason why a LoRA beside `base` has no form in `peft`; '' if it has.

  A run of `finetune` says it before training, and `convert` refuses by it.

  head: the task's head in the terms of other libraries; None if they have none.
  """
  merged = (
    'give --output_format=huggingface to write base and corrections merged'
  )
  checkpoint = base.checkpoint
  config = local_path(base.origin) / recognise.CONFIG
  if checkpoint is None or not config.is_file():
    what = 'no Hugging Face folder' if checkpoint else 'a workdir'
    return (
      f'peft cannot load its base {base.origin}, which is {what}; {merged}, or '
      'export the base first and tune from there'
    )
  if head is None or head.kind != TEXTS:
    return f'--output_format=peft holds only heads for whole texts; {merged}'
  pooling = pooling_of(checkpoint.family, huggingface.read_json(config))
  if pooling != head.pooling:
    return (
      f'task.pooling is {head.pooling}, but peft would use {pooling}, from '
      f'{recognise.CONFIG} of the base; tune with --config.task.pooling='
      f'{pooling} to export it'
    )
  return ''


def _output_names(head: TaskHead | None, count: int) -> tuple[str, ...]:
  """Names of the outputs: the base's if as many, as an adapter names none."""
  if head and len(head.output_names) == count:
    return head.output_names
  return tuple(f'LABEL_{number}' for number in range(count))
