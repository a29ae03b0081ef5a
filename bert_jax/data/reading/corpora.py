"""Opens the prepared corpora of a run, and checks that they go together."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from bert_jax.data.remote.copies import on_this_machine
from bert_jax.data.remote.corpus import CopyOptions, LocalCorpus, no_such_rows
from bert_jax.data.shards import refuse_link_out
from bert_jax.data.token_rows import GroupWindow, TokenRows
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class OpenCorpus:
  """Training rows by row length; held-out rows where there are some.

  windows: row length -> its window, where rows come to the disk by groups.
  """

  name: str
  rows: dict[int, TokenRows]
  held_out: TokenRows | None
  windows: Mapping[int, GroupWindow] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def open_corpora(
  paths: Sequence[str],
  row_lengths: Sequence[int],
  eval_row_length: int,
  options: CopyOptions,
) -> Iterator[tuple[list[OpenCorpus], Tokenizer]]:
  """(the corpora, the tokenizer that all of them were prepared with).

  Raises InputError naming the corpus that is missing or does not fit, and as
  `on_this_machine` for those in object storage.
  """
  with on_this_machine(paths, row_lengths, eval_row_length, options) as corpora:
    yield _open(paths, corpora, row_lengths, eval_row_length)


def _open(
  paths: Sequence[str],
  copies: Sequence[LocalCorpus],
  row_lengths: Sequence[int],
  eval_row_length: int,
) -> tuple[list[OpenCorpus], Tokenizer]:
  corpora = []
  first: Tokenizer | None = None
  for name, local in zip(_names(paths), copies, strict=True):
    folder = local.folder
    if not folder.is_dir():
      raise InputError(
        f'data.path={folder} does not exist; make it by bert-jax prepare '
        f'--output={folder}'
      )
    held_out = folder / 'eval' / str(eval_row_length)
    for inner in (held_out.parent, held_out):
      refuse_link_out(inner)
    tokenizer = _open_tokenizer(folder)
    first = first or tokenizer
    if tokenizer.fingerprint != first.fingerprint:
      raise InputError(
        f'{folder}: it was prepared with another tokenizer than {paths[0]}; '
        'prepare both with one'
      )
    corpora.append(
      OpenCorpus(
        name,
        {
          length: _open_rows(local, length, tokenizer)
          for length in dict.fromkeys(row_lengths)
        },
        _checked(local.open_part(f'eval/{eval_row_length}'), tokenizer)
        if held_out.is_dir()
        else None,
        local.windows,
      )
    )
  assert first is not None
  _check_side_files(corpora)
  return corpora, first


def _check_side_files(corpora: Sequence[OpenCorpus]) -> None:
  """Checks that all batches of a run, evaluation too, have the same arrays."""
  opened = [
    rows
    for corpus in corpora
    for rows in (*corpus.rows.values(), corpus.held_out)
    if rows
  ]
  first, *others = opened
  for rows in others:
    if rows.side_files.keys() != first.side_files.keys():
      first_has, has = (
        ', '.join(one.side_files) or 'none' for one in (first, rows)
      )
      raise InputError(
        f'{rows.folder} has the side files {has}, {first.folder} has '
        f'{first_has}; prepare both with the same --word_segmenter and --pairs'
      )


def _open_tokenizer(folder: pathlib.Path) -> Tokenizer:
  for path in (folder / 'tokenizer', *(folder / 'tokenizer').glob('*')):
    refuse_link_out(path)
  return load_tokenizer(folder / 'tokenizer')


def _open_rows(
  local: LocalCorpus, length: int, tokenizer: Tokenizer
) -> TokenRows:
  rows = local.folder / str(length)
  if not rows.is_dir():
    names = [path.name for path in local.folder.iterdir()]
    raise no_such_rows(length, local.folder, names)
  refuse_link_out(rows)
  return _checked(local.open_part(str(length)), tokenizer)


def _checked(rows: TokenRows, tokenizer: Tokenizer) -> TokenRows:
  if rows.tokenizer_fingerprint != tokenizer.fingerprint:
    raise InputError(
      f'{rows.folder} was prepared with another tokenizer than the one beside '
      f'it (fingerprints {rows.tokenizer_fingerprint[:12]} and '
      f'{tokenizer.fingerprint[:12]}); prepare the corpus again'
    )
  return rows


def _names(paths: Sequence[str]) -> list[str]:
  """The folders' names, numbered where two are alike."""
  names = [pathlib.Path(path).name for path in paths]
  return [
    name if names.count(name) == 1 else f'{name}_{number}'
    for number, name in enumerate(names)
  ]
