"""Corpora in object storage, laid on this machine's disk before they are read.

COPIES_PATH/NAME-KEY/         a whole copy, in the layout of the corpus
COPIES_PATH/NAME-KEY.lock     held while a whole copy is being made
COPIES_PATH/NAME-KEY.groups/  the same with two groups of shards at a time, see
                              groups.py
COPIES_PATH/NAME-KEY.groups.lock  held as long as a run reads the groups

KEY is a hash of the manifests: another corpus at the same URL has another
folder, and a run that goes on finds its own. Which row an example is never
depends on any of this. Every host copies for itself.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from bert_jax import durable_files
from bert_jax.data.remote import storage
from bert_jax.data.remote.corpus import (
  CopyOptions,
  LocalCorpus,
  RemoteCorpus,
  write_origin,
)
from bert_jax.data.remote.groups import fits, open_groups
from bert_jax.data.remote.shards import (
  BrowsedRows,
  check_disk,
  fetch_missing,
  shown,
)
from bert_jax.local_paths import local_path


@contextlib.contextmanager
def on_this_machine(
  paths: Sequence[str],
  row_lengths: Sequence[int],
  eval_row_length: int,
  options: CopyOptions,
) -> Iterator[list[LocalCorpus]]:
  """Makes corpora readable on this machine, by copies of those at URLs.

  Args:
    paths: folders, which are taken as they are, or URLs of them.
    row_lengths: lengths of the training rows that are read.
    eval_row_length: the length of the held-out rows.
    options: the place of copies, and their limit.

  Raises:
    InputError: a URL is no corpus or cannot be read, the disk or the limit is
      too small, a file differs from its checksum, or another run reads the
      groups of a corpus in the same folder.
  """
  # A corpus that is named twice needs one copy.
  urls = [path for path in dict.fromkeys(paths) if storage.is_remote(path)]
  corpora = {
    url: RemoteCorpus(url, row_lengths, eval_row_length) for url in urls
  }
  root = local_path(options.path, 'data.staging_path')
  with contextlib.ExitStack() as resources:
    copies: Mapping[str, LocalCorpus] = {}
    if corpora and options.browse:
      copies = _browse(corpora, root, resources)
    elif corpora and fits(corpora, options):
      copies = _copy_all(corpora, root)
    elif corpora:
      copies = open_groups(list(paths), corpora, root, options, resources)
    yield [
      # Unlike pathlib's, it takes the ~ of an unknown user for a file's name.
      copies[path]
      if path in corpora
      else LocalCorpus(pathlib.Path(os.path.expanduser(path)))
      for path in paths
    ]


def _copy_all(
  corpora: Mapping[str, RemoteCorpus], root: pathlib.Path
) -> dict[str, LocalCorpus]:
  """Copies all corpora; a second process waits, and then has the bytes."""
  folders = {url: root / corpora[url].folder_name for url in corpora}
  parts = {url: corpora[url].parts(folders[url]) for url in corpora}
  every = [part for of_url in parts.values() for part in of_url.values()]
  missing = sum(part.num_bytes(part.missing()) for part in every)
  root.mkdir(parents=True, exist_ok=True)
  check_disk(root, missing, in_groups=False)
  for url, corpus in corpora.items():
    folder = folders[url]

    def tell(owner: str, folder: pathlib.Path = folder) -> None:
      print(f'copy: {owner} copies to {folder}; waiting', file=sys.stderr)

    lock = folder.with_name(f'{folder.name}.lock')
    with durable_files.exclusive_lock(lock, str(folder), tell):
      corpus.write_small_files(folder)
      mine = list(parts[url].values())
      missing = sum(part.num_bytes(part.missing()) for part in mine)
      if missing:
        print(f'copy: {url}: {shown(missing)} to {folder}', file=sys.stderr)
      fetch_missing(mine, [None] * len(mine))
      write_origin(corpus.url, folder)
  return {url: LocalCorpus(folders[url]) for url in corpora}


def _browse(
  corpora: Mapping[str, RemoteCorpus],
  root: pathlib.Path,
  resources: contextlib.ExitStack,
) -> dict[str, LocalCorpus]:
  result = {}
  for url, corpus in corpora.items():
    folder = root / corpus.folder_name
    if any(part.missing() for part in corpus.parts(folder).values()):
      root.mkdir(parents=True, exist_ok=True)
      temporary = tempfile.TemporaryDirectory(prefix='browse-', dir=root)
      folder = pathlib.Path(resources.enter_context(temporary))
      corpus.write_small_files(folder)
      parts = corpus.parts(folder).items()
      rows = {name: BrowsedRows(part) for name, part in parts}
      result[url] = LocalCorpus(folder, rows)
    else:
      result[url] = LocalCorpus(folder)
  return result
