"""The report of made-up runs: right numbers, one safe file, clear refusals."""

import html.parser
import json
import math
import re

import numpy as np
import pytest
import scipy.stats

from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_tiny
from bert_jax.report import plots, spread
from bert_jax.report.compared import (
  paired_examples,
  paired_seeds,
  pooled_difference,
)
from bert_jax.report.evaluation import of_generator
from bert_jax.report.html import duration, large, number
from bert_jax.report.page import summary, write_report
from bert_jax.report.records import (
  read_metrics,
  read_run,
  training_seconds,
)
from bert_jax.report.spread import spread_of
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.metrics import mean_and_std
from bert_jax.train.goodput import PHASES
from bert_jax.workdir import Workdir

LABELS = ['numpy', 'jax', '<b>scipy</b>']
DETAILS = {
  'hits': '01' * 150,
  'bins': [{'count': 300, 'probability': 0.9, 'accuracy': 0.5}],
  'ece': 0.4,
  'worst': [],
}


def write_lines(path, records, end='\n'):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('\n'.join(map(json.dumps, records)) + end)


def train_record(step, **values):
  return {
    'kind': 'train',
    'step': step,
    'loss': 9 - 5 * (1 - math.exp(-step / 800)) + 0.1 * math.sin(step),
    'masked_accuracy': 0.4 * (1 - math.exp(-step / 800)),
    'learning_rate': 1e-3 * min(step / 400, 1 - step / 3000),
    'gradient_norm': 1.0 + 0.3 * math.cos(step),
    'tokens_per_second': 21_000.0 + 900 * math.sin(step / 7),
    'step_seconds': 0.1,
    'input_wait_share': 0.002,
    'mfu': 0.31,
    'skipped_updates': 0,
    'examples': step * 128,
    'time': 1.7e9 + step / 10,
    **values,
  }


def eval_record(step):
  loss = 9.2 - 4.9 * (1 - math.exp(-step / 800))
  return {
    'kind': 'eval',
    'step': step,
    'corpus': 'eval',
    'mlm_loss': loss,
    'perplexity': math.exp(loss),
    'masked_accuracy': 0.38 * (1 - math.exp(-step / 800)),
  }


def write_pretraining(folder):
  """A pretraining workdir with its corpus, complete at step 2,000."""
  workdir = folder / 'pretrain'
  steps = range(20, 2001, 20)
  records = [train_record(step) for step in steps]
  records += [eval_record(step) for step in range(200, 2001, 200)]
  write_lines(workdir / 'metrics' / 'part-0.jsonl', records)
  config = {
    '_type': 'bert_jax.experiment.PretrainExperiment',
    'num_steps': 2000,
    'batch_size': 128,
    'model': {'num_layers': 2, 'embed_dim': 128, 'num_heads': 2},
    'data': {'path': str(folder / 'corpus'), 'row_length': 64},
  }
  (workdir / 'config.json').write_text(json.dumps(config))
  start = {
    'time': 1.7e9,
    'command': ['bert-jax', 'pretrain', '--workdir=<x>'],
    'versions': {'jax': '0.12.0', 'flax': '0.12.12'},
    'devices': ['TFRT_CPU_0', 'TFRT_CPU_1'],
    'host': 'laptop',
  }
  write_lines(workdir / 'starts.jsonl', [start])
  for part, rows in (('64', 90_000), ('eval/64', 900)):
    manifest = {
      'num_documents': rows // 4,
      'num_tokens': rows * 60,
      'num_rows': rows,
      'row_length': 64,
      'num_segments': rows * 2,
      'padding_share': 0.0125,
      'read_counts': {'undecodable_bytes': 3, 'empty_documents': 0},
      'dropped': {'empty_documents': 7},
      'literal_special_tokens': 11,
    }
    path = folder / 'corpus' / part / 'manifest.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
  return workdir


