"""Groups of files: what one process reads, and a part of a corpus consists of.

The files of a source and their sizes are listed before anything is read.
Consecutive small files are a group, up to sources.file_source.GROUP_BYTES; a
larger file is one of its own. Blocks are cut within a group, and rows are
packed within a block. So the rows of a group, its held-out documents and its
counts follow from its files and the request alone: a corpus is the same for any
number of workers and parts, and for either engine.

A source that is not read from files, as one of the user's, is one group and is
read in the process that opened it. One large file is read by one process too,
which hands blocks to others.
"""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Generator
from typing import Any, NamedTuple

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest, read_or_none
from bert_jax.data.preparing import blocks
from bert_jax.data.preparing.unknown_share import forget_rare_words
from bert_jax.data.sources.base import ReadReport, Source


class Task(NamedTuple):
  """A group to prepare.

  Attributes:
    number: 0, 1, ... in the order of the source.
    source: the documents of the group.
    is_anywhere, what: see base.Group.
    description: the source's, with what its files hold.
    folder: receives the files of blocks, and the record of the group.
    work: see blocks.describe_work.
  """

  number: int
  source: Source
  is_anywhere: bool
  what: str
  description: dict[str, Any]
  folder: pathlib.Path
  work: dict[str, Any]

  @property
  def record(self) -> pathlib.Path:
    key = json_digest([self.work, self.description], sort_keys=True)
    return self.folder / f'group-{self.number:06d}-{key[:32]}.json'


@dataclasses.dataclass
class GroupDone:
  """The blocks of a group together.

  Attributes:
    names: the files of its blocks, sorted once the group is complete.
    num_bytes: bytes of their text.
    counts: {part: {what: number}}, see blocks.BlockWorker.
    report: what reading the group met.
    num_blocks: -1 until the group was read to its end.
    num_reused: blocks that an earlier run had finished.
    what: see base.Group.
  """

  names: list[str] = dataclasses.field(default_factory=list)
  num_bytes: int = 0
  counts: dict[str, Counter[str]] = dataclasses.field(
    default_factory=lambda: {blocks.TRAIN: Counter(), blocks.EVAL: Counter()}
  )
  report: ReadReport = dataclasses.field(default_factory=ReadReport)
  num_blocks: int = -1
  num_reused: int = 0
  what: str = ''

  @property
  def is_complete(self) -> bool:
    return len(self.names) == self.num_blocks

  def add(self, block: blocks.BlockDone) -> None:
    """Adds blocks, in any order."""
    self.names.append(block.name)
    self.num_bytes += block.num_bytes
    for part, count in block.counts.items():
      self.counts[part].update(count)
    self.num_reused += block.was_there

  def finish(self, task: Task) -> None:
    """Writes the record of a complete group, which spares reading it again."""
    self.names.sort()
    for count in self.counts.values():
      forget_rare_words(count)
    record = {
      'names': self.names,
      'num_bytes': self.num_bytes,
      'counts': self.counts,
      'report': vars(self.report),
    }
    durable_files.write_json(task.record, record)


def read(
  task: Task,
) -> Generator[tuple[blocks.Block, pathlib.Path], None, ReadReport | GroupDone]:
  """Yields the blocks of a group, each with the file for its rows.

  Returns:
    What reading met; or the group, if an earlier run has finished it.
  """
  if finished := read_record(task):
    return finished
  report = ReadReport()
  _, *limits = task.work['block']
  for block in blocks.read_blocks(task.source, report, *limits):
    name = blocks.block_file_name(task.number, block, task.work)
    yield block, task.folder / name
  return report


def read_record(task: Task) -> GroupDone | None:
  """The group as an earlier run left it; None unless all of it is whole."""
  record = read_or_none(task.record)
  if record is None:
    return None
  names = record['names']
  if not all(blocks.is_whole(task.folder / name) for name in names):
    return None
  report = ReadReport()
  vars(report).update(record['report'])
  return GroupDone(
    names=names,
    num_bytes=record['num_bytes'],
    counts={part: Counter(n) for part, n in record['counts'].items()},
    report=report,
    num_blocks=len(names),
    num_reused=len(names),
    what=task.what,
  )
