"""BitFit: the biases are trained, and the heads (Ben Zaken et al. 2021)."""

import dataclasses
from typing import ClassVar

import jax

from bert_jax.experiment import FinetuneExperiment
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

  def split(self, params):
    encoder = params['encoder']
    heads = {name: part for name, part in params.items() if name != 'encoder'}
    trained = heads | {'encoder': _part(encoder, lambda name: name == 'bias')}
    return trained, {'encoder': _part(encoder, lambda name: name != 'bias')}

  def join(self, trainable, frozen):
    return _both(trainable, frozen)

  def merge(self, params):
    return jax.device_get(params)


def _part(tree, wanted):
  """The leaves whose name is wanted."""
  found = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      if inner := _part(value, wanted):
        found[name] = inner
    elif wanted(name):
      found[name] = value
  return found


def _both(one, other):
  return one | {
    name: _both(one[name], value) if name in one else value
    for name, value in other.items()
  }


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