def write_finetuning(folder, name, init_from, accuracies, labels=LABELS):
  """A finished fine-tuning workdir, one run for each accuracy."""
  workdir = folder / name
  rng = np.random.default_rng(0)
  runs, evals = [], []
  for seed, accuracy in enumerate(accuracies):
    n = len(labels)
    confusion = rng.multinomial(
      100,
      [accuracy if i == 0 else (1 - accuracy) / (n - 1) for i in range(n)],
      size=n,
    )
    confusion = [np.roll(row, i).tolist() for i, row in enumerate(confusion)]
    scores = {'precision': accuracy, 'recall': accuracy, 'f1': accuracy}
    runs.append(
      {
        'seed': seed,
        'best_epoch': 4,
        'best_step': 400,
        'accuracy': accuracy,
        'macro_f1': accuracy - 0.01,
        'matthews': accuracy - 0.1,
        'eval_loss': 1 - accuracy,
        'per_class': {label: {**scores, 'support': 100} for label in labels},
        'confusion': confusion,
      }
    )
    evals += [
      {
        'kind': 'eval',
        'step': 100 * epoch,
        'epoch': epoch,
        'seed': seed,
        'eval_loss': 1.0,
        'accuracy': accuracy * (1 - math.exp(-epoch)),
      }
      for epoch in range(1, 6)
    ]
  write_lines(workdir / 'metrics' / 'part-0.jsonl', evals)
  (workdir / 'config.json').write_text('{"init_from": ""}')
  results = {
    'task': 'classification',
    'labels': labels,
    'label_counts': {
      'train': {label: 7000 + i for i, label in enumerate(labels)},
      'eval': dict.fromkeys(labels, 100),
    },
    'notes': ["warning: names that differ in spaces: 'a<' (1) and 'a< ' (2)"],
    'init_from': init_from,
    'eval_path': 'installed_docs:eval',
    'num_eval': 100 * len(labels),
    'metric': 'accuracy',
    'config': {'learning_rate': 3e-4, 'num_epochs': 5},
    'runs': runs,
    'summary': {},
  }
  (workdir / 'results.json').write_text(json.dumps(results))
  return workdir


def write_everything(folder):
  pretrain = write_pretraining(folder)
  guesses = [
    {'token': token, 'probability': p}
    for token, p in [('shape', 0.41), ('<i>', 0.2), ('dtype', 0.0996)]
  ]
  samples = [{'text': 'The [MASK] of an array', 'predictions': [guesses]}]
  (pretrain / 'fill_mask.json').write_text(json.dumps(samples))
  return pretrain, [
    write_finetuning(folder, 'tuned', str(pretrain), [0.81, 0.83, 0.82]),
    write_finetuning(folder, 'scratch', '', [0.71, 0.70, 0.73]),
  ]


def shown_text(path):
  """What a reader sees: tags become |, entities are decoded."""
  page = re.sub(r'<style>.*?</style>', '', path.read_text(), flags=re.S)
  return re.sub(r'\s+', ' ', html.unescape(re.sub(r'<[^>]*>', '|', page)))


@pytest.mark.smoke
def test_report_shows_the_numbers_of_its_files(tmp_path):
  pretrain, tuned = write_everything(tmp_path)
  path = write_report(pretrain, tuned)
  assert path == pretrain / 'report.html'
  text = shown_text(path)
  for expected in (
    '|BERT tiny|',
    '|2,000|',
    'of 2,000',
    '|4.2 M|',  # 200 s of about 21,000 tokens
    '3 min 20 s',
    '|2 × TFRT_CPU|',
    'At the end: training 4.503, held out 4.702',
    'Peak 0.000',
    '98.75% of the places hold text',
    '|22,500|',
    'empty documents 7',
    'literal special tokens 11',
    'undecodable bytes 3',
    '|shape|',
    '|41.0%|',
    'The pretrained start is |10.7 points| above scratch in accuracy',
    '|8.3 pooled standard deviations|',
    '|82.0% |± 1.0%|',
    '|0.720 |± 0.010|',
    '300 held-out examples, 3 classes (installed_docs:eval)',
    '|Training|',
    '|7,001|',
    "|warning: names that differ in spaces: 'a<' (1) and 'a< ' (2)|",
  ):
    assert expected in text, expected


