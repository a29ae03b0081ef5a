"""prepare --verify: unchanged corpora pass, and what changed is named."""

import json
import shutil

import pytest
from other_process import verb

from bert_jax.data import progress
from bert_jax.data.preparing.verify import verify_corpus
from bert_jax.errors import InputError


@pytest.fixture
def corpus(small_corpus, tmp_path):
  """A copy that may be damaged."""
  return shutil.copytree(small_corpus, tmp_path / 'corpus')


def verify(folder):
  return list(verify_corpus(folder, progress=False))


def shard_of(folder):
  return next(folder.glob('rows-*.npy'))


def flip(path):
  """One bit of the last row."""
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)


def test_a_line_for_each_part_and_one_for_all(corpus):
  *parts, whole = verify(corpus)
  assert [line.partition(':')[0] for line in parts] == ['32', 'eval/32']
  assert all(line.endswith('in 1 shard: unchanged') for line in parts)
  assert '2 parts' in whole


def test_a_part_alone(corpus):
  assert 'unchanged' in verify(corpus / '32')[0]
  shutil.copytree(corpus / 'eval/32', corpus.parent / 'copied/32')
  assert verify(corpus.parent / 'copied')[0].startswith('32: ')


@pytest.mark.parametrize('part', ['32', 'eval/32'])
def test_a_changed_shard_is_named(corpus, part):
  flip(shard_of(corpus / part))
  with pytest.raises(InputError, match=f'{part}/rows-00000.*has changed since'):
    verify(corpus)


def test_what_is_missing_is_named(corpus):
  shard_of(corpus / '32').unlink()
  with pytest.raises(InputError, match='32/rows-00000.*the shard is missing'):
    verify(corpus)
  shutil.rmtree(corpus / 'eval')
  shutil.rmtree(corpus / '32')
  with pytest.raises(InputError, match='corpus/32: not a prepared corpus'):
    verify(corpus)


def test_a_part_that_the_record_does_not_name_is_read_too(corpus):
  shutil.copytree(corpus / '32', corpus / '64')
  flip(shard_of(corpus / '64'))
  with pytest.raises(InputError, match='corpus/64/rows-'):
    verify(corpus)


def test_another_tokenizer_is_named(corpus):
  path = corpus / 'tokenizer' / 'vocab.txt'
  path.write_text(path.read_text() + 'more\n')
  with pytest.raises(InputError, match='tokenizer'):
    verify(corpus)


@pytest.mark.parametrize(
  ('record', 'what'),
  [
    ('{', 'is damaged'),
    ('{"summary": {"parts": [{"folder": "../x"}]}}', "'../x' is not the"),
    ('{"summary": {"parts": [{"folder": 3}]}}', "'3' is not the folder"),
    (json.dumps({'summary': {}}), 'is damaged'),
  ],
)
def test_a_damaged_record(corpus, record, what):
  (corpus / 'prepare.json').write_text(record)
  with pytest.raises(InputError, match=f'prepare.json: .*{what}'):
    verify(corpus)


def test_no_corpus(tmp_path):
  with pytest.raises(InputError, match='there is no such folder'):
    verify(tmp_path / 'gone')
  with pytest.raises(InputError, match='is not a prepared corpus; give'):
    verify(tmp_path)


def test_lines_in_a_log(corpus, monkeypatch, capsys):
  monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0)
  list(verify_corpus(corpus, progress=True))
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 2
  assert all(line.startswith('verify: 0 of 0 MB') for line in lines)


def test_the_command(corpus):
  folder = corpus.parent
  done = verb(folder, 'prepare', '--verify=corpus')
  assert len(done.stdout.splitlines()) == 3
  flip(shard_of(corpus / '32'))
  done = verb(folder, 'prepare', '--verify=corpus', status=2)
  assert 'the content has changed' in done.stderr
  assert done.stderr.count('\n') == 1
  done = verb(folder, 'prepare', '--verify=corpus', '--output=x', status=2)
  assert 'leave --output out' in done.stderr
  done = verb(folder, 'prepare', '--output=x', status=2)
  assert done.stderr == (
    'bert-jax prepare: --tokenizer is missing; give --tokenizer=...\n'
  )
