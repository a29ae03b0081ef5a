"""A folder is read as its data; the rest is named, a mixture is refused.

| folder | right |
|---|---|
| a cloned data set: README, LICENSE, JSON, Parquet | the Parquet |
| save_to_disk: state.json, dataset_info.json, Arrow | the Arrow |
| the same, after map(): cache-*.arrow | the Arrow without it |
| Spark's: _SUCCESS, .crc, _committed_1 | the shards |
| a list of checksums called .txt | the text without it |
| pointers of git-lfs, packed and plain | refused, with `git lfs pull` |
| text and JSON lines | refused, with the way out |
| no file of a known form | refused, with the way out |
| 1 note and 2 MB that cannot be read | refused |
| text:FOLDER of a program | all but what is no text, endings counted |
"""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inputs import read_texts

from bert_jax.data.sources import open_inputs
from bert_jax.errors import InputError

LINE = '{"text": "one"}\n'


def fill(folder, contents):
  for name, content in contents.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
      content if isinstance(content, bytes) else content.encode()
    )
  return folder


def left_out(report):
  """The names of what a report says was left out."""
  notes = '\n'.join(report.notes).partition('left out: ')[2].splitlines()[1:]
  return {line.partition(': ')[0].rpartition('/')[2] for line in notes}


def test_a_cloned_data_set(tmp_path):
  beside = {
    'README.md': '# A data set',
    'LICENSE.txt': 'MIT',
    'requirements.txt': 'datasets',
    'dataset_infos.json': json.dumps({'default': {'text': 'string'}}),
    '.gitattributes': '*.parquet filter=lfs',
  }
  fill(tmp_path, beside | {'.git/HEAD': 'ref'})
  (tmp_path / 'data').mkdir()
  for split in ('train', 'test'):
    pq.write_table(
      pa.table({'text': [split]}), tmp_path / 'data' / f'{split}-0.parquet'
    )
  texts, report = read_texts(tmp_path)
  assert texts == ['test', 'train']
  assert report.notes[:4] == [
    f'{tmp_path}: read as Parquet: 2 files (.parquet 2)',
    '  of a test or validation split by name: 1 file, read as the others; a '
    'glob leaves them out',
    f'    {tmp_path}/data/test-0.parquet',
    '  left out: 6 files',
  ]
  assert not report.counts
  assert left_out(report) <= beside.keys() | {'.git'}


def test_what_save_to_disk_writes(tmp_path):
  fill(tmp_path, {'state.json': '{}', 'dataset_info.json': '{"a": 1}'})
  table = pa.table({'text': ['one', 'two']})
  with pa.ipc.new_stream(tmp_path / 'data-0.arrow', table.schema) as writer:
    writer.write_table(table)
  texts, report = read_texts(tmp_path)
  assert texts == ['one', 'two']
  assert left_out(report) == {'state.json', 'dataset_info.json'}


def test_settings_and_lists_beside_json_lines(tmp_path):
  fill(
    tmp_path,
    {
      '0.json': LINE,
      '1.json': json.dumps([{'text': 'two'}]),
      'my_config.json': '{"lr": 1}',
      'label_map.json': '{\n "a": 0\n}',
      'classes.json': '["a", "b"]',
    },
  )
  texts, report = read_texts(tmp_path)
  assert texts == ['one', 'two']
  assert left_out(report) == {
    'my_config.json',
    'label_map.json',
    'classes.json',
  }


def test_what_spark_writes(tmp_path):
  fill(
    tmp_path,
    {
      'part-00000': LINE,
      'part-00001': '',
      'part-00002': LINE,
      '_SUCCESS': '',
      'part-00000.crc': 'x',
    },
  )
  texts, report = read_texts(tmp_path)
  assert texts == ['one', 'one']
  assert left_out(report) == {'_SUCCESS', 'part-00000.crc', 'part-00001'}


@pytest.mark.parametrize(
  ('contents', 'what'),
  [
    ({'a.txt': 'a', 'b.jsonl': LINE}, '1 of plain text .*1 of JSON lines'),
    ({'a.csv': 'text\na\n', 'b.tsv': 'text\na\n'}, '1 of CSV .*1 of TSV'),
    ({'a.txt': 'a', 'b/c.txt': 'c', 'd.csv': 'text'}, '2 of plain text'),
  ],
)
def test_a_mixture_is_refused(tmp_path, contents, what):
  fill(tmp_path, contents)
  with pytest.raises(InputError, match=f'data of several forms: .*{what}'):
    read_texts(tmp_path)
  assert read_texts(f'{tmp_path}/a.*')[0] == ['a']


def test_a_stated_kind_takes_its_files_of_a_mixture(tmp_path):
  fill(tmp_path, {'a.txt': 'a', 'b.jsonl': LINE})
  texts, report = read_texts(f'jsonl:{tmp_path}')
  assert texts == ['one']
  assert left_out(report) == {'a.txt'}