def test_report_shows_where_the_time_went(tmp_path):
  workdir = write_pretraining(tmp_path)
  before = write_report(workdir).read_text()
  assert 'Goodput' not in before  # of an earlier version
  phases = {**dict.fromkeys(PHASES, 0.0), 'start_up': 50.0, 'save': 5.0}
  one = {
    'began': 1.7e9,
    'seconds': phases | {'step': 300.0},
    'first_step': 0,
    'last_step': 1500,
    'step_seconds_at': {'1000': 200.0},
  }
  two = one | {
    'began': 1.7e9 + 360,
    'seconds': phases | {'step': 200.0},
    'first_step': 1000,
    'last_step': 2000,
  }
  path = workdir / 'goodput.json'
  path.write_text(json.dumps({'starts': [one, two]}))
  page = write_report(workdir).read_text()
  assert_balanced(page)
  assert page.count('<svg') == before.count('<svg') + 1
  assert 'aria-label="Where the time went"' in page
  text = shown_text(workdir / 'report.html')
  for expected in (
    '|Goodput|65.0%|of 10 min 15 s since the start|',
    '10 min 15 s in 2 starts, from the first',
    '|steps|steps that count|400.0|65.0%|',
    '|save stall|saving while no step ran|10.0|1.6%|',
    '|start-up|from the start of the process: data, mesh, restore|100.0|16.3%|',
    '|lost to restarts|steps after the last save, taken again|100.0|16.3%|',
    '|idle|between two starts|5.0|0.8%|',
    '|all|615.0|100.0%|',
  ):
    assert expected in re.sub(r'[|]+ ?[|]*', '|', text), expected


@pytest.mark.parametrize(
  'samples, expected', [('[]', 'None: the corpus'), (None, 'this writes it')]
)
def test_report_says_why_it_has_no_samples(tmp_path, samples, expected):
  workdir = write_pretraining(tmp_path)
  if samples:
    (workdir / 'fill_mask.json').write_text(samples)
  assert expected in shown_text(write_report(workdir))


def test_summary_says_the_same_on_a_terminal(tmp_path):
  pretrain, tuned = write_everything(tmp_path)
  assert summary(pretrain, tuned).splitlines() == [
    'held out at step 2,000: loss 4.7022, perplexity 110.2, masked accuracy '
    '34.9%',
    'pretrained: accuracy 0.8200 ± 0.0100 over 3 seeds',
    'from scratch: accuracy 0.7133 ± 0.0153 over 3 seeds',
    'difference: +0.1067, 8.3 pooled standard deviations',
  ]


def test_figures_of_a_generator_are_called_so():
  assert of_generator({'mlm_loss': 4.0, 'replaced_loss': 0.3})
  assert not of_generator({'mlm_loss': 4.0})


def test_report_is_one_safe_file(tmp_path):
  pretrain, tuned = write_everything(tmp_path)
  page = write_report(pretrain, tuned, tmp_path / 'out.html').read_text()
  assert not re.search(r'https?:|<script|@import|src=|<link', page)
  assert '<b>scipy</b>' not in page and '&lt;b&gt;scipy' in page
  assert '<i>' not in page and '&lt;i&gt;' in page
  assert '#0101' not in page  # A marker colour left unreplaced.
  assert page.count('<svg') == page.count('</svg>') == 9
  assert_balanced(page)
  ids = re.findall(r'url\(#([^)]*)\)', page)
  assert all(f'id="{name}"' in page for name in ids)


