"""The evaluation part of a tuning: held out, or with classes of its own."""

import numpy as np
import pytest
from tuning import classification, results, tuning

from bert_jax.errors import InputError
from bert_jax.jobs.finetune import finetune
from bert_jax.models.config import EncoderConfig
from bert_jax.report.page import write_report

WORDS = ('array', 'matrix')
ROWS = [
  (f'the {word} returns' + n * ' a value', word)
  for n in range(10)
  for word in WORDS
]


@pytest.fixture
def tune(small_corpus, one_device, tmp_path):
  """tune(task) -> the folder of a short run from scratch."""
  model = EncoderConfig(
    num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
  )
  tokenizer = str(small_corpus / 'tokenizer')

  def run(task):
    experiment = tuning(task, num_epochs=1, model=model, tokenizer=tokenizer)
    finetune(experiment, tmp_path / 'run')
    return tmp_path / 'run'

  return run


def test_without_a_file_to_evaluate_on(tune, tmp_path, capsys):
  task = classification(tmp_path, ROWS, ROWS)
  task.eval_path = 'installed_docs:eval'  # the default, of other texts
  workdir = tune(task)
  found = results(workdir)
  assert (found['num_train'], found['num_eval']) == (18, 2)
  assert found['label_counts']['eval'] == dict.fromkeys(WORDS, 1)
  assert found['eval_path'] == f'held out of {task.train_path}'
  said = capsys.readouterr().out
  assert 'no task.eval_path: 2 of 20 examples' in said
  assert any('are held out' in note for note in found['notes'])
  assert 'held out of' in write_report(workdir).read_text()
  tune(task)  # a finished run is left as it is
  assert results(workdir) == found


def test_a_class_that_only_the_evaluation_has(tune, tmp_path, capsys):
  other = [('the', 'third'), ('a', 'fourth'), ('every', 'third')]
  task = classification(tmp_path, ROWS, [*ROWS[:5], *other])
  message = r"\('third', 'fourth'\), 2, 1 of each; .*task.unseen=wrong"
  with pytest.raises(InputError, match=message):
    tune(task)
  task.unseen = 'wrong'
  found = results(tune(task))
  said = capsys.readouterr().out
  assert '3 of 8 examples are of classes that the model does not' in said
  assert 'third (2), fourth (1)' in said
  for run in found['runs']:
    assert run['accuracy'] <= 5 / 8
    assert np.isfinite(run['eval_loss'])
    assert sum(map(sum, run['confusion'])) == 5


def test_no_class_is_known(tune, tmp_path):
  task = classification(tmp_path, ROWS, [('the third', 'third')])
  task.unseen = 'wrong'
  with pytest.raises(InputError, match='1 of 1 examples have unknown labels'):
    tune(task)
