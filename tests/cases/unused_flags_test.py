"""A flag that no source of --input uses is an error, never dropped.

| input | flag | right |
|---|---|---|
| plain text | --text_field | refused |
| JSON lines, a table, Parquet, WikiExtractor's | --document | refused |
| anything but tfds: | --data_dir | refused |
| text and JSON lines in one command | both | each uses its own |
"""

import pytest

from bert_jax.data.sources import base, open_inputs
from bert_jax.errors import InputError

FILES = {
  'a.txt': 'one\ntwo\n',
  'a.jsonl': '{"text": "three", "body": "four"}\n',
  'a.csv': 'text\nfive\n',
  'wiki_00': '<doc id="1" url="u" title="t">\nt\n</doc>\n',
}


@pytest.fixture
def folder(tmp_path):
  for name, content in FILES.items():
    (tmp_path / name).write_text(content)
  return tmp_path


@pytest.mark.parametrize(
  ('name', 'flag', 'value'),
  [
    ('a.txt', 'text_field', 'text'),
    ('a.txt', 'data_dir', '/data'),
    ('a.jsonl', 'document', 'line'),
    ('a.jsonl', 'document', 'file'),
    ('a.jsonl', 'data_dir', '/data'),
    ('a.csv', 'document', 'paragraph'),
    ('wiki_00', 'document', 'line'),
    ('wiki_00', 'text_field', 'text'),
  ],
)
def test_it_is_named(folder, name, flag, value):
  what = f'--{flag}={value}: is not used by --input='
  with pytest.raises(InputError, match=what) as error:
    open_inputs(str(folder / name), **{flag: value})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('flag', ['document', 'text_field', 'data_dir'])
def test_the_docstrings_use_none(flag):
  with pytest.raises(InputError, match='which is read as docstrings'):
    open_inputs('installed_docs:', **{flag: 'file'})


def test_one_source_that_uses_it_is_enough(folder):
  spec = f'{folder}/a.txt,{folder}/a.jsonl'
  source = open_inputs(spec, document='line', text_field='body')
  documents = source.documents(base.ReadReport())
  assert [document.text for document in documents] == ['one', 'two', 'four']


def test_the_command_line_tells_a_given_flag_from_a_default(
  folder, monkeypatch
):
  from absl import flags

  from bert_jax.cli.input_flags import define_input

  values = flags.FlagValues()
  monkeypatch.setattr(flags, 'FLAGS', values)
  for name in ('DEFINE_string', 'DEFINE_enum'):
    define = getattr(flags, name)
    monkeypatch.setattr(
      flags,
      name,
      lambda *given, define=define: define(*given, flag_values=values),
    )
  open_source = define_input()
  values(['verb', f'--input={folder}/a.jsonl'])
  assert open_source().name == 'jsonl'
  values(['verb', f'--input={folder}/a.jsonl', '--document=file'])
  with pytest.raises(InputError, match='--document=file: is not used'):
    open_source()