def assert_balanced(page):
  class Parser(html.parser.HTMLParser):
    void = {'meta', 'br', 'input'}

    def __init__(self):
      super().__init__()
      self.open = []

    def handle_starttag(self, tag, attributes):
      if tag not in self.void:
        self.open.append(tag)

    def handle_endtag(self, tag):
      assert self.open and self.open.pop() == tag, self.getpos()

  parser = Parser()
  parser.feed(page)
  assert parser.open == []


def test_same_files_give_the_same_report(tmp_path):
  pretrain, tuned = write_everything(tmp_path)
  first = write_report(pretrain, tuned).read_bytes()
  assert write_report(pretrain, tuned).read_bytes() == first


def test_absent_parts_are_said_not_left_out(tmp_path):
  pretrain = write_pretraining(tmp_path)
  (tmp_path / 'corpus').rename(tmp_path / 'elsewhere')
  (pretrain / 'starts.jsonl').unlink()
  lines = (pretrain / 'metrics' / 'part-0.jsonl').read_text().splitlines()
  kept = '\n'.join(lines[:50]) + '\n' + lines[50][:30]
  (pretrain / 'metrics' / 'part-0.jsonl').write_text(kept)
  text = shown_text(write_report(pretrain))
  assert 'no longer at the path in config.json' in text
  assert f'bert-jax report --workdir={pretrain}' in text
  assert 'No evaluation has been done yet' in text
  assert 'the last record is of step 1,000 of 2,000' in text
  assert '1 of the metrics files ends in half a line' in text


def test_finetuning_workdir_has_a_report_of_its_own(tmp_path):
  workdir = write_finetuning(tmp_path, 'tuned', 'base', [0.8])
  text = shown_text(write_report(workdir))
  assert 'Fine-tuning' in text and 'Packing' not in text
  assert 'Measured on 300 held-out examples' in text


def test_report_says_what_was_run(tmp_path):
  """The rate of the config, not of a logged step; padding beside the MFU."""
  workdir = write_finetuning(tmp_path, 'tuned', 'base', [0.8])
  records = [
    train_record(step, classification_loss=1.0) for step in range(20, 200, 20)
  ]
  write_lines(workdir / 'metrics' / 'part-1.jsonl', records)
  config = {
    'optimizer': {'learning_rate': 1e-4},
    'task': {
      '_type': 'bert_jax.tasks.classification.ClassificationConfig',
      'pooling': '<mean>',
    },
    'batch_size': 16,
    'dropout': 0.2,
  }
  (workdir / 'config.json').write_text(json.dumps(config))
  results = json.loads((workdir / 'results.json').read_text())
  results['num_train'] = 2000
  results['rows'] = {
    'lengths': [32, 64],
    'padding_share': {'train': 0.125, 'eval': 0.25},
    'cut': {'train': {'cut to max_length=64 tokens': 30}, 'eval': {}},
  }
  (workdir / 'results.json').write_text(json.dumps(results))
  page = write_report(workdir).read_text()
  assert page.count('aria-label="Loss"') == 1
  assert 'aria-label="Classification loss"' not in page  # it is the loss
  text = re.sub(r'[|]+ ?[|]*', '|', shown_text(workdir / 'report.html'))
  for expected in (
    'Peak 0.0001 (optimizer.learning_rate); the highest of the logged steps is',
    'MFU 31.0%, waiting for input 0.2%. Tokens are those of texts; MFU counts '
    'padding as well, 12.5% of the training rows or a little more.',
    '|Start|base|',
    '|Batch|16|',
    '|Peak of the learning rate|0.0001|',
    '|Dropout|0.2|',
    '|Training examples|2,000|Held-out examples|300|Lengths of rows|32, 64|',
    '|Padding in rows|training 12.5%|held out 25.0%|',
    '|Long examples|training 30 of 2,000 cut to max_length=64 tokens|',
    '|Pooling|<mean>|',
  ):
    assert expected in text, expected


