"""Corpora in object storage, laid on this machine's disk before they are read.

STAGING_PATH/NAME-KEY/         a whole copy, in the layout of the corpus
STAGING_PATH/NAME-KEY.groups/  the same with two groups of shards at a time
STAGING_PATH/NAME-KEY.lock     held while a whole copy is being made
STAGING_PATH/NAME-KEY.groups.lock  held as long as a run reads the groups

KEY is a hash of the manifests: another corpus at the same URL has another
folder, and a run that goes on finds its own. Which row an example is never
depends on any of this. Every host stages for itself.
"""

import bisect
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

from bert_jax import durable_files
from bert_jax.data.reading.remote_corpus import RemoteCorpus
from bert_jax.data.reading.staged_shards import (
  BrowsedRows,
  StagedGroups,
  fetch_missing,
  full_disk_explained,
)
from bert_jax.data.reading.stream import GroupWindow
from bert_jax.data.sources import remote
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path

STAGING_PATH = '~/.cache/bert_jax/corpora'
_ORIGIN_NAME = 'staged_from.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagingOptions:
  """The place of copies and how much of the disk they may take.

  path: the folder. max_bytes: of all copies of a run together, 0 for no limit.
  browse: for reading a few rows: shards are fetched as they are read, into a
    folder that is removed at the end. stop: asked while a group is waited for.
  """

  path: str = STAGING_PATH
  max_bytes: int = 0
  shards_per_group: int = 0
  browse: bool = False
  stop: Callable[[], bool] = lambda: False


@dataclasses.dataclass(frozen=True)
class LocalCorpus:
  """A corpus as it can be read on this machine.

  lazy_parts: opened parts of which not all shards are there.
  windows: row length -> what brings the shards of its training rows.
  """

  folder: pathlib.Path
  lazy_parts: Mapping[str, TokenRows] = dataclasses.field(default_factory=dict)
  windows: Mapping[int, GroupWindow] = dataclasses.field(default_factory=dict)

  def open_part(self, name: str) -> TokenRows:
    """The rows of a part such as '128' or 'eval/128'."""
    if name in self.lazy_parts:
      return self.lazy_parts[name]
    return TokenRows(self.folder / name)


