"""Input that has changed under a finished corpus or tokenizer.

| what                                         | right                       |
|----------------------------------------------|-----------------------------|
| other text of as many bytes, in each form    | refused, the file is named  |
| lower-cased in place, lines shuffled         | refused                     |
| a file of another folder, same name and size | refused                     |
| a file more, a file less, another order      | refused, says which         |
| renamed, moved or copied, same content       | complete already            |
| a user's function of other code              | refused                     |
| a file that changes while it is read         | nothing is written          |
| a record without content, of an old version  | refused, says so            |
| another object under the same URL            | refused                     |
| other packages under installed_docs:         | refused, says which         |
"""

import gzip
import hashlib
import json
import os
import shutil
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_texts import WORDS, contents, make_texts, run
from storage import FakeStorage

from bert_jax.data.preparing.filters import FilterOptions, filtered
from bert_jax.data.sources import base, content, installed_docs, open_inputs
from bert_jax.data.sources.content import InputFiles
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS
from bert_jax.data.tokenizers.folder import train_folder
from bert_jax.errors import InputError

FIRST = ['w1 w2 w3', 'w4 w5 w6']
OTHER = ['w9 w8 w7', 'w6 w5 w4']


@pytest.fixture
def tokenizer(tmp_path):
  path = tmp_path / 'vocab.txt'
  path.write_text('\n'.join([*SPECIAL_TOKENS, *WORDS, '.']) + '\n')
  return load_tokenizer(path)


@pytest.fixture
def text(tmp_path):
  path = tmp_path / 'in' / 'text.txt'
  path.parent.mkdir()
  path.write_text('\n'.join(make_texts(40)) + '\n')
  return path


def prepared(spec, tokenizer, output, **options):
  """True where it was complete already. Lines of a text are documents."""
  spec = str(spec)
  is_text = not spec.endswith((':', '.jsonl', '.parquet'))
  source = open_inputs(spec, document='line' if is_text else None)
  source = filtered(source, FilterOptions(**options))
  options = {'row_lengths': (16,), 'eval_fraction': 0.0}
  return run(source, tokenizer, output, **options)['already_complete']


def trained(spec, output):
  summary = train_folder(
    open_inputs(str(spec)),
    kind='wordpiece',
    vocab_size=60,
    lowercase=True,
    output=output,
  )
  return 'nothing to do' in summary


def write_parquet(path, texts):
  # Stored as it is, so that texts of equal length make files of equal size.
  pq.write_table(pa.table({'text': texts}), path, compression='none')


WRITERS = {
  'text.txt': lambda path, texts: path.write_text('\n'.join(texts)),
  'text.jsonl': lambda path, texts: path.write_text(
    '\n'.join(json.dumps({'text': line}) for line in texts)
  ),
  'text.txt.gz': lambda path, texts: path.write_bytes(
    gzip.compress('\n'.join(texts).encode(), 0, mtime=0)
  ),
  'text.parquet': write_parquet,
}


@pytest.mark.parametrize('name', WRITERS)
def test_other_text_of_as_many_bytes(tmp_path, tokenizer, name):
  path, output = tmp_path / name, tmp_path / 'out'
  WRITERS[name](path, FIRST)
  size = path.stat().st_size
  assert not prepared(path, tokenizer, output)
  assert prepared(path, tokenizer, output)
  before = path.stat()
  WRITERS[name](path, OTHER)
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
  assert path.stat().st_size == size
  with pytest.raises(
    InputError, match=f'the content of {name} has changed; ch'
  ):
    prepared(path, tokenizer, output)
  WRITERS[name](path, FIRST)
  assert prepared(path, tokenizer, output)


@pytest.mark.parametrize(
  'change',
  [
    lambda lines: [line.upper() for line in lines],
    lambda lines: lines[::-1],
    lambda lines: [lines[0].replace('w', 'v'), *lines[1:]],
  ],
)
def test_a_tokenizer_and_a_corpus_of_what_was_there(
  text, tmp_path, tokenizer, change
):
  assert not trained(text, tmp_path / 'tok')
  assert not prepared(text, tokenizer, tmp_path / 'out')
  lines = text.read_text().splitlines()
  text.write_text('\n'.join(change(lines)) + '\n')
  with pytest.raises(InputError, match='another source: .*of text.txt has ch'):
    trained(text, tmp_path / 'tok')
  with pytest.raises(InputError, match='was another one: .*of text.txt has ch'):
    prepared(text, tokenizer, tmp_path / 'out')


def test_a_file_of_another_folder(text, tmp_path, tokenizer):
  prepared(text, tokenizer, tmp_path / 'out')
  trained(text, tmp_path / 'tok')
  other = tmp_path / 'other' / 'text.txt'
  other.parent.mkdir()
  other.write_text(text.read_text().replace('w1', 'w2'))
  for work in (
    lambda: prepared(other, tokenizer, tmp_path / 'out'),
    lambda: trained(other, tmp_path / 'tok'),
  ):
    with pytest.raises(InputError, match='the content of text.txt has changed'):
      work()