def test_spread_of_seeds_and_failed_ones(tmp_path):
  """One seed has no spread; a seed at the share of a class has failed."""
  many = write_finetuning(tmp_path, 'many', 'base', [0.8, 0.9, 1 / 3])
  text = re.sub(r'[|]+ ?[|]*', '|', shown_text(write_report(many)))
  assert '|pretrained|many, 3 seeds, 1 failed|' in text
  # By t of 2 degrees of freedom, 4.303: 0.678 +- 4.303 * 0.302 / sqrt(3).
  assert '|Accuracy|67.8% |± 30.2%|-7.4% to 142.9%|33.3%|90.0%|' in text
  assert "accuracy not above 33.3%, that of always 'numpy'." in text
  lines = results_lines(json.loads((many / 'results.json').read_text()))
  assert lines[1:4] == [
    *('   0           4    0.8000', '   1           4    0.9000'),
    '   2           4    0.3333',
  ]
  assert [line.split() for line in lines[4:10]] == [
    *(['mean', '0.6778'], ['std', '0.3025'], ['min', '0.3333']),
    *(['max', '0.9000'], ['95', '%', 'from', '-0.0736']),
    ['95', '%', 'to', '1.4291'],
  ]
  assert lines[10:] == [
    "1 seed failed (2): accuracy not above 0.3333, that of always 'numpy', "
    'or a loss that is not finite'
  ]


def test_a_seed_that_diverged_has_failed(tmp_path):
  workdir = write_finetuning(tmp_path, 'lost', 'base', [0.8, 0.9])
  edit_results(
    workdir, lambda n: {'eval_loss': math.inf} if n else {'eval_loss': 0.5}
  )
  results = json.loads((workdir / 'results.json').read_text())
  results['summary'] = {'eval_loss': {}}
  lines = spread.results_lines(results, ClassificationConfig).splitlines()
  assert lines[3].split() == ['mean', 'inf']
  assert lines[5].split() == ['min', '0.5000']
  assert lines[-1].startswith('1 seed failed (1): ')
  assert 'lost, 2 seeds, 1 failed' in write_report(workdir).read_text()


def test_one_seed_has_no_spread(tmp_path):
  one = write_finetuning(tmp_path, 'one', 'base', [0.8])
  text = re.sub(r'[|]+ ?[|]*', '|', shown_text(write_report(one)))
  assert '|pretrained|one, 1 seed, none failed|Accuracy|80.0%|' in text
  assert '±' not in text and 'interval' not in text
  assert 'the best epoch of each seed, which was chosen on these' in text
  assert results_lines(json.loads((one / 'results.json').read_text())) == [
    *('seed  best epoch  accuracy', '   0           4    0.8000')
  ]
  with pytest.raises(ValueError, match='1 values have no spread'):
    spread_of([0.8])


def results_lines(results):
  results['summary'] = {'accuracy': {}}
  return spread.results_lines(results, ClassificationConfig).splitlines()


def test_calibration_and_worst_errors_of_the_best_seed(tmp_path):
  workdir = write_finetuning(tmp_path, 'tuned', 'base', [0.8, 0.9])
  edit_results(workdir, best_seed=1)
  worst = {
    'origin': 'eval.tsv:7',
    'text': 'a <script>alert(1)</script> text',
    'true': 'jax',
    'predicted': '<b>scipy</b>',
    'probability_of_predicted': 0.987,
    'probability_of_true': 0.002,
  }
  details = DETAILS | {'worst': [worst]}
  edit_results(workdir, lambda n: {'details': details} if n == 1 else {})
  page = write_report(workdir).read_text()
  assert_balanced(page)
  assert (
    '<script' not in page and 'aria-label="Calibration, Pretrained"' in page
  )
  text = re.sub(r'[|]+ ?[|]*', '|', shown_text(workdir / 'report.html'))
  assert (
    '|eval.tsv:7|a <script>alert(1)</script> text|jax|<b>scipy</b>|98.7%|0.2%|'
    in text
  )
  assert 'expected calibration error 0.400 over 300 examples, in 1 of' in text
  details['hits'] = '01'
  edit_results(workdir, lambda n: {'details': details})
  with pytest.raises(InputError, match='hits of seed 0 are not those of 300'):
    write_report(workdir)
  edit_results(workdir, best_seed=2)
  with pytest.raises(InputError, match='best_seed is 2 of 2 runs'):
    write_report(workdir)


