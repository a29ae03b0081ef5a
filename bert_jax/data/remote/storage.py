"""Files in object storage, gs:// and s3://: found there, read as a stream.

The path objects are those of etils.epath, which open, name and measure a file
as pathlib does; finding files asks fsspec, since epath has no `**`.
"""

import contextlib
import glob
import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from bert_jax.errors import InputError, one_line

# By scheme: the package that fsspec needs for it, and the way to log in.
_SCHEMES = {
  'gs': ('gcsfs', 'gcloud auth application-default login'),
  's3': ('s3fs', 'aws configure'),
}
# Names of checksums in gcsfs and s3fs, and in our records.
_CHECKSUMS = {'md5Hash': 'md5', 'crc32c': 'crc32c', 'ETag': 'etag'}


def is_remote(path: Any) -> bool:
  """Returns whether a path, or the pattern of one, lies in object storage."""
  return str(path).partition('://')[0] in _SCHEMES and '://' in str(path)


def refuse_remote(flag: str, path: str) -> None:
  """Raises InputError: what the flag names has to lie on a disk."""
  if is_remote(path):
    raise InputError(
      f'--{flag}={path}: this reads what lies on a disk alone; copy the corpus '
      'there first (pretrain does so by itself, and checks every shard against '
      'the manifest)'
    )


def find_files(pattern: str) -> list[Any]:
  """The files that an object, a folder (recursively) or a glob names, in order.

  Hidden files below a folder are left out, as with local files.

  Returns:
    epath.Path each.

  Raises:
    InputError: There is no such file, or the storage cannot be reached.
  """
  return [path for path, _ in find(pattern)]


def find(pattern: str) -> list[tuple[Any, bool]]:
  """find_files(), each with whether it was found below a folder."""
  from etils import epath

  with explained(pattern):
    import fsspec

    scheme = pattern.partition('://')[0]
    storage = fsspec.filesystem(scheme)
    # isfile() takes every error, such as no network, for no file.
    try:
      kind = storage.info(pattern)['type']
    except FileNotFoundError:
      kind = ''
    if kind == 'file':
      return [(epath.Path(pattern), False)]
    if kind:
      hits = [pattern]
    elif glob.has_magic(pattern):
      hits = storage.glob(pattern)
    else:
      hits = []
    found: dict[str, bool] = {}
    for hit in hits:
      is_file = storage.isfile(hit)
      for name in [hit] if is_file else _below(storage, hit):
        found[name] = found.get(name, False) or not is_file
  if not found:
    raise InputError(
      f'{pattern}: there is no such file; check the name, and whether your '
      'account may list it.'
    )
  # fsspec has two names for the same scheme.
  return [
    (
      epath.Path(
        f'{scheme}://{storage.unstrip_protocol(name).partition("://")[2]}'
      ),
      is_below,
    )
    for name, is_below in found.items()
  ]


def checksum(path: Any) -> dict[str, Any]:
  """The bytes and the checksum that the storage keeps; {} if it has none.

  Google's MD5 or, of an object that was composed of others, CRC32C; Amazon's
  ETag, which two uploads of the same bytes share where neither the size of
  their parts nor the encryption differs. An equal one means equal bytes.
  """
  with explained(path):
    import fsspec

    storage = fsspec.filesystem(str(path).partition('://')[0])
    info = storage.info(str(path))
  for name, key in _CHECKSUMS.items():
    if value := info.get(name):
      return {'bytes': info['size'], key: str(value).strip('"')}
  return {}


def forget_listings(paths: Iterable[Any]) -> None:
  """Makes `checksum` ask anew for these paths, not what was listed before."""
  schemes = {str(p).partition('://')[0] for p in paths if is_remote(p)}
  for scheme in schemes:
    import fsspec

    fsspec.filesystem(scheme).invalidate_cache()


@contextlib.contextmanager
def explained(what: Any) -> Iterator[None]:
  """Turns what a storage says into one line with a way out."""
  package, login = _SCHEMES[str(what).partition('://')[0]]
  try:
    with _quiet(package):
      yield
  except InputError:
    raise
  except ImportError as error:
    raise InputError(
      f'{what}: reading it needs a package: pip install {package}'
    ) from error
  # Every storage has errors of its own; many are not OSErrors.
  except Exception as error:
    why = one_line(error) or type(error).__name__
    raise InputError(
      f'{what}: cannot be read ({why}); check the name, the network and the '
      f'account ({login}), or copy the files to a disk.'
    ) from error


_quiet_lock = threading.Lock()
# By package: [uses under way, the level of its logger before the first].
_quiet_uses: dict[str, list[int]] = {}


@contextlib.contextmanager
def _quiet(package: str) -> Iterator[None]:
  """Holds back what a storage's package logs, while any use is under way.

  It prints the traceback of each attempt beside raising the last one. Uses may
  overlap in several threads; after the last the level is the caller's again.
  """
  logger = logging.getLogger(package)
  with _quiet_lock:
    use = _quiet_uses.setdefault(package, [0, logger.level])
    use[0] += 1
    logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    with _quiet_lock:
      use[0] -= 1
      if not use[0]:
        logger.setLevel(use[1])
        del _quiet_uses[package]


def _below(storage: Any, name: str) -> list[str]:
  found = storage.find(name)
  # Names as the storage has them: no slash at the end of a folder.
  start = len(storage._strip_protocol(name))
  return sorted(
    path
    for path in found
    if not any(part.startswith('.') for part in path[start:].split('/'))
  )
