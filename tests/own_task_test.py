"""A user's own task, in one file, through every verb of fine-tuning."""

import json
import pathlib
import shutil

import pytest
from other_process import said

OWN = pathlib.Path(__file__).parent / 'own' / 'several_labels.py'
ROWS = [
  ('the array holds a number', ['array', 'number']),
  ('the array returns', ['array']),
  ('a random number', ['number']),
  ('the function returns', []),
]


@pytest.fixture
def folder(tmp_path, small_corpus):
  shutil.copy(OWN, tmp_path)
  shutil.copytree(small_corpus / 'tokenizer', tmp_path / 'tokenizer')
  lines = [json.dumps({'text': text, 'tags': tags}) for text, tags in ROWS * 6]
  (tmp_path / 'data.jsonl').write_text('\n'.join(lines) + '\n')
  return tmp_path


@pytest.mark.processes
def test_every_verb(folder):
  config = '--config=several_labels.py'
  words = 'finetune', config, '--config.tokenizer=tokenizer', '--workdir=run'
  assert 'f1' in said(folder, *words)
  results = json.loads((folder / 'run' / 'results.json').read_text())
  assert results['task'] == 'several_labels'
  assert results['names'] == ['array', 'number']
  assert results['threshold'] == 0.4
  assert results['counts']['train'] == {'array': 12, 'number': 12}
  best = results['runs'][0]['f1']
  words = 'evaluate', '--workdir=run', '--input=data.jsonl'
  line = said(folder, *words, status=2)
  assert 'give --import=several_labels, or its file as --config=FILE' in line
  assert f'f1 {best:.4f}' in said(folder, *words, config)
  output = '--output=out.jsonl'
  words = 'predict', '--workdir=run', '--input=data.jsonl', output
  assert '24 predictions' in said(folder, *words, '--import=several_labels')
  found = [
    json.loads(line) for line in (folder / 'out.jsonl').read_text().splitlines()
  ]
  assert [line['record'] for line in found] == [*range(1, 25)]
  # Results that only the score needs are not written.
  assert {*found[0]} == {'record', 'line', 'tags'}
  line = said(folder, *words, config, '--text_columns=text', status=2)
  assert '--text_columns: the task several_labels has no text_columns' in line
  said(folder, 'report', '--workdir=run', config)
  page = (folder / 'run' / 'report.html').read_text()
  assert 'F1 of labels' in page and '24 held-out examples, 2 labels' in page
  grow = 'grow', '--input=run', '--output=grown', '--num_layers=2'
  said(folder, *grow, config)
  export = 'convert', '--input=run', '--output=out', config
  line = said(folder, *export, '--output_format=huggingface', status=2)
  assert 'no class for the task several_labels' in line