def edit_results(workdir, of_seed=lambda n: {}, **fields):
  """Changes results.json: the run of each seed, and other fields."""
  path = workdir / 'results.json'
  results = json.loads(path.read_text()) | fields
  results['runs'] = [run | of_seed(run['seed']) for run in results['runs']]
  path.write_text(json.dumps(results))


def test_runs_of_the_same_seeds_and_examples_are_paired(tmp_path):
  """Each seed against itself: the spread between seeds drops out."""
  accuracies = [0.7, 0.8, 0.9], [0.68, 0.79, 0.88]
  tuned = []
  for name, values in zip('ab', accuracies, strict=True):
    workdir = write_finetuning(tmp_path, name, 'base', values)
    (workdir / 'config.json').write_text('{"seed": 7}')
    # Alone right: 12 of the first, 3 of the second.
    hits = '1' * 12 + '0' * 3 if name == 'a' else '0' * 12 + '1' * 3
    hits += '1' * 285
    edit_results(
      workdir,
      lambda n, hits=hits: {'details': DETAILS | {'hits': hits}},
      best_seed=2,
      eval_sha256='same',
    )
    tuned.append(workdir)
  lines = summary(tuned[0], tuned[1:]).splitlines()
  low, high = scipy.stats.t.interval(
    *(0.95, 2), np.mean([0.02, 0.01, 0.02]), np.std([2, 1, 2], ddof=1) / 173.205
  )
  assert lines[2:] == [
    f'difference: +0.0167, 95 % interval {low:+.4f} to {high:+.4f} over 3 '
    'paired seeds, p = 0.038',
    'examples that one best seed alone gets right: a 12, b 3, p = 0.035 '
    '(exact McNemar test)',
  ]
  text = shown_text(write_report(tuned[0], tuned[1:]))
  assert 'a is |1.7 points| above b in accuracy' in text
  assert '0.2 to 3.1 points| over 3 paired seeds, p = 0.038' in text
  assert 'Examples that one best seed alone gets right: a 12, b 3' in text
  (tuned[1] / 'config.json').write_text('{"seed": 8}')
  assert 'pooled standard deviations' in summary(tuned[0], tuned[1:])
  edit_results(tuned[1], eval_sha256='other')
  assert len(summary(tuned[0], tuned[1:]).splitlines()) == 2
  text = shown_text(write_report(tuned[0], tuned[1:]))
  assert 'The two runs were measured on different examples' in text


def test_pairs_without_a_spread():
  found = paired_seeds([0.2, 0.3], [0.1, 0.2])
  assert found[:3] == pytest.approx([0.1] * 3) and math.isnan(found.p)
  assert paired_examples('11', '11') == (0, 0, 1.0)
  # 2 * (1/2) ** 5: all five on one side.
  assert paired_examples('11111', '00000') == (5, 0, pytest.approx(0.0625))


def test_starts_measured_on_other_examples_are_not_compared(tmp_path):
  pretrain, (tuned, _) = write_everything(tmp_path)
  other = write_finetuning(tmp_path, 'other', '', [0.7], labels=['a', 'b'])
  text = shown_text(write_report(pretrain, [tuned, other]))
  assert 'their numbers do not compare' in text
  assert 'pooled' not in text


def test_runs_of_two_tasks_or_metrics_have_no_common_report(tmp_path):
  a = write_finetuning(tmp_path, 'a', 'x', [0.9])
  b = write_finetuning(tmp_path, 'b', 'x', [0.8])
  results = json.loads((b / 'results.json').read_text())
  (b / 'results.json').write_text(json.dumps(results | {'metric': 'macro_f1'}))
  with pytest.raises(InputError, match='b is macro_f1, that of .*a is acc'):
    write_report(a, [b])


