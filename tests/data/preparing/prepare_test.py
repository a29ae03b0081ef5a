"""Preparing a corpus: what comes out, and which requests are refused."""

import collections
import json
import shutil
import threading

import numpy as np
import pytest
from other_process import verb
from small_texts import contents, make_texts, run

from bert_jax.data import progress
from bert_jax.data.preparing.summary import format_summary
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.errors import InputError

pytestmark = pytest.mark.usefixtures('small_blocks')


def segments(folder):
  """All segments of a prepared folder, each a tuple of ids."""
  corpus = TokenRows(folder)
  corpus.verify()
  found = []
  for row in corpus.rows(np.arange(corpus.num_rows)).tolist():
    text = row[: row.index(0)] if 0 in row else row
    assert set(row[len(text) :]) <= {0}
    for segment in ''.join(map(chr, text)).split(chr(3))[:-1]:
      assert segment[0] == chr(2)
      found.append(tuple(map(ord, segment[1:])))
  return found


def test_every_token_arrives(tmp_path, tokenizer):
  texts = make_texts()
  summary = run(texts, tokenizer, tmp_path / 'out', row_lengths=(16, 32))
  assert summary['blocks'] > 5
  encoded = tokenizer.encode_batch(texts)
  for length in (16, 32):
    expected = collections.Counter(
      tuple(ids[start : start + length - 2].tolist())
      for ids in encoded
      for start in range(0, len(ids), length - 2)
    )
    held_out = collections.Counter(segments(tmp_path / f'out/eval/{length}'))
    trained = collections.Counter(segments(tmp_path / f'out/{length}'))
    assert trained + held_out == expected
    assert trained and held_out


def test_manifest_and_summary_count_right(tmp_path, tokenizer):
  texts = make_texts()
  summary = run([*texts, ' ', 'bad', '\t'], tokenizer, tmp_path / 'out')
  assert summary['documents'] == len(texts)
  assert summary['dropped'] == {'unparsable_lines': 1, 'no_tokens': 2}
  for part in summary['parts']:
    corpus = TokenRows(tmp_path / 'out' / part['folder'])
    rows = corpus.rows(np.arange(corpus.num_rows))
    manifest = corpus.manifest
    assert manifest['num_padding'] == part['padding'] == (rows == 0).sum()
    assert manifest['num_segments'] == part['segments'] == (rows == 2).sum()
    assert manifest['num_tokens'] == part['tokens'] == (rows > 3).sum()
    assert part['padding_share'] == pytest.approx((rows == 0).mean())
    assert manifest['source'] == {'kind': 'list', 'documents': 203}
    assert manifest['dropped'] == summary['dropped']
    assert corpus.tokenizer_fingerprint == tokenizer.fingerprint
  assert sum(part['documents'] for part in summary['parts']) == len(texts)
  saved = load_tokenizer(tmp_path / 'out' / 'tokenizer')
  assert saved.fingerprint == tokenizer.fingerprint
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'out',
    'vocab.txt',
  ]


def test_special_tokens_in_the_text_are_text(tmp_path, tokenizer):
  texts = ['w1 [SEP] w2', '[PAD] [PAD]', 'w3 [MASK][CLS] w4'] * 3
  summary = run(texts, tokenizer, tmp_path / 'out', eval_fraction=0.0)
  assert summary['literal_special_tokens'] == 15
  found = collections.Counter(segments(tmp_path / 'out/32'))
  expected = tokenizer.encode_batch(texts)
  assert found == collections.Counter(tuple(ids.tolist()) for ids in expected)
  assert not {0, 2, 3, 4} & {token for segment in found for token in segment}


def test_a_tokenizer_that_gives_special_tokens_is_a_bug(tmp_path, tokenizer):
  class Broken:
    table, fingerprint = tokenizer.table, tokenizer.fingerprint

    def encode_batch(self, texts):
      return [np.array([7, 3, 8], np.int32) for _ in texts]

  with pytest.raises(RuntimeError, match='special token for plain text'):
    run(['w1'], Broken(), tmp_path / 'out')


def test_same_bytes_for_any_number_of_workers(tmp_path, tokenizer):
  texts = make_texts()
  run(texts, tokenizer, tmp_path / 'one')
  run(texts, tokenizer, tmp_path / 'two', num_workers=2)
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_eval_documents_do_not_depend_on_order(tmp_path, tokenizer):
  texts = make_texts(400)
  run(texts, tokenizer, tmp_path / 'a', row_lengths=(64,))
  run(texts[::-1] + texts, tokenizer, tmp_path / 'b', row_lengths=(64,))
  once = collections.Counter(segments(tmp_path / 'a/eval/64'))
  twice = collections.Counter(segments(tmp_path / 'b/eval/64'))
  # A text that is there twice is on one side both times.
  assert twice == once + once
  assert 0.05 * len(texts) < once.total() < 0.15 * len(texts)


def test_no_eval_part_where_none_is_asked(tmp_path, tokenizer):
  summary = run(make_texts(), tokenizer, tmp_path / 'out', eval_fraction=0.0)
  assert [part['folder'] for part in summary['parts']] == ['32']
  assert not (tmp_path / 'out/eval').exists()
  assert 'no document fell to eval' not in format_summary(summary, 'out')


def test_no_eval_part_where_no_document_falls_to_it(tmp_path, tokenizer):
  summary = run(['w1'], tokenizer, tmp_path / 'out', eval_fraction=0.001)
  assert [part['folder'] for part in summary['parts']] == ['32']
  assert not (tmp_path / 'out/eval').exists()
  assert 'no document fell to eval' in format_summary(summary, 'out')


