"""Apache Beam's workers: the bytes of the local engine, through any end.

Run by `.ci/run --extra=beam`, in an environment that has Beam.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import small_texts
from acting_tokenizer import ActingTokenizer
from other_process import ROOT, verb
from process_ends import assert_ended
from small_texts import WORDS, contents

from bert_jax.data.preparing import beam_exchange, blocks
from bert_jax.data.preparing.filters import FilterOptions, filtered
from bert_jax.data.preparing.groups import Task
from bert_jax.data.preparing.prepare import prepare
from bert_jax.data.preparing.reading_workers import End
from bert_jax.data.sources import file_source, open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.data.tokenizers.sentencepiece_training import train_sentencepiece
from bert_jax.errors import InputError

pytestmark = [pytest.mark.beam, pytest.mark.usefixtures('small_blocks')]


@pytest.fixture
def text(tmp_path, monkeypatch):
  """Files of lines, some repeated, some short, and one that is no UTF-8."""
  monkeypatch.setattr(file_source, 'GROUP_BYTES', 5000)
  rng = random.Random(0)
  lines = [
    ' '.join(rng.choices(WORDS, k=rng.randint(1, 40))) + f' . w{i % 50}'
    for i in range(300)
  ]
  lines += lines[::7]
  folder = tmp_path / 'text'
  folder.mkdir()
  for number in range(6):
    some = '\n'.join(lines[number::6]).encode()
    path = folder / f'{number}.txt'
    path.write_bytes(some + b'\nw1 \xff w2 w3 w4\n\n')
  return folder


@pytest.fixture
def pids(tmp_path):
  folder = tmp_path / 'pids'
  folder.mkdir()
  return folder


def run(text, tokenizer, output, beam_flags=None, **options):
  source = filtered(
    open_inputs(str(text), document='line'),
    FilterOptions(min_characters=12, deduplicate=True),
  )
  options = {
    'row_lengths': (32, 64),
    'eval_fraction': 0.1,
    'num_workers': 2,
    'progress': False,
    **options,
  }
  return prepare(
    source, tokenizer, output=output, beam_flags=beam_flags, **options
  )


def assert_as_local(tmp_path, text, tokenizer, **options):
  run(text, tokenizer, tmp_path / 'local', **options)
  assert contents(tmp_path / 'out') == contents(tmp_path / 'local')
  assert not (tmp_path / 'out.partial').exists()


def workers_of(pids):
  return [int(path.name) for path in pids.iterdir()]


def test_the_bytes_of_the_local_engine(tmp_path, text, tokenizer, pids):
  summary = run(text, ActingTokenizer(tokenizer, pids), tmp_path / 'out', ())
  assert summary['blocks'] > 10
  assert summary['blocks_reused'] == 0
  assert summary['dropped']['exact_duplicates'] > 10
  assert {part['folder'] for part in summary['parts']} == {
    '32',
    '64',
    'eval/32',
    'eval/64',
  }
  processes = workers_of(pids)
  assert len(processes) == 2 and os.getpid() not in processes
  assert_ended(processes)
  assert_as_local(tmp_path, text, tokenizer)
  assert run(text, tokenizer, tmp_path / 'out', ())['already_complete']


def test_a_killed_worker_is_one_clear_line(tmp_path, text, tokenizer, pids):
  partial = tmp_path / 'out.partial'
  killed = ActingTokenizer(tokenizer, pids, 'kill', 3, partial)
  with pytest.raises(InputError, match='worker process was killed.*--workers'):
    run(text, killed, tmp_path / 'out', ())
  assert_ended(workers_of(pids))
  assert not (partial / 'tasks').exists()
  # Either engine goes on from the blocks of the other.
  assert run(text, tokenizer, tmp_path / 'out')['blocks_reused'] >= 3
  assert_as_local(tmp_path, text, tokenizer)


def test_through_another_folder_and_a_job_server(tmp_path, text):
  """As on a cluster: the protocol is that of Flink's and Spark's servers."""
  tokenizer = train_sentencepiece(
    open_inputs(str(text), document='line').documents(ReadReport()),
    model_type='unigram',
    vocab_size=300,
    lowercase=True,
  )
  elsewhere = tmp_path / 'else [where]'
  port_file = tmp_path / 'port'
  server = subprocess.Popen(
    [
      *(sys.executable, '-m'),
      'apache_beam.runners.portability.local_job_service_main',
      *(f'--port_file={port_file}', f'--staging_dir={tmp_path}/staging'),
    ],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    deadline = time.monotonic() + 60
    while not (port_file.exists() and port_file.read_text()):
      assert server.poll() is None and time.monotonic() < deadline
      time.sleep(0.05)
    flags = (
      '--runner=PortableRunner',
      f'--job_endpoint=localhost:{port_file.read_text()}',
      '--environment_type=LOOPBACK',
      f'--temp_location={elsewhere}',
    )
    run(text, tokenizer, tmp_path / 'out', flags, pairs='sentence_order')
  finally:
    server.kill()
    server.wait()
  assert_as_local(tmp_path, text, tokenizer, pairs='sentence_order')
  assert not list(elsewhere.iterdir())


def test_blocks_elsewhere_are_used_again(tmp_path, text, tokenizer, pids):
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()
  flags = (f'--temp_location={elsewhere}',)
  killed = ActingTokenizer(tokenizer, pids, 'kill', 3, elsewhere)
  with pytest.raises(InputError, match='worker process was killed'):
    run(text, killed, tmp_path / 'out', flags)
  (folder,) = elsewhere.iterdir()
  assert len(list(folder.glob('block-*.npz'))) >= 3
  shutil.rmtree(tmp_path / 'out.partial')
  assert run(text, tokenizer, tmp_path / 'out', flags)['blocks_reused'] >= 3
  assert_as_local(tmp_path, text, tokenizer)
  assert not list(elsewhere.iterdir())


SCRIPT = """
import pathlib, sys
from acting_tokenizer import ActingTokenizer
from bert_jax import stopping
from bert_jax.data.preparing import blocks, prepare
from bert_jax.data import sources, tokenizers
from bert_jax.data.sources import file_source
blocks.BLOCK_CHARACTERS, file_source.GROUP_BYTES = 2000, 5000

