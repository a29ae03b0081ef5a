"""Random texts of fifty words, and helpers that prepare them in a moment."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest
from other_process import start_python

from bert_jax.data import token_rows
from bert_jax.data.preparing.prepare import prepare
from bert_jax.data.sources.base import Document

WORDS = [f'w{i}' for i in range(50)]


def make_texts(count=200, seed=0):
  rng = random.Random(seed)
  return [
    ' '.join(rng.choices(WORDS, k=rng.randint(1, 40))) + f' . w{i % 50}'
    for i in range(count)
  ]


class ListSource:
  """Documents from memory; "bad" stands for a line that cannot be read.

  `at` maps a document's number to a function that is called before it.
  """

  name = 'list'

  def __init__(self, texts, at=None):
    self.texts = texts
    self.at = at or {}

  def documents(self, report):
    for number, text in enumerate(self.texts):
      if number in self.at:
        self.at[number]()
      if text == 'bad':
        report.add('unparsable_lines', f'list:{number}')
        continue
      yield Document(text, f'list:{number}')

  def describe(self):
    return {'kind': 'list', 'documents': len(self.texts)}

  def size_in_bytes(self):
    return sum(map(len, self.texts))


def run(source, tokenizer, output, **options):
  options = {
    'row_lengths': (32,),
    'eval_fraction': 0.1,
    'num_workers': 1,
    'progress': False,
    **options,
  }
  if isinstance(source, list):
    source = ListSource(source)
  return prepare(source, tokenizer, output=output, **options)


@contextlib.contextmanager
def plug_pulled(monkeypatch):
  """Lets what runs within it fail while the shards of eval/ are written."""
  write = token_rows.write_token_rows

  def fail_on_eval(folder, *arguments, **options):
    if folder.parent.name == 'eval':
      raise OSError('pulled the plug')
    return write(folder, *arguments, **options)

  with monkeypatch.context() as patch:
    patch.setattr(token_rows, 'write_token_rows', fail_on_eval)
    with pytest.raises(OSError, match='pulled the plug'):
      yield


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def stopped_amid_blocks(folder, script, arguments, stop):
  """Runs a script that prepares `out` in a folder, until it has three blocks.

  Then it calls `stop` with the id of its process. Returns (status, stderr).
  """
  (folder / 'script.py').write_text(script)
  process = start_python(
    'script.py',
    *arguments,
    cwd=folder,
    stderr=subprocess.PIPE,
    start_new_session=True,
  )
  try:
    deadline = time.monotonic() + 60
    while len(list((folder / 'out.partial').glob('block-*'))) < 3:
      assert process.poll() is None, process.stderr.read()
      assert time.monotonic() < deadline
      time.sleep(0.005)
    stop(process.pid)
    return process.wait(60), process.stderr.read()
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
