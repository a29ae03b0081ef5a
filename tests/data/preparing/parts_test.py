"""One corpus, whoever reads its files: workers, parts, in any order, killed.

Each case is compared with one process that reads everything.
"""

import gzip
import json
import os
import signal

import pytest
from acting_tokenizer import ActingTokenizer
from other_process import verb
from process_ends import assert_ended
from small_texts import (
  ListSource,
  contents,
  make_texts,
  run,
  stopped_amid_blocks,
)

from bert_jax.data.preparing import blocks, parts
from bert_jax.data.preparing.filters import FilterOptions, filtered
from bert_jax.data.sources import base, file_source, open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError

pytestmark = pytest.mark.hosts

SMALL = 3000  # bytes of a group here


@pytest.fixture(autouse=True)
def small_groups(monkeypatch, small_blocks):
  monkeypatch.setattr(file_source, 'GROUP_BYTES', SMALL)


@pytest.fixture
def folder(tmp_path):
  """One large file, many small ones, empty ones, and repeats among them."""
  folder = tmp_path / 'in'
  folder.mkdir()
  texts = make_texts(400)
  write(folder / 'huge.txt', texts[:200])
  (folder / 'empty.txt').write_text('')
  for number in range(20):
    some = texts[200 + 10 * number : 210 + 10 * number]
    # Repeats of other files, and a line that is no UTF-8.
    write(
      folder / f'small-{number:02d}.txt', [*some, *texts[::50], 'w1 \ufffd']
    )
  (folder / 'zipped.txt.gz').write_bytes(
    gzip.compress(b'\n'.join(text.encode() for text in texts[:60]), mtime=0)
  )
  (folder / 'zz.txt').write_bytes(b'\n\n')
  return folder


def write(path, lines):
  data = '\n'.join(lines).replace('\ufffd', '\udcff') + '\n'
  path.write_bytes(data.encode(errors='surrogateescape'))


REPEATS = {'deduplicate': True, 'near_duplicates': 0.5}


def source_of(folder, **options):
  source = open_inputs(str(folder), document='line')
  return filtered(source, FilterOptions(**options)) if options else source


def prepared(folder, tokenizer, output, part=None, **options):
  filters = options.pop('filters', {})
  part = parts.parse(part) if part else None
  source = source_of(folder, **filters)
  return run(source, tokenizer, output, part=part, max_unknown=1.0, **options)


def test_groups_follow_from_names_and_sizes(folder):
  found = base.groups(source_of(folder))
  assert all(group.is_anywhere for group in found)
  names = [
    [file['name'] for file in group.source.describe()['files']]
    for group in found
  ]
  everything = sorted(path.name for path in folder.iterdir())
  assert sum(names, []) == everything
  sizes = [
    sum((folder / name).stat().st_size for name in group) for group in names
  ]
  assert ['huge.txt'] in names
  assert len(names) > 5 and max(map(len, names)) > 1
  for size, group in zip(sizes, names, strict=True):
    assert size <= SMALL or len(group) == 1
  # No two neighbours would have been one group.
  assert all(a + b > SMALL for a, b in zip(sizes, sizes[1:], strict=False))


def test_the_groups_are_the_source(folder):
  whole, of_groups = ReadReport(), ReadReport()
  documents = list(source_of(folder).documents(whole))
  found = []
  for group in base.groups(source_of(folder)):
    report = ReadReport()
    found += group.source.documents(report)
    of_groups.merge(report)
  assert found == documents
  assert of_groups.counts == whole.counts and whole.counts
  assert of_groups.examples == whole.examples
  assert of_groups.notes == whole.notes and whole.notes


