"""prepare --dry_run: what it says of a sample, and that it writes nothing."""

import gzip

import pytest
from other_process import verb

from bert_jax.data.preparing import preview as preview_lib
from bert_jax.data.preparing.preview import preview
from bert_jax.data.sources import open_inputs, text_files
from bert_jax.errors import InputError


def run(spec, tokenizer, document='line', **options):
  options = {
    'row_lengths': (16, 32),
    'eval_fraction': 0.1,
    'num_workers': 1,
    **options,
  }
  source = open_inputs(str(spec), document=document)
  return preview(source, tokenizer, **options)


def numbers(text, line):
  """Of the line of `text` that begins so."""
  found = next(x for x in text.splitlines() if x.startswith(line))
  words = found.removeprefix(line).replace(',', '').split()
  return [float(w.strip('%;')) for w in words if w[0].isdigit()]


def test_a_whole_input_is_counted(small_text, small_tokenizer):
  text = run(small_text, small_tokenizer)
  texts = small_text.read_text().splitlines()
  tokens = sum(map(len, small_tokenizer.encode_batch(texts)))
  assert numbers(text, 'read: all') == [240, small_text.stat().st_size - 240]
  assert numbers(text, 'tokens:')[:2] == [tokens, round(tokens / 240, 1)]
  assert 'that is all of it' in text and 'about 1 s with 1 process' in text
  assert 'unknown to the tokenizer: 0.00% [UNK]' in text
  rows, padding = numbers(text, 'rows of 32:')
  # All tokens, and two more for each of at least 240 segments.
  assert rows * 32 * (1 - padding / 100) >= tokens + 2 * 240
  assert f'{small_text}:1: {texts[0][:30]!r}'[:-1] in text
  assert f'  {small_text}:240: ' in text
  assert '\n  nothing but text\n' in text


def test_a_sample_is_scaled(small_text, small_tokenizer, monkeypatch):
  whole = run(small_text, small_tokenizer)
  monkeypatch.setattr(preview_lib, 'SAMPLE_DOCUMENTS', 60)
  text = run(small_text, small_tokenizer)
  assert numbers(text, 'read: the first')[0] == 60
  size = small_text.stat().st_size
  _, estimated, *_ = numbers(text, 'the whole input: about')
  assert estimated == pytest.approx(numbers(whole, 'tokens:')[0], rel=0.1)
  assert f'about {size / 1e6:.1f} MB' in text
  in_all = numbers(text, 'rows of 16:')[1]
  assert in_all == pytest.approx(numbers(whole, 'rows of 16:')[0], rel=0.1)
  monkeypatch.setattr(preview_lib, 'SAMPLE_CHARACTERS', 500)
  assert numbers(run(small_text, small_tokenizer), 'read: the first')[0] < 20


def test_just_the_size_of_a_sample_is_all(
  small_text, small_tokenizer, monkeypatch
):
  monkeypatch.setattr(preview_lib, 'SAMPLE_DOCUMENTS', 240)
  assert 'read: all 240' in run(small_text, small_tokenizer)


def test_no_more_than_a_sample_is_read(tmp_path, small_tokenizer, monkeypatch):
  monkeypatch.setattr(preview_lib, 'SAMPLE_CHARACTERS', 1000)
  lines = [b'one array\n'] * 500_000 + [b'\xff\n']
  (tmp_path / 'a.txt').write_bytes(b''.join(lines))
  assert 'undecodable' not in run(tmp_path / 'a.txt', small_tokenizer)


def test_what_was_met_is_said(tmp_path, small_tokenizer):
  path = tmp_path / 'a.txt'
  path.write_bytes(b'the array \xff\n\n\xe4\xb8\xad [SEP] one\n\x07 \n')
  text = run(path, small_tokenizer)
  assert f'undecodable bytes: 1\n    {path}:1: 1 bytes that' in text
  assert 'empty documents: 1\n' in text
  assert 'documents without a token: 1\n' in text
  assert 'literal special tokens: 1 ' in text
  assert 'unknown to the tokenizer: 0.00%' not in text


def test_a_compressed_input_is_scaled_too(
  small_text, tmp_path, small_tokenizer, monkeypatch
):
  path = tmp_path / 'a.txt.gz'
  path.write_bytes(gzip.compress(small_text.read_bytes()))
  monkeypatch.setattr(preview_lib, 'SAMPLE_DOCUMENTS', 60)
  for line in ('the whole input:', 'rows of 32:'):
    packed, plain = (
      numbers(run(spec, small_tokenizer), line) for spec in (path, small_text)
    )
    assert packed == plain


def test_a_size_that_is_not_known(small_text, small_tokenizer, monkeypatch):
  monkeypatch.setattr(text_files.TextFiles, 'size_in_bytes', lambda self: 0)
  assert 'that is all of it' in run(small_text, small_tokenizer)
  monkeypatch.setattr(preview_lib, 'SAMPLE_DOCUMENTS', 60)
  text = run(small_text, small_tokenizer)
  assert 'not known before it is read' in text
  assert 'in all' not in text


def test_a_document_is_shown_in_one_short_line(tmp_path, small_tokenizer):
  path = tmp_path / 'a.txt'
  path.write_text('the array\n\x1b[31m' * 100)
  *_, shown, last = run(path, small_tokenizer, document='file').splitlines()
  assert '\x1b' not in shown and len(shown) < len(str(path)) + 250
  assert last == 'nothing was written (--dry_run)'


@pytest.mark.parametrize(
  ('options', 'what'),
  [
    ({'row_lengths': (7,)}, 'row_length=7'),
    ({'eval_fraction': 2.0}, '--eval_fraction=2.0'),
    ({'num_workers': -1}, '--workers=-1'),
  ],
)
def test_bad_options(small_text, small_tokenizer, options, what):
  with pytest.raises(InputError, match=what):
    run(small_text, small_tokenizer, **options)


def test_no_token_at_all(tmp_path, small_tokenizer):
  (tmp_path / 'a.txt').write_text('\x07')
  with pytest.raises(InputError, match='none of the first 1 documents has a'):
    run(tmp_path / 'a.txt', small_tokenizer)


def test_the_command_writes_nothing(small_text, small_corpus, tmp_path):
  done = verb(
    tmp_path,
    *('prepare', '--dry_run', f'--input={small_text}', '--document=line'),
    *(f'--tokenizer={small_corpus / "tokenizer"}', '--output=out'),
  )
  assert done.stdout.startswith('read: all 240 documents')
  assert not list(tmp_path.iterdir())
