"""Frozen layers: which they are, and whole runs beside them."""

import json

import jax
import numpy as np
import pytest
import toys
from adapters import save_workdir
from tuning import classification, results, stop_at_step_5, tuning

from bert_jax import inference
from bert_jax.errors import InputError
from bert_jax.jobs.convert import convert
from bert_jax.jobs.finetune import finetune
from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.peft.frozen import FrozenLayersConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.checkpoint import load_params
from bert_jax.workdir import Workdir

TASK = ClassificationConfig().build(toys.table(), {'labels': ['a', 'b', 'c']})
BELOW = ('encoder/embeddings/', 'encoder/layers/0/')
WORDS = {'one': 'this array takes a value', 'many': 'these arrays take values'}


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


def test_frozen_layers_stay_as_they_were(
  small_tokenizer, one_device, tmp_path, monkeypatch, capsys
):
  """A run that was stopped, below a layer that starts anew; then exported."""
  save_workdir(tmp_path / 'base', 'bert', small_tokenizer)
  before = load_params(Workdir(tmp_path / 'base').checkpoints)[0]
  rows = [
    (f'{text} {n}', name) for n in range(8) for name, text in WORDS.items()
  ]
  experiment = tuning(
    classification(tmp_path, rows, rows[:6]),
    max_unknown=1.0,
    init_from=str(tmp_path / 'base'),
    peft=FrozenLayersConfig(num_layers=1),
    reinit_layers=1,
  )
  finetune(experiment, tmp_path / 'whole')
  line = (
    'new: classifier (2), encoder/layers/1 (16), pooler (2); left out: encod'
  )
  assert line in capsys.readouterr().out
  stop_at_step_5(experiment, tmp_path / 'stopped', monkeypatch)
  finetune(experiment, tmp_path / 'stopped')
  assert results(tmp_path / 'stopped') == results(tmp_path / 'whole')
  workdirs = [Workdir(tmp_path / name) for name in ('whole', 'stopped')]
  saved, continued = (load_params(one.checkpoints)[0] for one in workdirs)
  jax.tree.map(np.testing.assert_array_equal, saved, continued)

  flat = functional.flatten(saved)
  assert flat and not any(path.startswith(BELOW) for path in flat)
  (step,) = workdirs[0].checkpoints.glob('[0-9]*')
  digests = json.loads((step / 'data/data.json').read_text())['data']['digests']
  assert len([path for path in digests if '/mu/' in path]) == len(flat)
  assert not any(part in path for path in digests for part in BELOW)
  tuned = functional.flatten(
    open_pretrained(str(tmp_path / 'whole')).load_params()
  )
  before = functional.flatten(before)
  assert tuned.keys() == flat.keys() | before.keys()
  for path, leaf in before.items():
    assert np.array_equal(tuned[path], leaf) == path.startswith(BELOW), path

  convert(
    str(tmp_path / 'whole'), tmp_path / 'folder', output_format='huggingface'
  )
  texts = [(text,) for text, _ in rows[:6]]
  of_run, of_folder = (
    inference.load(tmp_path / name).predict(texts)
    for name in ('whole', 'folder')
  )
  np.testing.assert_allclose(of_run, of_folder, atol=1e-6)
