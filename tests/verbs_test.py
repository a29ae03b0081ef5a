"""Runs every verb as a subprocess, in the order in which a user meets them."""

import json
import re

import pytest
from other_process import ROOT, verb

TEXT = 'The array {0} holds a random number. Two matrices take {0} shapes.\n\n'
PRETRAIN_CONFIG = """
from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import EncoderConfig
from bert_jax.train.logging import LoggingConfig


def get_config():
  return PretrainExperiment(
    model=EncoderConfig(
      num_layers=1, embed_dim=16, num_heads=2, mlp_dim=32, max_positions=32
    ),
    num_steps=4,
    batch_size=8,
    data=DataConfig(row_length=16),
    logging=LoggingConfig(every_steps=2, peak_tflops=1.0),
  )
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with spaces in its path, on purpose."""
  folder = tmp_path_factory.mktemp('all verbs')
  (folder / 'text.txt').write_text(
    ''.join(TEXT.format(number) for number in range(200))
  )
  (folder / 'pretrain_config.py').write_text(PRETRAIN_CONFIG)
  rows = ['the array holds\tone', 'two matrices take\tmany'] * 10
  for name in ('train.tsv', 'eval.tsv'):
    (folder / name).write_text('\n'.join(['text\tlabel', *rows]) + '\n')
  return folder


@pytest.mark.smoke
def test_all_verbs_in_order(folder):
  text = ['--input', folder / 'text.txt', '--document=paragraph']
  found = verb(
    ROOT,
    'train_tokenizer',
    *text,
    '--vocab_size=80',
    '--output',
    folder / 'tok',
  )
  assert '80 entries' in found.stdout
  found = verb(
    ROOT,
    'prepare',
    *text,
    '--tokenizer',
    folder / 'tok',
    '--row_length=16',
    '--eval_fraction=0.5',
    '--workers=1',
    '--output',
    folder / 'corpus',
  )
  assert 'padding' in found.stdout
  config = [
    f'--config={folder / "pretrain_config.py"}',
    f'--config.data.path={folder / "corpus"}',
  ]
  workdir = f'--workdir={folder / "pretrain"}'
  planned = verb(ROOT, 'inspect', *config, '--step=1').stdout
  assert planned.startswith('step 1: examples ') and '{' in planned
  pretrain = ['pretrain', *config, workdir]
  assert 'pretrain is complete' in verb(ROOT, *pretrain).stdout
  assert 'pretrain is complete' in verb(ROOT, *pretrain).stdout
  assert verb(ROOT, 'inspect', workdir, '--step=1').stdout == planned
  found = verb(
    ROOT,
    'fill_mask',
    '--workdir',
    folder / 'pretrain',
    'The [MASK] holds a number',
  )
  assert len(found.stdout.splitlines()) == 6
  found = verb(
    ROOT,
    'grow',
    f'--input={folder / "pretrain"}',
    f'--output={folder / "grown"}',
    '--num_layers=2',
  )
  assert 'num_layers 1 -> 2' in found.stdout
  _finetuning_verbs(folder)
  found = verb(
    ROOT,
    'convert',
    f'--input={folder / "pretrain"}',
    f'--output={folder / "exported"}',
    '--output_format=huggingface',
  )
  assert 'BertForMaskedLM' in found.stdout
  assert (folder / 'exported' / 'model.safetensors').is_file()


def _finetuning_verbs(folder):
  finetuned = folder / 'finetune'
  found = verb(
    ROOT,
    'finetune',
    '--config=experiments/finetune/classification.py',
    f'--config.init_from={folder / "pretrain"}',
    f'--config.task.train_path={folder / "train.tsv"}',
    f'--config.task.eval_path={folder / "eval.tsv"}',
    '--config.num_seeds=2',
    '--grid=num_epochs=1',
    '--config.max_length=8',
    f'--workdir={finetuned}',
  )
  assert 'grid: run 1 of 1, num_epochs=1\n' in found.stdout
  assert 'mean' in found.stdout
  cut = re.search(r'eval: (20 examples, (.* cut to max.*))\n', found.stdout)
  found = verb(
    ROOT, 'evaluate', f'--workdir={finetuned}', f'--input={folder / "eval.tsv"}'
  )
  assert f'\n{cut[1]}\n' in found.stdout
  results = json.loads((finetuned / 'results.json').read_text())
  best = results['runs'][results['best_seed']]
  assert f'accuracy {best["accuracy"]:.4f}' in found.stdout
  output = folder / 'predictions.jsonl'
  found = verb(
    ROOT,
    'predict',
    f'--workdir={finetuned}',
    f'--input={folder / "eval.tsv"}',
    f'--output={output}',
  )
  assert found.stdout.endswith(f'predictions.jsonl, {cut[2]}\n')
  lines = [json.loads(line) for line in output.read_text().splitlines()]
  assert len(lines) == 20
  for record, line in enumerate(lines, 1):
    assert (line['record'], line['line']) == (record, record + 1)
    assert sum(line['probabilities'].values()) == pytest.approx(1, abs=1e-4)
    assert line['label'] == max(
      line['probabilities'], key=line['probabilities'].get
    )
  found = verb(
    ROOT,
    'report',
    f'--workdir={folder / "pretrain"}',
    f'--finetuned={finetuned}',
  )
  assert (folder / 'pretrain' / 'fill_mask.json').is_file()
  page = (folder / 'pretrain' / 'report.html').read_text()
  assert '<svg' in page or 'data:image' in page
  assert '<b>num_epochs=1</b>' in page


@pytest.mark.parametrize(
  'words, message',
  [
    (['train_tokenizer', '--input=/nowhere.txt', '--output=x'], '/nowhere'),
    (['prepare', '--tokenizer=/nowhere', '--output=x'], '/nowhere'),
    (['prepare', '--', '--runner=FlinkRunner'], 'give --engine=beam'),
    (
      ['pretrain', '--config=experiments/pretrain/bert_mini.py', '--workdir=x'],
      'data.path is empty',
    ),
    (['fill_mask', '--workdir=/nowhere', 'a [MASK]'], 'is not a workdir'),
    (['evaluate', '--workdir=/nowhere', '--input=x.tsv'], 'is not a workdir'),
    (['report', '--workdir=/nowhere'], '/nowhere'),
    (['inspect', '--step=0'], 'give one of --workdir=RUN, --config=FILE'),
    (['convert', '--input=/nowhere', '--output=x'], 'not a Hugging Face'),
    (['grow', '--input=/nowhere', '--output=x'], 'no size to grow to is given'),
    (['pretrian'], 'pretrain'),
  ],
  ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_status_2(words, message):
  found = verb(ROOT, *words, status=2)
  assert message in found.stderr
  assert len(found.stderr.strip().splitlines()) == 1
