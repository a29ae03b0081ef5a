"""Whatever is in a file, its reader gives texts or one clear line."""

import csv
import gzip
import io
import json
import lzma

import fuzzing
import hypothesis
import pytest
from hypothesis import strategies as st
from refusals import one_line

from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import read_examples
from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS
from bert_jax.errors import InputError

SETTINGS = fuzzing.settings(60)
# Where readers go wrong, beside whatever hypothesis finds.
NASTY = st.sampled_from(
  [
    *fuzzing.PIECES,
    *(b'1e999', b'[' * 3000, b'{"text":' * 600, b'9' * 5000, b'null'),
    '\u2028\x85\u00a0'.encode(),
  ]
) | st.binary(max_size=9)
# Header lines and objects that are valid, and not what was meant.
COMPLETE = {
  '.jsonl': (
    b'{"text": "\\ud83d", "label": "a"}\n',
    b'{"text": "a", "label": "\\udc00"}\n',
    b'{"text": "a", "text": 1e400, "label": NaN}\n',
    b'{"": "a", "text": [[], {"": null}], "label": -0}\n',
    b'{"text": ' + b'[' * 20_000 + b']' * 20_000 + b', "label": 1}\n',
    b'{"text": "a", "label": ' + b'9' * 5000 + b'}\n',
  ),
  '.csv': (b'text,text,label\na,b,c\n', b',,\n1,2,3\n', b'"text\n",label\n'),
  '.tsv': (b'text\ttext\tlabel\na\tb\tc\n', b'\t\t\n1\t2\t3\n'),
  '.txt': (b'x' * 1_100_000, b'\xc3' * 2000, b'\0' * 2000),
}
VALID = {
  '.jsonl': b'{"text": "one", "label": "a"}\n{"text": "two", "label": 1}\n',
  '.csv': b'text,label\n"one, two",a\n"line\nbreak",b\n',
  '.tsv': b'text\tlabel\none "two"\ta\nthree\tb\n',
  '.txt': b'one\n\ntwo\nthree\n',
}


@st.composite
def mutated(draw, ending):
  """A valid file with parts cut out, doubled and put in."""
  data = draw(st.sampled_from([VALID[ending], *COMPLETE[ending]]))
  return draw(fuzzing.changed(data, NASTY, most=4))


def contents(ending):
  return mutated(ending) | st.binary(max_size=200)


COLUMNS = st.sampled_from(
  ['text', 'label', '0', '1', '7', 'gone', '', 'é', '9' * 5000, 'x' * 5000]
) | st.text(max_size=5)


@pytest.mark.parametrize('ending', ['.jsonl', '.csv', '.tsv'])
@hypothesis.given(data=st.data())
@SETTINGS
def test_labelled_examples(tmp_path, ending, data):
  path = tmp_path / f'file{ending}'
  path.write_bytes(data.draw(contents(ending)))
  columns = data.draw(st.lists(COLUMNS, min_size=1, max_size=2))
  label = data.draw(st.none() | COLUMNS)
  try:
    examples = read_examples(path, text_columns(columns, label))
  except InputError as error:
    one_line(error, 500)
  else:
    assert examples.texts
    assert len(examples.labels) == (0 if label is None else len(examples.texts))
    for texts in examples.texts:
      assert len(texts) == len(columns)
      ''.join(texts).encode()  # no half of a surrogate pair


@pytest.mark.parametrize('ending', ['.jsonl', '.txt'])
@pytest.mark.parametrize('unit', ['file', 'line', 'paragraph'])
@hypothesis.given(data=st.data())
@SETTINGS
def test_documents(tmp_path, ending, unit, data):
  path = tmp_path / f'file{ending}'
  path.write_bytes(data.draw(contents(ending)))
  report = ReadReport()
  field = data.draw(COLUMNS)
  try:
    flag = {'document': unit} if ending == '.txt' else {'text_field': field}
    source = open_inputs(str(path), **flag)
    documents = list(source.documents(report))
  except InputError as error:
    one_line(error, 500)
  else:
    assert documents
    for document in documents:
      assert document.text.strip()
      document.text.encode()
  for line in report.lines():
    one_line(line, 500)