def test_the_same_again_does_nothing(tmp_path, tokenizer):
  texts = make_texts()
  first = run(texts, tokenizer, tmp_path / 'out')
  before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*')}
  # A run that was killed between renaming and tidying up leaves this.
  (tmp_path / 'out.partial').mkdir()
  (tmp_path / 'out.partial/unfinished.json').write_text('{}')
  again = run(texts, tokenizer, tmp_path / 'out')
  assert not first['already_complete'] and again['already_complete']
  assert again['parts'] == first['parts']
  assert not (tmp_path / 'out.partial').exists()
  assert before == {
    p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*')
  }


@pytest.mark.parametrize(
  'options, what',
  [
    ({'row_lengths': (64,)}, r'row_lengths was \[32\], now \[64\]'),
    ({'eval_fraction': 0.2}, 'eval_fraction was 0.1, now 0.2'),
    ({'texts': ['w1']}, 'source was'),
  ],
)
def test_another_request_is_refused(tmp_path, tokenizer, options, what):
  options = dict(options)
  run(make_texts(), tokenizer, tmp_path / 'out')
  before = contents(tmp_path / 'out')
  with pytest.raises(InputError, match=what):
    texts = options.pop('texts', make_texts())
    run(texts, tokenizer, tmp_path / 'out', **options)
  assert contents(tmp_path / 'out') == before


def test_a_damaged_output_is_named(tmp_path, tokenizer):
  texts = make_texts()
  run(texts, tokenizer, tmp_path / 'out')
  next((tmp_path / 'out/eval/32').glob('*.npy')).unlink()
  with pytest.raises(InputError, match='damaged; remove it.*eval/32/rows-'):
    run(texts, tokenizer, tmp_path / 'out')


@pytest.mark.parametrize('output', ['gs://bucket/corpus', '/'])
def test_an_output_that_is_no_folder_of_a_disk_is_refused(tokenizer, output):
  with pytest.raises(InputError, match='a (disk of this|folder of its)'):
    run(make_texts(), tokenizer, output)


@pytest.mark.parametrize('name', ['out', 'out.partial'])
def test_folders_of_others_are_left_alone(tmp_path, tokenizer, name):
  (tmp_path / name).mkdir()
  (tmp_path / name / 'thesis.txt').write_text('mine')
  with pytest.raises(InputError, match=f'{name}: it is there and'):
    run(make_texts(), tokenizer, tmp_path / 'out')
  assert (tmp_path / name / 'thesis.txt').read_text() == 'mine'


def test_an_empty_folder_is_taken(tmp_path, tokenizer):
  (tmp_path / 'out').mkdir()
  run(make_texts(), tokenizer, tmp_path / 'out')
  assert TokenRows(tmp_path / 'out/32').num_rows


@pytest.mark.parametrize(
  'options, what',
  [
    ({'row_lengths': (128, 7)}, 'row_length=7'),
    ({'row_lengths': ()}, '--row_length is empty'),
    ({'eval_fraction': 1.0}, '--eval_fraction=1.0'),
    ({'eval_fraction': -0.1}, '--eval_fraction=-0.1'),
    ({'num_workers': -1}, '--workers=-1'),
  ],
)
def test_bad_options(tmp_path, tokenizer, options, what):
  with pytest.raises(InputError, match=what):
    run(make_texts(), tokenizer, tmp_path / 'out', **options)
  assert not (tmp_path / 'out.partial').exists()


def test_text_without_a_token(tmp_path, tokenizer):
  with pytest.raises(InputError, match="no document has a token.*'no_tokens'"):
    run([' ', '\n'], tokenizer, tmp_path / 'out')
  assert [path.name for path in tmp_path.iterdir()] == ['vocab.txt']


def test_from_another_thread(tmp_path, tokenizer):
  results = []
  thread = threading.Thread(
    target=lambda: results.append(
      run(make_texts(), tokenizer, tmp_path / 'out')
    )
  )
  thread.start()
  thread.join()
  assert results[0]['documents'] == 200


def test_lines_in_a_log(tmp_path, tokenizer, monkeypatch, capsys):
  monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0)
  summary = run(make_texts(), tokenizer, tmp_path / 'out', progress=True)
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == summary['blocks']
  assert all(line.startswith('prepare: ') for line in lines)


def test_the_command(tmp_path, vocab):
  (tmp_path / 'texts').mkdir()
  for name in ('b.txt', 'a.txt'):
    (tmp_path / 'texts' / name).write_bytes(
      b'w1 w2 w3\n\nw4 [SEP] w5\xff\n\n' + '\n\n'.join(make_texts()).encode()
    )
  flags = (
    'prepare',
    '--input=texts/*.txt',
    '--document=paragraph',
    '--tokenizer=vocab.txt',
    '--output=out',
    '--eval_fraction=0.1',
    '--workers=1',
  )
  result = verb(tmp_path, *flags, '--row_length=16,64')
  table = [line.split() for line in result.stdout.splitlines()]
  assert ['folder', *'documents tokens segments rows padding'.split()] in table
  for part in ('16', '64', 'eval/16', 'eval/64'):
    manifest = json.loads(
      (tmp_path / 'out' / part / 'manifest.json').read_text()
    )
    (row,) = [row for row in table if row[:1] == [part]]
    assert row[4] == f'{manifest["num_rows"]:,}'
  assert 'a.txt:3' in result.stdout and 'b.txt:3' in result.stdout
  assert '2 literal special tokens' in result.stdout

  result = verb(tmp_path, *flags, '--row_length=16,64')
  assert 'complete already' in result.stdout

  result = verb(tmp_path, *flags, '--row_length=16,many', status=2)
  assert len(result.stderr.splitlines()) == 1
  assert '--row_length=16,many' in result.stderr
  shutil.rmtree(tmp_path / 'out')