def test_latest_part_wins_and_a_cut_line_is_counted(tmp_path):
  workdir = Workdir(tmp_path)
  old = [train_record(step, loss=1.0) for step in (10, 20, 30)]
  new = [train_record(step, loss=2.0) for step in (20, 30)]
  write_lines(workdir.metrics / 'part-9.jsonl', old, end='\n{"kind": "tr')
  write_lines(workdir.metrics / 'part-10.jsonl', new)
  metrics = read_metrics(workdir)
  assert [r['loss'] for r in metrics.train] == [1.0, 2.0, 2.0]
  assert metrics.num_cut_lines == 1
  assert training_seconds(metrics) == pytest.approx(3.0)


def test_seeds_and_corpora_of_one_step_are_all_kept(tmp_path):
  workdir = Workdir(tmp_path)
  record = {'kind': 'eval', 'step': 5, 'eval_loss': 1.0}
  write_lines(
    workdir.metrics / 'part-0.jsonl',
    [record | {'seed': 0}, record | {'seed': 1}, record | {'corpus': 'law'}],
  )
  series = read_metrics(workdir).series('eval', 'eval_loss')
  assert set(series) == {0, 1, 'law'}


def test_unusable_workdirs_are_refused_by_name(tmp_path):
  with pytest.raises(InputError, match='not a workdir'):
    write_report(tmp_path / 'nowhere')
  pretrain = write_pretraining(tmp_path)
  with pytest.raises(InputError, match='no results.json'):
    write_report(pretrain, [pretrain])
  path = pretrain / 'metrics' / 'part-0.jsonl'
  path.write_text('half\n' + path.read_text())
  with pytest.raises(InputError, match=r'part-0.jsonl:1: not JSON'):
    read_run(pretrain)
  path.write_text('')
  config = PretrainExperiment(num_steps=1, batch_size=8, model=bert_tiny())
  Workdir(pretrain).write_config(config, [], 0)
  with pytest.raises(InputError, match='no metrics yet'):
    write_report(pretrain)
  assert not (pretrain / 'report.html').exists()


def test_pooled_difference():
  difference, in_deviations = pooled_difference([1.0, 3.0], [0.0, 0.0])
  assert difference == 2 and in_deviations == pytest.approx(2.0)
  first, second = [0.81, 0.83, 0.82], [0.71, 0.70, 0.73]
  deviations = [mean_and_std(values)[1] for values in (first, second)]
  pooled = math.sqrt(np.mean(np.square(deviations)))
  difference, in_deviations = pooled_difference(first, second)
  assert in_deviations == pytest.approx(difference / pooled)
  assert math.isnan(pooled_difference([1.0], [0.5])[1])
  assert math.isnan(pooled_difference([1.0, 1.0], [0.5, 0.5])[1])


def test_long_and_broken_curves_stay_small():
  points = [(i, math.nan if i % 7 == 0 else i % 5) for i in range(100_000)]
  svg = plots.curves('Loss', [('training', points, plots.FIRST)])
  assert len(svg) < 60_000 and 'nan' not in svg
  assert '<svg' in plots.curves('Loss', [('training', [], '#010104')])


def test_numbers_read_well():
  assert number(1234567) == '1,234,567' and number(None) == '–'
  assert number(1e-5) == '1e-05' and number(math.nan) == 'nan'
  assert large(16_179_200) == '16.2 M' and large(12) == '12'
  assert duration(45) == '45 s' and duration(3600) == '1 h'
  assert duration(725) == '12 min 5 s' and duration(187_200) == '2 d 4 h'


def test_a_label_with_dollars_is_text():
  labels = ['$\\frac$', '$x']
  svg = plots.confusion('a run', labels, np.eye(2, dtype=int))
  assert all(label in svg for label in labels)
