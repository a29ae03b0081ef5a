"""Compiled programs are kept in the user's cache folder; no verb itself.

A run that is started again then takes its first step at once. Variables of JAX
that are set already win.
"""

import contextlib
import importlib.util
import os
import pathlib
import platform
import zlib

_MAX_BYTES = 2**31
_MIN_COMPILE_SECONDS = 0.3


def use() -> None:
  """Sets JAX's variables; to be called before jax is imported."""
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  # Without it, JAX cannot bound the size of the folder.
  if importlib.util.find_spec('filelock') is None:
    return
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  # JAX tells apart accelerators and versions, but not the CPUs that a program
  # was compiled for, and a home folder is often shared by several.
  folder = pathlib.Path(cache, 'bert_jax', f'compiled-{_processor()}')
  try:
    folder.mkdir(parents=True, exist_ok=True)
    _remove_torn_entries(folder)
  except OSError:
    return  # a home that cannot be written: programs are compiled each time
  os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder)
  os.environ.setdefault('JAX_COMPILATION_CACHE_MAX_SIZE', str(_MAX_BYTES))
  os.environ.setdefault(
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', str(_MIN_COMPILE_SECONDS)
  )


def _processor() -> str:
  """Eight hexadecimal digits of what the processor can do."""
  features = platform.machine()
  with contextlib.suppress(OSError), open('/proc/cpuinfo') as file:
    lines = {line for line in file if line.startswith(('flags', 'Features'))}
    features += ''.join(sorted(lines))
  return f'{zlib.crc32(features.encode()):08x}'


def _remove_torn_entries(folder: pathlib.Path) -> None:
  # Whoever is killed while JAX writes an entry, or has no room for it, leaves
  # half of it, without its second file. JAX would compile at each start and
  # never replace it.
  for entry in folder.glob('*-cache'):
    if not entry.with_name(entry.name[: -len('cache')] + 'atime').exists():
      entry.unlink(missing_ok=True)
