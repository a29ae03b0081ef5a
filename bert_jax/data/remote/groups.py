"""Corpora too large for the disk: two groups of their shards at a time.

Where `data.staging_gigabytes` is smaller than a corpus, of its training rows
the group of shards that is read lies here, and the next one is on its way.
Which row an example is does not depend on it: data.shards_per_group alone
says so, with or without copies.
"""

import bisect
import contextlib
import pathlib
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from bert_jax import durable_files, stopping
from bert_jax.data.remote.corpus import (
  CopyOptions,
  LocalCorpus,
  RemoteCorpus,
  write_origin,
)
from bert_jax.data.remote.shards import (
  RemotePart,
  check_disk,
  fetch_missing,
  shown,
)
from bert_jax.data.token_rows import TokenRows
from bert_jax.errors import InputError


def fits(corpora: Mapping[str, RemoteCorpus], options: CopyOptions) -> bool:
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
      f'have {shown(size(per_group))}'
    )
  what = (
    f'data.staging_gigabytes={limit / 1e9:g}: the corpus has '
    f'{shown(size(0))}, {groups}'
  )
  # Never all shards: they are more than the limit.
  largest = bisect.bisect_right(range(1, 2**20), limit, key=size)
  if not largest:
    raise InputError(
      f'{what}, by data.shards_per_group=1 {shown(size(1))}; raise '
      f'data.staging_gigabytes to {size(1) / 1e9} or more for a new run with '
      'that, or to 0 (no limit)'
    )
  raise InputError(
    f'{what}; raise data.staging_gigabytes (0: no limit), or for a new run set '
    f'data.shards_per_group={largest}, the largest that fits'
  )


def open_groups(
  paths: Sequence[str],
  corpora: Mapping[str, RemoteCorpus],
  root: pathlib.Path,
  options: CopyOptions,
  resources: contextlib.ExitStack,
) -> dict[str, LocalCorpus]:
  """Opens corpora by URL, with windows that bring their rows by groups.

  Args:
    paths: all corpora of the run.
    corpora: those in object storage.
    root: the folder of copies.
    options: of the run.
    resources: what is closed when the run ends.

  Raises:
    InputError: a corpus is named twice, a second process reads its groups (they
      would be others), or the disk is too small.
  """
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
  copies = {}
  for url, corpus in corpora.items():
    folder = root / f'{corpus.folder_name}.groups'
    lock = folder.with_name(f'{folder.name}.lock')
    what = f'data.staging_path={root}: {folder.name}'
    resources.enter_context(durable_files.exclusive_lock(lock, what))
    parts = corpus.parts(folder)
    for part in parts.values():
      shards = set(range(len(part.files))) - set(part.missing())
      needed -= part.num_bytes(shards)
    copies[url] = folder, parts
  check_disk(root, needed, in_groups=True)
  result = {}
  for url, (folder, parts) in copies.items():
    corpora[url].write_small_files(folder)
    lazy_parts, windows = {}, {}
    for name, part in parts.items():
      if name.isdecimal():
        lazy_parts[name] = TokenRows(folder / name, lazy=True)
        window = GroupCopies(part, lazy_parts[name], options.stop)
        windows[int(name)] = resources.enter_context(contextlib.closing(window))
      else:
        fetch_missing([part], [None])
    write_origin(corpora[url].url, folder)
    result[url] = LocalCorpus(folder, lazy_parts, windows)
  return result


class GroupCopies:
  """The shards of two groups of a part: the one in use, and the next.

  A thread fetches the next while the one before it is read; who asks too early
  waits. No other shard is on the disk. `close` ends the thread.
  """

  def __init__(
    self,
    part: RemotePart,
    rows: TokenRows,
    stop: Callable[[], bool] = lambda: False,
  ):
    """`rows`: the part's folder, opened lazily; `stop`: whether not to wait."""
    self._part = part
    self._rows = rows
    self._stop = stop
    self._now: tuple[list[int], list[int]] = ([], [])
    self._closing = threading.Event()
    self._thread: threading.Thread | None = None

  def move_to(self, shards: Sequence[int], ahead: Sequence[int]) -> None:
    """Returns once `shards` are here, and begins to fetch `ahead`.

    Raises:
      InputError: as RemotePart.fetch, for what is needed now.
      stopping.WaitStopped: `stop` said so while it waited.
    """
    shards, ahead = list(shards), list(ahead)
    if (shards, ahead) == self._now:
      return
    if shards == self._now[1]:
      self._join()
    else:
      self.close()
    self._now = ([], [])
    self._keep_only([*shards, *ahead])
    # Fetching ahead has usually brought them. Where it failed, it is tried
    # again, now that it can no longer wait.
    fetch_missing([self._part], [shards], self._stop)
    self._now = (shards, ahead)
    self._closing = threading.Event()
    self._thread = threading.Thread(
      target=self._fetch_ahead, args=(ahead,), name='copy-ahead', daemon=True
    )
    self._thread.start()

  def close(self) -> None:
    """Stops what is being fetched; what has come stays."""
    self._closing.set()
    self._join()
    self._now = ([], [])

  def _join(self) -> None:
    if self._thread is not None:
      self._thread.join()
      self._thread = None

  def _fetch_ahead(self, ahead: list[int]) -> None:
    try:
      self._part.fetch(
        self._part.missing(ahead),
        stop=lambda: self._closing.is_set() or self._stop(),
      )
    except stopping.WaitStopped:
      pass
    except (InputError, OSError) as error:
      print(
        f'copy: {error} (fetched ahead; tried once more when it is needed)',
        file=sys.stderr,
        flush=True,
      )

  def _keep_only(self, shards: Iterable[int]) -> None:
    """Removes all other shards that are here, also from the opened rows."""
    part, kept = self._part, set(shards)
    others = [shard for shard in range(len(part.files)) if shard not in kept]
    self._rows.forget(others)
    for shard in others:
      for file in part.files[shard]:
        (part.folder / file.name).unlink(missing_ok=True)
