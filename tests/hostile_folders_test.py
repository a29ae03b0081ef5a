"""Corpora, tokenizers and workdirs of others: refused in a line, or harmless.

The author of such a folder may have put anything into it. Config classes and
shards have their own tests (workdir_test.py, data/token_rows_test.py).
"""

import copy
import json
import os
import shutil

import fuzzing
import hypothesis
import pytest
from hypothesis import strategies as st
from refusals import one_line

from bert_jax import inference
from bert_jax.config.codec import encode
from bert_jax.data.sources import open_inputs
from bert_jax.data.tokenizers import folder as tokenizer_folder
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment
from bert_jax.jobs.pretrain import open_data
from bert_jax.report.records import read_metrics, read_run
from bert_jax.train.goodput import PHASES
from bert_jax.workdir import Workdir

SETTINGS = fuzzing.settings(100)

RUN = {
  'seed': 0,
  'best_epoch': 2,
  **{'accuracy': 0.5, 'macro_f1': 0.4, 'matthews': 0.1, 'eval_loss': 1.0},
  'per_class': {
    label: {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'support': 2}
    for label in ('a', 'b')
  },
  'confusion': [[1, 1], [1, 1]],
  'details': {
    'hits': '0110',
    'bins': [{'count': 4, 'probability': 0.9, 'accuracy': 0.5}],
    'ece': 0.4,
    'worst': [
      {
        'origin': 'eval.tsv:1',
        'text': 't',
        'true': 'a',
        'predicted': 'b',
        'probability_of_predicted': 0.9,
        'probability_of_true': 0.1,
      }
    ],
  },
}
FILES = {
  'config.json': encode(
    FinetuneExperiment(num_epochs=2, batch_size=4, tokenizer='x')
  )
  | {'num_steps': 9, 'data': {'path': 'CORPUS', 'row_length': 32}},
  'starts.jsonl': {
    'time': 1.7e9,
    'command': ['bert-jax', 'finetune'],
    'versions': {'jax': '0.1'},
    'devices': ['cpu:0'],
    'host': 'here',
  },
  'metrics/part-0.jsonl': {
    'kind': 'eval',
    'step': 5,
    'seed': 0,
    'mlm_loss': 1.0,
    'perplexity': 2.7,
    'epoch': 1,
  },
  'fill_mask.json': [
    {'text': 't', 'predictions': [[{'token': 'a', 'probability': 0.5}]]}
  ],
  'goodput.json': {
    'starts': [
      {
        'began': 1.7e9,
        'seconds': dict.fromkeys(PHASES, 2.5),
        'first_step': 0,
        'last_step': 9,
        'step_seconds_at': {'5': 1.5},
      }
    ]
  },
  'results.json': {
    'labels': ['a', 'b'],
    'label_counts': {'train': {'a': 3, 'b': 1}, 'eval': {'a': 2, 'b': 2}},
    'notes': ['warning: b has one example'],
    'init_from': '',
    'eval_path': 'eval.tsv',
    'num_eval': 4,
    'metric': 'accuracy',
    'eval_sha256': 'ab',
    'num_train': 4,
    'best_seed': 0,
    'config': {'learning_rate': 1e-4, 'num_epochs': 2},
    'rows': {
      'lengths': [8, 16],
      'padding_share': {'train': 0.2, 'eval': 0.1},
      'cut': {'train': {'cut to max_length=16 tokens': 1}, 'eval': {}},
    },
    'runs': [RUN],
    'summary': {'accuracy': {'mean': 0.5, 'std': 0.0}},
  },
}
JUNK = st.sampled_from(
  [
    *(None, True, -1, 2.5, 10**400, 1e308, float('nan'), float('inf')),
    *('', 'x' * 5000, '\ud800', '..', [], [[]], ['a'], {}, {'a': 1}),
  ]
)


@pytest.fixture
def corpus(small_corpus, tmp_path):
  return shutil.copytree(small_corpus, tmp_path / 'corpus')


@pytest.mark.parametrize(
  'name',
  [
    *('32', 'eval', 'eval/32', '32/manifest.json', 'eval/32/manifest.json'),
    *('tokenizer', 'tokenizer/vocab.txt', 'tokenizer/tokenizer_config.json'),
  ],
)
def test_a_corpus_that_links_out_of_itself(
  corpus, small_experiment, tmp_path, name
):
  (corpus / name).rename(tmp_path / 'elsewhere')
  (corpus / name).symlink_to(tmp_path / 'elsewhere')
  small_experiment.data.path = str(corpus)
  with pytest.raises(InputError, match=f'{name}: a link that leads out'):
    with open_data(small_experiment):
      pass