if __name__ == '__main__':
  folder = pathlib.Path(sys.argv[1])
  try:
    prepare.prepare(
      sources.open_inputs(str(folder / 'text'), document='line'),
      ActingTokenizer(
        tokenizers.load_tokenizer(folder / 'vocab.txt'),
        folder / 'pids', 'wait', 3, folder / 'out.partial'),
      output=folder / 'out', row_lengths=(32,), eval_fraction=0.1,
      num_workers=2, progress=False, beam_flags=())
  except stopping.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_all_of_it(tmp_path, text, tokenizer, pids, number):
  (tmp_path / 'script.py').write_text(SCRIPT)
  process = subprocess.Popen(
    [sys.executable, str(tmp_path / 'script.py'), str(tmp_path)],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  partial = tmp_path / 'out.partial'
  try:
    deadline = time.monotonic() + 60
    while len(list(partial.glob('block-*.npz'))) < 3:
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.02)
    # As a terminal does it: to the whole group.
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=30)
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
  assert_ended(workers_of(pids))
  if number != signal.SIGKILL:
    assert process.returncode == 128 + number
    assert 'finished blocks are kept in' in error.splitlines()[-1]
    assert 'Traceback' not in error
    assert not (partial / 'tasks').exists()
  source = open_inputs(str(text), document='line')
  run = small_texts.run(source, tokenizer, tmp_path / 'out')
  assert run['blocks_reused'] >= 3
  assert not partial.exists()


def test_the_command_line(tmp_path, text, tokenizer):
  arguments = [
    'prepare',
    f'--input={text}',
    '--document=line',
    f'--tokenizer={tmp_path / "vocab.txt"}',
    '--row_length=32',
  ]
  out, local = (f'--output={tmp_path / name}' for name in ('out', 'local'))
  beam = out, '--engine=beam', '--'
  refused = verb(ROOT, *arguments, *beam, '--direct_num_wokers', status=2)
  (line,) = refused.stderr.splitlines()
  assert 'the nearest is --direct_num_workers' in line
  verb(ROOT, *arguments, *beam, '--direct_num_workers=1')
  verb(ROOT, *arguments, local)
  assert contents(tmp_path / 'out') == contents(tmp_path / 'local')


def _read(task):
  block = blocks.Block(index=0, texts=['w1'], num_bytes=2, digest='d')
  yield block, task.folder / 'block-0.npz'
  return 'the end'


def test_object_storage_has_no_folders(tmp_path, monkeypatch):
  partial = tmp_path / 'out.partial'
  partial.mkdir()
  exchange = beam_exchange.Exchange(partial, str(tmp_path / 'bucket'))
  done = blocks.BlockDone(
    name='block-0.npz', counts={}, num_bytes=2, was_there=False
  )

  def worker(piece):
    piece[1].write_bytes(b'block')
    return done

  monkeypatch.setattr(beam_exchange, '_is_on_disk', lambda name: False)
  task = Task(0, None, True, '', {}, partial, {})
  exchange.write_tasks(_read, [task])
  read, tasks = exchange.read_tasks()
  assert tasks == [task]
  assert not exchange.is_done(0)
  exchange.work_on(read, tasks[0], 0, worker)
  path = partial / done.name
  assert exchange.is_done(0) and not path.exists()
  assert exchange.read_done(0) == [done, End(1, 'the end')]
  assert path.read_bytes() == b'block'
  names = lambda: [p.name for p in (tmp_path / 'bucket').rglob('*.*z')]  # noqa: E731
  exchange.remove(finished=False)
  assert names() == ['block-0.npz']
  exchange.remove(finished=True)
  assert names() == []


def test_a_file_that_cannot_be_read_is_one_line(tmp_path, text, tokenizer):
  (text / '3.txt').write_bytes(b'w1 w2\n' * 20_000 + b'w1 \0 w2\n')
  with pytest.raises(InputError, match='3.txt:20001: ') as error:
    run(text, tokenizer, tmp_path / 'out', ())
  assert len(str(error.value).splitlines()) == 1


def test_a_source_of_no_files_is_prepared_here(tmp_path, tokenizer):
  source = small_texts.ListSource(small_texts.make_texts())
  small_texts.run(source, tokenizer, tmp_path / 'out', beam_flags=())
  small_texts.run(source, tokenizer, tmp_path / 'local')
  assert contents(tmp_path / 'out') == contents(tmp_path / 'local')


def test_what_a_runner_says_is_one_line(tmp_path, text, tokenizer):
  flags = ('--runner=FlinkRunner', '--flink_job_server_jar=/gone.jar')
  with pytest.raises(InputError, match='Beam ended with: .*beam.log'):
    run(text, tokenizer, tmp_path / 'out', flags)
  assert (tmp_path / 'out.partial/beam.log').stat().st_size
