"""The embedded corpus, and a labelled task from the same text.

Docstrings of Python and of the installed packages are English technical prose
that is on every machine after `pip install`, so that a first run needs no
download. The task: which of eight packages does a docstring belong to? What
its evaluation side shows is kept out of the corpus.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from bert_jax.data.sources import base
from bert_jax.data.sources.installed_packages import (
  PACKAGES,
  STANDARD_LIBRARY,
  Entry,
  Reading,
  installed_files,
  installed_versions,
  read_packages,
)
from bert_jax.errors import InputError

# Change it when the same files would give other documents.
CORPUS_VERSION = 1

# label -> share of its modules on the evaluation side: more of a package with
# few docstrings, so that each label has a hundred examples or more there, and
# no more of the others than is needed, as it is text lost for pretraining.
EVAL_SHARES = {
  'flax': 0.3,
  'jax': 0.15,
  'matplotlib': 0.2,
  'numpy': 0.2,
  'optax': 0.4,
  'orbax': 0.15,
  'scipy': 0.1,
  'tensorflow_datasets': 0.15,
}
# The packages that these labels are made of.
_LABELLED = tuple(
  name for name in PACKAGES if name.partition('.')[0] in EVAL_SHARES
)
MAX_EXAMPLES = {'train': 400, 'eval': 200}  # of each label
MAX_EXAMPLES_OF_MODULE = 25  # so that no label is one large module

# The beginning alone is shown: in all of it the layout of the sections gives
# the package away.
SHOWN_WORDS = 32
MIN_SHOWN_WORDS = 8

# A word that contains the name of any of the eight, or that is an alias or
# subpackage by which one of them is known, with the attributes that follow:
# 'jax.numpy.dot', 'NumPy', 'np.ndarray', '_is_jax_array'. All names are masked
# alike, whichever package it is, so that the masks themselves say little.
_PACKAGE_NAMES = re.compile(
  r'\b(?:\w*(?:tensorflow[_ ]datasets|tfds|scipy|numpy|jax|flax|optax|orbax'
  r'|matplotlib|pyplot)\w*'
  r'|(?:np|npt|jnp|lax|nn|nnx|linen|ocp|plt|mpl|mpl_toolkits|sp)\b)'
  r'(?:\.\w+)*',
  re.IGNORECASE,
)
_LINKS = re.compile(r'\w+://\S+')


class InstalledDocs:
  """`installed_docs:`, the docstrings as documents, each text once.

  Left out, and counted in the report: repeated texts, and all that the
  evaluation side of the labelled task shows.
  """

  name = 'installed_docs'

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    reading = _read_all()
    for package in reading.missing_packages:
      report.add('missing_packages', package)
    for module, reason in reading.unparsable_files:
      report.add('unparsable_files', module, reason)
    yield from _corpus(reading.entries, report)

  def describe(self) -> dict:
    return {
      'kind': self.name,
      'version': CORPUS_VERSION,
      'packages': installed_versions(),
      'installed': installed_files((*PACKAGES, STANDARD_LIBRARY)),
    }

  def size_in_bytes(self) -> int:
    """Exact; reads the docstrings (once) if that has not happened yet."""
    documents = _corpus(_read_all().entries, base.ReadReport())
    return sum(len(document.text.encode()) for document in documents)


class PackageExample(NamedTuple):
  """An example of the labelled task, and 'module:line' of its docstring."""

  text: str
  label: str
  origin: str


def package_examples(split: str) -> list[PackageExample]:
  """One side of the task: which package does this docstring come from?

  A module is on one side by a hash of its name. Shown are the first SHOWN_WORDS
  words with the packages' names masked; a shown text that is on both sides or
  under two labels is on neither. At most MAX_EXAMPLES of a label are taken. The
  order is by a hash of the text, so that the first n are a fair sample of all.

  Args:
    split: 'train' or 'eval'.

  Raises:
    InputError: There is no such split, or one of the packages is missing.
  """
  if split not in MAX_EXAMPLES:
    raise InputError(
      f'installed_docs:{split}: there are installed_docs:train and '
      'installed_docs:eval.'
    )
  reading = read_packages(_LABELLED)
  if reading.missing_packages:
    missing = [PACKAGES[name] for name in reading.missing_packages]
    raise InputError(
      f'installed_docs:{split}: packages are missing; run pip install '
      f'{" ".join(missing)}.'
    )
  return _examples(reading.entries, split)


def describe_examples(split: str) -> dict[str, Any]:
  """Describes what the examples are made from, as `Source.describe` does."""
  return {
    'kind': f'{InstalledDocs.name}:{split}',
    'version': CORPUS_VERSION,
    'packages': installed_versions(_LABELLED),
    'installed': installed_files(_LABELLED),
  }


def _examples(entries: tuple[Entry, ...], split: str) -> list[PackageExample]:
  places: dict[str, set[tuple[str, bool]]] = {}
  first: dict[str, PackageExample] = {}
  for entry in entries:
    text = shown_text(entry.text)
    if len(text.split()) < MIN_SHOWN_WORDS:
      continue
    key = text.lower()
    places.setdefault(key, set()).add(
      (entry.package, is_held_out(entry.package, entry.module))
    )
    first.setdefault(
      key,
      PackageExample(text, entry.package, f'{entry.module}:{entry.line}'),
    )
  examples = []
  of_label, of_module = Counter(), Counter()
  for key in sorted(first, key=_hash):
    example = first[key]
    module = example.origin.partition(':')[0]
    if (
      places[key] == {(example.label, split == 'eval')}
      and of_label[example.label] < MAX_EXAMPLES[split]
      and of_module[module] < MAX_EXAMPLES_OF_MODULE
    ):
      of_label[example.label] += 1
      of_module[module] += 1
      examples.append(example)
  # Once more, by another hash: in the order above the larger packages come to
  # their maximum first.
  return sorted(examples, key=lambda example: _hash('order ' + example.text))


def is_held_out(package: str, module: str) -> bool:
  """Returns whether a module is on the evaluation side of the labelled task.

  A hash of the package and the module's last name, without underscores,
  decides: modules of one name (`flax.linen.attention`, `flax.nnx.nn.attention`)
  tend to be versions of each other, and go to the same side together.
  """
  if package not in EVAL_SHARES:
    return False
  last_name = module.rpartition('.')[2].strip('_')
  return _hash(f'{package}.{last_name}') < EVAL_SHARES[package] * 2**64


def shown_text(text: str) -> str:
  """The part of a docstring that the labelled task shows."""
  # A few words more than are shown, as a name may be two words.
  beginning = ' '.join(text.split()[: SHOWN_WORDS + 4])
  masked = _PACKAGE_NAMES.sub('package', _LINKS.sub('link', beginning))
  return ' '.join(masked.split()[:SHOWN_WORDS])


def _read_all() -> Reading:
  return read_packages((*PACKAGES, STANDARD_LIBRARY))


def _corpus(
  entries: tuple[Entry, ...], report: base.ReadReport
) -> Iterator[base.Document]:
  # Compared by what is shown, so that a text which only begins like one of the
  # evaluation side is left out as well, wherever it is.
  held_out = {
    shown_text(entry.text).lower()
    for entry in entries
    if is_held_out(entry.package, entry.module)
  }
  seen = set()
  for entry in entries:
    origin = f'{entry.module}:{entry.line}'
    if shown_text(entry.text).lower() in held_out:
      report.add('held_out_documents', origin, 'of the labelled task')
      continue
    digest = _hash(' '.join(entry.text.split()))
    if digest in seen:
      report.add('repeated_documents', origin)
      continue
    seen.add(digest)
    yield base.Document(entry.text, origin)


def _hash(text: str) -> int:
  """64 bits that are the same in every process, unlike hash()."""
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'big')