def test_a_corpus_that_is_a_link_is_fine(corpus, small_experiment, tmp_path):
  (tmp_path / 'link').symlink_to(corpus)
  small_experiment.data.path = str(tmp_path / 'link')
  with open_data(small_experiment):
    pass


def test_links_in_a_circle(corpus, small_experiment):
  small_experiment.data.path = str(corpus)
  path = corpus / '32' / 'manifest.json'
  path.unlink()
  path.symlink_to(path.name)
  with pytest.raises(InputError, match='manifest.json: '):
    with open_data(small_experiment):
      pass


def test_a_tokenizer_config_runs_no_class_and_opens_no_file(
  small_tokenizer, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'evil.py').write_text('raise SystemExit')
  (tmp_path / 'vocab.txt').write_text('secret\n')
  small_tokenizer.save(tmp_path / 'tokenizer')
  path = tmp_path / 'tokenizer' / 'tokenizer_config.json'
  config = {
    'do_lower_case': True,
    'auto_map': {'AutoTokenizer': ['evil.Tokenizer', None]},
    'vocab_file': '../vocab.txt',
    'name_or_path': '..',
    '_type': 'os.system',
  }
  path.write_text(json.dumps(config))
  tokenizer = load_tokenizer(tmp_path / 'tokenizer')
  assert tokenizer.fingerprint == small_tokenizer.fingerprint
  path.write_text(json.dumps(config | {'tokenizer_class': 'evil.Tokenizer'}))
  with pytest.raises(InputError, match="tokenizer_class is 'evil.Tokenizer'"):
    load_tokenizer(tmp_path / 'tokenizer')
  path.write_text('{"kind": "evil.Tokenizer"}')
  with pytest.raises(InputError, match="kind 'evil.Tokenizer' is not known"):
    load_tokenizer(tmp_path / 'tokenizer')


TOKENIZER_FILES = {
  'config.json': {'model_type': 'bert', 'tokenizer_class': None},
  'tokenizer_config.json': {
    'do_lower_case': True,
    'strip_accents': None,
    'bos_token': '[E1]',
    'mask_token': {'content': '[MASK]', 'lstrip': True},
    'additional_special_tokens': ['[E1]', {'content': '[E2]'}],
    'extra_special_tokens': {'x_token': '[E3]'},
    'never_split': [],
    'never': {'0': 1},
  },
  'added_tokens.json': {'[E1]': 160, '[E2]': 161},
  'special_tokens_map.json': {'mask_token': '[MASK]', 'eos_token': '[E1]'},
  'tokenizer.json': {
    'added_tokens': [{'id': 160, 'content': '[E1]', 'special': True}],
    'normalizer': {'type': 'BertNormalizer', 'clean_text': True},
    'pre_tokenizer': {'type': 'BertPreTokenizer'},
    'model': {'type': 'WordPiece', 'vocab': {'[PAD]': 0, '[UNK]': 1}},
  },
}


@hypothesis.given(data=st.data())
@SETTINGS
def test_files_beside_a_vocabulary_load_or_are_one_line(
  small_tokenizer, tmp_path, data
):
  small_tokenizer.save(tmp_path)
  (tmp_path / 'tokenizer_config.json').unlink()
  names = data.draw(
    st.sets(st.sampled_from(sorted(TOKENIZER_FILES)), min_size=1)
  )
  for name in TOKENIZER_FILES:
    (tmp_path / name).unlink(missing_ok=True)
  junk = data.draw(st.sampled_from(sorted(names)))
  for name in names:
    text = json.dumps(TOKENIZER_FILES[name])
    if name == junk:
      text = data.draw(damaged(TOKENIZER_FILES[name]))
    (tmp_path / name).write_bytes(text.encode(errors='surrogatepass'))
  try:
    load_tokenizer(tmp_path).encode_batch(['the [E1] array'])
  except InputError as error:
    one_line(error, 500)


@pytest.mark.parametrize(
  'record', ['{"request": 3}', '{"request": "xy"}', '[]', '[' * 100_000, '']
)
def test_a_folder_that_train_tokenizer_did_not_write(tmp_path, record):
  (tmp_path / 'in.txt').write_text('a text of words\n')
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'training.json').write_text(record)
  with pytest.raises(InputError, match='was not written by train_tokenizer'):
    tokenizer_folder.train_folder(
      open_inputs(str(tmp_path / 'in.txt')),
      kind='wordpiece',
      vocab_size=40,
      lowercase=True,
      output=tmp_path / 'out',
    )


