"""Arrays beside the rows of a corpus: what token ids cannot tell.

`word_starts` is there where a word segmenter was used, `pair_labels` where rows
hold pairs. Their files are cut where those of the rows are, and lie beside
them as `NAME-00000-of-00008.npy`.
"""

import dataclasses
import pathlib
from typing import Annotated, Any, TypedDict

import numpy as np

from bert_jax.config.json_decoder import Check, Decoder
from bert_jax.data.shards import AGAIN
from bert_jax.errors import InputError, quoted, shown

WORD_STARTS, PAIR_LABELS = 'word_starts', 'pair_labels'
PAIR_KINDS = NEXT_SENTENCE, SENTENCE_ORDER = 'next_sentence', 'sentence_order'
# Meanings of the labels 0 and 1 for part B, by kind (preparing/pairs.py).
LABEL_MEANINGS = {
  NEXT_SENTENCE: ('the next', 'random'),
  SENTENCE_ORDER: ('in order', 'swapped'),
}
# The entry of the manifest; there is none without side files.
ENTRY = 'side_files'
# Pairs in a row: one of packing.MAX_ROW_LENGTH cannot hold more.
_MAX_WIDTH = 2**20


class _Shard(TypedDict):
  name: str
  sha256: str


class _Entry(TypedDict):
  dtype: str
  row_shape: tuple[
    Annotated[int, Check(lambda n: 0 < n <= _MAX_WIDTH, 'a width')]
  ]
  shards: list[_Shard]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SideFile:
  """One array beside the rows.

  Attributes:
    name: 'word_starts' or 'pair_labels'.
    dtype: the dtype that is stored.
    width: numbers for each row, as they are stored.
  """

  name: str
  dtype: np.dtype
  width: int

  def decode(self, stored: np.ndarray, row_length: int) -> np.ndarray:
    """The array of a batch from [n, width] values as stored.

    Returns:
      'word_starts': bool [n, row_length]; 'pair_labels': int32 [n, width].
    """
    if self.name == WORD_STARTS:
      return np.unpackbits(stored, axis=1, count=row_length).astype(bool)
    return stored.astype(np.int32)

  def check(self, stored: np.ndarray, path: pathlib.Path) -> None:
    """Raises InputError where a stored value cannot be one."""
    if self.name == PAIR_LABELS and stored.size:
      for label in (int(stored.min()), int(stored.max())):
        if not -1 <= label <= 1:
          raise InputError(
            f'{path}: a row holds the label {label}, there are 0, 1 and -1 '
            f'(none); {AGAIN}'
          )


def word_starts(row_length: int) -> SideFile:
  """A bit for each token: whether it begins a word; as `np.packbits` has them.

  The bits of special tokens and of padding are 0, that of the first token after
  a special one is 1.
  """
  return SideFile(
    name=WORD_STARTS, dtype=np.dtype('u1'), width=-(-row_length // 8)
  )


def pair_labels(max_segments: int) -> SideFile:
  """The label of each pair of a row, in its order; -1 after the last one."""
  return SideFile(name=PAIR_LABELS, dtype=np.dtype('i1'), width=max_segments)


def pad_labels(labels: np.ndarray, width: int) -> np.ndarray:
  """[n, w] -> [n, the larger of w and width], with -1 in the new places."""
  missing = max(0, width - labels.shape[1])
  return np.pad(labels, ((0, 0), (0, missing)), constant_values=-1)


def manifest_entry(
  side_file: SideFile, shards: list[dict[str, Any]]
) -> dict[str, Any]:
  """The manifest entry of a side file, without the known rows of its shards."""
  return {
    'dtype': side_file.dtype.name,
    'row_shape': [side_file.width],
    'shards': [
      {'name': shard['name'], 'sha256': shard['sha256']} for shard in shards
    ],
  }


def fingerprint_content(manifest: dict[str, Any]) -> list[Any]:
  """Content of the side files for the fingerprint of a corpus; [] for none."""
  return [
    [
      name,
      entry['dtype'],
      entry['row_shape'],
      [shard['sha256'] for shard in entry['shards']],
    ]
    for name, entry in sorted(manifest.get(ENTRY, {}).items())
  ]


def read_entries(
  path: pathlib.Path, manifest: dict[str, Any]
) -> tuple[SideFile, ...]:
  """The side files that a manifest names, in the order of their names.

  Raises InputError where it does not describe them as `manifest_entry` does.
  """
  entries = Decoder(where=str(path), fix=AGAIN).decode(
    manifest.get(ENTRY, {}), dict[str, _Entry], ENTRY
  )
  return tuple(
    _read_entry(path, name, entries[name], manifest) for name in sorted(entries)
  )


def _read_entry(
  path: pathlib.Path, name: str, entry: _Entry, manifest: dict[str, Any]
) -> SideFile:
  (width,) = entry['row_shape']
  kinds = {
    WORD_STARTS: word_starts(manifest['row_length']),
    PAIR_LABELS: pair_labels(width),
  }
  side_file = kinds.get(name)
  found = width, entry['dtype']
  if not side_file or (side_file.width, side_file.dtype.name) != found:
    raise InputError(
      f'{path}: {ENTRY} has {quoted(name)} of {shown(repr(found))}, which this '
      f'program does not read; {AGAIN}'
    )
  # Shards are named like those of the rows, so that no name leads elsewhere:
  # `word_starts-00000-of-00008.npy` beside `rows-00000-of-00008.npy`.
  names = [
    f'{name}-{shard["name"].removeprefix("rows-")}'
    for shard in manifest['shards']
  ]
  if [shard['name'] for shard in entry['shards']] != names:
    raise InputError(
      f'{path}: the shards of {name} are not those of the rows: '
      f'{shown(repr(entry["shards"]))}; {AGAIN}'
    )
  return side_file
