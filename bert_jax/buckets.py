"""Paths in a bucket of Google Cloud Storage, for workdirs that are kept there.

An object is there whole or not at all, for all readers at once, so nothing has
to be renamed or synced. Orbax takes such a path too, as `gs://...`, and reaches
the bucket by its own means, TensorStore and etils.epath (with gcsfs).
"""

import contextlib
import errno
import fnmatch
import functools
import os
import pathlib
import stat
import threading
from collections.abc import Generator, Iterator
from typing import Any

from bert_jax.errors import InputError, one_line, require_package

SCHEME = 'gs://'
# The object that Orbax writes into a folder once all else is in it.
COMMITTED = 'commit_success.txt'
# How long a request is tried again while the storage does not answer.
PATIENCE_SECONDS = 120.0
_PART_BYTES = 8 << 20
_LOGIN = 'gcloud auth application-default login'


def bucket_path(url: str, what: str) -> 'BucketPath':
  """The path of a URL gs://BUCKET/FOLDER.

  `what` is the flag or field in the InputError that says what is missing: the
  name of a folder, or the packages of the extra gcs.
  """
  bucket, _, name = url.removeprefix(SCHEME).strip('/').partition('/')
  if not bucket or not name:
    raise InputError(f'{what}={url}: give a folder in a bucket, {SCHEME}B/NAME')
  require_package('gcsfs', f'{what}={url}', 'gcs')
  _prepare_epath()
  return BucketPath(url)


@functools.cache
def _prepare_epath() -> None:
  import fsspec.config

  # Other processes write there too, so no listing may come from a cache.
  fsspec.config.conf.setdefault('gcs', {})['use_listings_cache'] = False
  # TensorFlow, where it is installed, would be loaded just to list a folder.
  os.environ.setdefault('EPATH_USE_TF', 'false')


@functools.cache
def _client(unused_thread: int) -> Any:
  """The client of one thread, since its connections are not shared."""
  from google.cloud import storage

  return storage.Client(project=None)