def write_workdir(folder, files) -> Workdir:
  for name, value in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value) + '\n'
    path.write_text(text.replace('CORPUS', str(folder / 'corpus')))
  return Workdir(folder)


@st.composite
def damaged(draw, value):
  """Text of JSON with junk in some place, or cut off."""
  value = copy.deepcopy(value)
  for _ in range(draw(st.integers(1, 2))):
    part = value
    while True:
      names = sorted(part) if isinstance(part, dict) else range(len(part))
      name = draw(st.sampled_from(list(names)))
      inner = part[name]
      if not inner or not isinstance(inner, dict | list) or draw(st.booleans()):
        break
      part = inner
    if draw(st.booleans()) or len(part) == 1:
      part[name] = copy.deepcopy(draw(JUNK))
    else:
      del part[name]
  text = json.dumps(value)
  cut = draw(st.none() | st.integers(0, len(text)))
  return text[:cut] + draw(st.sampled_from(['\n', '', '\n[[', '\n{"a": 1}\n']))


def test_a_report_of_sound_files(tmp_path):
  assert 'accuracy 0.5000' in rendered(write_workdir(tmp_path, FILES))


@hypothesis.given(data=st.data())
@SETTINGS
def test_a_report_of_damaged_files_is_one_or_one_line(tmp_path, data):
  name = data.draw(st.sampled_from(sorted(FILES)))
  junk = data.draw(damaged(FILES[name]))
  workdir = write_workdir(tmp_path, FILES | {name: junk})
  try:
    rendered(workdir)
  except InputError as error:
    one_line(error, 500)


def rendered(workdir) -> str:
  """Writes the report without its figures, which would take long."""
  from bert_jax.report import page, plots

  with pytest.MonkeyPatch.context() as patch:
    for figure in (
      *('curves', 'runs_by_start', 'confusion', 'parts_of_a_whole'),
      'shares',
    ):
      patch.setattr(plots, figure, lambda *args, **kwargs: '<svg>')
    path = page.write_report(workdir.path)
    return path.read_text() + page.summary(workdir.path)


@hypothesis.given(
  lines=st.lists(
    damaged(FILES['metrics/part-0.jsonl'])
    | st.sampled_from(['', '\ufeff', '[' * 20_000, '"kind"', '{"step": 1}'])
    | st.text(max_size=9).map(json.dumps),
    max_size=4,
  )
)
@SETTINGS
def test_metrics_of_any_lines_are_records_or_one_line(tmp_path, lines):
  workdir = write_workdir(tmp_path, FILES | {'metrics/part-0.jsonl': ''})
  text = '\n'.join(lines).encode(errors='surrogatepass')
  (workdir.metrics / 'part-0.jsonl').write_bytes(text)
  try:
    metrics = read_metrics(workdir)
  except InputError as error:
    one_line(error, 500)
  else:
    assert metrics.train or metrics.evals


def test_a_manifest_is_read_from_the_corpus_alone(tmp_path):
  workdir = write_workdir(tmp_path / 'run', FILES)
  rows = tmp_path / 'run' / 'corpus' / '32'
  rows.mkdir(parents=True)
  (tmp_path / 'secret').write_text('{}')
  (rows / 'manifest.json').symlink_to(tmp_path / 'secret')
  with pytest.raises(InputError, match='link that leads out'):
    read_run(workdir.path)
  config = FILES['config.json'] | {'data': {'path': '/', 'row_length': '..'}}
  write_workdir(tmp_path / 'run', {'config.json': config})
  with pytest.raises(InputError, match='row_length .* is not a whole number'):
    read_run(workdir.path)
  os.unlink(rows / 'manifest.json')
  (rows / 'manifest.json').write_text('{"num_rows": "<script>"}')
  write_workdir(tmp_path / 'run', FILES)
  with pytest.raises(InputError, match='manifest.json: num_'):
    read_run(workdir.path)


@pytest.mark.parametrize('results', ['[]', '{}', '{"labels": 3}', '[[[', ''])
def test_results_without_labels_label_nothing(tmp_path, results):
  config = encode(FinetuneExperiment(num_epochs=2, batch_size=4))
  files = {'config.json': config, 'results.json': results}
  workdir = write_workdir(tmp_path, files)
  with pytest.raises(InputError, match='results.json'):
    inference.load(workdir.path)
