"""GLUE's nine tasks: files of their form as read, and GLUE's figures."""

import pathlib

import numpy as np
import pytest
import toys
from sklearn import metrics

from bert_jax.config.experiment_file import load_config
from bert_jax.data.examples import Examples
from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
GLUE = f'{ROOT}/experiments/finetune/glue.py'
MNLI = (
  'index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\t'
  'sentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\t'
  'sentence2'
)
# Maps a task to the form of its files: the header, a record with a quote that
# is not closed and one more, and what is read of both.
FORMS = {
  'cola': (
    *(None, 'gj04\t1\t\tHe said "yes.', 'gj04\t0\t*\tThey drank the pub.'),
    *([('He said "yes.',), ('They drank the pub.',)], ['1', '0']),
  ),
  'sst2': (
    *('sentence\tlabel', 'a " b \t1', 'c\t0'),
    *([('a " b ',), ('c',)], ['1', '0']),
  ),
  'mrpc': (
    '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String',
    *('1\t10\t11\t" a\tb "', '0\t12\t13\tc\td'),
    *([('" a', 'b "'), ('c', 'd')], ['1', '0']),
  ),
  'stsb': (
    'index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\t'
    'sentence2\tscore',
    '0\tmain\tx\t2012\t1\tnone\tnone\t"a\tb\t5.000',
    '1\tmain\tx\t2012\t2\tnone\tnone\tc\td\t3.8',
    *([('"a', 'b'), ('c', 'd')], [5.0, 3.8]),
  ),
  'qqp': (
    'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate',
    *('0\t1\t2\t"a\tb\t0', '1\t3\t4\tc\td\t1'),
    *([('"a', 'b'), ('c', 'd')], ['0', '1']),
  ),
  'mnli': (
    f'{MNLI}\tlabel1\tgold_label',
    '0\t1\t2\tfiction\t( a\t( b\t(S\t(S\t"a\tb\tneutral\tneutral',
    '1\t1\t2\tfiction\t( c\t( d\t(S\t(S\tc\td\tneutral\tentailment',
    *([('"a', 'b'), ('c', 'd')], ['neutral', 'entailment']),
  ),
  'qnli': (
    'index\tquestion\tsentence\tlabel',
    *('0\t"a\tb\tentailment', '1\tc\td\tnot_entailment'),
    *([('"a', 'b'), ('c', 'd')], ['entailment', 'not_entailment']),
  ),
  'rte': (
    'index\tsentence1\tsentence2\tlabel',
    *('0\t"a\tb\tentailment', '1\tc\td\tnot_entailment'),
    *([('"a', 'b'), ('c', 'd')], ['entailment', 'not_entailment']),
  ),
  'wnli': (
    'index\tsentence1\tsentence2\tlabel',
    *('0\t"a\tb\t1', '1\tc\td\t0'),
    *([('"a', 'b'), ('c', 'd')], ['1', '0']),
  ),
}


@pytest.mark.parametrize('name', FORMS)
def test_files_of_each_task(tmp_path, name):
  experiment = load_config(f'{GLUE}:{name}')
  experiment.init_from = 'run'
  experiment.validate()
  task = experiment.task
  header, *lines, texts, labels = FORMS[name]
  path = tmp_path / pathlib.Path(task.train_path).name
  lines = lines if header is None else [header, *lines]
  path.write_text('\n'.join(lines) + '\n')
  examples = read_examples(path, task.columns(), header=task.header)
  assert (examples.texts, examples.labels) == (texts, labels)
  facts = task.fit(examples)
  if name != 'stsb':
    assert set(facts['labels']) == set(labels)
  task.build(toys.table(), facts).about('train', examples)


def test_the_mismatched_part_of_mnli(tmp_path):
  """Its five annotators have columns of their own beside the gold label."""
  task = load_config(f'{GLUE}:mnli').task
  assert task.eval_path.endswith('MNLI/dev_matched.tsv')
  five = '\t'.join(f'label{n}' for n in range(1, 6))
  path = tmp_path / 'dev_mismatched.tsv'
  cells = [*'01', '2', 'letters', '(', '(', '(', '(', 'a', 'b']
  row = '\t'.join([*cells, *['entailment'] * 5, 'contradiction'])
  path.write_text(f'{MNLI}\t{five}\tgold_label\n{row}\n')
  examples = read_examples(path, task.columns())
  assert examples.texts == [('a', 'b')]
  assert examples.labels == ['contradiction']


def test_a_task_that_there_is_not():
  with pytest.raises(InputError, match=r"glue.py:'sst-2': choose one of cola"):
    load_config(f'{GLUE}:sst-2')


@pytest.mark.parametrize('seed', range(3))
def test_the_f1_of_the_positive_class(seed):
  rng = np.random.default_rng(seed)
  labels, guesses = rng.integers(0, 2, (2, 200))
  config = load_config(f'{GLUE}:qqp').task
  task = config.build(toys.table(), {'labels': ['0', '1']})
  texts = [('a', 'b')] * 200
  examples = Examples(
    columns={'texts': texts, 'labels': [str(n) for n in labels]},
    origins=[''] * 200,
  )
  results = task.decode(np.log(np.eye(2)[guesses] * 0.8 + 0.1), None)
  figures = task.score(results, examples)
  assert figures['f1'] == metrics.f1_score(labels, guesses)
  assert figures['accuracy'] == metrics.accuracy_score(labels, guesses)
  assert figures['matthews'] == pytest.approx(
    metrics.matthews_corrcoef(labels, guesses), abs=1e-12
  )


def test_f1_needs_a_class():
  config = load_config(f'{GLUE}:mrpc').task
  config.positive_class = ''
  with pytest.raises(InputError, match='metric=f1 .*positive_class=CLASS'):
    config.validate()
