"""The embedded corpus: how files are read, and that its task is a fair one."""

import textwrap

import pytest
from other_process import run_python

from bert_jax.data.sources import base, docstrings, installed_docs
from bert_jax.data.sources import installed_packages as packages
from bert_jax.data.sources.installed_packages import Entry
from bert_jax.errors import InputError

# Small packages, so that a test takes a second.
SMALL = ('tqdm', 'humanize', 'orbax.checkpoint')


def test_docstrings_of_a_file(tmp_path):
  path = tmp_path / 'module.py'
  path.write_text(
    textwrap.dedent(
      r'''
      """The module is documented here, in \d words."""
      raise RuntimeError('this file must never be run')

      async def function():
        """The function has
          a docstring
        of several lines.
        """
        if True:
          class Inner:
            """A class within a function is found as well."""
        text = """A string that is not a docstring at all."""

      def short():
        """Too short."""

      add_newdoc('module', 'name', """What a function in C does and returns.""")
      add_newdoc('module', 'C', ('shape', """An attribute of a class in C."""))
      other('name', """A call of some other function, not read.""")
      '''
    )
  )
  assert docstrings.read_docstrings(str(path)) == [
    ('The module is documented here, in \\d words.', 2),
    ('The function has\n  a docstring\nof several lines.', 6),
    ('A class within a function is found as well.', 12),
    ('What a function in C does and returns.', 18),
    ('An attribute of a class in C.', 19),
  ]


def test_a_file_that_does_not_parse_is_reported(tmp_path):
  path = tmp_path / 'module.py'
  path.write_text('"""A docstring of a broken file."""\ndef f(:\n')
  assert docstrings.read_docstrings(str(path)).startswith('SyntaxError')


def test_reading_is_in_order_whatever_the_number_of_processes(monkeypatch):
  def read(num_cores):
    monkeypatch.setattr(
      packages.worker_processes, 'number_of_cores', lambda: num_cores
    )
    packages.read_packages.cache_clear()
    return packages.read_packages(SMALL)

  one, two = read(1), read(2)
  assert one == two
  assert len(one.entries) > 500
  assert list(dict.fromkeys(e.package for e in one.entries)) == [
    'tqdm',
    'humanize',
    'orbax',
  ]
  assert 'orbax.checkpoint' in {e.module for e in one.entries}
  assert not any(
    '.tests.' in e.module or e.module.endswith('_test') for e in one.entries
  )


def test_reading_imports_nothing():
  code = f"""
import sys
from bert_jax.data.preparing import worker_processes
from bert_jax.data.sources import installed_packages
worker_processes.number_of_cores = lambda: 1
assert installed_packages.read_packages({SMALL!r}).entries
versions = installed_packages.installed_versions()
assert 'numpy' in versions and 'python' in versions
print([m for m in ('tqdm', 'humanize', 'orbax', 'jax') if m in sys.modules])
"""
  done = run_python('-W', 'error', '-c', code)
  assert (done.stdout, done.stderr) == ('[]\n', '')


def test_standard_library_has_modules_but_no_tests_and_no_packages():
  files = packages._find_files(packages.STANDARD_LIBRARY)
  modules = {file.module for file in files}
  assert {'ast', 'json.decoder', 'asyncio'} <= modules
  assert not any('test_' in name or 'site-packages' in name for name in modules)
  assert files == sorted(files)


def test_a_missing_package_is_counted(monkeypatch):
  reading = packages.read_packages(
    ('no_such_package', 'google.none', 'humanize')
  )
  assert reading.missing_packages == ('no_such_package', 'google.none')
  monkeypatch.setattr(installed_docs, '_read_all', lambda: reading)
  report = base.ReadReport()
  assert list(installed_docs.InstalledDocs().documents(report))
  assert report.examples['missing_packages'] == list(reading.missing_packages)


@pytest.mark.parametrize(
  ('text', 'shown'),
  [
    ('Uses `jax.numpy.dot` and NumPy.', 'Uses `package` and package.'),
    ('>>> import numpy as np', '>>> import package as package'),
    ('a np.ndarray or jnp array', 'a package or package array'),
    ('is_jax_array() of JAX-based', 'package() of package-based'),
    ('See https://docs.scipy.org/x.html now', 'See link now'),
    ('TensorFlow Datasets, tfds.load', 'package, package'),
    ('an input, a snap, relax, a unit', 'an input, a snap, relax, a unit'),
    ('a\n  b\tc', 'a b c'),
    (' '.join(['w'] * 50), ' '.join(['w'] * 32)),
  ],
)
def test_shown_text(text, shown):
  assert installed_docs.shown_text(text) == shown


