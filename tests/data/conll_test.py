"""CoNLL's columns and lists of words: sentences, lines, what is refused."""

import gzip
import json

import pytest

from bert_jax.data.labelled import read_examples
from bert_jax.errors import InputError
from bert_jax.tasks.tagging import TaggingConfig


def read(path, content, **fields):
  if path.suffix == '.gz':
    path.write_bytes(gzip.compress(content.encode()))
  else:
    path.write_text(content, newline='')
  header = fields.get('header', '')
  return read_examples(path, TaggingConfig(**fields).columns(), header=header)


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('a.conll', 'EU\tB-ORG\nsays\tO\n\nno\tO\n'),
    ('a.txt', 'EU B-ORG\r\nsays O\r\n\r\n\r\nno O'),
    # WNUT 17 ends its sentences so.
    ('a.conll', '\t\nEU\tB-ORG\nsays\tO\n\t\nno\tO\n\t\n'),
    ('a.conll.gz', 'EU NNP I-NP B-ORG\nsays VBZ I-VP O\n\nno DT I-NP O\n'),
    ('a.tsv', '-DOCSTART- -X- O O\n\nEU NNP B B-ORG\nsays V B O\n\nno D B O\n'),
  ],
)
def test_sentences(tmp_path, name, content):
  found = read(tmp_path / name, content)
  assert found.texts == [('EU', 'says'), ('no',)]
  assert found.labels == [('B-ORG', 'O'), ('O',)]
  lines = content.splitlines()
  first = next(n for n, line in enumerate(lines, 1) if line.startswith('EU'))
  assert found.lines[0] == first
  assert found.origins[0] == f'{tmp_path / name}:{first}'
  assert bool(found.notes) == ('DOCSTART' in content)


def test_a_space_of_another_kind_is_no_border(tmp_path):
  found = read(tmp_path / 'a.conll', 'a\u00a0b O\nc\u3000d O\n')
  assert found.texts == [('a\u00a0b', 'c\u3000d')]


@pytest.mark.parametrize(
  ('content', 'fields', 'message'),
  [
    ('EU O\nsays\n', {}, 'a.conll:2: has 1 columns, and the first line 2'),
    ('EU O\n# a comment O\n', {}, 'a.conll:2: has 4 columns'),
    ('EU\tO\n\tO\n', {}, 'a.conll:2: column 0 is empty'),
    ('EU O\n', {'label_column': '3'}, "a.conll:1: .* no column '3' among 2"),
    ('EU O\n', {'label_column': 'ner'}, 'label_column a number from 0'),
    (
      'EU\n',
      {'metric': 'accuracy'},
      "1: columns '0', '-1' are one and the same",
    ),
    ('\n', {}, 'there are no examples in it'),
  ],
)
def test_what_cannot_be_read_is_named_by_line(
  tmp_path, content, fields, message
):
  with pytest.raises(InputError, match=message) as caught:
    read(tmp_path / 'a.conll', content, **fields)
  assert len(str(caught.value).splitlines()) == 1


def test_columns_by_name(tmp_path):
  names = dict(text_columns=('word',), label_column='ner', header='yes')
  found = read(tmp_path / 'a.conll', 'ner word\nO EU\n\nB-x no\n', **names)
  assert found.texts == [('EU',), ('no',)]
  assert found.labels == [('O',), ('B-x',)]


RECORD = {'tokens': ['EU', 'says'], 'tags': ['B-ORG', 'O']}
NAMES = dict(text_columns=('tokens',), label_column='tags')


def test_lists_in_records(tmp_path):
  found = read(tmp_path / 'a.jsonl', json.dumps(RECORD) + '\n', **NAMES)
  assert found.texts == [('EU', 'says')] and found.labels == [('B-ORG', 'O')]


@pytest.mark.parametrize(
  ('record', 'message'),
  [
    ({'tags': ['O']}, "'tokens' has 2 words, and column 'tags' 1"),
    ({'tags': [3, 0]}, "word 1 in column 'tags' is the number 3"),
    ({'tags': 'B-ORG O'}, "is the string 'B-ORG O' in column 'tags'; give a"),
    ({'tokens': ['EU', '']}, "word 2 in column 'tokens' is the string ''"),
    ({'tokens': [], 'tags': []}, 'the sentence is a list'),
  ],
)
def test_lists_that_are_no_sentence(tmp_path, record, message):
  content = json.dumps(RECORD) + '\n' + json.dumps(RECORD | record) + '\n'
  with pytest.raises(InputError, match=f'a.jsonl:2: .*{message}'):
    read(tmp_path / 'a.jsonl', content, **NAMES)


def test_labels_keep_the_order_of_the_tagger_that_is_tuned(tmp_path):
  examples = read(tmp_path / 'a.conll', 'EU B-x\nsays O\n')
  config = TaggingConfig()
  assert config.fit(examples)['labels'] == ['B-x', 'O']
  for before, labels in (
    (['O', 'B-x'], ['O', 'B-x']),
    (['O', 'B-y'], ['B-x', 'O']),
    (['O', 'B-x', 'I-x'], ['B-x', 'O']),
  ):
    assert config.fit(examples, {'labels': before})['labels'] == labels
