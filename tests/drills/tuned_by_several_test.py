"""Fine-tuning, evaluation, prediction and vectors as two real processes.

What they give is what one process gives on as many devices.
"""

import json
import pathlib
import re
import textwrap

import numpy as np
import pytest
from launched import ACTING, STEP, launch
from runs import arrays
from tuning import results, tuning

from bert_jax import inference
from bert_jax.config.codec import encode
from bert_jax.data.example_file import ExampleFile
from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import read_examples
from bert_jax.jobs.embed import write_vectors
from bert_jax.jobs.finetune import finetune
from bert_jax.jobs.predict import evaluation_table, write_predictions
from bert_jax.models.config import EncoderConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.tagging import TaggingConfig
from bert_jax.train.checkpoint import saved_steps
from bert_jax.vector_precision import Precision
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
def folder(tmp_path, monkeypatch):
  """The folder in which a test works, with the examples of both tasks."""
  monkeypatch.chdir(tmp_path)
  write_examples(tmp_path)
  return tmp_path


def write_examples(folder: pathlib.Path) -> None:
  """40 examples of each task to train on, and 150 others."""
  rows = [
    (f'{WORDS[label][number % 4]} and {number} other words', label)
    for number in range(190)
    for label in [('one', 'many')[number // 4 % 3 % 2]]
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
  """tune(task) fine-tunes as two processes in the workdir 'together'."""

  def tune(name, **options):
    path = folder / f'{name}.py'
    path.write_text(ACTING + textwrap.dedent(EXPERIMENT))
    experiment = encode(experiment_of(name, small_corpus))
    path.with_suffix('.json').write_text(json.dumps(experiment))
    flags = f'--config={path}', f'--workdir={folder / "together"}'
    return launch('finetune', *flags, devices=4, **options)

  return tune


def test_two_processes_classify_as_one_does(folder, small_corpus, tune):
  ended = tune('classes')
  assert 'mean ' in ended.lines_of(0) and 'mean ' not in ended.lines_of(1)
  assert 'finetune is complete: ' in ended.lines_of(1)
  assert_tuned_as_alone('classes', small_corpus)
  flags = '--workdir=together', '--input=eval.tsv', '--output=together.jsonl'
  launch('predict', *flags)
  examples = read_examples('eval.tsv', TASKS['classes'].columns())
  alone = folder / 'alone.jsonl'
  write_predictions(inference.load('together'), examples, alone)
  assert (folder / 'together.jsonl').read_bytes() == alone.read_bytes()
  # Vectors are computed 4,096 at once, so the second process has some too.
  texts = [text for (text,) in examples.texts] * 28
  (folder / 'texts.tsv').write_text('\n'.join(['text', *texts]) + '\n')
  launch('embed', flags[0], '--input=texts.tsv', '--output=together.npy')
  embedder = inference.load('together').embedder()
  write_vectors(
    embedder,
    ExampleFile('texts.tsv', text_columns(['text'], None)),
    folder / 'alone.npy',
    cut=False,
    precision=Precision('float32', np.zeros((0, embedder.dim))),
  )
  alone = (folder / 'alone.npy').read_bytes()
  assert (folder / 'together.npy').read_bytes() == alone


def test_two_processes_tag_as_one_does_though_one_is_killed(
  folder, small_corpus, tune
):
  workdir = Workdir(folder / 'together')
  ended = tune('tags', status=137, act=f'1 SIGKILL {STEP} 8')
  assert ended.seconds < 60
  assert re.search('process 1 of 2 .* is gone', ended.lines_of(0))
  assert saved_steps(workdir.checkpoints) and not workdir.results.exists()
  tune('tags')
  assert_tuned_as_alone('tags', small_corpus)
  ended = launch('evaluate', '--workdir=together', '--input=eval.conll')
  examples = read_examples('eval.conll', TASKS['tags'].columns())
  table = evaluation_table(inference.load('together'), examples)
  assert table in ended.lines_of(0).replace('[0] ', '')
  assert table.splitlines()[0] not in ended.lines_of(1)


def assert_tuned_as_alone(name, small_corpus):
  """Asserts that the run in 'together' is that of this process alone."""
  finetune(experiment_of(name, small_corpus), 'alone')
  (mine, my_losses), (theirs, losses) = map(figures, ('together', 'alone'))
  assert mine == theirs
  np.testing.assert_allclose(my_losses, losses, **TOLERANCE)
  (step,) = saved_steps(Workdir('together').checkpoints)
  mine, theirs = arrays('together', step), arrays('alone', step)
  assert mine.keys() == theirs.keys()
  for path in theirs:
    np.testing.assert_allclose(
      mine[path], theirs[path], **TOLERANCE, err_msg=path
    )


def figures(workdir):
  """results.json without the losses, and these."""
  found = results(workdir)
  losses = [run.pop('eval_loss', 0.0) for run in found['runs']]
  for run in found['runs']:
    if 'details' in run:  # probabilities, which rounding changes
      losses.append(run['details']['ece'])
      run['details'] = run['details']['hits']
  return found, [*losses, *found['summary'].pop('eval_loss', {}).values()]


def test_other_examples_on_one_host_are_named(folder, tune, monkeypatch):
  other = folder / 'other'
  other.mkdir()
  write_examples(other)
  with open(other / 'train.tsv', 'a') as file:
    file.write('one more\tone\n')
  monkeypatch.setenv('FOLDER_OF_1', str(other))
  ended = tune('classes', status=2)
  for process in range(2):
    said = ended.lines_of(process)
    assert 'process 1 on ' in said
    assert 'another content of task.train_path' in said
  assert not Workdir(folder / 'together').config.exists()
