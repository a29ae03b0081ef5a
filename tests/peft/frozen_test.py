"""Frozen layers: which they are, and what is refused."""

import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.peft.frozen import FrozenLayersConfig
from bert_jax.tasks.classification import ClassificationConfig

TASK = ClassificationConfig().build(toys.table(), {'labels': ['a', 'b', 'c']})


def plain_model(config):
  return model_with_heads(config, TASK.heads(), 'float32')


def split(config, **fields):
  """(the paths that are trained, those that are frozen) of a model."""
  model, method = plain_model(config), FrozenLayersConfig(**fields).build()
  params = method.extend(model).abstract_params()
  trainable, frozen = method.split(params, model.infos)
  assert method.join(trainable, frozen) == params
  return [functional.flatten(part).keys() for part in (trainable, frozen)]


@pytest.mark.parametrize('family', ('bert', *toys.FAMILIES))
def test_the_lowest_layers_are_frozen(family):
  config = toys.encoder_config(max_positions=128)
  if family != 'bert':
    config = toys.family_config(family)
  embeddings = 'encoder/embeddings/'
  _, frozen = split(config)
  assert frozen and all(path.startswith(embeddings) for path in frozen)
  if not config.share_layers:
    trainable, frozen = split(config, num_layers=1, embeddings=False)
    assert {path[:17] for path in frozen} == {'encoder/layers/0/'}
    assert any(path.startswith(embeddings) for path in trainable)
  num_layers = 1 if config.share_layers else config.num_layers
  trainable, frozen = split(config, num_layers=num_layers)
  heads = {path.split('/')[0] for path in trainable}
  assert heads == {'pooler', 'classifier'}
  assert all(path.startswith('encoder/') for path in frozen)


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(num_layers=-1), 'peft.num_layers is -1; it must be 0 or more'),
    (dict(embeddings=False), 'nothing would be frozen; leave peft out'),
    (dict(num_layers=3), 'peft.num_layers is 3; the model has 2 to freeze'),
  ],
)
def test_what_cannot_be_frozen_is_refused(fields, message):
  config = FrozenLayersConfig(**fields)
  with pytest.raises(InputError, match=message):
    config.validate()
    config.build().extend(plain_model(toys.encoder_config()))
