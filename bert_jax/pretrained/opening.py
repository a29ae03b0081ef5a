"""Opens a path as a model: the only place that decides what kind it is."""

from bert_jax.buckets import BucketPath
from bert_jax.errors import InputError
from bert_jax.interop import google_bert, huggingface, peft_lora
from bert_jax.pretrained.adapters import open_adapter
from bert_jax.pretrained.converted import open_converted
from bert_jax.pretrained.model import Pretrained
from bert_jax.pretrained.workdirs import open_workdir
from bert_jax.train.restore import split_workdir
from bert_jax.workdir import Workdir


def open_pretrained(path: str, seed: int | None = None) -> Pretrained:
  """Opens WORKDIR, WORKDIR@STEP, a Hugging Face folder or Google's.

  A workdir may lie at gs://; the folders of others lie on a disk.

  A fine-tuning run opens as the model of its best seed, or, with WORKDIR@STEP,
  of `seed`. A LoRA folder of the `peft` package opens as merged with the base
  that its config names.

  Raises:
    InputError: the path is none of these, or cannot be used.
  """
  folder, step = split_workdir(path)
  if isinstance(folder, BucketPath):
    return open_workdir(path, Workdir(folder), step, seed, open_pretrained)
  adapter = peft_lora.read_config(folder)
  if adapter and seed is None and step is None:
    return open_adapter(path, folder, adapter, open_pretrained)
  if google_bert.is_folder(folder):
    family, kind = google_bert, 'a checkpoint of google-research/bert'
  elif huggingface.is_folder(folder):
    family, kind = huggingface, 'a Hugging Face folder'
  else:
    return open_workdir(path, Workdir(folder), step, seed, open_pretrained)
  if seed is not None:
    raise InputError(f'--seed={seed}: {folder} is {kind}, which has no seeds')
  if step is not None:
    raise InputError(f'{path}: {folder} is {kind}, which has no steps')
  return open_converted(path, folder, family.read, family.weights)