def test_a_block_ends_with_its_group(folder, tokenizer, tmp_path):
  prepared(folder, tokenizer, tmp_path / 'out', row_lengths=(32, 64))
  rows = []
  for group in base.groups(source_of(folder)):
    texts = [document.text for document in group.source.documents(ReadReport())]
    if texts:
      run(texts, tokenizer, tmp_path / 'group', max_unknown=1.0)
      corpus = TokenRows(tmp_path / 'group/32')
      rows += corpus.rows(range(corpus.num_rows)).tolist()
      for path in sorted((tmp_path / 'group').rglob('*'), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
  corpus = TokenRows(tmp_path / 'out/32')
  assert corpus.rows(range(corpus.num_rows)).tolist() == rows


@pytest.mark.parametrize('filters', [{}, REPEATS], ids=['all', 'repeats'])
def test_the_same_bytes_for_any_workers_and_parts(
  folder, tokenizer, tmp_path, filters
):
  options = {'filters': filters, 'row_lengths': (16, 32)}
  expected = prepared(folder, tokenizer, tmp_path / 'one', **options)
  assert expected['dropped'].get('exact_duplicates', 0) >= 60 * len(filters) / 2
  one = contents(tmp_path / 'one')
  for workers in (2, 3):
    output = tmp_path / f'workers-{workers}'
    prepared(folder, tokenizer, output, num_workers=workers, **options)
    assert contents(output) == one
  for count in (1, 2, 4, 50):
    output = tmp_path / f'parts-{count}'
    # The first look for repeats is one pass, in which no part is finished but
    # the last; without it one pass is all.
    for is_last in [False, True] if filters else [True]:
      for number in range(count, 0, -1):
        summary = prepared(
          folder, tokenizer, output, f'{number}/{count}', **options
        )
        assert summary['is_finished'] or not is_last
        assert not output.exists()
    joined = prepared(folder, tokenizer, output, **options)
    assert joined['blocks_reused'] == joined['blocks'] > 10
    assert joined['notes'] == expected['notes']
    assert contents(output) == one
    assert not output.with_name(f'{output.name}.partial').exists()
  assert not list(tmp_path.glob('*.lock'))


def test_what_parts_left_undone_is_done(folder, tokenizer, tmp_path):
  prepared(folder, tokenizer, tmp_path / 'one')
  prepared(folder, tokenizer, tmp_path / 'out', '2/3')
  summary = prepared(folder, tokenizer, tmp_path / 'out', num_workers=2)
  assert 0 < summary['blocks_reused'] < summary['blocks']
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')
  # A part that comes late finds it done.
  late = prepared(folder, tokenizer, tmp_path / 'out', '1/3')
  assert late['already_complete']


def test_a_part_given_twice_reads_nothing_again(folder, tokenizer, tmp_path):
  first = prepared(folder, tokenizer, tmp_path / 'out', '1/2')
  partial = tmp_path / 'out.partial'
  before = {path: path.stat().st_mtime_ns for path in partial.glob('*-*')}
  again = prepared(folder, tokenizer, tmp_path / 'out', '1/2')
  assert again['blocks'] == again['blocks_reused'] == first['blocks'] > 0
  assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_damaged_block_of_a_finished_group_is_done_again(
  folder, tokenizer, tmp_path
):
  prepared(folder, tokenizer, tmp_path / 'one')
  prepared(folder, tokenizer, tmp_path / 'out', '1/1')
  path = sorted((tmp_path / 'out.partial').glob('block-*'))[3]
  path.write_bytes(path.read_bytes()[:-30])
  summary = prepared(folder, tokenizer, tmp_path / 'out')
  assert summary['blocks_reused'] == summary['blocks'] - 1
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')


def test_a_file_that_changed_after_its_part_is_read_again(
  folder, tokenizer, tmp_path
):
  for number in (1, 2):
    prepared(folder, tokenizer, tmp_path / 'out', f'{number}/2')
  write(folder / 'small-03.txt', ['w7 w8 w9'] * 9)
  prepared(folder, tokenizer, tmp_path / 'one')
  summary = prepared(folder, tokenizer, tmp_path / 'out')
  assert 0 < summary['blocks_reused'] < summary['blocks']
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')


def test_a_part_of_another_request_is_refused(folder, tokenizer, tmp_path):
  prepared(folder, tokenizer, tmp_path / 'out', '1/2')
  with pytest.raises(InputError, match='out.partial: .* another request'):
    prepared(folder, tokenizer, tmp_path / 'out', '2/2', row_lengths=(64,))
  assert list((tmp_path / 'out.partial').glob('block-*'))


@pytest.mark.parametrize('part', ['2/2', None])
@pytest.mark.parametrize(
  'options,what',
  [
    ({'row_lengths': (64,)}, 'work.row_lengths was 32, now 64'),
    ({'filters': {'min_characters': 9}}, 'source.filters.min_characters was 5'),
  ],
)
def test_parts_keep_what_other_flags_would_not_use(
  folder, tokenizer, tmp_path, part, options, what
):
  output = tmp_path / 'out'
  filters = {'filters': {'min_characters': 5}}
  prepared(folder, tokenizer, output, '1/2', **filters)
  with pytest.raises(InputError, match=f'parts of another request, {what}'):
    prepared(folder, tokenizer, output, part, **filters | options)
  (folder / 'small-07.txt').unlink()  # No flag: what it changes is done again.
  prepared(folder, tokenizer, output, '2/2', **filters)
  summary = prepared(folder, tokenizer, output, **filters)
  assert 0 < summary['blocks_reused'] < summary['blocks']
  prepared(folder, tokenizer, tmp_path / 'one', **filters)
  assert contents(output) == contents(tmp_path / 'one')


def test_a_part_that_finished_nothing_binds_no_other(
  folder, tokenizer, tmp_path
):
  zipped = folder / 'zipped.txt.gz'
  whole = zipped.read_bytes()
  zipped.write_bytes(whole[:-40])
  with pytest.raises(InputError, match='zipped.txt.gz: cannot be read'):
    prepared(zipped, tokenizer, tmp_path / 'out', '1/2', row_lengths=(64,))
  zipped.write_bytes(whole)
  for part in ('1/2', '2/2', None):
    prepared(folder, tokenizer, tmp_path / 'out', part)


def test_parts_and_the_whole_exclude_each_other(folder, tokenizer, tmp_path):
  refused = []

  def second(part):
    with pytest.raises(InputError, match='in use by process') as error:
      prepared(folder, tokenizer, tmp_path / 'out', part)
    refused.append(str(error.value))

  def during_a_part():
    second(None)  # a join
    second('1/2')  # the same part
    other = ListSource(make_texts())
    run(other, tokenizer, tmp_path / 'out', part=parts.parse('2/2'))

  source = ListSource(make_texts(), {100: during_a_part})
  run(source, tokenizer, tmp_path / 'out', part=parts.parse('1/2'))
  assert len(refused) == 2


@pytest.mark.parametrize('text', ['0/2', '3/2', '1', '1/0', 'a/b', '1/2/3', ''])
def test_parts_that_are_none(text):
  with pytest.raises(InputError, match='--part=.*: give I/N'):
    parts.parse(text)


@pytest.mark.parametrize('filters', [{}, REPEATS], ids=['all', 'repeats'])
def test_no_text_at_all(tmp_path, tokenizer, filters):
  folder = tmp_path / 'in'
  folder.mkdir()
  for number in range(3):
    (folder / f'{number}.txt').write_bytes(b'\n' * 2000)
  with pytest.raises(InputError, match='0.txt and 2 more files: there is no'):
    prepared(folder, tokenizer, tmp_path / 'out', filters=filters)
  assert {path.name for path in tmp_path.iterdir()} == {'in', 'vocab.txt'}


def test_a_file_of_another_form_is_refused_before_any_is_read(
  folder, tokenizer, tmp_path
):
  (folder / 'zzz.txt').write_bytes(b'%PDF-1.4 ...')
  with pytest.raises(InputError, match='zzz.txt: is a PDF file'):
    prepared(folder, tokenizer, tmp_path / 'out')
  assert not (tmp_path / 'out.partial').exists()


def test_an_error_in_one_file_names_it(folder, tokenizer, tmp_path):
  path = folder / 'zipped.txt.gz'
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(InputError, match='zipped.txt.gz: cannot be read'):
    prepared(folder, tokenizer, tmp_path / 'out', num_workers=2)


def test_an_earlier_version_is_refused_by_name(folder, tokenizer, tmp_path):
  prepared(folder, tokenizer, tmp_path / 'out')
  record = tmp_path / 'out/prepare.json'
  written = json.loads(record.read_text())
  assert written['request']['work']['block'][0] == blocks.BLOCK_VERSION == 2
  written['request']['work']['block'][0] = 1
  record.write_text(json.dumps(written))
  with pytest.raises(InputError, match=r'block was \[1, .*now \[2, '):
    prepared(folder, tokenizer, tmp_path / 'out')
  assert TokenRows(tmp_path / 'out/32').num_rows


SCRIPT = """
import sys
from bert_jax import stopping
from bert_jax.data.preparing import blocks, parts, prepare
from bert_jax.data import sources, tokenizers
from bert_jax.data.sources import file_source
blocks.BLOCK_CHARACTERS, file_source.GROUP_BYTES = 2000, 3000

if __name__ == '__main__':
  folder, *part = sys.argv[1:]
  try:
    prepare.prepare(
      sources.open_inputs(folder, document='line'),
      tokenizers.load_tokenizer('vocab.txt'), output='out', row_lengths=(32,),
      eval_fraction=0.1, num_workers=2, progress=False, max_unknown=1.0,
      part=parts.parse(*part) if part else None)
  except stopping.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


def stopped(tmp_path, stop, *arguments):
  return stopped_amid_blocks(tmp_path, SCRIPT, arguments, stop)


def kill(pid):
  os.killpg(pid, signal.SIGKILL)


def test_a_killed_part_is_repeated(folder, tokenizer, tmp_path):
  prepared(folder, tokenizer, tmp_path / 'one')
  stopped(tmp_path, kill, folder, '1/2')
  for part in ('1/2', '2/2'):
    prepared(folder, tokenizer, tmp_path / 'out', part)
  summary = prepared(folder, tokenizer, tmp_path / 'out')
  assert summary['blocks_reused'] == summary['blocks']
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_readers_cleanly(folder, tokenizer, tmp_path, number):
  write(folder / 'large.txt', make_texts(4_000))
  status, error = stopped(tmp_path, lambda pid: os.kill(pid, number), folder)
  assert status == 128 + number
  assert 'finished blocks are kept in' in error
  assert 'Traceback' not in error
  assert not list(tmp_path.glob('*.lock'))
  summary = prepared(folder, tokenizer, tmp_path / 'out', num_workers=2)
  assert 3 <= summary['blocks_reused'] < summary['blocks']
  prepared(folder, tokenizer, tmp_path / 'one', num_workers=2)
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')


def test_a_killed_reader_is_one_clear_line(folder, tokenizer, tmp_path):
  pids = tmp_path / 'pids'
  pids.mkdir()
  partial = tmp_path / 'out.partial'
  killed = ActingTokenizer(tokenizer, pids, 'kill', 3, partial)
  with pytest.raises(InputError, match='worker process was killed.*--workers'):
    prepared(folder, killed, tmp_path / 'out', num_workers=2)
  assert_ended([int(path.name) for path in pids.iterdir()])
  prepared(folder, tokenizer, tmp_path / 'one')
  summary = prepared(folder, tokenizer, tmp_path / 'out', num_workers=2)
  assert summary['blocks_reused'] >= 3
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')


def test_each_process_reads_files_of_its_own(tmp_path, tokenizer):
  folder = tmp_path / 'in'
  folder.mkdir()
  for number in range(8):
    write(folder / f'{number}.txt', make_texts(300, seed=number))
  pids = tmp_path / 'pids'
  pids.mkdir()
  acting = ActingTokenizer(tokenizer, pids)
  prepared(folder, acting, tmp_path / 'out', num_workers=4)
  processes = [int(path.name) for path in pids.iterdir()]
  assert len(processes) > 1 and os.getpid() not in processes
  assert_ended(processes)


def test_the_command(folder, tmp_path, vocab):
  flags = (
    *('prepare', '--input=in', '--document=line', '--tokenizer=vocab.txt'),
    *('--row_length=32', '--workers=1', '--max_unknown=1'),
  )
  verb(tmp_path, *flags, '--output=one')
  for part in ('1/2', '2/2'):
    result = verb(tmp_path, *flags, '--output=out', f'--part={part}')
    assert f'out: part {part}: ' in result.stdout
    assert 'without --part joins them' in result.stdout
  result = verb(tmp_path, *flags, '--output=out')
  assert 'of them from an earlier run' in result.stdout
  assert contents(tmp_path / 'out') == contents(tmp_path / 'one')
  result = verb(tmp_path, *flags, '--output=out', '--part=2', status=2)
  assert '--part=2: give I/N' in result.stderr
