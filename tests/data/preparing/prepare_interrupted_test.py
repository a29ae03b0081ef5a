"""Preparing a corpus, interrupted: same bytes in the end, nothing half done."""

import contextlib
import multiprocessing
import os
import pathlib
import shutil
import signal

import pytest
from small_texts import (
  ListSource,
  contents,
  make_texts,
  plug_pulled,
  run,
  stopped_amid_blocks,
)

from bert_jax import durable_files, stopping
from bert_jax.data.preparing import blocks
from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError

pytestmark = pytest.mark.usefixtures('small_blocks')


SCRIPT = """
import sys, threading
from bert_jax import stopping
from bert_jax.data.preparing import blocks, prepare
from bert_jax.data import sources, tokenizers
blocks.BLOCK_CHARACTERS = 2000

class Stalling:
  def __init__(self, source): self.source = source
  def __getattr__(self, name): return getattr(self.source, name)
  def documents(self, report):
    for number, document in enumerate(self.source.documents(report)):
      if number == 120: threading.Event().wait()
      yield document

if __name__ == '__main__':
  text, vocab, output, workers = sys.argv[1:]
  try:
    prepare.prepare(
      Stalling(sources.open_inputs(text, document='line')),
      tokenizers.load_tokenizer(vocab), output=output, row_lengths=(32,),
      eval_fraction=0.1, num_workers=int(workers), progress=False)
  except stopping.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


def start_and_stop(tmp_path, vocab, workers, stop):
  """Runs SCRIPT until it stalls with blocks finished, then calls stop(pid)."""
  (tmp_path / 'text.txt').write_text('\n'.join(make_texts()) + '\n')
  arguments = ['text.txt', 'vocab.txt', 'out', workers]
  return stopped_amid_blocks(tmp_path, SCRIPT, arguments, stop)


def finish(tmp_path, tokenizer):
  """Prepares the same text here, after an interruption and without one."""
  text = str(tmp_path / 'text.txt')
  source = open_inputs(text, document='line')
  summary = run(source, tokenizer, tmp_path / 'out')
  run(source, tokenizer, tmp_path / 'whole')
  assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')
  assert not (tmp_path / 'out.partial').exists()
  return summary


@pytest.mark.parametrize('workers', [1, 2])
def test_killed_and_run_again_same_bytes(tmp_path, vocab, tokenizer, workers):
  kill = lambda pid: os.killpg(pid, signal.SIGKILL)  # noqa: E731
  start_and_stop(tmp_path, vocab, workers, kill)
  assert not (tmp_path / 'out').exists()
  assert (tmp_path / 'out.lock').exists()
  assert finish(tmp_path, tokenizer)['blocks_reused'] >= 3


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path, vocab, tokenizer, number):
  status, error = start_and_stop(
    tmp_path, vocab, 2, lambda pid: os.kill(pid, number)
  )
  assert status == 128 + number
  assert 'finished blocks are kept in' in error
  assert 'Traceback' not in error
  assert not (tmp_path / 'out.lock').exists()
  assert finish(tmp_path, tokenizer)['blocks_reused'] >= 3


def test_a_killed_worker_is_one_clear_line(tmp_path, tokenizer):
  source = ListSource(
    make_texts(), {150: lambda: multiprocessing.active_children()[0].kill()}
  )
  with pytest.raises(InputError, match='worker process was killed.*--workers'):
    run(source, tokenizer, tmp_path / 'out', num_workers=2)
  source.at.clear()
  assert run(source, tokenizer, tmp_path / 'out')['blocks_reused'] >= 1


def test_a_failure_while_writing_shards(tmp_path, tokenizer, monkeypatch):
  texts = make_texts()
  run(texts, tokenizer, tmp_path / 'whole')
  with plug_pulled(monkeypatch):
    run(texts, tokenizer, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
  summary = run(texts, tokenizer, tmp_path / 'out')
  assert summary['blocks_reused'] == summary['blocks']
  assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def interrupted(tokenizer, output) -> list[str]:
  """Texts whose preparation has been stopped at the 150th."""
  texts = make_texts()

  def stop():
    raise KeyboardInterrupt

  with pytest.raises(stopping.Stopped):
    run(ListSource(texts, {150: stop}), tokenizer, output)
  return texts


def test_a_damaged_finished_block_is_done_again(tmp_path, tokenizer):
  texts = interrupted(tokenizer, tmp_path / 'out')
  done = sorted((tmp_path / 'out.partial').glob('block-*'))
  cut, flipped = done[:2]
  cut.write_bytes(cut.read_bytes()[:-100])
  data = bytearray(flipped.read_bytes())
  data[len(data) // 2] ^= 4
  flipped.write_bytes(data)
  summary = run(texts, tokenizer, tmp_path / 'out')
  assert summary['blocks_reused'] == len(done) - 2
  run(texts, tokenizer, tmp_path / 'whole')
  assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_blocks_of_other_text_are_not_reused(tmp_path, tokenizer):
  texts = interrupted(tokenizer, tmp_path / 'out')
  texts[0] = texts[0] + ' w3'
  summary = run(texts, tokenizer, tmp_path / 'out')
  assert summary['blocks_reused'] < summary['blocks'] - 1
  run(texts, tokenizer, tmp_path / 'whole')
  assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_where_documents_end_tells_blocks_apart():
  digests = {
    next(blocks.read_blocks(ListSource(texts), ReadReport())).digest
    for texts in (['w1 w2', 'w3'], ['w1', ' w2w3'], ['w1 w2w3'])
  }
  assert len(digests) == 3


def test_two_on_one_output(tmp_path, tokenizer):
  texts = make_texts()
  refused = []

  def second():
    with pytest.raises(InputError, match='out is in use by process') as error:
      run(texts, tokenizer, tmp_path / 'out')
    refused.append(str(error.value))

  run(ListSource(texts, {100: second}), tokenizer, tmp_path / 'out')
  assert str(os.getpid()) in refused[0]
  assert TokenRows(tmp_path / 'out/32').num_rows


def test_an_input_that_cannot_be_read_leaves_nothing(tmp_path, tokenizer):
  def fail():
    raise InputError('no such file')

  with pytest.raises(InputError, match='no such file'):
    run(ListSource(['w1'], {0: fail}), tokenizer, tmp_path / 'out')
  assert [path.name for path in tmp_path.iterdir()] == ['vocab.txt']


@pytest.mark.parametrize('call', range(6))
def test_killed_at_any_step_of_tidying_up(
  tmp_path, tokenizer, monkeypatch, call
):
  """Each removal in turn is the last thing that a killed run does."""
  texts = make_texts(30)
  run(texts, tokenizer, tmp_path / 'whole')
  calls = 0

  def count_down(remove):
    def counted(path, *arguments, **options):
      nonlocal calls
      calls += 1
      if calls > call:
        raise SystemExit
      return remove(path, *arguments, **options)

    return counted

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, 'unlink', count_down(pathlib.Path.unlink))
    patch.setattr(shutil, 'rmtree', count_down(shutil.rmtree))
    with contextlib.suppress(SystemExit):
      run(texts, tokenizer, tmp_path / 'out')
  run(texts, tokenizer, tmp_path / 'out')
  assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')
  shutil.rmtree(tmp_path / 'out')
  run(texts, tokenizer, tmp_path / 'out')
  assert not (tmp_path / 'out.partial').exists()


def test_killed_while_the_first_file_is_written(tmp_path, tokenizer):
  (tmp_path / 'out.partial').mkdir()
  (tmp_path / 'out.partial/.unfinished.json.77.tmp').write_text('{')
  run(make_texts(), tokenizer, tmp_path / 'out')
  assert not (tmp_path / 'out.partial').exists()


def test_a_full_disk(tmp_path, tokenizer, monkeypatch):
  def full(path):
    raise OSError(28, 'No space left on device')

  texts = make_texts()
  source = ListSource(
    texts, {100: lambda: monkeypatch.setattr(durable_files, 'new_file', full)}
  )
  with pytest.raises(InputError, match='no space left.*make room'):
    run(source, tokenizer, tmp_path / 'out')
  monkeypatch.undo()
  monkeypatch.setattr(blocks, 'BLOCK_CHARACTERS', 2000)
  assert run(texts, tokenizer, tmp_path / 'out')['blocks_reused']
