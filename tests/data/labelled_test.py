"""Labelled examples: formats, encoding of one and two texts, the stream."""

import gzip
import json
import lzma
import random

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data import labelled
from bert_jax.data.examples import text_columns
from bert_jax.data.sources import installed_docs
from bert_jax.data.tokenizers import base, wordpiece
from bert_jax.errors import InputError
from bert_jax.tasks import text_rows
from bert_jax.tasks.classes import label_ids
from bert_jax.tasks.text_rows import encode_examples

WORDS = [chr(ord('a') + i) for i in range(20)]


@pytest.fixture(scope='module')
def tokenizer():
  return wordpiece.WordPiece([*base.SPECIAL_TOKENS, *WORDS], lowercase=True)


def write(path, content):
  data = content if isinstance(content, bytes) else content.encode()
  path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)
  return path


def read(path, texts=('text',), label='label'):
  return labelled.read_examples(path, text_columns(texts, label))


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('a.tsv', 'label\ttext\nx\tone, "two\ny\tthree\n'),
    ('a.tsv.gz', 'label\ttext\r\nx\tone, "two\r\ny\tthree\r\n\r\n'),
    ('a.csv', 'label,text\nx,"one, ""two"\ny,three\n'),
    (
      'a.jsonl',
      '{"text": "one, \\"two", "label": "x"}\n'
      '{"label": "y", "text": "three"}\n\n',
    ),
  ],
)
def test_formats(tmp_path, name, content):
  path = write(tmp_path / name, content)
  examples = read(path)
  assert examples.texts == [('one, "two',), ('three',)]
  assert examples.labels == ['x', 'y']
  assert [origin.rpartition(':')[0] for origin in examples.origins] == [
    str(path)
  ] * 2


def test_two_texts_in_the_order_asked_for(tmp_path):
  path = write(tmp_path / 'a.tsv', 'a\tb\tlabel\n1\t2\t3\n')
  assert read(path, ('b', 'a')).texts == [('2', '1')]


def test_columns_by_number_have_no_header(tmp_path):
  path = write(tmp_path / 'a.tsv', 'gj04\t1\t\tOne.\ngj04\t0\t*\tTwo.\n')
  examples = read(path, ('3',), '1')
  assert examples.texts == [('One.',), ('Two.',)]
  assert examples.labels == ['1', '0']
  assert examples.origins == [f'{path}:1', f'{path}:2']


def test_without_labels(tmp_path):
  path = write(tmp_path / 'a.csv', 'text\none\n')
  examples = read(path, label=None)
  assert (examples.texts, examples.labels) == ([('one',)], [])


def test_a_quoted_line_break_and_a_very_long_field(tmp_path):
  long = 'x' * 200_000
  path = write(tmp_path / 'a.csv', f'text,label\n"a\nb",1\n{long},2\n')
  examples = read(path)
  assert examples.texts == [('a\nb',), (long,)]
  assert examples.origins == [f'{path}:2', f'{path}:4']


def test_labels_of_jsonl_may_be_numbers(tmp_path):
  rows = [{'text': 't', 'label': value} for value in (1, True, 0.5, 'x')]
  path = write(tmp_path / 'a.jsonl', '\n'.join(map(json.dumps, rows)))
  assert read(path).labels == ['1', 'true', '0.5', 'x']


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('a.tsv', '', r'a\.tsv: there are no examples'),
    ('a.tsv', 'text\tlabel\n', r'a\.tsv: there are no examples'),
    ('a.tsv', 'body\tlabel\na\tb\n', "no column 'text'; there are 'body', 'la"),
    ('a.csv', 'text\na\n', "no column 'label'; there are 'text'"),
    ('a.tsv', 'text\tlabel\nok\t1\ncut\n', r'a\.tsv:3: the line has 1 column,'),
    ('a.tsv', 'text\tlabel\nok\t\n', r"a\.tsv:2: the label in column 'label'"),
    ('a.csv', 'text,label\n"open,1\n', r'a\.csv:\d: is not well-formed'),
    ('a.tsv', b'text\tlabel\nok\t1\n\xe9t\xe9\t1\n', r'a\.tsv:3: .* iconv'),
    ('a.jsonl', '{"text": "a"}', r"a\.jsonl:1: there is no column 'label'"),
    (
      'a.jsonl',
      '{"text": "a", "label": null}',
      r'a\.jsonl:1: the label is null',
    ),
    ('a.jsonl', '{"text": "a", "label": 1}\n{', r'a\.jsonl:2: is not JSON'),
    ('a.jsonl', '[1]', r'a\.jsonl:1: is no JSON object'),
    ('a.parquet', 'x', r'a\.parquet: cannot be read as Parquet'),
    ('a.txt', 'x', r'a\.txt: its ending says no format'),
  ],
)
def test_what_cannot_be_read_is_one_clear_line(
  tmp_path, name, content, message
):
  with pytest.raises(InputError, match=message) as error:
    read(write(tmp_path / name, content))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('ending', ['.gz', '.xz', '.zst'])