@contextlib.contextmanager
def on_this_machine(
  paths: Sequence[str],
  row_lengths: Sequence[int],
  eval_row_length: int,
  options: StagingOptions,
) -> Iterator[list[LocalCorpus]]:
  """Within, each corpus can be read here; what has to be is copied before.

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
  urls = [path for path in dict.fromkeys(paths) if remote.is_remote(path)]
  corpora = {
    url: RemoteCorpus(url, row_lengths, eval_row_length) for url in urls
  }
  root = local_path(options.path, 'data.staging_path')
  with contextlib.ExitStack() as resources:
    staged: Mapping[str, LocalCorpus] = {}
    if corpora and options.browse:
      staged = _browse(corpora, root, resources)
    elif corpora and _fits(corpora, options):
      staged = _copy_all(corpora, root)
    elif corpora:
      staged = _open_groups(list(paths), corpora, root, options, resources)
    yield [
      # Unlike pathlib's, it takes the ~ of an unknown user for a file's name.
      staged[path]
      if path in corpora
      else LocalCorpus(pathlib.Path(os.path.expanduser(path)))
      for path in paths
    ]


def local_folder(path: str, staging_path: str) -> pathlib.Path | None:
  """The folder of a corpus on this machine, without asking the storage.

  For one in object storage it is the copy that was used last, which may have
  only two groups of the training rows; None where there is no copy.
  """
  if not remote.is_remote(path):
    return pathlib.Path(os.path.expanduser(path))
  url = path.rstrip('/')
  found = []
  root = local_path(staging_path, 'data.staging_path')
  for origin in root.glob(f'*/{_ORIGIN_NAME}'):
    if url in _read_origin(origin):
      found.append((origin.stat().st_mtime, origin.parent))
  return max(found)[1] if found else None


def refuse_remote(flag: str, path: str) -> None:
  """Raises InputError: what the flag names has to lie on a disk."""
  if remote.is_remote(path):
    raise InputError(
      f'--{flag}={path}: this reads what lies on a disk alone; copy the corpus '
      'there first (pretrain does so by itself, and checks every shard against '
      'the manifest)'
    )


def _write_origin(url: str, folder: pathlib.Path) -> None:
  """Writes the file that `local_folder` looks for, once the copy is there."""
  with full_disk_explained(url, folder):
    path = folder / _ORIGIN_NAME
    known = _read_origin(path) if path.exists() else []
    durable_files.write_json(path, {'urls': sorted({url, *known})})


def _read_origin(path: pathlib.Path) -> list[str]:
  try:
    return list(map(str, json.loads(path.read_text('utf-8'))['urls']))
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    raise InputError(
      f'{path}: is damaged; remove the folder it lies in, which is a copy'
    ) from None


def _copy_all(
  corpora: Mapping[str, RemoteCorpus], root: pathlib.Path
) -> dict[str, LocalCorpus]:
  """A second process waits: it wants the same bytes, and then has them."""
  folders = {url: root / corpora[url].folder_name for url in corpora}
  parts = {url: corpora[url].parts(folders[url]) for url in corpora}
  every = [part for of_url in parts.values() for part in of_url.values()]
  missing = sum(part.num_bytes(part.missing()) for part in every)
  root.mkdir(parents=True, exist_ok=True)
  _check_disk(root, missing, in_groups=False)
  for url, corpus in corpora.items():
    folder = folders[url]

    def tell(owner: str, folder: pathlib.Path = folder) -> None:
      print(f'stage: {owner} copies to {folder}; waiting', file=sys.stderr)

    lock = folder.with_name(f'{folder.name}.lock')
    with durable_files.exclusive_lock(lock, str(folder), tell):
      corpus.write_small_files(folder)
      mine = list(parts[url].values())
      missing = sum(part.num_bytes(part.missing()) for part in mine)
      if missing:
        print(f'stage: {url}: {_shown(missing)} to {folder}', file=sys.stderr)
      fetch_missing(mine, [None] * len(mine))
      _write_origin(corpus.url, folder)
  return {url: LocalCorpus(folders[url]) for url in corpora}


def _open_groups(
  paths: Sequence[str],
  corpora: Mapping[str, RemoteCorpus],
  root: pathlib.Path,
  options: StagingOptions,
  resources: contextlib.ExitStack,
) -> dict[str, LocalCorpus]:
  """A second process is refused: its groups would be others."""
  folders = [corpus.folder_name for corpus in corpora.values()]
  for url, corpus in corpora.items():
    if folders.count(corpus.folder_name) > 1 or paths.count(url) > 1:
      raise InputError(
        f'{url}: data.corpora has this corpus twice, and it is read in groups '
        'of shards, which would differ; name it once, with the sum of its '
        'weights'
      )
  per_group = options.shards_per_group
  needed = sum(corpus.num_bytes(per_group) for corpus in corpora.values())
  root.mkdir(parents=True, exist_ok=True)
  staged = {}
  for url, corpus in corpora.items():
    folder = root / f'{corpus.folder_name}.groups'
    lock = folder.with_name(f'{folder.name}.lock')
    what = f'data.staging_path={root}: {folder.name}'
    resources.enter_context(durable_files.exclusive_lock(lock, what))
    parts = corpus.parts(folder)
    for part in parts.values():
      shards = set(range(len(part.files))) - set(part.missing())
      needed -= part.num_bytes(shards)
    staged[url] = folder, parts
  _check_disk(root, needed, in_groups=True)
  result = {}
  for url, (folder, parts) in staged.items():
    corpora[url].write_small_files(folder)
    lazy_parts, windows = {}, {}
    for name, part in parts.items():
      if name.isdecimal():
        lazy_parts[name] = TokenRows(folder / name, lazy=True)
        window = StagedGroups(part, lazy_parts[name], options.stop)
        windows[int(name)] = resources.enter_context(contextlib.closing(window))
      else:
        fetch_missing([part], [None])
    _write_origin(corpora[url].url, folder)
    result[url] = LocalCorpus(folder, lazy_parts, windows)
  return result


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


def _fits(corpora: Mapping[str, RemoteCorpus], options: StagingOptions) -> bool:
  """Returns whether whole copies fit; InputError where not even groups do."""
  limit, per_group = options.max_bytes, options.shards_per_group

  def size(shards_per_group: int) -> int:
    return sum(c.num_bytes(shards_per_group) for c in corpora.values())

  if not limit or size(0) <= limit:
    return True
  if per_group and size(per_group) <= limit:
    return False
  groups = 'data.shards_per_group=0 makes one group of it'
  if per_group:
    groups = (
      f'two groups by data.shards_per_group={per_group} and what is held out '
      f'have {_shown(size(per_group))}'
    )
  what = (
    f'data.staging_gigabytes={limit / 1e9:g}: the corpus has '
    f'{_shown(size(0))}, {groups}'
  )
  # Never all shards: they are more than the limit.
  largest = bisect.bisect_right(range(1, 2**20), limit, key=size)
  if not largest:
    raise InputError(
      f'{what}, by data.shards_per_group=1 {_shown(size(1))}; raise '
      f'data.staging_gigabytes to {size(1) / 1e9} or more for a new run with '
      'that, or to 0 (no limit)'
    )
  raise InputError(
    f'{what}; raise data.staging_gigabytes (0: no limit), or for a new run set '
    f'data.shards_per_group={largest}, the largest that fits'
  )


def _check_disk(root: pathlib.Path, needed: int, *, in_groups: bool) -> None:
  free = shutil.disk_usage(root).free
  if needed > free:
    way_out = (
      'lower data.shards_per_group (for a new run)'
      if in_groups
      else 'set data.staging_gigabytes, with data.shards_per_group, to have '
      'two groups of shards there at a time'
    )
    raise InputError(
      f'data.staging_path={root}: {_shown(needed)} of the corpus have to be '
      f'copied there, and {_shown(free)} are free; make room, name a folder on '
      f'a larger disk, or {way_out}'
    )


def _shown(num_bytes: int) -> str:
  return f'{num_bytes:,} bytes'