@pytest.mark.parametrize('ending', ['.gz', '.xz', '.zst'])
@hypothesis.given(data=st.data())
@SETTINGS
def test_damaged_compressed_files(tmp_path, ending, data):
  text = b''.join(b'line %d of many\n' % i for i in range(300))
  packed = bytearray(packing(ending)(text))
  for _ in range(data.draw(st.integers(1, 4))):
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
  path = tmp_path / f'file.txt{ending}'
  path.write_bytes(packed[: data.draw(st.integers(0, len(packed)))])
  try:
    list(open_inputs(str(path)).documents(ReadReport()))
  except InputError as error:
    one_line(error, 500)


def packing(ending):
  if ending == '.zst':
    return pytest.importorskip('zstandard').compress
  return {'.gz': gzip.compress, '.xz': lzma.compress}[ending]


def test_half_of_a_surrogate_pair_is_named(tmp_path):
  """No tokenizer takes it, nor a terminal or a file."""
  path = tmp_path / 'file.jsonl'
  path.write_bytes(COMPLETE['.jsonl'][0])
  with pytest.raises(
    InputError, match=r'jsonl:1: .* \'text\' holds half of a s'
  ):
    read_examples(path, text_columns(['text'], None))


@hypothesis.given(
  vocab=st.lists(
    st.sampled_from([*SPECIAL_TOKENS, '', '##', '##a', 'a', '\u2028'])
    | st.text(max_size=3),
    max_size=12,
  ),
  config=st.sampled_from(
    [
      b'{"lowercase": true}',
      b'{"kind": "' + b'x' * 3000 + b'"}',
      b'{"kind": ["wordpiece"]}',
      b'{"lowercase": {"a": 1}}',
      b'[' * 100_000,
      b'\xff',
      b'',
    ]
  )
  | st.binary(max_size=20),
)
@SETTINGS
def test_tokenizer_folders(tmp_path, vocab, config):
  text = '\n'.join([*SPECIAL_TOKENS, *vocab][:: 1 if len(vocab) % 4 else -1])
  (tmp_path / 'vocab.txt').write_bytes(text.encode(errors='replace'))
  (tmp_path / 'tokenizer_config.json').write_bytes(config)
  try:
    tokenizer = load_tokenizer(tmp_path)
  except InputError as error:
    one_line(error, 500)
  else:
    (ids,) = tokenizer.encode_batch(['a b \u2028 é a'])
    assert (ids < tokenizer.table.vocab_size).all()


# A NUL is refused where it is not written as the escape of JSON.
CHARACTERS = st.characters(exclude_categories=['Cs'], exclude_characters='\0')
TEXTS = st.text(CHARACTERS, max_size=30)
# A label of blanks alone is refused.
LABELS = st.text(CHARACTERS, min_size=1, max_size=9).filter(str.strip)
# A TSV has no way to write the characters that it is made of.
IN_TSV = st.text(
  st.characters(exclude_categories=['Cs'], exclude_characters='\0\t\n\r'),
  min_size=1,
  max_size=30,
).filter(lambda text: '""' not in text)


@hypothesis.given(
  rows=st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=5)
)
@SETTINGS
def test_jsonl_is_read_back(tmp_path, rows):
  path = tmp_path / 'file.jsonl'
  lines = [json.dumps({'text': text, 'label': label}) for text, label in rows]
  path.write_text('\n'.join(lines) + '\n')
  examples = read_examples(path, text_columns(['text'], 'label'))
  assert examples.texts == [(text,) for text, _ in rows]
  assert examples.labels == [label for _, label in rows]


@hypothesis.given(
  rows=st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=5)
)
@SETTINGS
def test_csv_is_read_back(tmp_path, rows):
  """A file that the standard library wrote."""
  path = tmp_path / 'file.csv'
  file = io.StringIO()
  csv.writer(file).writerows([('text', 'label'), *rows])
  path.write_bytes(file.getvalue().encode())
  examples = read_examples(path, text_columns(['text'], 'label'))
  assert examples.texts == [(text,) for text, _ in rows]
  assert examples.labels == [label for _, label in rows]


@hypothesis.given(
  rows=st.lists(
    st.tuples(IN_TSV, IN_TSV.filter(str.strip)), min_size=1, max_size=5
  )
)
@SETTINGS
def test_tsv_is_read_back(tmp_path, rows):
  path = tmp_path / 'file.tsv'
  lines = ['\t'.join(row) for row in [('text', 'label'), *rows]]
  path.write_bytes(('\n'.join(lines) + '\n').encode())
  examples = read_examples(path, text_columns(['text'], 'label'))
  assert examples.texts == [(text,) for text, _ in rows]
  assert examples.labels == [label for _, label in rows]