@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('a.csv', b'text,label\na,1\n'),
    ('a.json', b'[{"text": "a", "label": 1}]'),
    ('a.tab', b'text\tlabel\na\t1\n'),
  ],
)
def test_compressed(tmp_path, ending, name, content):
  packed = {
    '.gz': gzip.compress,
    '.xz': lzma.compress,
    '.zst': zstandard.compress,
  }[ending](content)
  path = tmp_path / (name + ending)
  path.write_bytes(packed)
  assert read(path).texts == [('a',)]
  path.write_bytes(packed[:-3])
  with pytest.raises(InputError, match='may be cut off or damaged'):
    read(path)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('text,label\na,1\n'.encode('utf-16'), 'a.csv: is UTF-16, .*iconv'),
    (b'text,label\na,1\nb\0,0\n', 'a.csv:3: holds NUL'),
    (b'text,label\na,1\n"\xe9\n\xe9",0\n', 'a.csv:3: 1 bytes .* not UTF-8'),
  ],
)
def test_bytes_that_are_no_text(tmp_path, content, message):
  with pytest.raises(InputError, match=message):
    read(write(tmp_path / 'a.csv', content))


def test_the_examples_of_some_rows(tmp_path):
  path = write(tmp_path / 'a.csv', 'id,text,label\n7,a,x\n8,b,y\n9,c,x\n')
  examples = labelled.read_examples(
    path, text_columns(('text',), 'label'), id_columns=('id',)
  ).take(np.array([2, 0]))
  assert examples.texts == [('c',), ('a',)] and examples.labels == ['x', 'x']
  assert examples.place(0) == {'record': 1, 'line': 4, 'id': '9'}


def test_a_missing_file_is_an_error(tmp_path):
  with pytest.raises(InputError, match=r'none\.tsv: there is no such file'):
    read(tmp_path / 'none.tsv')
  with pytest.raises(InputError, match='is a folder; name the file'):
    read(tmp_path)


def test_installed_docs(monkeypatch):
  example = installed_docs.PackageExample('shown', 'scipy', 'scipy.x:3')
  monkeypatch.setattr(
    installed_docs,
    'package_examples',
    lambda split: [example] * (2 if split == 'train' else 1),
  )
  examples = read('installed_docs:train')
  assert examples.texts == [('shown',)] * 2
  assert examples.labels == ['scipy'] * 2
  assert examples.origins == ['scipy.x:3'] * 2
  assert read('installed_docs:eval', label=None).labels == []
  with pytest.raises(InputError, match="no column 'body'; there are 'text'"):
    read('installed_docs:train', ('body',))
  with pytest.raises(
    InputError, match='header=yes: installed_docs:eval has none'
  ):
    labelled.read_examples(
      'installed_docs:eval',
      text_columns(('text',), None),
      header='yes',
    )


def test_label_ids():
  labels, origins = ['y', 'x', 'y'], ['f:1', 'f:2', 'f:3']
  ids = label_ids(labels, ['x', 'y'], origins)
  assert ids.dtype == np.int32 and ids.tolist() == [1, 0, 1]
  with pytest.raises(InputError, match="f:2: the label 'x' .* known are 'y'"):
    label_ids(labels, ['y'], origins)


def decoded(tokenizer, rows):
  return [
    ' '.join(
      tokenizer.token(i).strip('[]') for i in row if i != tokenizer.table.pad_id
    )
    for row in rows
  ]


def test_rows_of_one_and_two_texts(tokenizer):
  rows, num_cut = encode_examples(
    tokenizer, [('a b',), ('',), ('a b c', 'd')], 9
  )
  assert rows.dtype == np.int32 and rows.shape == (3, 9) and num_cut == 0
  assert decoded(tokenizer, rows) == [
    'CLS a b SEP',
    'CLS SEP',
    'CLS a b c SEP d SEP',
  ]


@pytest.mark.parametrize(
  ('texts', 'row'),
  [
    (('a b c d e f g',), 'CLS a b c d e f SEP'),
    (('a b c d e f', 'g'), 'CLS a b c d SEP g SEP'),
    (('a', 'b c d e f g'), 'CLS a SEP b c d e SEP'),
    (('a b c d', 'e f g h'), 'CLS a b c SEP e f SEP'),
    (('a b c', 'e f g'), 'CLS a b c SEP e f SEP'),
  ],
)
def test_truncation(tokenizer, texts, row):
  rows, num_cut = encode_examples(tokenizer, [texts, texts[:1]], 8)
  assert decoded(tokenizer, rows)[0] == row
  assert num_cut == 1 + (len(texts[0].split()) > 6)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_pairs_are_cut_as_google_does_it(first, second, limit):
  kept = [first, second]
  while sum(kept) > limit:  # _truncate_seq_pair of run_classifier.py
    kept[0 if kept[0] > kept[1] else 1] -= 1
  assert text_rows._kept_lengths([first, second], limit) == kept