def test_files_that_come_go_and_change_places(text, tmp_path, tokenizer):
  folder, output = text.parent, tmp_path / 'out'
  for name in ('a', 'b', 'c'):
    (folder / f'{name}.txt').write_text(f'w1 {name}')
  prepared(folder, tokenizer, output)
  a, b = folder / 'a.txt', folder / 'b.txt'
  (folder / 'new.txt').write_text('w3')
  with pytest.raises(InputError, match='new.txt was not among its files'):
    prepared(folder, tokenizer, output)
  (folder / 'new.txt').unlink()
  c = (folder / 'c.txt').read_text()
  (folder / 'c.txt').unlink()
  with pytest.raises(InputError, match='c.txt is not among its files any more'):
    prepared(folder, tokenizer, output)
  (folder / 'c.txt').write_text(c)
  first, second = a.read_text(), b.read_text()
  a.write_text(second)
  b.write_text(first)
  with pytest.raises(InputError, match='in another order, from a.txt on'):
    prepared(folder, tokenizer, output)
  a.write_text(first)
  b.write_text(first)
  with pytest.raises(InputError, match='the content of b.txt has changed'):
    prepared(folder, tokenizer, output)
  b.write_text(second)
  assert prepared(folder, tokenizer, output)


def test_the_same_content_elsewhere(text, tmp_path, tokenizer):
  output = tmp_path / 'out'
  (text.parent / 'a.txt').write_text('w1 w2')
  prepared(text.parent, tokenizer, output)
  trained(text.parent, tmp_path / 'tok')
  copy = shutil.copytree(text.parent, tmp_path / 'copy')
  moved = text.parent.rename(tmp_path / 'moved')
  (moved / 'a.txt').rename(moved / 'a new name.txt')
  for folder in (copy, moved):
    assert prepared(folder, tokenizer, output)
    assert trained(folder, tmp_path / 'tok')


def test_a_rerun_reads_nothing(text, tmp_path, tokenizer, monkeypatch):
  """Once the file is older than the two seconds of its record."""
  prepared(text, tokenizer, tmp_path / 'out')
  monkeypatch.setattr(content, 'SETTLED_NS', -(10**12))
  assert prepared(text, tokenizer, tmp_path / 'out')  # read, and noted
  monkeypatch.delattr(content, '_hash_local')
  assert prepared(text, tokenizer, tmp_path / 'out')


def test_copies_of_the_input_give_the_same_bytes(text, tmp_path, tokenizer):
  copy = shutil.copytree(text.parent, tmp_path / 'copy') / text.name
  os.utime(text, (0, 0))
  prepared(text, tokenizer, tmp_path / 'one')
  prepared(copy, tokenizer, tmp_path / 'two')
  trained(text, tmp_path / 'tok one')
  trained(copy, tmp_path / 'tok two')
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
  assert contents(tmp_path / 'tok one') == contents(tmp_path / 'tok two')


def test_the_record_has_no_folders_and_no_dates(text, tmp_path, tokenizer):
  prepared(text, tokenizer, tmp_path / 'out')
  record = (tmp_path / 'out' / 'prepare.json').read_text()
  assert str(tmp_path) not in record
  assert json.loads(record)['request']['source']['files'] == [
    {
      'name': 'text.txt',
      'bytes': text.stat().st_size,
      'sha256': hashlib.sha256(text.read_bytes()).hexdigest(),
    }
  ]


