"""train_tokenizer's folder: whole or not at all, and made once."""

import importlib.util
import json
import re

import pytest

from bert_jax import durable_files
from bert_jax.data.sources import open_inputs
from bert_jax.data.tokenizers import folder, load_tokenizer, training
from bert_jax.errors import InputError


@pytest.fixture
def text(tmp_path):
  path = tmp_path / 'in.txt'
  path.write_bytes(
    b'the arrays are arranged in an array\xff of arrays '
    + b'the arrays are arranged in an array of arrays ' * 8
  )
  return path


def train(text, output, **changes):
  request = {'kind': 'wordpiece', 'vocab_size': 40, 'lowercase': True}
  return folder.train_folder(
    open_inputs(str(text)), output=output, **(request | changes)
  )


def names(path):
  return sorted(item.name for item in path.iterdir())


def test_folder_and_summary(text, tmp_path):
  output = tmp_path / 'new' / 'tokenizer'
  summary = train(text, output)
  assert f'{output}: wordpiece, 40 entries, uncased' in summary
  assert f'{text}:1: 1 bytes that are not UTF-8' in summary
  assert load_tokenizer(output).table.vocab_size == 40
  assert names(output) == [
    'tokenizer_config.json',
    'training.json',
    'vocab.txt',
  ]
  assert names(output.parent) == ['tokenizer']
  record = json.loads((output / 'training.json').read_text())
  assert record['read_counts'] == {'undecodable_bytes': 1}
  assert 'gives no more than' in train(text, tmp_path / 'b', vocab_size=5000)


@pytest.mark.parametrize('kind', [k for k in folder.KINDS if k != 'wordpiece'])
def test_other_kinds(text, tmp_path, kind):
  changes = {'kind': kind, 'vocab_size': 300, 'lowercase': False}
  assert f': {kind}, ' in train(text, tmp_path / 'out', **changes)
  assert (
    load_tokenizer(tmp_path / 'out').decode(
      load_tokenizer(tmp_path / 'out').encode_batch(['an array'])[0]
    )
    == 'an array'
  )
  assert 'nothing to do' in train(text, tmp_path / 'out', **changes)


def test_unknown_kinds_are_named(text, tmp_path):
  with pytest.raises(InputError, match='--kind=x: choose one of wordpiece, se'):
    train(text, tmp_path / 'out', kind='x')
  # The verb's flag names them without an import.
  spec = importlib.util.find_spec('bert_jax.cli.train_tokenizer')
  choices = re.search(
    r"'kind',\s+'wordpiece',\s+\[([^]]+)]", spec.loader.get_source(spec.name)
  )
  assert tuple(re.findall(r"'(\w+)'", choices[1])) == folder.KINDS


def test_the_same_request_is_left_alone(text, tmp_path, monkeypatch):
  train(text, tmp_path / 'out')
  monkeypatch.delattr(training, 'train_wordpiece')
  assert 'nothing to do' in train(text, tmp_path / 'out')


@pytest.mark.parametrize('change', [{'vocab_size': 50}, {'lowercase': False}])
def test_another_request_is_an_error(text, tmp_path, change):
  train(text, tmp_path / 'out')
  before = (tmp_path / 'out' / 'vocab.txt').read_bytes()
  with pytest.raises(InputError, match=f'another {next(iter(change))}; choose'):
    train(text, tmp_path / 'out', **change)
  text.write_text('another text')
  with pytest.raises(InputError, match='another source'):
    train(text, tmp_path / 'out')
  assert (tmp_path / 'out' / 'vocab.txt').read_bytes() == before


def test_a_folder_of_something_else_is_an_error(text, tmp_path):
  output = tmp_path / 'out'
  output.mkdir()
  (output / 'precious.txt').write_text('x')
  with pytest.raises(InputError, match='was not written by train_tokenizer'):
    train(text, output)
  assert names(output) == ['precious.txt']


def test_an_empty_folder_is_used(text, tmp_path):
  (tmp_path / 'out').mkdir()
  train(text, tmp_path / 'out')
  assert load_tokenizer(tmp_path / 'out')


def test_killed_before_the_end_leaves_no_folder(text, tmp_path, monkeypatch):
  def killed(*unused):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(durable_files, 'publish_folder', killed)
    with pytest.raises(KeyboardInterrupt):
      train(text, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
  train(text, tmp_path / 'out')
  assert names(tmp_path) == ['in.txt', 'out']


def test_two_at_once_are_refused(text, tmp_path):
  with durable_files.exclusive_lock(tmp_path / 'out.lock', 'x'):
    with pytest.raises(InputError, match='out is in use by process'):
      train(text, tmp_path / 'out')


def test_a_damaged_folder_is_named(text, tmp_path):
  train(text, tmp_path / 'out')
  (tmp_path / 'out' / 'vocab.txt').write_text('[PAD]\n')
  with pytest.raises(InputError, match='lacks the special tokens'):
    train(text, tmp_path / 'out')
