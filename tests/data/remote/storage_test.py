"""gs:// paths, on a storage in memory that stands in for the real one."""

import gzip
import logging
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from inputs import texts_of
from storage import FakeStorage

from bert_jax.data.remote.storage import explained
from bert_jax.data.sources import base, open_inputs
from bert_jax.errors import InputError


def test_files_folders_and_globs(storage):
  for name in ('b.txt', 'a.txt', 'sub/c.md', '.hidden/d.txt', 'sub/.e.txt'):
    storage.pipe(f'gs://bucket/in/{name}', name.encode())
  storage.pipe('gs://bucket/in/d.jsonl', b'{"text": "line"}\n')
  assert texts_of('gs://bucket/in/b.txt') == ['b.txt']
  with pytest.raises(InputError, match='holds data of several forms'):
    texts_of('gs://bucket/in')
  assert texts_of('jsonl:gs://bucket/in') == ['line']
  storage.rm('gs://bucket/in/d.jsonl')
  assert texts_of('gs://bucket/in') == ['a.txt', 'b.txt']
  assert texts_of('gs://bucket/in/') == texts_of('gs://bucket/in')
  assert texts_of('text:gs://bucket/in') == ['a.txt', 'b.txt', 'sub/c.md']
  assert texts_of('gs://bucket/in/*.txt') == ['a.txt', 'b.txt']
  assert texts_of('text:gs://bucket/**/*.md') == ['sub/c.md']
  assert texts_of('text_files:gs://bucket/in/sub/c.md') == ['sub/c.md']
  source = open_inputs('gs://bucket/in/b.txt')
  assert source.describe()['files'] == [{'name': 'b.txt', 'bytes': 5}]
  assert source.size_in_bytes() == 5
  (document,) = source.documents(base.ReadReport())
  assert document.origin == 'gs://bucket/in/b.txt:1'


def test_compressed_files_and_parquet(storage):
  packers = {
    'gz': gzip.compress,
    'xz': lzma.compress,
    'zst': zstandard.ZstdCompressor().compress,
  }
  for ending, pack in packers.items():
    name = f'gs://bucket/a.txt.{ending}'
    storage.pipe(name, pack(b'a text'))
    assert texts_of(name) == ['a text']
    assert open_inputs(name).size_in_bytes() == 6
    storage.pipe(name, pack(b'a text')[:-3])
    with pytest.raises(InputError, match='cannot be read'):
      texts_of(name)
  file = pa.BufferOutputStream()
  pq.write_table(pa.table({'text': ['one', 'two']}), file)
  storage.pipe('gs://bucket/a.parquet', file.getvalue().to_pybytes())
  assert texts_of('gs://bucket/a.parquet') == ['one', 'two']


def test_the_forms_of_files_and_folders(storage):
  file = pa.BufferOutputStream()
  pq.write_table(pa.table({'text': ['one']}), file)
  table = file.getvalue().to_pybytes()
  with pa.BufferOutputStream() as stream:
    with pa.ipc.new_stream(stream, pa.schema({'text': pa.string()})) as writer:
      writer.write_table(pa.table({'text': ['one']}))
    arrow = stream.getvalue().to_pybytes()
  article = b'<doc id="1" url="u" title="t">\none\n</doc>\n'
  for name, content in {
    'repo/README.md': b'#',
    'repo/dataset_infos.json': b'{}',
    'repo/data/a.parquet': table,
    'disk/state.json': b'{}',
    'disk/data-0.arrow': arrow,
    'a.csv': b'text\none\n',
    'a.json.gz': gzip.compress(b'[{"text": "one"}]'),
    **{f'wiki/AA/wiki_0{n}': article for n in range(8)},
  }.items():
    storage.pipe(f'gs://bucket/{name}', content)
  for name in ('repo', 'disk', 'a.csv', 'a.json.gz'):
    assert texts_of(f'gs://bucket/{name}') == ['one']
    assert open_inputs(f'gs://bucket/{name}').size_in_bytes() > 0
  assert texts_of('gs://bucket/wiki') == ['one'] * 8
  assert texts_of('gs://bucket/wiki/*/*_0*') == ['one'] * 8
  with pytest.raises(InputError, match="ending '.md' is of no form"):
    texts_of('gs://bucket/repo/README.md')


@pytest.mark.parametrize('name', ['gone.txt', '*.csv', 'gone/'])
def test_no_such_file(storage, name):
  storage.pipe('gs://bucket/a.txt', b'a')
  with pytest.raises(InputError, match='there is no such file'):
    texts_of(f'gs://bucket/{name}')


@pytest.mark.parametrize('name', ['a.txt', 'a.txt.gz', 'a.parquet'])
@pytest.mark.parametrize(
  ('error', 'what'),
  [
    (RuntimeError('403\nForbidden'), r'\(403 Forbidden\); .*gcloud auth'),
    (ImportError('no gcsfs'), 'pip install gcsfs'),
  ],
)
def test_errors_of_the_storage(storage, monkeypatch, name, error, what):
  storage.pipe(f'gs://bucket/{name}', b'text')
  monkeypatch.setattr(FakeStorage, 'error', error)
  with pytest.raises(InputError, match=what) as raised:
    texts_of(f'gs://bucket/{name}')
  assert '\n' not in str(raised.value)


def test_a_storage_out_of_reach_is_no_missing_file(storage, monkeypatch):
  def info(*unused):
    raise OSError('no route to host')

  monkeypatch.setattr(FakeStorage, 'info', info)
  with pytest.raises(InputError, match=r'\(no route to host\); check the name'):
    texts_of('gs://bucket/a.txt')


def test_the_log_level_of_a_storage_is_the_callers_again(storage):
  logger = logging.getLogger('gcsfs')
  logger.setLevel(logging.INFO)
  try:
    storage.pipe('gs://bucket/a.txt', b'a text')
    with explained('gs://bucket/a'), explained('gs://bucket/b'):
      assert logger.level == logging.CRITICAL
    assert texts_of('gs://bucket/a.txt') == ['a text']
    with pytest.raises(InputError, match='no such file'):
      texts_of('gs://bucket/none.txt')
    assert logger.level == logging.INFO
  finally:
    logger.setLevel(logging.NOTSET)
