"""A source of a user's own: one file in their folder, named by `python:`."""

import json
import os
import sys

import pytest
from other_process import ROOT, verb

from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.errors import InputError

LETTERS = '''
"""Letters of a club, one for each year."""

from bert_jax.data.sources.base import Document


class Letters:
  name = 'letters'
  years = range(1900, 1940)

  def documents(self, report):
    for year in self.years:
      yield Document(f'The letter of {year} tells of the sum', f'letter {year}')

  def describe(self):
    return {'years': [self.years.start, self.years.stop]}

  def size_in_bytes(self):
    return 0


def words():
  return ['no', 'source']


class Numbers(Letters):
  def documents(self, report):
    yield from self.years
'''


@pytest.fixture
def letters(tmp_path, monkeypatch):
  (tmp_path / 'letters.py').write_text(LETTERS)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.delitem(sys.modules, 'letters', raising=False)
  yield tmp_path
  sys.modules.pop('letters', None)


def prepare(folder, tokenizer, status=0):
  return verb(
    folder,
    *('prepare', '--row_length=32', '--input=python:letters:Letters'),
    *(f'--tokenizer={tokenizer}', f'--output={folder / "corpus"}'),
    *('--eval_fraction=0', '--workers=1'),
    status=status,
    PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]),
  )


def test_prepare_reads_it_and_knows_it_again(letters, small_corpus):
  tokenizer = small_corpus / 'tokenizer'
  prepare(letters, tokenizer)
  record = json.loads((letters / 'corpus' / 'prepare.json').read_text())
  source = record['request']['source']
  assert source['source'] == {'years': [1900, 1940]}
  assert source['function']['name'] == 'letters:Letters'
  rows = letters / 'corpus' / '32' / 'rows-00000-of-00001.npy'
  before = rows.stat()
  prepare(letters, tokenizer)
  assert rows.stat() == before
  path = letters / 'letters.py'
  path.write_text(path.read_text().replace('1940', '1950'))
  refused = prepare(letters, tokenizer, status=2)
  assert 'source was another one' in refused.stderr


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('letters', 'give MODULE:FUNCTION'),
    ('post:Letters', "No module named 'post'; put its folder on PYTHONPATH"),
    ('letters:Cards', 'letters has no such function'),
    ('letters:words', 'what it returns has no method documents'),
  ],
)
def test_what_is_no_source(letters, name, message):
  with pytest.raises(InputError, match=message):
    open_inputs(f'python:{name}')


def test_what_is_no_document(letters):
  source = open_inputs('python:letters:Numbers')
  with pytest.raises(InputError, match='it yields a int that is no'):
    list(source.documents(ReadReport()))


def test_flags_of_other_sources_are_refused(letters):
  with pytest.raises(InputError, match='which is read as a source of your own'):
    open_inputs('python:letters:Letters', text_field='body')
