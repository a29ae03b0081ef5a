"""README and docs/: their commands run, and the two READMEs say the same.

Blocks ```bash and ```python are run, in the order of their page, in a folder
with the files that a reader has by then. A block ```bash no-run needs a
network, an accelerator or hours, so only its flags and fields are checked.
Commands run as they stand, by a `bert-jax` that adds the flags of SMALLER.
"""

import collections
import gzip
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
from other_process import ROOT, said

from bert_jax.config.experiment_file import load_config
from bert_jax.config.overrides import config_fields, find_field

README = ROOT / 'README.md'
CHINESE = ROOT / 'README.zh.md'
PAGES = sorted((ROOT / 'docs').glob('*.md'))
MODEL = {'num_layers': 2, 'embed_dim': 16, 'num_heads': 2, 'mlp_dim': 32}
# Flags that are added to a command with a --config, unless it has them.
SMALLER = {
  'pretrain': [
    '--config.num_steps=8',
    '--config.batch_size=8',
    '--config.num_microbatches=1',
    *(f'--config.model.{name}={size}' for name, size in MODEL.items()),
    '--config.optimizer.schedule.warmup_steps=0',
    '--config.evaluation.batch_size=8',
  ],
  'finetune': ['--config.num_epochs=1', '--config.max_length=32'],
}
SMALLER['inspect'] = SMALLER['pretrain']
SHIM = """
import os
import sys

verb, *words = sys.argv[1:]
given = {word.partition('=')[0] for word in words}
for flag in SMALLER.get(verb, ()):
  if '--config' in given and flag.partition('=')[0] not in given:
    words.append(flag)
os.execv(sys.executable, [sys.executable, '-m', 'bert_jax', verb, *words])
"""
NOUNS = 'array axis matrix value shape function input index'.split()
VERBS = 'holds takes returns moves reads'.split()


class Block(NamedTuple):
  """A fenced block of a page: its language, whether it is run, its text."""

  language: str
  is_run: bool
  text: str
  line: int


def blocks(page: pathlib.Path) -> list[Block]:
  text = page.read_text('utf-8')
  return [
    Block(
      match[1],
      match[2] != 'no-run',
      match[3],
      text.count('\n', 0, match.start()),
    )
    for match in re.finditer(r'^```(\w+) ?(.*)\n((?s:.*?))^```$', text, re.M)
  ]


def commands() -> list[tuple[str, list[str]]]:
  """Returns (where, words) of each `bert-jax VERB ...` in a block of bash."""
  found = []
  for page in (README, *PAGES):
    for block in blocks(page):
      if block.language != 'bash':
        continue
      for line in block.text.replace('\\\n', ' ').splitlines():
        # A quote of another command may go on over several lines.
        if line.split()[:1] == ['bert-jax']:
          words = shlex.split(line, comments=True)
          found.append((f'{page.name}:{block.line + 2}: {line}', words[1:]))
  return found


def test_both_readmes_have_the_same_commands_and_figures():
  english, chinese = blocks(README), blocks(CHINESE)
  assert [b[:3] for b in english] == [b[:3] for b in chinese]

  def figures(page):
    text = re.sub(r'(?ms)^```.*?^```$', '', page.read_text('utf-8'))
    return collections.Counter(re.findall(r'\d+(?:[.,]\d+)*', text))

  assert figures(README) == figures(CHINESE)

  def code(page):
    return collections.Counter(
      re.findall(r'`[^`\n]+`', page.read_text('utf-8'))
    )

  assert code(README) == code(CHINESE)


@pytest.mark.parametrize(
  'page',
  [README, CHINESE, ROOT / 'CONTRIBUTING.md', *PAGES],
  ids=lambda page: page.name,
)
def test_files_that_a_page_names_are_there(page):
  text = page.read_text('utf-8')
  for link in re.findall(r'\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)', text):
    assert (page.parent / link).exists(), link
  named = r'`((?:bert_jax|experiments|tests|launch|docs)/[\w./-]*)(?::\w+)?`'
  for path in re.findall(named, text):
    assert (ROOT / path).exists(), path


def test_pages_have_blocks_that_a_test_knows():
  for page in (README, *PAGES):
    text = page.read_text('utf-8')
    infos = set(re.findall(r'^```(\w.*)$', text, re.M))
    assert infos <= {'bash', 'bash no-run', 'python', 'text'}, page
    # No test would run an indented block.
    assert not re.search(r'(?m)^\n {4}\S', text), page


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  """The folder of a reader who has followed the README, on small texts."""
  folder = tmp_path_factory.mktemp('docs') / 'world'
  _write_inputs(folder)
  _run(README, folder)
  return folder