def test_a_function_of_other_code(text, tmp_path, tokenizer, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  module = tmp_path / 'my_changed_filter.py'
  module.write_text('keep = lambda text: True\n')
  name = 'my_changed_filter:keep'
  prepared(text, tokenizer, tmp_path / 'out', keep=name)
  assert prepared(text, tokenizer, tmp_path / 'out', keep=name)
  module.write_text('keep = lambda text: not text\n')
  monkeypatch.delitem(sys.modules, 'my_changed_filter')
  with pytest.raises(InputError, match='content of filters.keep has changed'):
    prepared(text, tokenizer, tmp_path / 'out', keep=name)


def test_a_segmenter_of_other_code(text, tmp_path, tokenizer, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  module = tmp_path / 'my_changed_words.py'
  module.write_text('words = lambda text: [text]\n')
  options = {'word_segmenter': 'my_changed_words:words'}
  source = open_inputs(str(text), document='line')
  run(source, tokenizer, tmp_path / 'out', **options)
  assert run(source, tokenizer, tmp_path / 'out', **options)['already_complete']
  module.write_text('words = lambda text: list(text)\n')
  with pytest.raises(InputError, match='word_segmenter was .*sha256'):
    run(source, tokenizer, tmp_path / 'out', **options)


@pytest.mark.parametrize('verb', ['prepare', 'train_tokenizer'])
def test_a_file_that_changes_while_it_is_read(
  text, tmp_path, tokenizer, monkeypatch, verb
):
  def work():
    if verb == 'prepare':
      return prepared(text, tokenizer, tmp_path / 'out')
    return trained(text, tmp_path / 'out')

  bounded = base.bounded_documents

  def changing(*arguments):
    yield from bounded(*arguments)
    text.write_text(text.read_text().replace('w1', 'w2'))

  with monkeypatch.context() as patch:
    patch.setattr(base, 'bounded_documents', changing)
    with pytest.raises(
      InputError, match='text.txt: has changed while it was b'
    ):
      work()
  assert not (tmp_path / 'out').exists()
  assert not work() and work()


@pytest.mark.parametrize('verb', ['prepare', 'train_tokenizer'])
def test_the_record_of_an_earlier_version(text, tmp_path, tokenizer, verb):
  def work():
    if verb == 'prepare':
      return prepared(text, tokenizer, tmp_path / 'out')
    return trained(text, tmp_path / 'out')

  work()
  names = {'prepare': 'prepare.json', 'train_tokenizer': 'training.json'}
  path = tmp_path / 'out' / names[verb]
  record = json.loads(path.read_text())
  for file in record['request']['source']['files']:
    del file['sha256']
  path.write_text(json.dumps(record))
  with pytest.raises(InputError, match='by an earlier version, which did not'):
    work()
  text.write_text('w1 w2')
  with pytest.raises(InputError, match='the content of text.txt has changed'):
    work()


CHECKSUMS = {
  'md5Hash': lambda data: hashlib.md5(data).hexdigest(),
  'crc32c': lambda data: str(sum(data) % 97 + len(data)) + data[-9:].hex(),
  'ETag': lambda data: f'"{hashlib.md5(data).hexdigest()}-2"',
}


@pytest.mark.parametrize('kind', [*CHECKSUMS, ''])
def test_another_object_at_the_same_url(
  storage, tmp_path, tokenizer, monkeypatch, kind
):
  """By the checksum of the storage; by reading where it has none."""
  info = FakeStorage.info

  def with_checksum(self, path, **options):
    found = dict(info(self, path, **options))
    if kind and found['type'] == 'file':
      found[kind] = CHECKSUMS[kind](self.cat_file(path))
    return found

  monkeypatch.setattr(FakeStorage, 'info', with_checksum)
  url = 'gs://bucket/in/text.txt'
  storage.pipe(url, '\n'.join(FIRST).encode())
  assert not prepared(url, tokenizer, tmp_path / 'out')
  assert prepared(url, tokenizer, tmp_path / 'out')
  storage.pipe(url, '\n'.join(OTHER).encode())
  what = (
    'text.txt has another ETag' if kind == 'ETag' else 'content of text.txt'
  )
  with pytest.raises(InputError, match=what):
    prepared(url, tokenizer, tmp_path / 'out')
  local = tmp_path / 'text.txt'
  local.write_text('\n'.join(FIRST))
  if kind:
    with pytest.raises(InputError, match='which cannot be compared'):
      prepared(local, tokenizer, tmp_path / 'out')
  else:
    assert prepared(local, tokenizer, tmp_path / 'out')


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A file that stands in for all that is installed."""
  path = tmp_path / 'module.py'
  words = ' '.join(WORDS[:9])
  path.write_text(f'"""{words} one."""\n')
  reading = installed_docs.read_packages.__wrapped__
  entry = installed_docs.Entry('numpy', 'numpy.core', words, 1)
  monkeypatch.setattr(
    installed_docs, '_read_all', lambda: reading(())._replace(entries=(entry,))
  )
  monkeypatch.setattr(
    installed_docs,
    'installed_files',
    lambda unused: {'numpy': InputFiles({'numpy.core': str(path)})},
  )
  versions = {'python': '3.13.0', 'numpy': '2.0'}
  monkeypatch.setattr(
    installed_docs, 'installed_versions', lambda *unused: versions
  )
  return path, versions


def test_other_packages_under_installed_docs(package, tmp_path, tokenizer):
  path, versions = package
  assert not prepared('installed_docs:', tokenizer, tmp_path / 'out')
  assert prepared('installed_docs:', tokenizer, tmp_path / 'out')
  text = path.read_text()
  path.write_text(text.replace('one', 'two'))
  with pytest.raises(InputError, match='content of installed.numpy has chang'):
    prepared('installed_docs:', tokenizer, tmp_path / 'out')
  versions['numpy'] = '2.1'
  with pytest.raises(InputError, match='packages.numpy was "2.0", now "2.1"'):
    prepared('installed_docs:', tokenizer, tmp_path / 'out')
  path.write_text(text)
  versions['numpy'] = '2.0'
  assert prepared('installed_docs:', tokenizer, tmp_path / 'out')


def test_all_of_installed_docs_is_described():
  source = installed_docs.InstalledDocs()
  found = content.Contents({}, 0).identify(source.describe())
  assert found['installed'].keys() > {'numpy', 'jax', 'stdlib'}
  assert all(len(part['sha256']) == 64 for part in found['installed'].values())