@pytest.mark.parametrize(
  ('contents', 'what'),
  [
    ({'a.md': 'a', 'b.py': 'b'}, r'2 of no known form \(.md 1, .py 1\).*text:'),
    ({'README.txt': 'a'}, '1 about the data'),
    ({'a.array_record-0-of-1': 'a', 'features.json': '{}'}, 'tfds:NAME'),
    (
      {'note.txt': 'a', 'c4.json.lz4': os.urandom(2**21)},
      'most of it would be',
    ),
  ],
)
def test_no_data_is_refused(tmp_path, contents, what):
  fill(tmp_path, contents)
  with pytest.raises(InputError, match=what) as error:
    read_texts(tmp_path)
  assert '\n' not in str(error.value)


def test_the_endings_of_stated_text_are_counted(tmp_path):
  fill(
    tmp_path,
    {
      'a.py': 'print()',
      'b.tex': r'\LaTeX',
      'sub/c.md': '# c',
      'sub/d.md': '# d',
      'Makefile': 'all:',
      'logo.png': b'\x89PNG\r\n\x1a\n\0\0',
    },
  )
  texts, report = read_texts(f'text:{tmp_path}')
  assert sorted(texts) == ['# c', '# d', r'\LaTeX', 'all:', 'print()']
  assert report.notes[0] == (
    f'{tmp_path}: read as plain text: 5 files (.md 2, .py 1, .tex 1, none 1)'
  )
  assert left_out(report) == {'logo.png'}
  assert read_texts(f'text:{tmp_path}/**/*.md')[0] == ['# c', '# d']
  assert read_texts(f'text:{tmp_path}/b.tex')[1].notes == [
    f'{tmp_path}/b.tex: read as plain text: 1 file (.tex 1)'
  ]


def test_empty_shards_are_counted(tmp_path):
  fill(tmp_path, {'0.jsonl': '', '1.jsonl': LINE, '2.jsonl': ''})
  texts, report = read_texts(tmp_path)
  assert texts == ['one']
  assert report.counts == {'empty_files': 2}
  fill(tmp_path, {'1.jsonl': ''})
  with pytest.raises(InputError, match='there is no text in it'):
    read_texts(tmp_path)


def test_linked_folders_are_read_once(tmp_path):
  fill(tmp_path, {'data/a.txt': 'a', 'elsewhere/b.txt': 'b'})
  (tmp_path / 'data' / 'link').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'data' / 'round').symlink_to(tmp_path / 'data')
  assert read_texts(tmp_path / 'data')[0] == ['a', 'b']


def test_what_lies_beside_the_data_changes_no_byte(tmp_path, small_tokenizer):
  from bert_jax.data.preparing.prepare import prepare
  from bert_jax.data.preparing.summary import format_summary

  contents = {'a.txt': 'the array\n' * 20}
  (tmp_path / 'one').mkdir()
  fill(tmp_path / 'one', contents)
  fill(tmp_path / 'other', contents | {'README.md': '#'})
  found = []
  for name in ('one', 'other'):
    output = tmp_path / f'{name} corpus'
    summary = prepare(
      open_inputs(str(tmp_path / name), document='line'),
      small_tokenizer,
      output=output,
      row_lengths=(16,),
      eval_fraction=0.0,
      num_workers=1,
      progress=False,
    )
    paths = sorted(p for p in output.rglob('*') if p.is_file())
    found.append([(p.name, p.read_bytes()) for p in paths])
  assert found[0] == found[1]
  page = format_summary(summary, 'corpus')
  assert 'left out: 1 file\n' in page and 'README.md: about the data' in page


def test_rows_that_map_wrote_once_more(tmp_path):
  table = pa.table({'text': ['one', 'two']})
  for name in (
    'data-00000-of-00001.arrow',
    'cache-0123456789abcdef.arrow',
    'cache-0123456789abcdef_00000_of_00002.arrow',
  ):
    with pa.ipc.new_stream(tmp_path / name, table.schema) as writer:
      writer.write_table(table)
  texts, report = read_texts(tmp_path)
  assert texts == ['one', 'two']
  assert len(left_out(report)) == 2
  assert any('a cache of map() or filter()' in note for note in report.notes)


@pytest.mark.parametrize(
  'name', ['_committed_12', '_started_12', 'af_sha256.txt', 'md5sum.txt']
)
def test_notes_of_the_writer_of_shards(tmp_path, name):
  suffix = '.txt' if name.endswith('.txt') else '.jsonl'
  shard = LINE if suffix == '.jsonl' else 'one'
  fill(tmp_path, {f'part-0{suffix}': shard, name: '{}'})
  texts, report = read_texts(tmp_path)
  assert texts == ['one']
  assert left_out(report) == {name}


@pytest.mark.parametrize(
  'name', ['a.json', 'a.json.gz', 'a.jsonl.zst', 'a.txt.xz', 'a.csv', 'a.arrow']
)
def test_pointers_of_git_lfs(tmp_path, name):
  pointer = (
    'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n'
  )
  fill(tmp_path, {name: pointer, 'README.md': '# A data set'})
  for spec in (tmp_path, tmp_path / name):
    with pytest.raises(InputError, match='pointer of git-lfs.* git lfs pull'):
      read_texts(spec)