def _write_inputs(folder: pathlib.Path) -> None:
  (folder / 'text').mkdir(parents=True)
  (folder / 'experiments').symlink_to(ROOT / 'experiments')
  sentences = [
    f'The {a} {verb} the {b} of this {c}.'
    for a in NOUNS
    for verb in VERBS
    for b in NOUNS
    for c in NOUNS[:3]
  ]
  for number in range(2):
    with gzip.open(folder / 'text' / f'{number}.txt.gz', 'wt') as file:
      file.write('\n\n'.join(sentences[number::2]))
  rows = [f'{i}\t{s}\t{s.split()[2]}' for i, s in enumerate(sentences[:60])]
  for name in ('train', 'dev', 'test', 'new'):
    table = '\n'.join(['id\tsentence\tlabel', *rows])
    (folder / f'{name}.tsv').write_text(table + '\n')
  pairs = [f'{s}\t{s.split()[1]} {i}' for i, s in enumerate(sentences[:60])]
  commands = [
    f'a number for {kind}\tO O O B-kind\t{kind}' for kind in ('one', 'many')
  ]
  (folder / 'commands.tsv').write_text(
    '\n'.join(['text\tslots\tintent', *(8 * commands)])
  )
  (folder / 'pairs.tsv').write_text('\n'.join(['anchor\tpositive', *pairs]))
  judged = [
    f'which {word}\t{sentence}\t{int(word in sentence)}'
    for word in NOUNS[:2]
    for sentence in sentences[::31]
  ]
  table = '\n'.join(['query\tdocument\tlabel', *judged])
  (folder / 'judged.tsv').write_text(table + '\n')
  words = [sentence[:-1].split() for sentence in sentences[:60]]
  tagged = '\n\n'.join(
    '\n'.join(f'{w} {"B-NOUN" if w in NOUNS else "O"}' for w in sentence)
    for sentence in words
  )
  for name in ('train', 'dev'):
    (folder / f'{name}.conll').write_text(tagged + '\n')
  paragraphs = [
    {
      'context': sentence,
      'qas': [
        {
          'id': str(number),
          'question': f'What {sentence.split()[2]}?',
          'answers': [
            {'text': sentence.split()[1], 'answer_start': len('The ')}
          ][: number % 3],
        }
      ],
    }
    for number, sentence in enumerate(sentences[:60])
  ]
  document = {'data': [{'title': 'NumPy', 'paragraphs': paragraphs}]}
  for name in ('train', 'dev'):
    (folder / f'{name}.json').write_text(json.dumps(document))
  choices = [
    {'context': sentence, 'choices': NOUNS[:3], 'label': number % 3}
    for number, sentence in enumerate(sentences[:60])
  ]
  for name in ('train', 'dev'):
    lines = '\n'.join(map(json.dumps, choices))
    (folder / f'{name}.jsonl').write_text(lines + '\n')
  shutil.copytree(
    ROOT / 'tests' / 'interop' / 'golden' / 'bert',
    folder / 'bert-base-uncased',
    ignore=shutil.ignore_patterns('*.bin', '*.npz'),
  )
  shim = folder / '.bin' / 'bert-jax'
  shim.parent.mkdir()
  shim.write_text(f'#!{sys.executable}\nSMALLER = {SMALLER!r}\n{SHIM}')
  shim.chmod(0o755)


def _run(page: pathlib.Path, folder: pathlib.Path) -> None:
  environment = os.environ | {
    'PATH': f'{folder / ".bin"}:{os.environ["PATH"]}',
    'PYTHONPATH': f'{ROOT}:{folder}',
    'JAX_NUM_CPU_DEVICES': '1',
    'HOME': str(folder),
  }
  for block in blocks(page):
    if not block.is_run or block.language == 'text':
      continue
    run = {
      'bash': ['bash', '-euo', 'pipefail', '-c', block.text],
      'python': [sys.executable, '-c', block.text],
    }[block.language]
    done = subprocess.run(
      run, cwd=folder, env=environment, capture_output=True, text=True
    )
    said = f'{page.name}:{block.line + 1}\n{done.stdout}{done.stderr}'
    assert done.returncode == 0 and 'Traceback' not in done.stderr, said


@pytest.mark.docs
@pytest.mark.timeout(1800)
def test_the_readme_runs(world):
  assert (world / 'run' / 'config.json').is_file()


@pytest.mark.docs
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_a_page_runs(page, world, tmp_path):
  folder = tmp_path / 'page'
  shutil.copytree(world, folder, symlinks=True)
  _run(page, folder)


@pytest.mark.docs
def test_flags_of_every_command_are_there(world):
  helps: dict[str, str] = {}
  found = commands()
  assert len(found) > 30
  for where, words in found:
    verb, *rest = words
    if verb not in helps:
      helps[verb] = said(ROOT, verb, '--help')
    if '--' in rest:
      rest = rest[: rest.index('--')]  # the rest is for Beam
    _check_flags(where, rest, helps[verb], world)


def _check_flags(where, words, help_text, folder) -> None:
  flags = [word for word in words if word.startswith('--')]
  config, is_of_page = None, False
  for flag in flags:
    name, _, value = flag[2:].partition('=')
    if name == 'config':
      os.chdir(folder)
      # A file that a page makes is there when the page's own commands run.
      is_of_page = not pathlib.Path(value).exists()
      config = None if is_of_page else config_fields(load_config(value))
    elif name.startswith('config.'):
      if not is_of_page:
        assert config is not None, f'{where}: --config comes first'
        find_field(name.removeprefix('config.'), config)
    else:
      named = re.escape(name.removeprefix('no'))
      pattern = rf'(?m)^  --(\[no\])?({re.escape(name)}|{named})[= \n]'
      assert re.search(pattern, help_text), f'{where}: --{name}'