class BucketPath(pathlib.PosixPath):
  """A path gs://BUCKET/NAME, with the methods of pathlib that a workdir needs.

  A folder is what names have in common. Every method raises OSError: as on a
  disk where there is no such object, PermissionError without access, and
  TimeoutError where the storage does not answer for PATIENCE_SECONDS.
  """

  def __str__(self) -> str:
    head, *rest = self.parts
    return f'{head}//{"/".join(rest)}'

  __fspath__ = __str__

  def __repr__(self) -> str:
    return f'BucketPath({str(self)!r})'

  def absolute(self) -> 'BucketPath':
    return self

  @property
  def _key(self) -> str:
    return '/'.join(self.parts[2:])

  @contextlib.contextmanager
  def _asking(self) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The bucket and a request's options; errors become those of a disk."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from google.cloud.storage import retry

    patient = retry.DEFAULT_RETRY.with_timeout(PATIENCE_SECONDS)
    try:
      client = _client(threading.get_ident())
      yield client.bucket(self.parts[1]), {'retry': patient}
    except exceptions.NotFound:
      number, text = errno.ENOENT, os.strerror(errno.ENOENT)
    except exceptions.PreconditionFailed:
      number, text = errno.EEXIST, 'another process has written it'
    except (
      exceptions.Forbidden,
      exceptions.Unauthorized,
      auth.GoogleAuthError,
    ) as error:
      number, text = errno.EACCES, f'{one_line(error)} (try {_LOGIN})'
    # Many kinds say that the network or the storage does not work.
    except Exception as error:
      number, text = errno.ETIMEDOUT, one_line(error) or type(error).__name__
    else:
      return
    raise OSError(number, text, str(self))

  def read_bytes(self) -> bytes:
    return self.read()[0]

  def read(self) -> tuple[bytes, int]:
    """The content of an object and its generation."""
    with self._asking() as (bucket, options):
      blob = bucket.blob(self._key)
      return blob.download_as_bytes(**options), blob.generation

  def read_text(self, encoding: Any = None, errors: Any = None) -> str:  # pyrefly: ignore[bad-override]
    return self.read_bytes().decode(encoding or 'utf-8', errors or 'strict')

  def read_through(self) -> None:
    """Reads an object part by part, to see whether that works."""
    with self._asking() as (bucket, options):
      blob = bucket.blob(self._key)
      with blob.open('rb', chunk_size=_PART_BYTES, **options) as file:
        while file.read(_PART_BYTES):
          pass

  def write_bytes(self, data: Any) -> int:
    self.write(data)
    return len(data)

  def write(self, content: bytes, generation: int | None = None) -> int:
    """Writes a whole object; returns its generation.

    With `generation`, raises FileExistsError unless the object has that one
    until then; 0 means that there is none.
    """
    with self._asking() as (bucket, options):
      blob = bucket.blob(self._key)
      blob.upload_from_string(
        content,
        content_type='application/octet-stream',
        if_generation_match=generation,
        **options,
      )
      return blob.generation

  def generation(self) -> int:
    """The generation of an object; 0 if there is none."""
    blob = self._blob()
    return blob.generation if blob else 0

  def _blob(self) -> Any:
    """The object's description; None if there is none."""
    with self._asking() as (bucket, options):
      return bucket.get_blob(self._key, **options)

  def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
    blob = self._blob()
    if blob:
      mode, size = stat.S_IFREG, blob.size
      seconds = blob.updated.timestamp()
    elif self.is_dir():
      mode, size, seconds = stat.S_IFDIR, 0, 0.0
    else:
      raise FileNotFoundError(
        errno.ENOENT, os.strerror(errno.ENOENT), str(self)
      )
    times = dict.fromkeys(('st_mtime', 'st_atime', 'st_ctime'), seconds)
    numbers = {f'{name}_ns': round(s * 1e9) for name, s in times.items()}
    whole = [round(seconds)] * 3
    return os.stat_result(
      [mode | 0o644, 0, 0, 1, 0, 0, size, *whole], times | numbers
    )

  def exists(self, *, follow_symlinks: bool = True) -> bool:
    return self.is_file() or self.is_dir()

  def is_file(self, *, follow_symlinks: bool = True) -> bool:
    return self._blob() is not None

  def is_dir(self, *, follow_symlinks: bool = True) -> bool:
    with self._asking() as (bucket, options):
      found = bucket.list_blobs(
        prefix=f'{self._key}/', max_results=1, **options
      )
      return any(True for _ in found)

  def iterdir(self) -> Generator['BucketPath', None, None]:
    """The objects and folders in a folder; none if there is no folder."""
    start = f'{self._key}/'
    with self._asking() as (bucket, options):
      found = bucket.list_blobs(prefix=start, delimiter='/', **options)
      names = [blob.name for blob in found] + sorted(found.prefixes)
    for name in names:
      if inner := name.removeprefix(start).strip('/'):
        yield self / inner

  def glob(self, pattern: str, **_: Any) -> Iterator['BucketPath']:  # pyrefly: ignore[bad-override]
    """The paths in this folder whose names match a pattern."""
    for path in self.iterdir():
      if fnmatch.fnmatchcase(path.name, pattern):
        yield path

  def sizes(self) -> dict[str, int]:
    """The bytes of all objects below a folder by their names, in order."""
    start = f'{self._key}/'
    with self._asking() as (bucket, options):
      found = bucket.list_blobs(prefix=start, **options)
      return {blob.name.removeprefix(start): blob.size for blob in found}

  def mkdir(self, *_: Any, **__: Any) -> None:
    """Does nothing: a bucket has no folders of their own."""

  def unlink(self, missing_ok: bool = False) -> None:
    try:
      self.remove()
    except FileNotFoundError:
      if not missing_ok:
        raise

  def remove(self, generation: int | None = None) -> None:
    """Removes an object, or raises FileExistsError at another generation."""
    with self._asking() as (bucket, options):
      blob = bucket.blob(self._key)
      blob.delete(if_generation_match=generation, **options)

  def remove_tree(self) -> None:
    """Removes all objects below a folder, first what says it is finished."""
    names = sorted(self.sizes(), key=lambda name: name != COMMITTED)
    for name in names:
      (self / name).unlink(missing_ok=True)

  def rename(self, target: Any) -> 'BucketPath':
    """Gives a folder another name; killed meanwhile, it may have both."""
    for name in self.sizes():
      source = self / name
      with source._asking() as (bucket, options):
        blob = bucket.blob(source._key)
        bucket.copy_blob(blob, bucket, (target / name)._key, **options)
    self.remove_tree()
    return target


def finished_folders(folder: BucketPath) -> list[str]:
  """Names of the folders in a folder that Orbax has completed."""
  return [
    path.name for path in folder.iterdir() if (path / COMMITTED).is_file()
  ]
