"""A prepared corpus in object storage, and the folder of its copy here.

What it has beside its shards is small, and is read at every start, so that a
corpus that was replaced is noticed.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from bert_jax import durable_files
from bert_jax.data.remote import storage
from bert_jax.data.remote.shards import (
  RemotePart,
  full_disk_explained,
  shard_files,
)
from bert_jax.data.token_rows import (
  MANIFEST_NAME,
  GroupWindow,
  TokenRows,
  parse_manifest,
)
from bert_jax.errors import InputError
from bert_jax.local_paths import local_path

COPIES_PATH = '~/.cache/bert_jax/corpora'
_ORIGIN_NAME = 'staged_from.json'
# Names that a corpus may have; none of them leads out of it.
_MANIFEST = re.compile(rf'((?:eval/)?\d+)/{re.escape(MANIFEST_NAME)}')
_SMALL_FILE = re.compile(r'prepare\.json|tokenizer/[\w-][\w.-]*')


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyOptions:
  """The place of copies and how much of the disk they may take.

  path: the folder. max_bytes: of all copies of a run together, 0 for no limit.
  browse: for reading a few rows: shards are fetched as they are read, into a
    folder that is removed at the end. stop: asked while a group is waited for.
  """

  path: str = COPIES_PATH
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


class RemoteCorpus:
  """A corpus at a URL, and the parts of it that are needed here.

  Attributes:
    url: without a slash at its end.
    folder_name: the corpus's own, from the URL's end and all manifests.
  """

  def __init__(
    self, url: str, row_lengths: Sequence[int], eval_row_length: int
  ):
    """Reads all but the shards.

    Raises:
      InputError: there is no corpus, or no rows of such a length, or the
        storage cannot be read.
    """
    self.url = url.rstrip('/')
    small, manifests = self._read_small_files()
    if not manifests:
      raise InputError(
        f'{url}: not a prepared corpus (there is no {MANIFEST_NAME} of any '
        'part); copy the folder there that `prepare --output=DIR` wrote'
      )
    for length in row_lengths:
      if str(length) not in manifests:
        raise no_such_rows(length, self.url, manifests)
    needed = {*map(str, row_lengths), f'eval/{eval_row_length}'}
    self._files = {
      name: shard_files(manifest)
      for name, manifest in manifests.items()
      if name in needed
    }
    of_others = {f'{n}/{MANIFEST_NAME}' for n in manifests if n not in needed}
    self._small = {n: small[n] for n in small if n not in of_others}
    digest = hashlib.sha256()
    for name in sorted(manifests):
      content = hashlib.sha256(small[f'{name}/{MANIFEST_NAME}'])
      digest.update(f'{name} {content.hexdigest()}\n'.encode())
    name = re.sub(r'[^\w.-]', '_', self.url.rpartition('/')[2])
    self.folder_name = f'{name}-{digest.hexdigest()[:16]}'

  def parts(self, folder: pathlib.Path) -> dict[str, RemotePart]:
    """The needed parts, as they lie in a folder here."""
    return {
      name: RemotePart(f'{self.url}/{name}', folder / name, files)
      for name, files in self._files.items()
    }

  def num_bytes(self, shards_per_group: int = 0) -> int:
    """Bytes of the needed parts, with two groups of training rows (0: all)."""
    total = 0
    for name, files in self._files.items():
      sizes = [sum(file.num_bytes for file in shard) for shard in files]
      sizes.sort(reverse=True)
      if shards_per_group and name.isdecimal():
        sizes = sizes[: 2 * shards_per_group]
      total += sum(sizes)
    return total

  def write_small_files(self, folder: pathlib.Path) -> None:
    """Writes all files but the shards, and removes what a killed copy left."""
    with full_disk_explained(self.url, folder):
      for name, content in self._small.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:
          with durable_files.new_file(path) as file:
            file.write(content)
      for path in folder.rglob('.*.tmp'):
        path.unlink()

  def _read_small_files(self) -> tuple[dict[str, bytes], dict[str, dict]]:
    """(all but the shards by name, the manifests by part)."""
    small, manifests = {}, {}
    for file in storage.find_files(self.url):
      name = str(file).removeprefix(f'{self.url}/')
      is_manifest = _MANIFEST.fullmatch(name)
      if is_manifest or _SMALL_FILE.fullmatch(name):
        with storage.explained(file):
          small[name] = file.read_bytes()
      if is_manifest:
        manifests[is_manifest[1]] = parse_manifest(small[name], file)
    return small, manifests


def no_such_rows(
  length: int, folder: str | pathlib.Path, names: Iterable[str]
) -> InputError:
  """The message for a corpus with these folders that lacks a row length."""
  lengths = sorted(int(name) for name in names if name.isdecimal())
  return InputError(
    f'data.row_length={length}: {folder} has rows of length '
    f'{", ".join(map(str, lengths)) or "none"}; use one of them, or prepare '
    f'again with --row_length={length}'
  )


def local_folder(path: str, copies_path: str) -> pathlib.Path | None:
  """The folder of a corpus on this machine, without asking the storage.

  For one in object storage it is the copy that was used last, which may have
  only two groups of the training rows; None where there is no copy.
  """
  if not storage.is_remote(path):
    return pathlib.Path(os.path.expanduser(path))
  url = path.rstrip('/')
  found = []
  root = local_path(copies_path, 'data.staging_path')
  for origin in root.glob(f'*/{_ORIGIN_NAME}'):
    if url in _read_origin(origin):
      found.append((origin.stat().st_mtime, origin.parent))
  return max(found)[1] if found else None


def write_origin(url: str, folder: pathlib.Path) -> None:
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
