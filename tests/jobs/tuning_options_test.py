"""Options of tuning together, in a run that is stopped, continued, exported.

Its lower layer is frozen, its upper one starts anew, its losses are those of
label smoothing, class weights and R-Drop, and its parameters are averaged.
"""

import json

import jax
import numpy as np
import pytest
from adapters import save_workdir
from tuning import classification, results, stop_at_step_5, tuning

from bert_jax import inference
from bert_jax.errors import InputError
from bert_jax.jobs.convert import convert
from bert_jax.jobs.finetune import finetune
from bert_jax.models import functional
from bert_jax.peft.frozen import FrozenLayersConfig
from bert_jax.pretrained import open_pretrained
from bert_jax.train.checkpoint import load_params
from bert_jax.workdir import Workdir

BELOW = ('encoder/embeddings/', 'encoder/layers/0/')
WORDS = {'one': 'this array takes a value', 'many': 'these arrays take values'}
ROWS = [(f'{text} {n}', name) for n in range(8) for name, text in WORDS.items()]
SAID = (
  '; new: classifier (2), encoder/layers/1 (16), pooler (2); left out: '
  'encoder/layers/1 (16)\n',
  'train: an example weighs 0.75 to 1.5, by its class\n',
  ' r_drop_loss=',
)


def flat_params(path):
  return functional.flatten(open_pretrained(str(path)).load_params())


def test_options_together(
  small_tokenizer, one_device, tmp_path, monkeypatch, capsys
):
  save_workdir(tmp_path / 'base', 'bert', small_tokenizer)
  experiment = tuning(
    classification(tmp_path, [*ROWS[1::2], *ROWS[::4]], ROWS[:6]),
    max_unknown=1.0,
    init_from=str(tmp_path / 'base'),
    peft=FrozenLayersConfig(num_layers=1),
    reinit_layers=1,
    average_decay=0.5,
  )
  task = experiment.task
  task.label_smoothing, task.class_weights, task.r_drop = 0.1, 'balanced', 1.0
  finetune(experiment, tmp_path / 'whole')
  printed = capsys.readouterr().out
  for line in SAID:
    assert line in printed
  stop_at_step_5(experiment, tmp_path / 'stopped', monkeypatch)
  finetune(experiment, tmp_path / 'stopped')
  assert results(tmp_path / 'stopped') == results(tmp_path / 'whole')
  workdirs = [Workdir(tmp_path / name) for name in ('whole', 'stopped')]
  saved, continued = (load_params(one.checkpoints)[0] for one in workdirs)
  jax.tree.map(np.testing.assert_array_equal, saved, continued)
  # The average is kept, in which a restored one counts.
  best, of_continued = (load_params(one.best)[0] for one in workdirs)
  jax.tree.map(np.testing.assert_array_equal, best, of_continued)
  with pytest.raises(InputError, match='whole@6: the parameters of a step are'):
    open_pretrained(f'{tmp_path / "whole"}@6')

  # Frozen parameters are not in a checkpoint, nor are moments of them.
  flat = functional.flatten(saved)
  (step,) = workdirs[0].checkpoints.glob('[0-9]*')
  digests = json.loads((step / 'data/data.json').read_text())['data']['digests']
  assert len([path for path in digests if '/mu/' in path]) == len(flat)
  assert not any(part in path for path in digests for part in BELOW)

  # The tuned model is a whole one, with the frozen part as it was.
  convert(
    str(tmp_path / 'whole'), tmp_path / 'out', output_format='huggingface'
  )
  before, tuned = flat_params(tmp_path / 'base'), flat_params(tmp_path / 'out')
  assert tuned.keys() == flat.keys() | before.keys()
  for path, leaf in before.items():
    assert np.array_equal(tuned[path], leaf) == path.startswith(BELOW), path

  found = results(tmp_path / 'whole')
  assert found['labels'] == ['many', 'one'] and 'class_weights' not in found
  texts = [(text,) for text, _ in ROWS[:6]]
  chances = inference.load(tmp_path / 'out').predict(texts)
  own = [chances[n, found['labels'].index(ROWS[n][1])] for n in range(6)]
  loss = found['runs'][found['best_seed']]['eval_loss']
  assert loss == pytest.approx(-np.mean(np.log(own)), rel=1e-4)
