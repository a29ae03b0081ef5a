"""Kind: a header is read as an example, or the first example as a header.

Columns by number mean that there is no header. A first line that looks like one
is refused, and the message says how to go on either way.
"""

import pytest

from bert_jax.data.examples import text_columns
from bert_jax.data.labelled import read_examples
from bert_jax.data.tables.header import refuse_lone_first_label
from bert_jax.errors import InputError


def read(path, content, columns=('0',), label='1', **options):
  path.write_text(content)
  return read_examples(path, text_columns(columns, label), **options)


@pytest.mark.parametrize(
  ('name', 'content', 'columns', 'label', 'message'),
  [
    ('a.tsv', 'sentence\tlabel\na\t0\n', ('0',), '1', "text is 'sentence'"),
    ('a.csv', 'notes,Category\na,x\n', ('0',), '1', "label is 'Category'"),
    ('a.csv', '"Premise",hypothesis,y\na,b,0\n', ('0', '1'), '2', "'Premise'"),
    # pandas writes a frame without names so.
    ('a.csv', '0,1\na,x\n', ('0',), '1', "numbers columns so: '0', '1'"),
    # The texts of predict have no label that could tell.
    ('a.tsv', 'id\ttext\n1\ta\n', ('1',), None, "text is 'text'"),
  ],
)
def test_a_header_below_numbers(
  tmp_path, name, content, columns, label, message
):
  path = tmp_path / name
  with pytest.raises(InputError, match=f'{name}:1: .*{message}.*header=yes'):
    read(path, content, columns, label)
  without = read(path, content, columns, label, header='yes')
  assert len(without.texts) == content.count('\n') - 1
  assert without.lines == [2]
  whole = read(path, content, columns, label, header='no')
  assert len(whole.texts) == content.count('\n')


def test_row_numbers_beside_column_numbers(tmp_path):
  with pytest.raises(InputError, match=r"a.csv:1: .*'', '0', '1'.*index=False"):
    read(tmp_path / 'a.csv', ',0,1\n0,a,x\n', ('1',), '2')


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (['gold', '0', '1', '0'], "'gold' is in no other line"),
    (['answer', 'a', 'b', 'a', 'b'], "'answer' is in no other line"),
    (['value', '0.1', '0.25', '1e-3'], "'value' is no number"),
  ],
)
def test_a_lone_label_in_the_first_line(labels, message):
  with pytest.raises(InputError, match=f'f:1: .*{message}.*x.header=no'):
    refuse_lone_first_label('f:1', labels, 'x.')


@pytest.mark.parametrize(
  'labels',
  [['0', '1', '0', '1'], ['a', 'b'], ['a'], ['x', 'y', 'z', 'x'], ['1', '2.5']],
)
def test_a_first_line_that_is_an_example(labels):
  refuse_lone_first_label('f:1', labels, 'x.')


def test_a_missing_header_is_shown(tmp_path):
  content = 'gj04\t1\t\tOne.\ngj04\t0\t*\tTwo.\n'
  message = r"no column 'sentence'; there are 'gj04', '1', '', 'One.'; .*number"
  with pytest.raises(InputError, match=message):
    read(tmp_path / 'a.tsv', content, ('sentence',), 'label')
  found = read(tmp_path / 'a.tsv', content, ('3',), '1')
  assert found.texts == [('One.',), ('Two.',)]


@pytest.mark.parametrize(
  ('columns', 'label', 'header', 'message'),
  [
    (('text',), '1', '', "'text' is a name and '1' a number"),
    (('text',), 'label', 'no', "header=no, and the column 'text' is no number"),
    (('0',), '1', 'maybe', "header is 'maybe'"),
    (('0',), '7', 'yes', 'has 2 columns, and column 7'),
    (('text',), 'text', '', "'text' is given twice"),
  ],
)
def test_settings_that_contradict(tmp_path, columns, label, header, message):
  content = 'text,label\na,0\nb,1\n'
  with pytest.raises(InputError, match=message):
    read(tmp_path / 'a.csv', content, columns, label, header=header)


def test_a_number_that_is_the_name_of_another_column(tmp_path):
  content = '1,0\na,x\nb,y\n'
  with pytest.raises(InputError, match="column 1 .* is called '0'"):
    read(tmp_path / 'a.csv', content, ('0',), '1', header='yes')
