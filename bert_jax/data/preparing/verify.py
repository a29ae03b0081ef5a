"""Rereads a prepared corpus against its manifests.

A run checks headers and sizes alone when it opens a corpus, since reading all
of it would take long; this is the check to make after a copy.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterator

from bert_jax.data.preparing.prepare import RECORD_NAME
from bert_jax.data.progress import TextProgress
from bert_jax.data.remote.storage import refuse_remote
from bert_jax.data.token_rows import MANIFEST_NAME, TokenRows
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.errors import InputError, quoted

# Names of parts, on the disk and in the record alike, so that no record leads
# out of the corpus.
_PART = re.compile(r'(eval/)?\d+')


def verify_corpus(
  folder: str | os.PathLike[str], *, progress: bool
) -> Iterator[str]:
  """Reads every shard of every part, and the tokenizer.

  Args:
    folder: the output of `prepare`, or one part of it such as DIR/128.
    progress: shows a bar on a terminal, a line now and then elsewhere.

  Yields:
    A line for each part once it is found unchanged, and one for all of it.

  Raises:
    InputError: the folder is no corpus, a part of it is missing, or a shard
      has changed: the first one is named.
  """
  refuse_remote('verify', str(folder))
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise InputError(f'--verify={root}: there is no such folder')
  names = part_names(root)
  if not names:
    raise InputError(
      f'--verify={root}: is not a prepared corpus; give the folder that '
      '`prepare --output=DIR` wrote'
    )
  # Opened before any is read: a missing shard is found at once.
  parts = [TokenRows(root / name) for name in names]
  _check_tokenizer(root, parts)
  total = sum(part.num_bytes for part in parts)
  with TextProgress(total, progress, 'verify') as shown:
    for name, part in zip(names, parts, strict=True):
      part.verify(shown.update)
      yield (
        f'{name or root}: {part.num_rows:,} rows of {part.row_length} in '
        f'{_counted(len(part.shard_sizes), "shard")}: unchanged'
      )
  yield (
    f'{root}: {_counted(len(parts), "part")}, {total / 1e6:,.1f} MB: all as '
    'it was prepared'
  )


def part_names(root: pathlib.Path) -> list[str]:
  """'128', 'eval/128' and so on; '' for the folder itself; [] without any.

  Raises InputError where the record of what should be there is damaged.
  """
  if (root / MANIFEST_NAME).exists():
    return ['']
  # The record tells what should be there; a folder beside it counts as well.
  names = dict.fromkeys(_recorded_parts(root / RECORD_NAME))
  for pattern in ('*', 'eval/*'):
    for path in sorted(root.glob(f'{pattern}/{MANIFEST_NAME}')):
      name = path.parent.relative_to(root).as_posix()
      if _PART.fullmatch(name):
        names[name] = None
  return list(names)


def _recorded_parts(record: pathlib.Path) -> list[str]:
  try:
    parts = json.loads(record.read_text('utf-8'))['summary']['parts']
    names = [part['folder'] for part in parts]
  except FileNotFoundError:
    return []  # parts alone were copied
  except (ValueError, KeyError, TypeError, RecursionError):
    raise InputError(
      f'{record}: is damaged; copy it again from where it is whole'
    ) from None
  for name in names:
    if not isinstance(name, str) or not _PART.fullmatch(name):
      raise InputError(
        f'{record}: {quoted(str(name))} is not the folder of a part; copy it '
        'again from where it is whole'
      )
  return names


def _check_tokenizer(root: pathlib.Path, parts: list[TokenRows]) -> None:
  folder = root / 'tokenizer'
  if not folder.exists():
    # A part that is verified alone, or was copied alone, has none.
    return
  fingerprint = load_tokenizer(folder).fingerprint
  for part in parts:
    if part.tokenizer_fingerprint != fingerprint:
      raise InputError(
        f'{folder}: is not the tokenizer that {part.folder} was prepared with; '
        'copy it again from where it is whole'
      )


def _counted(number: int, what: str) -> str:
  return f'{number:,} {what}{"" if number == 1 else "s"}'
