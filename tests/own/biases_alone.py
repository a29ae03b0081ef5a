"""BitFit: the biases are trained, and the heads (Ben Zaken et al. 2021)."""

import dataclasses
from typing import ClassVar

import jax

from bert_jax.experiment import FinetuneExperiment
from bert_jax.models import functional
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.logging import LoggingConfig


@dataclasses.dataclass(kw_only=True, slots=True)
class BitFitConfig:
  has_base: ClassVar[bool] = True

  def validate(self):
    pass

  def build(self):
    return BitFit()


class BitFit:
  def extend(self, model):
    return model

  def split(self, params, infos):
    parts = {}, {}
    for path, leaf in functional.flatten(params).items():
      in_encoder = path.startswith('encoder/')
      parts[in_encoder and infos[path].kind != 'bias'][path] = leaf
    return tuple(map(functional.unflatten, parts))

  def join(self, trainable, frozen):
    flat = functional.flatten(trainable) | functional.flatten(frozen)
    return functional.unflatten(flat)

  def merge(self, params):
    return jax.device_get(params)


def get_config():
  return FinetuneExperiment(
    num_seeds=2,
    num_epochs=2,
    batch_size=8,
    max_length=16,
    init_from='base',
    peft=BitFitConfig(),
    task=ClassificationConfig(train_path='data.jsonl', eval_path='data.jsonl'),
    logging=LoggingConfig(tensorboard=False, peak_tflops=1.0),
  )
