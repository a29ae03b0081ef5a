"""Reads the groups of a source, all or those of a part, and works on them."""

import dataclasses
import hashlib
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest
from bert_jax.data.preparing import blocks, groups, unfinished
from bert_jax.data.preparing.duplicates import Fingerprints
from bert_jax.data.preparing.filters import FilteredSource
from bert_jax.data.preparing.groups import GroupDone, Task
from bert_jax.data.preparing.parts import Part
from bert_jax.data.preparing.unknown_share import UnknownShare
from bert_jax.data.progress import TextProgress
from bert_jax.data.sources import base
from bert_jax.data.sources.content import Contents

_LOOKING = 'prepare, looking for repeats'


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupWork:
  """The work on the groups of a source.

  Attributes:
    source: the documents.
    unknown: raises an error early, for what it sees in any block.
    work: see blocks.describe_work.
    partial: the folder of unfinished work.
    contents: what the files hold.
    workers: ReadingWorkers or BeamWorkers.
    progress: shows how far the work is.
  """

  source: base.Source
  unknown: UnknownShare
  work: dict[str, Any]
  partial: pathlib.Path
  contents: Contents
  workers: Any
  progress: bool

  def __call__(self, part: Part | None) -> list[GroupDone] | None:
    """Works on the groups of a part; None: on all.

    Returns:
      What came of them, in order; None where repeats are left out and not all
      other groups have been looked through.
    """
    is_shared = part is not None
    unfinished.open_folder(
      self.partial, self.work, self.source.describe(), is_shared=is_shared
    )
    try:
      found = base.groups(self.source)
      tasks, described = self._tasks(found, part)
      source = self.source
      if isinstance(source, FilteredSource) and source.looks_for_repeats:
        self._look_through(tasks)
        repeats = self._repeats(source, len(found))
        if repeats is None:
          return None
        tasks = [_without_repeats(task, repeats) for task in tasks]
      return self._work_on(tasks, described)
    except BaseException:
      # An input that cannot be read leaves no folder, but to other parts.
      if not is_shared:
        unfinished.remove_unused_folder(self.partial)
      raise

  def _tasks(
    self, found: Sequence[base.Group], part: Part | None
  ) -> tuple[list[Task], dict[int, Any]]:
    """The tasks, and the description of each before its files were read."""
    first, step = (part.number - 1, part.count) if part else (0, 1)
    described = {
      number: found[number].source.describe()
      for number in range(first, len(found), step)
    }
    # Together, since files are read in threads.
    identified = self.contents.identify(list(described.values()))
    tasks = [
      Task(number, *found[number], description, self.partial, self.work)
      for number, description in zip(described, identified, strict=True)
    ]
    return tasks, described

  def _work_on(
    self, tasks: Sequence[Task], described: dict[int, Any]
  ) -> list[GroupDone]:
    done = {task.number: GroupDone(what=task.what) for task in tasks}
    num_tokens = 0
    with TextProgress(self._size(tasks), self.progress) as shown:
      for task, event in self._map(groups.read, tasks):
        group = done[task.number]
        if isinstance(event, blocks.BlockDone):
          if not num_tokens:
            # Early, since a wrong setting is seen in any block.
            self.unknown.add(map(Counter, event.counts.values()))
          num_tokens += sum(n['tokens'] for n in event.counts.values())
          group.add(event)
          shown.update(event.num_bytes, num_tokens)
        elif isinstance(event.returned, GroupDone):
          group = done[task.number] = event.returned
          num_tokens += sum(n['tokens'] for n in group.counts.values())
          shown.update(group.num_bytes, num_tokens)
          continue
        else:
          group.report, group.num_blocks = event.returned, event.num_pieces
        if group.is_complete:
          self.contents.require_unchanged(described[task.number])
          group.finish(task)
    return list(done.values())

  def _size(self, tasks: Sequence[Task]) -> int:
    sizes = [task.source.size_in_bytes() for task in tasks]
    return sum(sizes) if all(sizes) else 0

  def _map(
    self, read: Callable[..., Any], tasks: Sequence[Task]
  ) -> Iterator[tuple[Task, Any]]:
    anywhere = [task for task in tasks if task.is_anywhere]
    here = [task for task in tasks if not task.is_anywhere]
    for number, event in self.workers.map(read, anywhere):
      yield anywhere[number], event
    for number, event in self.workers.map_here(read, here):
      yield here[number], event

  def _look_through(self, tasks: Sequence[Task]) -> None:
    """Writes the fingerprints of groups, where they are not there."""
    left = [task for task in tasks if not blocks.is_whole(_seen(task))]
    with TextProgress(self._size(left), self.progress, _LOOKING) as shown:
      for task, event in self._map(_read_fingerprints, left):
        for old in self.partial.glob(f'seen-{task.number:06d}-*.npz'):
          old.unlink()
        with durable_files.new_file(_seen(task)) as file:
          np.savez(file, **event.returned._asdict())
        shown.update(task.source.size_in_bytes())

  def _repeats(
    self, source: FilteredSource, num_groups: int
  ) -> dict[int, np.ndarray] | None:
    """The repeats of all groups, looked for in the order of the source."""
    find = source.repeats()
    found = {}
    for number in range(num_groups):
      paths = list(self.partial.glob(f'seen-{number:06d}-*.npz'))
      if len(paths) != 1:
        return None  # another part has not looked through it yet
      with np.load(paths[0], allow_pickle=False) as arrays:
        found[number] = find(Fingerprints(**arrays))
    return found


def _read_fingerprints(task: Task) -> Any:
  """Reads a task that has no pieces; see reading_workers.Read."""
  assert isinstance(task.source, FilteredSource)
  return task.source.fingerprints()
  yield


def _seen(task: Task) -> pathlib.Path:
  key = json_digest(task.description, sort_keys=True)
  return task.folder / f'seen-{task.number:06d}-{key[:32]}.npz'


def _without_repeats(task: Task, repeats: dict[int, np.ndarray]) -> Task:
  assert isinstance(task.source, FilteredSource)
  known = repeats[task.number]
  digest = hashlib.sha256(known.tobytes()).hexdigest()
  return task._replace(
    source=task.source.with_repeats(known),
    # Another record: groups before this one decide what it keeps.
    description={**task.description, 'repeats': digest},
  )
