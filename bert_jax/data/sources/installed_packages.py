"""Finds the source files of the installed packages, and reads their docstrings.

Nothing is imported or run: packages are found on the import path by name, and
their files are parsed, in several processes.
"""

import functools
import importlib.machinery
import importlib.metadata
import os
import platform
import re
import sysconfig
from collections.abc import Iterable
from typing import NamedTuple

from bert_jax.data.preparing import worker_processes
from bert_jax.data.sources import docstrings
from bert_jax.data.sources.content import InputFiles

STANDARD_LIBRARY = 'stdlib'

# Import name -> distribution: what the project, its report and TensorBoard need
# and what that pulls in on every platform, as far as it has documentation to
# speak of. Fixed, so that other packages do not change the corpus.
PACKAGES = {
  'PIL': 'pillow',
  'absl': 'absl-py',
  'array_record': 'array_record',
  'attr': 'attrs',
  'click': 'click',
  'contourpy': 'contourpy',
  'dateutil': 'python-dateutil',
  'docstring_parser': 'docstring_parser',
  'etils': 'etils',
  'filelock': 'filelock',
  'flax': 'flax',
  'fontTools': 'fonttools',
  'fsspec': 'fsspec',
  'google.protobuf': 'protobuf',
  'huggingface_hub': 'huggingface_hub',
  'humanize': 'humanize',
  'jax': 'jax',
  'jaxlib': 'jaxlib',
  'markdown_it': 'markdown-it-py',
  'matplotlib': 'matplotlib',
  'ml_collections': 'ml_collections',
  'mpl_toolkits': 'matplotlib',
  'msgpack': 'msgpack',
  'numpy': 'numpy',
  'opt_einsum': 'opt_einsum',
  'optax': 'optax',
  'orbax.checkpoint': 'orbax-checkpoint',
  'packaging': 'packaging',
  'prometheus_client': 'prometheus_client',
  'psutil': 'psutil',
  'pyarrow': 'pyarrow',
  'pygments': 'Pygments',
  'pyparsing': 'pyparsing',
  'requests': 'requests',
  'rich': 'rich',
  'safetensors': 'safetensors',
  'scipy': 'scipy',
  'simple_parsing': 'simple-parsing',
  'simplejson': 'simplejson',
  'tensorboardX': 'tensorboardX',
  'tensorflow_datasets': 'tensorflow-datasets',
  'tensorflow_metadata': 'tensorflow-metadata',
  'tokenizers': 'tokenizers',
  'tqdm': 'tqdm',
  'tree': 'dm-tree',
  'treescope': 'treescope',
  'typing_extensions': 'typing_extensions',
  'urllib3': 'urllib3',
  'wrapt': 'wrapt',
  'yaml': 'PyYAML',
}

_SKIPPED_FOLDERS = frozenset(
  (
    '__pycache__',
    'dist-packages',
    'idle_test',
    'site-packages',
    'test',
    'tests',
  )
)
_SKIPPED_FILES = re.compile(r'(test_.*|.*_test|conftest)\.py')
_FILES_PER_TASK = 16
_MAX_PROCESSES = 8


class Entry(NamedTuple):
  """One docstring.

  Attributes:
    package: The top-level name, such as 'orbax', or STANDARD_LIBRARY.
    module: The full name of the module.
    text: The docstring without its indentation.
    line: Where it begins in the module's file.
  """

  package: str
  module: str
  text: str
  line: int


class Reading(NamedTuple):
  """The docstrings that were read, by packages, modules and lines."""

  entries: tuple[Entry, ...]
  missing_packages: tuple[str, ...]
  unparsable_files: tuple[tuple[str, str], ...]  # (module, reason)


@functools.lru_cache(maxsize=2)
def read_packages(packages: tuple[str, ...]) -> Reading:
  """Reads all docstrings of some PACKAGES, or of STANDARD_LIBRARY.

  About 20 MB of text and 20 s of processor time for all of them.
  """
  found = {package: _find_files(package) for package in packages}
  files = [file for of_package in found.values() for file in of_package]
  tasks = (
    [file.path for file in files[first : first + _FILES_PER_TASK]]
    for first in range(0, len(files), _FILES_PER_TASK)
  )
  num_workers = min(_MAX_PROCESSES, worker_processes.number_of_cores())
  with worker_processes.WorkerProcesses(
    num_workers, docstrings.Reader, ()
  ) as workers:
    results = [result for part in workers.map(tasks) for result in part]
  entries, unparsable = [], []
  for file, result in zip(files, results, strict=True):
    if isinstance(result, str):
      unparsable.append((file.module, result))
    else:
      package = file.package.partition('.')[0]
      entries.extend(
        Entry(package, file.module, text, line) for text, line in result
      )
  missing = tuple(package for package in packages if not found[package])
  return Reading(tuple(entries), missing, tuple(unparsable))


def installed_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
  """Versions of Python and of the distributions that are there, sorted."""
  versions = {'python': platform.python_version()}
  for name in sorted({PACKAGES[package] for package in packages}):
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue  # read_packages() names it among the missing
  return versions


def installed_files(packages: tuple[str, ...]) -> dict[str, InputFiles]:
  """The source files of PACKAGES, or of STANDARD_LIBRARY, that are there."""
  found = {package: _find_files(package) for package in packages}
  return {
    package: InputFiles({file.module: file.path for file in files})
    for package, files in found.items()
    if files
  }


class _File(NamedTuple):
  package: str
  module: str
  path: str


def _find_files(package: str) -> list[_File]:
  """The package's modules by name, without its tests; [] if it is not there."""
  files = []
  for root in _roots(package):
    if os.path.isfile(root):
      files.append(_File(package, package, root))
    for folder, folders, names in os.walk(root):
      folders[:] = [
        name
        for name in folders
        if name not in _SKIPPED_FOLDERS and not name.startswith('.')
      ]
      for name in names:
        if name.endswith('.py') and not _SKIPPED_FILES.fullmatch(name):
          path = os.path.join(folder, name)
          module = _module_name(package, os.path.relpath(path, root))
          files.append(_File(package, module, path))
  return sorted(files)


def _roots(package: str) -> list[str]:
  """The folders of a package, or the file of a module; it is not imported."""
  if package == STANDARD_LIBRARY:
    return [sysconfig.get_path('stdlib')]
  # PathFinder executes nothing, whereas importlib.util.find_spec('a.b')
  # imports a.
  name, locations, origin = '', None, None
  for part in package.split('.'):
    name = f'{name}.{part}' if name else part
    spec = importlib.machinery.PathFinder.find_spec(name, locations)
    if spec is None:
      return []
    locations, origin = spec.submodule_search_locations, spec.origin
  if locations:
    return sorted(locations)
  return [origin] if origin else []


def _module_name(package: str, relative_path: str) -> str:
  parts = relative_path.removesuffix('.py').split(os.sep)
  if package != STANDARD_LIBRARY:
    parts.insert(0, package)
  if parts[-1] == '__init__' and len(parts) > 1:
    parts.pop()
  return '.'.join(parts)
