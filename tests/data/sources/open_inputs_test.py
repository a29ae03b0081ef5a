"""--input: items, kinds, folders, globs, and what is wrong with them."""

import pytest
from inputs import texts_of

from bert_jax.data.sources import open_inputs
from bert_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
  for name, content in {
    'b.txt': 'b',
    'a.txt': 'a',
    'c.jsonl': '{"text": "c"}',
    'sub/d.md': 'd',
    '.hidden/e.txt': 'no',
    'sub/.f.txt': 'no',
  }.items():
    path = tmp_path / 'in put' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
  return tmp_path / 'in put'


def test_items_are_read_in_the_order_given(folder):
  assert texts_of(f'{folder}/b.txt,{folder}/c.jsonl, {folder}/a.txt') == [
    'b',
    'c',
    'a',
  ]


def test_a_folder_is_read_recursively_in_order(folder):
  (folder / 'sub' / 'e.txt').write_text('e')
  (folder / 'c.jsonl').unlink()
  assert texts_of(str(folder)) == ['a', 'b', 'e']
  assert texts_of(f'text:{folder}') == ['a', 'b', 'd', 'e']


def test_a_glob_is_sorted(folder):
  assert texts_of(f'{folder}/*.txt') == ['a', 'b']
  assert texts_of(f'text:{folder}/**/*.md') == ['d']


def test_a_folder_and_a_file_in_it_by_one_glob_are_read_once(folder):
  (folder / 'c.jsonl').unlink()
  assert sorted(texts_of(f'{folder}/**')) == ['a', 'b']
  assert sorted(texts_of(f'text:{folder}/**')) == ['a', 'b', 'd']


def test_text_files_may_be_said(folder):
  assert texts_of(f'text_files:{folder}/c.jsonl') == ['{"text": "c"}']


def test_a_path_with_a_comma_or_a_colon(tmp_path):
  for name in ('a,b.txt', 'a:b.txt'):
    (tmp_path / name).write_text(name)
    assert texts_of(str(tmp_path / name)) == [name]


def test_joined_sources_describe_themselves(folder):
  source = open_inputs(f'{folder}/*.txt,{folder}/c.jsonl')
  assert source.name == 'text_files+jsonl'
  assert [s['kind'] for s in source.describe()['sources']] == [
    'text_files',
    'jsonl',
  ]
  assert source.size_in_bytes() == 2 + len('{"text": "c"}')
  assert str(folder) not in str(source.describe())


@pytest.mark.parametrize(
  ('spec', 'message'),
  [
    ('', 'names nothing'),
    (' , ', 'names nothing'),
    ('FOLDER/none.txt', r'none\.txt: there is no such file'),
    ('FOLDER/*.csv', r'\*\.csv: no file matches'),
    ('FOLDER/sub/empty', 'there are no files in it'),
    ('doc:a', "'doc' is no kind of input; there are installed_docs.* tfds"),
    ('ftp://host/a.txt', "'ftp' is no kind of input"),
    ('installed_docs:scipy', 'write installed_docs: alone'),
    ('jsonl:', '--input=jsonl:: names nothing'),
  ],
)
def test_what_cannot_be_opened_is_one_clear_line(folder, spec, message):
  (folder / 'sub' / 'empty').mkdir()
  with pytest.raises(InputError, match=message) as error:
    open_inputs(spec.replace('FOLDER', str(folder)))
  assert '\n' not in str(error.value)


def test_an_unknown_unit_is_an_error(folder):
  with pytest.raises(InputError, match='--document=word: is none of file'):
    open_inputs(f'{folder}/a.txt', document='word')
