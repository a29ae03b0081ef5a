"""A file is read in the form that it has, or refused; never as prose instead.

| input | right |
|---|---|
| C4's .json.gz, .json as an array, .ndjson | an object is a document |
| .csv, .tsv, Orange's .tab | a value of the column is a document |
| .arrow of save_to_disk and of IPC files | a cell of the column is a document |
| wiki_00 with <doc> or with JSON lines | an article is a document |
| .md, .xml.bz2, .zip, part-00000, ... | refused, with the way out |
| an archive, Parquet or a git-lfs pointer that is called .txt | refused |
| JSON lines, HTML or <doc> that is called .txt | refused, but by text:PATH |
"""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from inputs import texts_of

from bert_jax.data.sources import open_inputs
from bert_jax.errors import InputError

TEXTS = ['A baker sold "one" kettle.', 'zwölf,\nnear the harbour']
LINES = ''.join(json.dumps({'n': 1, 'text': text}) + '\n' for text in TEXTS)
ARTICLE = '<doc id="{}" url="https://a.b" title="{}">\n{}\n\n</doc>\n'
ARTICLES = ''.join(ARTICLE.format(n, n, text) for n, text in enumerate(TEXTS))


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def arrow_bytes(make, **columns):
  file, table = io.BytesIO(), pa.table(columns)
  with make(file, table.schema) as writer:
    writer.write_table(table)
  return file.getvalue()


FORMS = {
  'c4-train.00000-of-00002.json': LINES,
  'lines.ndjson': LINES,
  'array.json': json.dumps([{'text': text} for text in TEXTS], indent=2),
  'array.jsonl': json.dumps([{'text': text} for text in TEXTS]),
  'TABLE.CSV': 'id,text\r\n1,"A baker sold ""one"" kettle."\r\n'
  '2,"zwölf,\nnear the harbour"\r\n',
  'stream.arrow': arrow_bytes(pa.ipc.new_stream, text=TEXTS, n=[1, 2]),
  'file.arrow': arrow_bytes(pa.ipc.new_file, n=[1, 2], text=TEXTS),
  'wiki_00': ARTICLES,
  'wiki_01': LINES,
  'c4.00001-of-00002': LINES,
}
PACKERS = {
  '': bytes,
  '.gz': gzip.compress,
  '.xz': lzma.compress,
  '.zst': zstandard.compress,
}


@pytest.mark.parametrize('packing', PACKERS)
@pytest.mark.parametrize('name', FORMS)
def test_the_form_is_known(tmp_path, name, packing):
  content = FORMS[name]
  content = content if isinstance(content, bytes) else content.encode()
  path = write(tmp_path / f'{name}{packing}', PACKERS[packing](content))
  assert texts_of(path) == TEXTS
  assert open_inputs(str(path)).size_in_bytes() > 0


@pytest.mark.parametrize(
  ('name', 'content', 'field'),
  [
    ('a.tsv', 'label\ttext\n0\tHe said "no.\n1\ttwo\n', 'text'),
    ('a.tab', 'label\ttext\n0\tHe said "no.\n1\ttwo\n', 'text'),
    (
      'a.tab',
      'Category\tText\nd\tstring\nclass\t\n\nx\tHe said "no.\ny\ttwo\n',
      'Text',
    ),
    ('a.tab', 'Text\nstring\nmeta\nHe said "no.\ntwo\n', 'Text'),
  ],
)
def test_tables_with_tabs(tmp_path, name, content, field):
  path = write(tmp_path / name, content)
  assert texts_of(path, text_field=field) == ['He said "no.', 'two']


@pytest.mark.parametrize(
  ('name', 'way_out'),
  [
    ('README.md', 'text:PATH as plain text'),
    ('wiki.train.tokens', 'text:PATH as plain text'),
    ('train.en', 'text:PATH as plain text'),
    ('enwik8', 'text:PATH as plain text'),
    ('part-00000', 'text:PATH as plain text'),
    ('a.txt.bz2', 'unpack it, or pack it as .gz'),
    ('c4.json.lz4', 'unpack it, or pack it as .gz'),
    ('a.tar.gz', 'unpack it, and name what is in it'),
    ('a.ZIP', 'unpack it, and name what is in it'),
    ('enwiki-articles.xml.bz2', 'by WikiExtractor'),
    ('a.html', 'extract its text first'),
    ('a.pdf', 'extract its text first'),
    ('a.xlsx', r'write it as .parquet, .csv or .jsonl'),
    ('a.array_record-00000-of-00001', 'tfds:NAME'),
  ],
)
def test_an_unknown_ending_is_refused(tmp_path, name, way_out):
  path = write(tmp_path / name, 'some words\n')
  with pytest.raises(InputError) as error:
    texts_of(path)
  message = str(error.value)
  assert message.startswith(f'{path}: ') and '\n' not in message
  assert way_out.replace('PATH', str(path)) in message