def test_many_examples_are_encoded_in_order(tokenizer, monkeypatch):
  monkeypatch.setattr(text_rows, '_TEXTS_PER_BATCH', 7)
  rng = random.Random(0)
  texts = [
    tuple(' '.join(rng.choices(WORDS, k=3)) for _ in range(2))
    for _ in range(50)
  ]
  rows, _ = encode_examples(tokenizer, texts, 16)
  assert decoded(tokenizer, rows) == [f'CLS {a} SEP {b} SEP' for a, b in texts]


def test_a_literal_special_token_is_text(tokenizer):
  rows, _ = encode_examples(tokenizer, [('a [SEP] b',)], 16)
  assert (rows == tokenizer.table.sep_id).sum() == 1


def test_max_length_is_checked(tokenizer):
  with pytest.raises(InputError, match='max_length=7: give 8 or more'):
    encode_examples(tokenizer, [('a',)], 7)


def make_stream(seed=0, n=50, **options):
  rows = np.arange(n * 4, dtype=np.int32).reshape(n, 4)
  labels = np.arange(n, dtype=np.int32) % 3
  return labelled.ExampleStream(
    {'input_ids': rows, 'labels': labels}, seed=seed, **options
  )


def test_a_batch_has_rows_with_their_labels():
  batch = make_stream().batch(np.arange(40, 60, dtype=np.uint64))
  assert {k: (v.dtype.name, v.shape) for k, v in batch.items()} == {
    'input_ids': ('int32', (20, 4)),
    'example_number': ('uint32', (20, 2)),
    'labels': ('int32', (20,)),
    'label_weights': ('float32', (20,)),
  }
  rows = batch['input_ids'][:, 0] // 4
  assert (batch['labels'] == rows % 3).all()
  assert batch['example_number'][:, 1].tolist() == list(range(40, 60))
  assert (batch['label_weights'] == 1).all()


def test_every_epoch_has_each_example_once_in_its_own_order():
  epochs, rows = make_stream().locate(np.arange(150, dtype=np.uint64))
  assert epochs.tolist() == [0] * 50 + [1] * 50 + [2] * 50
  orders = rows.reshape(3, 50)
  assert (np.sort(orders, axis=1) == np.arange(50)).all()
  assert len({tuple(order) for order in orders.tolist()}) == 3


def test_the_order_is_a_pure_function_of_number_and_seed():
  numbers = np.array([2**40 + 3, 5, 2**40 + 2], np.uint64)
  at_once = make_stream().batch(numbers)['labels'].tolist()
  alone = [
    int(make_stream().batch(numbers[[i]])['labels'][0]) for i in range(3)
  ]
  assert at_once == alone
  many = np.arange(50, dtype=np.uint64)
  assert (
    make_stream(0).locate(many)[1] != make_stream(1).locate(many)[1]
  ).any()


def test_without_shuffling_the_order_is_kept():
  _, rows = make_stream(shuffle=False).locate(np.arange(60, dtype=np.uint64))
  assert rows.tolist() == [*range(50), *range(10)]


def test_fingerprint():
  same = make_stream().fingerprint
  assert same == make_stream().fingerprint
  others = [
    make_stream(seed=1),
    make_stream(n=51),
    make_stream(shuffle=False),
    labelled.ExampleStream(
      {
        'input_ids': np.arange(200).reshape(50, 4),
        'labels': np.zeros(50, np.int32),
      },
      seed=0,
    ),
  ]
  assert len({same, *(stream.fingerprint for stream in others)}) == 5


def stream_of(rows, labels):
  return labelled.ExampleStream({'input_ids': rows, 'labels': labels}, seed=0)


def test_a_stream_needs_a_label_for_each_row():
  with pytest.raises(ValueError, match='2 rows and 3 labels'):
    stream_of(np.zeros((2, 4)), np.zeros(3))
  with pytest.raises(ValueError, match='0 rows and 0 labels'):
    stream_of(np.zeros((0, 4)), np.zeros(0))


@pytest.mark.parametrize('name', ['a.conll', 'a.conll.gz'])
def test_labels_of_words_are_not_a_table_of_texts(tmp_path, name):
  path = write(tmp_path / name, 'An O\narray B\n')
  with pytest.raises(InputError, match=f'{name}: its ending says .* tagging'):
    read(path)


def test_a_shorter_max_length_is_named_where_columns_are_empty():
  """Multiples of 8 are named, where a quarter of the columns is empty."""
  note = labelled.padding_note(41, 64)
  assert note.startswith(
    'the longest row has 41 tokens; --config.max_length=48'
  )
  assert labelled.padding_note(49, 64) == ''
  assert 'max_length=8 ' in labelled.padding_note(8, 64)
