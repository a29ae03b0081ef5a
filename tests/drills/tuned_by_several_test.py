"""Fine-tuning, evaluation and prediction as two real processes.

What they give is what one process gives on as many devices.
"""

import json
import pathlib
import textwrap

import numpy as np
import pytest
from launched import ACTING, STEP, launch
from runs import arrays, assert_same_arrays
from tuning import results, tuning

from bert_jax import inference
from bert_jax.config.codec import encode
from bert_jax.data.labelled import read_examples
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.predict import evaluation_table, write_predictions
from bert_jax.models.config import EncoderConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.tagging import TaggingConfig
from bert_jax.train.checkpoint import saved_steps
from bert_jax.workdir import Workdir

pytestmark = pytest.mark.hosts

# Gradients of two processes are added in another order than those of one.
TOLERANCE = {'rtol': 1e-4, 'atol': 3e-6}
TASKS = {
  'classes': ClassificationConfig(
    train_path='train.tsv', eval_path='eval.tsv', text_columns=('text',)
  ),
  'tags': TaggingConfig(train_path='train.conll', eval_path='eval.conll'),
}
WORDS = {
  'one': ('this array', 'the function', 'a matrix', 'the value'),
  'many': ('these arrays', 'the functions', 'two matrices', 'all values'),
}
MODEL = EncoderConfig(
  num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
)
# Paths of data are relative, so that process 1 may find others by them.
EXPERIMENT = """
  import json, os, pathlib, sys

  from bert_jax.config.codec import decode

  PATH = pathlib.Path(__file__)
  if '--process_id=1' in sys.argv:
    os.chdir(os.environ.get('FOLDER_OF_1', '.'))


  def get_config():
    path = PATH.with_suffix('.json')
    return decode(json.loads(path.read_text()), where=str(path))
"""


@pytest.fixture
def folder(module_folder, monkeypatch):
  """The folder in which the tests work, with the examples of both tasks."""
  monkeypatch.chdir(module_folder)
  write_examples(module_folder)
  return module_folder


def write_examples(folder: pathlib.Path) -> None:
  """40 examples of each task to train on, and 150 others."""
  rows = [
    (f'{WORDS[label][number % 4]} and {number} other words', label)
    for number in range(190)
    for label in [('one', 'many')[number % 3 % 2]]
  ]
  lines = ['\t'.join(row) + '\n' for row in rows]
  sentences = [
    ''.join(f'{word}\tB-{label}\n' for word in text.split()) + '\n'
    for text, label in rows
  ]
  for name, part in (('train', slice(40)), ('eval', slice(40, None))):
    table = ''.join(['text\tlabel\n', *lines[part]])
    (folder / f'{name}.tsv').write_text(table)
    (folder / f'{name}.conll').write_text(''.join(sentences[part]))


def experiment_of(name, small_corpus):
  tokenizer = str(small_corpus / 'tokenizer')
  return tuning(TASKS[name], model=MODEL, tokenizer=tokenizer)


@pytest.fixture
def tune(folder, small_corpus):
  """tune(task, workdir) fine-tunes as two processes of four devices."""

  def tune(name, workdir, *flags, **options):
    path = folder / f'{name}.py'
    path.write_text(ACTING + textwrap.dedent(EXPERIMENT))
    experiment = encode(experiment_of(name, small_corpus))
    path.with_suffix('.json').write_text(json.dumps(experiment))
    words = ('finetune', f'--config={path}', f'--workdir={workdir}', *flags)
    return launch(*words, devices=4, **options)

  return tune


@pytest.fixture
def together(folder, tune):
  """together(task) -> the workdir of two processes that nobody disturbed."""

  def workdir(name):
    path = folder / f'{name}_together'
    if not path.exists():
      ended = tune(name, path)
      assert f'finetune is complete: {path}' in ended.lines_of(1)
      assert 'mean' in ended.lines_of(0) and 'mean' not in ended.lines_of(1)
    return path

  return workdir


@pytest.mark.parametrize('name', TASKS)
def test_two_processes_give_what_one_gives(
  folder, small_corpus, together, name
):
  experiment = experiment_of(name, small_corpus)
  alone, workdir = folder / f'{name}_alone', together(name)
  finetune(experiment, alone)
  assert results(workdir) == results(alone)
  assert saved_steps(Workdir(workdir).checkpoints) == [15, 12]
  mine, theirs = arrays(workdir, 15), arrays(alone, 15)
  print('exact', all(np.array_equal(mine[p], theirs[p]) for p in theirs))
  assert mine.keys() == theirs.keys()
  for path in theirs:
    np.testing.assert_allclose(
      mine[path], theirs[path], **TOLERANCE, err_msg=path
    )


@pytest.mark.parametrize('name', TASKS)
def test_results_are_those_of_one_process(folder, together, name):
  workdir, task = together(name), TASKS[name]
  flags = f'--workdir={workdir}', f'--input={task.eval_path}'
  launch('predict', *flags, f'--output={name}.jsonl')
  model = inference.load(workdir)
  examples = read_examples(task.eval_path, task.columns())
  write_predictions(model, examples, folder / f'{name}_alone.jsonl')
  alone = (folder / f'{name}_alone.jsonl').read_bytes()
  assert (folder / f'{name}.jsonl').read_bytes() == alone
  if name == 'classes':
    said = launch('evaluate', *flags)
    table = evaluation_table(model, examples)
    assert table in said.lines_of(0).replace('[0] ', '')
    assert not said.lines_of(1)


def test_a_killed_process_costs_no_bit(folder, tune, together):
  workdir = folder / 'killed'
  ended = tune('classes', workdir, status=137, act=f'1 SIGKILL {STEP} 8')
  assert ended.seconds < 60
  assert 'process 1 of 2' in ended.lines_of(0)
  assert 'is gone' in ended.lines_of(0)
  tune('classes', workdir)
  assert results(workdir) == results(together('classes'))
  assert_same_arrays(workdir, together('classes'), 15)


def test_other_examples_on_one_host_are_named(folder, tune, monkeypatch):
  other = folder / 'other'
  other.mkdir()
  write_examples(other)
  with open(other / 'train.tsv', 'a') as file:
    file.write('one more\tone\n')
  monkeypatch.setenv('FOLDER_OF_1', str(other))
  ended = tune('classes', folder / 'refused', status=2)
  for process in range(2):
    said = ended.lines_of(process)
    assert 'process 1 on ' in said
    assert 'another content of task.train_path' in said
  assert not (folder / 'refused' / 'config.json').exists()
