"""Documents left out on purpose: the right ones, and counted."""

import pytest
import small_texts

from bert_jax.data.preparing.filters import FilterOptions, filtered
from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.errors import InputError

LINES = ['one', 'a longer line', 'one', 'the longest line of all', 'One', 'x']


@pytest.fixture
def source(tmp_path):
  (tmp_path / 'text.txt').write_text('\n'.join(LINES) + '\n')
  return open_inputs(str(tmp_path / 'text.txt'), document='line')


def read(source, **options):
  """(texts kept, {why: how many were left out})."""
  report = ReadReport()
  documents = filtered(source, FilterOptions(**options)).documents(report)
  return [document.text for document in documents], report.counts


def test_nothing_is_left_out_by_default(source):
  assert filtered(source, FilterOptions()) is source


def test_by_length(source):
  texts, counts = read(source, min_characters=3, max_characters=13)
  assert texts == ['one', 'a longer line', 'one', 'One']
  assert counts == {'too_short': 1, 'too_long': 1}


def test_of_equal_texts_the_first_is_kept(source):
  texts, counts = read(source, deduplicate=True)
  assert texts == [LINES[0], LINES[1], LINES[3], LINES[4], LINES[5]]
  assert counts == {'exact_duplicates': 1}


def test_by_a_function_of_the_users(source, tmp_path, monkeypatch):
  (tmp_path / 'my_filters_for_test.py').write_text(
    'def has_line(text):\n  return "line" in text\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  texts, counts = read(source, keep='my_filters_for_test:has_line')
  assert texts == [LINES[1], LINES[3]]
  assert counts == {'left_out_by_function': 4}


def test_the_manifest_counts_them_and_another_filter_is_another_request(
  source, small_tokenizer, tmp_path
):
  def run(options):
    sizes = {'row_lengths': (16,), 'eval_fraction': 0.0}
    source_now = filtered(source, options)
    return small_texts.run(
      source_now, small_tokenizer, tmp_path / 'corpus', **sizes
    )

  options = FilterOptions(deduplicate=True, min_characters=2)
  summary = run(options)
  assert summary['documents'] == 4
  assert summary['dropped'] == {'exact_duplicates': 1, 'too_short': 1}
  assert run(options)['already_complete']
  with pytest.raises(InputError, match='prepared from another request'):
    run(FilterOptions(deduplicate=True))


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(min_characters=-1), '--min_characters=-1'),
    (dict(min_characters=9, max_characters=5), 'nothing would be kept'),
    (dict(keep='no_function'), 'give MODULE:FUNCTION'),
    (dict(keep='no_such_module:f'), 'PYTHONPATH'),
    (dict(keep='os:no_such_function'), 'os has no such function'),
  ],
)
def test_bad_options(source, options, message):
  with pytest.raises(InputError, match=message):
    filtered(source, FilterOptions(**options))