def tar():
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w') as archive:
    archive.addfile(tarfile.TarInfo('a.txt'))
  return file.getvalue()


def parquet():
  file = io.BytesIO()
  pq.write_table(pa.table({'text': ['a']}), file)
  return file.getvalue()


POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'


@pytest.mark.parametrize(
  ('content', 'what'),
  [
    (gzip.compress(b'text', mtime=0), 'is gzip data, .*ending .gz'),
    (bz2.compress(b'text'), 'is bzip2 data'),
    (zstandard.compress(b'text'), 'is Zstandard data'),
    (tar(), 'is a tar archive'),
    (parquet(), 'is Parquet, no text; read it as parquet:'),
    (FORMS['stream.arrow'], 'is Arrow, no text'),
    (b'PK\x03\x04' + b'a' * 60, 'is a zip archive'),
    (b'%PDF-1.7\n', 'is a PDF file'),
    (POINTER.encode(), 'is a pointer of git-lfs.*git lfs pull'),
  ],
)
@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl', 'a.csv', 'a.txt.gz'])
def test_another_form_under_the_ending_of_text(tmp_path, name, content, what):
  packed = gzip.compress(content) if name.endswith('.gz') else content
  path = write(tmp_path / name, packed)
  for spec in (path, f'text:{path}'):
    with pytest.raises(InputError, match=what):
      texts_of(spec)


@pytest.mark.parametrize('name', ['a.parquet', 'a.arrow'])
def test_a_pointer_under_the_ending_of_a_binary_form(tmp_path, name):
  with pytest.raises(InputError, match='pointer of git-lfs.*git lfs pull'):
    texts_of(write(tmp_path / name, POINTER))


@pytest.mark.parametrize(
  ('content', 'what'),
  [
    (LINES, 'begins as JSON lines; read it as jsonl:'),
    (ARTICLES, "begins as WikiExtractor's output; read it as wiki:"),
    ('<!DOCTYPE html>\n<html><body>404</body>', 'begins as HTML'),
    ('<?xml version="1.0"?>\n<mediawiki>', 'begins as XML'),
  ],
)
def test_text_of_another_form_is_read_as_it_stands_if_so_said(
  tmp_path, content, what
):
  path = write(tmp_path / 'a.txt', content)
  with pytest.raises(InputError, match=what):
    texts_of(path)
  assert texts_of(f'text:{path}') == [content.strip()]


def test_a_kind_may_be_stated(tmp_path):
  path = write(tmp_path / 'data', 'some words\n')
  assert (
    texts_of(f'text:{path}') == texts_of(f'text_files:{path}') == ['some words']
  )
  path = write(tmp_path / 'lines.dat', LINES)
  assert texts_of(f'jsonl:{path}') == TEXTS
  path = write(tmp_path / 'table.dat', 'text\none\n')
  for kind in ('csv', 'tsv', 'tab'):
    assert texts_of(f'{kind}:{path}') == ['one']
  path = write(tmp_path / 'articles.dat', ARTICLES)
  assert texts_of(f'wiki:{path}') == TEXTS
  path = write(tmp_path / 'arrow.dat', FORMS['file.arrow'])
  assert texts_of(f'arrow:{path}') == TEXTS


def test_json_of_one_value_is_no_record(tmp_path):
  for name, content, what in (
    ('number.json', '5', 'int, not an object'),
    ('names.json', '["a", "b"]', 'str, not an object'),
    ('squad.json', '{"data": [{"text": "a"}]}', "name one.*'data'"),
    ('object.json', '{\n  "text": "a"\n}\n', 'JSON objects over several lines'),
    ('cut.json', '[{"text": "a"}, {"text": "b', 'no well-formed JSON array'),
    ('more.json', '[{"text": "a"}]\n{}', 'something follows the array'),
  ):
    with pytest.raises(InputError, match=what):
      texts_of(write(tmp_path / name, content))


def test_the_help_names_every_ending_and_kind():
  from bert_jax.cli import flags, train_tokenizer
  from bert_jax.data.sources import forms

  page = flags.help_text('train_tokenizer', train_tokenizer)
  words = {*re.findall(r'\.?\w+', page)}
  # Another spelling of .jsonl.
  assert {*forms.TITLES, *forms.BY_ENDING} - words == {'.jsonlines'}
