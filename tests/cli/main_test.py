"""The command line: help, versions, and one line for whatever is misspelt."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

import bert_jax
from bert_jax.config.experiment_file import load_config
from bert_jax.errors import InputError

ROOT = pathlib.Path(bert_jax.__file__).parents[1]

# A folder of verbs as a plugin would bring it: real modules, real processes.
START = """
import sys
import bert_jax.cli
bert_jax.cli.__path__.append(sys.argv.pop(1))
from bert_jax.__main__ import main
sys.exit(main())
"""

SHOUT = '''
"""Says a word loudly.

It goes on for more than one line.
"""

import errno
import os

from absl import flags

_WORD = flags.DEFINE_string('word', None, 'What to say.', required=True)
_TIMES = flags.DEFINE_integer('times', 2, 'How often.', lower_bound=1)
_KIND = flags.DEFINE_enum('kind', 'loud', ['loud', 'soft'], 'How.')
_POLITE = flags.DEFINE_bool('polite', True, 'Say please.')


def main(arguments):
  word = _WORD.value
  if word == 'input':
    from bert_jax.errors import InputError
    raise InputError('a.txt: empty;\\ngive another')
  if word == 'bug':
    raise ValueError('a bug')
  if word == 'full':
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'out.bin')
  if word == 'gone':
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), 'x')
  if word == 'interrupt':
    raise KeyboardInterrupt
  print(word * _TIMES.value, _KIND.value, _POLITE.value, arguments)
'''

LEARN = '''
"""Learns from a config."""

import dataclasses

from bert_jax.cli import flags

_CONFIG = flags.define_config()


def main(arguments):
  flags.no_arguments(arguments)
  print(dataclasses.asdict(_CONFIG.value))
'''

HELPER = '"""No verb: it has no main."""\n'

EXPERIMENT = '''
"""An experiment."""

import dataclasses


@dataclasses.dataclass(kw_only=True, slots=True)
class Optimizer:
  learning_rate: float = 1e-3
  betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass(kw_only=True, slots=True)
class Corpus:
  path: str = ''


@dataclasses.dataclass(kw_only=True, slots=True)
class Config:
  num_steps: int = 100
  shuffle: bool = True
  optimizer: Optimizer
  columns: tuple[str, ...] = ('text',)
  sizes: tuple[int, ...] = (64,)
  corpora: tuple[Corpus, ...] = (Corpus(),)
  note: str | None = None
  table: dict[str, int] = dataclasses.field(default_factory=dict)


def get_config(name=''):
  return Config(optimizer=Optimizer(), note=name or None)
'''


@pytest.fixture(scope='module')
def verbs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('verbs')
  (folder / 'shout.py').write_text(SHOUT.strip())
  (folder / 'learn.py').write_text(LEARN.strip())
  (folder / 'helper.py').write_text(HELPER)
  (folder / 'tiny.py').write_text(EXPERIMENT.strip())
  return folder


@pytest.fixture
def bert_jax_command(verbs):
  def run(*arguments, status=0):
    done = subprocess.run(
      [sys.executable, '-c', START, str(verbs), *arguments],
      capture_output=True,
      text=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      cwd=verbs,
    )
    assert done.returncode == status, done.stderr
    return done

  return run


@pytest.fixture
def error_line(bert_jax_command):
  def run(*arguments, status=2):
    stderr = bert_jax_command(*arguments, status=status).stderr
    assert stderr.count('\n') == 1, stderr
    return stderr.strip()

  return run


@pytest.mark.smoke
def test_overview_lists_verbs_by_their_first_line(bert_jax_command):
  lines = bert_jax_command('--help').stdout.splitlines()
  words = [line.split() for line in lines]
  assert ['shout', 'Says', 'a', 'word', 'loudly.'] in words
  assert not any('helper' in line or 'flags.py' in line for line in lines)


def test_module_answers_help_at_once_and_knows_its_version():
  start = time.perf_counter()
  help_page = subprocess.run(
    [sys.executable, '-X', 'importtime', '-m', 'bert_jax', '--help'],
    capture_output=True,
    text=True,
    cwd=ROOT,
    check=True,
  )
  # 0.1 s alone; the bound leaves room for a machine that is busy with tests.
  assert time.perf_counter() - start < 2
  for heavy in ('absl', 'numpy', 'jax', 'ml_collections'):
    assert f' {heavy}\n' not in help_page.stderr
  version = subprocess.run(
    [sys.executable, '-m', 'bert_jax', '--version'],
    capture_output=True,
    text=True,
    cwd=ROOT,
    check=True,
  )
  assert version.stdout == f'bert-jax {bert_jax.__version__}\n'


def test_unknown_verb_names_the_nearest(error_line):
  assert error_line('shuot') == (
    "bert-jax: unknown verb 'shuot'; the nearest is shout"
  )
  assert 'there are' in error_line('xyzzy')
  assert 'the verb comes first' in error_line('--word=a', 'shout')


def test_flags_may_stand_before_and_after_words(bert_jax_command):
  done = bert_jax_command('shout', 'a', '--word=b', '--nopolite', 'c')
  assert done.stdout == "bb loud False ['a', 'c']\n"
  done = bert_jax_command('shout', '--word', 'b', '--times', '1', '--', '--c')
  assert done.stdout == "b loud True ['--c']\n"


@pytest.mark.smoke
def test_verb_help_shows_its_own_flags_with_defaults(bert_jax_command):
  page = bert_jax_command('shout', '--help').stdout
  assert 'It goes on for more than one line.' in page
  for usage in (
    '--word=TEXT  (required)',
    '--times=2',
    '--kind=loud  (one of loud|soft)',
    '--polite  (on; --nopolite turns it off)',
  ):
    assert usage in page
  assert 'How often.' in page
  assert 'flagfile' not in page and 'verbosity' not in page


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['--wrod=a'], 'unknown flag --wrod; the nearest is --word'),
    (['--xyzzy'], 'unknown flag --xyzzy; see them all with bert-jax shout'),
    ([], '--word is missing; give --word=...'),
    (['--word'], 'Missing value for flag --word'),
    (['--word=a', '--times=b'], '--times=b: should be an integer'),
    (['--word=a', '--times=0'], '--times=0: 0 is not a positive integer'),
    (['--word=a', '--polite=b'], '--polite=b: should be true or false'),
    (['--word=a', '--kind=big'], '--kind=big: value should be one of <loud|so'),
    (['--word=a', '--nopolit'], 'unknown flag --nopolit; the nearest is'),
    (['--word=input'], 'a.txt: empty; give another'),
    (['--word=full'], 'out.bin: No space left on device; free some space'),
  ],
)
def test_what_a_user_can_mend_is_one_line(error_line, arguments, expected):
  assert error_line('shout', *arguments).startswith(
    f'bert-jax shout: {expected}'
  )


def test_ctrl_c_is_one_line_with_its_own_status(error_line):
  line = error_line('shout', '--word=interrupt', status=130)
  assert line.startswith('bert-jax shout: stopped by Ctrl-C; what was')


@pytest.mark.parametrize('word', ['bug', 'gone'])
def test_a_bug_shows_where_it_happened(bert_jax_command, word):
  done = bert_jax_command('shout', f'--word={word}', status=1)
  assert 'Traceback' in done.stderr


@pytest.mark.smoke
def test_config_overrides_reach_every_kind_of_field(bert_jax_command):
  done = bert_jax_command(
    'learn',
    '--config=tiny.py:named',
    '--config.num_steps=7',
    '--noconfig.shuffle',
    '--config.optimizer.learning_rate=2',
    '--config.optimizer.betas=0,1',
    '--config.columns=premise,007',
    '--config.sizes=(1, 2)',
    '--config.corpora[0].path=a b/c',
  )
  assert eval(done.stdout) == {
    'num_steps': 7,
    'shuffle': False,
    'optimizer': {'learning_rate': 2.0, 'betas': (0.0, 1.0)},
    'columns': ('premise', '007'),
    'sizes': (1, 2),
    'corpora': ({'path': 'a b/c'},),
    'note': 'named',
    'table': {},
  }
  assert "'learning_rate': 2.0" in done.stdout


def test_config_forms_that_absl_users_expect(bert_jax_command):
  done = bert_jax_command(
    # A field may stand before the file.
    *('learn', '--config.note=x', '--config', 'tiny.py'),
    *('--config.num_steps', '7'),
    *('--config.shuffle=false', '--config.columns='),
    *('--config.sizes=3', '--config.shuffle', '--config.num_steps=8'),
  )
  config = eval(done.stdout)
  assert config['columns'] == () and config['sizes'] == (3,)
  assert config['num_steps'] == 8 and config['note'] == 'x'
  assert config['shuffle'] is True


@pytest.mark.parametrize(
  'override, expected',
  [
    (
      '--config.optimiser.learning_rate=1',
      '--config.optimiser.learning_rate: no such field; the nearest is '
      '--config.optimizer.learning_rate',
    ),
    ('--config.learning_rate=1', 'no such field; the nearest is --config.opt'),
    ('--learning_rate=1', 'unknown flag --learning_rate; the nearest is --con'),
    ('--config.lr=1', 'no such field; the nearest is --config.optimizer.lea'),
    (
      '--config.optimizer.kind=adam',
      'is of Optimizer; another kind comes with another',
    ),
    ('--config.xyzzy=1', 'no such field; there are num_steps, shuffle'),
    ('--config.optimizer=1', 'is a group of fields; set one of them, like '),
    ('--config.num_steps=1.5', '--config.num_steps=1.5: should be an integer'),
    ('--config.num_steps=', '--config.num_steps=: should be an integer'),
    ('--config.shuffle=maybe', 'should be true or false'),
    ('--config.optimizer.learning_rate=fast', 'should be a number'),
    ('--config.optimizer.betas=1', 'should have 2 elements, separated by ,'),
    ('--config.sizes=1,b', '=1,b: each element should be an integer'),
    ('--config.sizes=(1,', 'should be written a,b or ("a", "b")'),
    ('--config.table=1', 'cannot be set here; change the experiment file'),
    ('--noconfig.num_steps', 'only a true-or-false field takes "no"'),
    ('--config.num_steps', '--config.num_steps: the value is missing'),
    ('word', "'word' is not a flag; flags are written --name=value"),
  ],
)
def test_wrong_override_is_one_line(error_line, override, expected):
  line = error_line('learn', '--config=tiny.py', override)
  assert line.startswith('bert-jax learn: ') and expected in line


def test_config_file_itself_is_checked(error_line, verbs):
  assert 'give a file of experiments' in error_line('learn')
  assert 'unknown flag --confg' in error_line('learn', '--confg=tiny.py')
  assert 'no such file' in error_line('learn', '--config=nowhere.py')
  (verbs / 'empty.py').write_text('')
  assert 'no function get_config' in error_line('learn', '--config=empty.py')
  (verbs / 'none.py').write_text('def get_config(): return None')
  assert 'returns a NoneType' in error_line('learn', '--config=none.py')
  (verbs / 'broken.py').write_text('def get_config(): return {}[1]')
  line = error_line('learn', '--config=broken.py')
  assert line.startswith('bert-jax learn: --config=broken.py: line 1: KeyError')


@pytest.mark.parametrize(
  ('code', 'argument', 'message'),
  [
    (
      "SIZES = {'small': 1}\n\ndef get_config(name):\n  return SIZES[name]\n",
      ':huge',
      "mine.py:huge: line 4: KeyError: 'huge'; mend the file, or give what "
      r'get_config\(\) takes as --config=FILE:ARGUMENT',
    ),
    (
      'from bert_jax.models.config import bert_tiny\n'
      'def get_config():\n  return bert_tiny(width=1)\n',
      '',
      r'mine.py: line 3: TypeError: .*unexpected keyword .*width.; mend',
    ),
    (
      '\n\ndef get_config(name):\n  pass\n',
      '',
      r'mine.py: line 3: TypeError: get_config\(\) missing 1 required pos.*: '
      "'name'; mend the file, or give what",
    ),
    (
      'def get_config():\n  assert False\n',
      '',
      'mine.py: line 2: AssertionError; mend the file, or',
    ),
    ('\nimport no_such\n', '', 'line 2: ModuleNotFoundError: .*; mend the f'),
    ('def get_config(\n', '', 'mine.py: SyntaxError: .*, line 1'),
  ],
  ids=['key', 'type', 'missing argument', 'no text', 'import', 'syntax'],
)
def test_an_exception_of_the_files_own_code_is_one_line(
  tmp_path, code, argument, message
):
  file = tmp_path / 'mine.py'
  file.write_text(code)
  with pytest.raises(InputError, match=message) as caught:
    load_config(f'{file}{argument}')
  assert '\n' not in str(caught.value)
  assert type(caught.value.__cause__).__name__ in str(caught.value)


def test_help_with_a_config_lists_its_fields(bert_jax_command):
  page = bert_jax_command('learn', '--help').stdout
  assert '--config=FILE  (required)' in page and 'num_steps' not in page
  page = bert_jax_command('learn', '--config=tiny.py', '--help').stdout
  assert '--config.optimizer.betas=(0.9, 0.999)' in page
