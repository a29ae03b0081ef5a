"""Whole verbs on nasty files: one line, status 2, and no traceback."""

import json
import os
import subprocess
import sys

import pytest
from other_process import ROOT, run_python

# Each command runs in its own process, since flags can be defined only once.
# The processes are forked, since starting Python with jax takes seconds.
START = """
import contextlib, importlib, io, json, os, sys, traceback
from bert_jax.__main__ import main
importlib.import_module(sys.argv.pop())
for arguments in json.loads(sys.argv.pop()):
  if os.fork():
    os.wait()
    continue
  output, status = io.StringIO(), None
  with contextlib.redirect_stderr(output):
    try:
      status = main(arguments)
    except BaseException:
      traceback.print_exc()
  print(json.dumps([status, output.getvalue()]), file=sys.__stderr__)
  sys.__stderr__.flush()
  os._exit(0)
"""

TEXTS = {
  'empty.txt': b'',
  'utf16.txt': ('some text in UTF-16\n' * 300).encode('utf-16'),
  'zeros.txt': bytes(5000),
  'not_gz.txt.gz': b'this is no gzip',
  'cut.txt.gz': b'\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\x48',
  'spoilt.txt.gz': b'\x1f\x8b\x08\0\0\0\0\0\0\x03' + b'\xff' * 99,
  'not_xz.txt.xz': b'\xfd7zXZ\0' + b'x' * 99,
  'lines.jsonl': b'[\n' + b'[' * 99_000 + b'\n{"text": 3}\n{"x": NaN}\n',
  'other.jsonl': b'{"' + b'k' * 9000 + b'": "\\ud800"}\n',
}
EXAMPLES = {
  'empty.csv': b'',
  'quotes.csv': b'text,label\n"a "b" c,x\n',
  'open.csv': b'text,label\n"a,x\n' + b'b,y\n' * 5,
  'zeros.csv': b'text,label\n\0,\n',
  'columns.tsv': b'text\ttext\n' + b'a\tb\n' * 5,
  'bytes.tsv': b'text\tlabel\n\xff\xfe\tx\n',
  'header.tsv': b'x' * 200_000 + b'\n',
  'surrogate.jsonl': b'{"text": "\\ud83d", "label": "x"}\n',
  'deep.jsonl': b'{"text": ' + b'[' * 99_000 + b'\n',
  'number.jsonl': b'{"text": "a", "label": ' + b'9' * 5000 + b'}\n',
  'spoilt.csv.gz': b'\x1f\x8b\x08\0\0\0\0\0\0\x03' + b'\xff' * 99,
  'format.parquet': b'PAR1',
}


def run(commands, needed):
  """Runs commands that need a module; returns [(exit status, stderr)]."""
  done = run_python('-c', START, json.dumps(commands), needed)
  assert done.returncode == 0, done.stderr
  return [json.loads(line) for line in done.stderr.splitlines()]


def assert_one_line_each(found, expected):
  for (status, stderr), words in zip(found, expected, strict=True):
    assert 'Traceback' not in stderr, stderr
    assert status == 2 and len(stderr.splitlines()) == 1, stderr
    assert words.lower() in stderr.lower() and len(stderr) < 600, (
      words,
      stderr,
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory, small_tokenizer):
  folder = tmp_path_factory.mktemp('nasty files')
  small_tokenizer.save(folder / 'tokenizer')
  for name, data in (TEXTS | EXAMPLES).items():
    (folder / name).write_bytes(data)
  return folder


def test_prepare(folder):
  names = [*TEXTS, '~nobody_of_that_name/x', 'x' * 5000, 'empty.txt/x']
  paths = [name if name[0] in '~x' else folder / name for name in names]
  options = [f'--tokenizer={folder / "tokenizer"}', '--workers=1']
  output = folder / 'corpus'
  commands = [
    ['prepare', f'--input={path}', f'--output={output}', *options]
    for path in paths
  ]
  commands += [
    ['prepare', f'--input={folder}/*.txt', f'--output={name}', *options]
    for name in (folder / 'empty.txt' / 'x', folder / ('x' * 300))
  ]
  commands.append([*commands[0], f'--row_length={10**30}'])
  names[names.index('x' * 5000)] = 'name too long'
  names += ['empty.txt', 'name too long', f'row_length={10**30}']
  assert_one_line_each(run(commands, 'bert_jax.data.preparing.prepare'), names)
  assert not output.exists()


def test_finetune(folder):
  names = [*EXAMPLES, 'none.csv', '~nobody_of_that_name/x.csv']
  paths = [name if name[0] == '~' else folder / name for name in names]
  commands = [
    [
      'finetune',
      f'--config={ROOT / "experiments" / "finetune" / "classification.py"}',
      f'--config.tokenizer={folder / "tokenizer"}',
      f'--config.task.train_path={path}',
      f'--config.task.eval_path={path}',
      f'--workdir={folder / "run"}',
    ]
    for path in paths
  ]
  assert_one_line_each(run(commands, 'bert_jax.jobs.finetune'), names)


def test_prepare_of_a_file_whose_name_is_not_utf8(folder):
  """A file of a Latin-1 system is prepared; the manifest holds its name."""
  path = os.fsencode(folder) + b'/caf\xe9.txt'
  with open(path, 'wb') as file:
    file.write(b'the array holds a random number\n' * 20)
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'bert_jax', 'prepare', '--workers=1'),
      *(b'--input=' + path, '--row_length=16', '--eval_fraction=0'),
      *('--tokenizer', folder / 'tokenizer', b'--output=' + path[:-4]),
    ],
    capture_output=True,
    cwd=ROOT,
    # Terminals of most languages refuse characters that they cannot show.
    env=os.environ | {'PYTHONIOENCODING': 'utf-8:strict'},
  )
  assert done.returncode == 0, done.stderr