def entries_of(package, num_modules=60, docstrings_each=3):
  return [
    Entry(
      package,
      f'{package}.module{module}',
      f'{package} number {i} of module {module}: {package[::-1]} is the text',
      i,
    )
    for module in range(num_modules)
    for i in range(docstrings_each)
  ]


@pytest.fixture(scope='module')
def entries():
  found = []
  for package in (*installed_docs.EVAL_SHARES, 'stdlib'):
    found += entries_of(package)
  return tuple(found)


def split(entries):
  entries = tuple(e for e in entries if e.package in installed_docs.EVAL_SHARES)
  return (
    installed_docs._examples(entries, 'train'),
    installed_docs._examples(entries, 'eval'),
  )


def modules(examples):
  return {example.origin.partition(':')[0] for example in examples}


def test_no_module_and_no_text_is_on_both_sides(entries):
  train, evaluation = split(entries)
  assert not modules(train) & modules(evaluation)
  assert not {e.text for e in train} & {e.text for e in evaluation}
  labels = set(installed_docs.EVAL_SHARES)
  assert {e.label for e in train} == {e.label for e in evaluation} == labels
  assert len(train) + len(evaluation) == 8 * 180
  for example in train + evaluation:
    assert example.label not in example.text
    assert example.origin.startswith(example.label)


def test_modules_of_one_name_go_together():
  for name in 'abcdefghij':
    sides = {
      installed_docs.is_held_out('flax', f'flax.{path}')
      for path in (f'linen.{name}', f'nnx.nn.{name}', f'core._{name}')
    }
    assert len(sides) == 1


def test_a_text_of_two_labels_or_two_sides_is_on_neither(entries):
  train, evaluation = split(entries)
  text = 'this very same text is found in two different places here'
  for pair in (
    (train[0], next(e for e in train if e.label != train[0].label)),
    (train[0], next(e for e in evaluation if e.label == train[0].label)),
  ):
    more = [
      Entry(e.label, e.origin.partition(':')[0], text, 1000) for e in pair
    ]
    for side in split((*entries, *more)):
      assert text not in {e.text for e in side}
  same = [Entry(train[0].label, m, text, 9) for m in modules(train[:1])] * 2
  shown = [e.text for e in split((*entries, *same))[0]]
  assert shown.count(text) == 1


def test_examples_are_limited_and_the_first_are_a_fair_sample():
  entries = (*entries_of('scipy', 300, 9), *entries_of('optax', 60, 3))
  train, _ = split(entries)
  counts = {
    label: sum(e.label == label for e in train) for label in ('scipy', 'optax')
  }
  assert counts['scipy'] == 400 and 60 < counts['optax'] < 180
  share = counts['optax'] / len(train)
  first = train[:100]
  assert abs(sum(e.label == 'optax' for e in first) / 100 - share) < 0.15
  one_module = tuple(entries_of('scipy', 1, 300))
  assert sum(map(len, split(one_module))) == 25


def test_the_corpus_has_nothing_of_the_evaluation_side(entries):
  evaluation = split(entries)[1]
  copied = Entry('stdlib', 'copy', evaluation[0].text.upper(), 1)
  first = Entry('stdlib', 'first', 'a text that is found in two modules', 1)
  again = Entry('stdlib', 'again', 'a text that  is found in two modules', 7)
  report = base.ReadReport()
  corpus = list(
    installed_docs._corpus((*entries, copied, first, again), report)
  )
  held_out = {e.text for e in evaluation}
  assert not held_out & {
    installed_docs.shown_text(document.text) for document in corpus
  }
  assert 'copy:1' not in {document.origin for document in corpus}
  assert report.counts['repeated_documents'] == 1
  assert report.examples['repeated_documents'] == ['again:7']
  assert len(corpus) + sum(report.counts.values()) == len(entries) + 3


def test_an_unknown_side_is_an_error():
  with pytest.raises(InputError, match='installed_docs:dev: there are'):
    installed_docs.package_examples('dev')


def test_a_missing_package_of_the_task_is_an_error(monkeypatch):
  monkeypatch.setattr(
    installed_docs,
    'read_packages',
    lambda names: packages.Reading((), ('optax',), ()),
  )
  with pytest.raises(InputError, match='pip install optax'):
    installed_docs.package_examples('train')
