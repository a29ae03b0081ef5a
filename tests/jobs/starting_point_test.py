"""Top layers that start anew: which parameters, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.starting_point import with_fresh_top
from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.peft.frozen import FrozenLayersConfig
from bert_jax.peft.lora import LoRAConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.initial import Initial
from bert_jax.train.program import make_program

TASK = ClassificationConfig().build(toys.table(), {'labels': ['a', 'b', 'c']})
# A pre-norm encoder of four layers, with a norm above them.
MODEL = model_with_heads(
  toys.family_config('modernbert'), TASK.heads(), 'float32'
)
EXPERIMENT = FinetuneExperiment(
  num_epochs=1, batch_size=8, init_from='base', reinit_layers=1
)


def start(experiment, params):
  return with_fresh_top(
    Initial('base', lambda: params),
    experiment,
    MODEL,
    experiment.peft.build(),
  )


@pytest.fixture(scope='module')
def base():
  return jax.device_get(MODEL.init(jax.random.key(1)))


def test_layers_and_what_lies_above_them_are_drawn(base, one_device, capsys):
  """Each seed draws its own; all else is that of the base."""
  config = AdamWConfig()
  with jax.set_mesh(MeshConfig().build()):
    program = make_program(
      TASK,
      MODEL,
      config.build(MODEL.infos),
      config.build_schedule(10),
      jax.random.split(jax.random.key(0), 2),
      num_microbatches=1,
      num_seeds=2,
    )
    params = program.fresh_state(start(EXPERIMENT, base)).params
  names = (
    'classifier (2), encoder/final_norm (1), encoder/layers/3 (9), pooler (2)'
  )
  assert f'; new: {names}; left out: {names}\n' in capsys.readouterr().out
  fresh = ('encoder/layers/3/', 'encoder/final_norm', 'pooler', 'classifier')
  before = functional.flatten(base)
  for path, leaf in functional.flatten(jax.device_get(params)).items():
    same = [np.array_equal(of_seed, before[path]) for of_seed in leaf]
    is_drawn = path.startswith(fresh) and MODEL.infos[path].kind not in (
      'bias',
      'scale',
    )
    assert same == [not is_drawn] * 2, path
    assert np.array_equal(*leaf) != is_drawn, path


@pytest.mark.parametrize(
  'change, message',
  [
    (dict(reinit_layers=5), 'reinit_layers is 5; .* has 4 layers with'),
    (
      dict(peft=LoRAConfig()),
      'reinit_layers=1 would draw encoder/final_norm/scale anew, which '
      'LoRAConfig freezes',
    ),
    (
      dict(peft=FrozenLayersConfig(num_layers=1), reinit_layers=4),
      'would draw encoder/layers/0/.* anew, which FrozenLayersConfig freezes',
    ),
  ],
)
def test_what_cannot_start_anew_is_refused(base, change, message):
  with pytest.raises(InputError, match=message):
    start(dataclasses.replace(EXPERIMENT, **change), base)


@pytest.mark.parametrize(
  'change', [dict(reinit_layers=-1), dict(init_from='', tokenizer='vocab.txt')]
)
def test_no_start_to_draw_anew(change):
  experiment = dataclasses.replace(EXPERIMENT, **change)
  with pytest.raises(InputError, match='reinit_layers is .*; it must be 0 or'):
    experiment.validate()
