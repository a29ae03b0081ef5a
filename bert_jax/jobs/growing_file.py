"""An output that grows while it is computed, and is continued if that stops."""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from bert_jax import durable_files
from bert_jax.data.progress import TextProgress
from bert_jax.errors import InputError
from bert_jax.parallel import distributed

# How often the state is written, in seconds; a killed process loses no more.
_SECONDS_BETWEEN_STATES = 2.0


@dataclasses.dataclass(frozen=True)
class Added:
  """Results that are in a file.

  Attributes:
    num_bytes: Of all of them; more may follow of one that was broken off.
    num_records: How many they are.
    counts: What was counted over them.
  """

  num_bytes: int = 0
  num_records: int = 0
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class GrowingFile:
  """A file of results that are added in order.

  Attributes:
    file: The file, open at its end.
    state_path: Where the state is written.
    request: What the results are of: a name -> a digest or value.
    added: The results that are in it.
  """

  file: BinaryIO
  state_path: pathlib.Path
  request: Mapping[str, str]
  added: Added
  _saved_at: float = dataclasses.field(default_factory=time.monotonic)

  def add(
    self, data: bytes, num_records: int, counts: Mapping[str, int]
  ) -> None:
    """Adds results; `counts` are those of all results so far."""
    self.file.write(data)
    before = self.added
    # At once: a signal before it leaves what fits the file's beginning.
    self.added = Added(
      before.num_bytes + len(data),
      before.num_records + num_records,
      dict(counts),
    )
    if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_STATES:
      self.save()

  def save(self) -> None:
    """Writes the state, from which the file can be continued."""
    self.file.flush()
    os.fsync(self.file.fileno())
    state = {'request': self.request, **dataclasses.asdict(self.added)}
    durable_files.write_json(self.state_path, state)
    self._saved_at = time.monotonic()


@contextlib.contextmanager
def growing_file(
  path: pathlib.Path, request: Mapping[str, str]
) -> Iterator[GrowingFile]:
  """A file to add to, which gets the name `path` once it is whole.

  Until then it is called `path`.partial, with its state beside it. One that a
  command with an equal request left behind is continued; another is replaced.
  An error of the input leaves nothing behind, and neither does any error where
  the request is empty, since nobody could tell what the results are of.
  """
  partial = path.with_name(path.name + '.partial')
  state_path = path.with_name(path.name + '.partial.json')
  with durable_files.output_lock(path):
    added = _added_before(state_path, partial, request)
    with open(partial, 'ab' if added.num_bytes else 'wb') as file:
      growing = GrowingFile(file, state_path, dict(request), added)
      try:
        yield growing
        file.flush()
        os.fsync(file.fileno())
      except BaseException as error:
        if isinstance(error, InputError) or not request:
          partial.unlink()
          state_path.unlink(missing_ok=True)
          raise
        growing.save()
        print(
          f'{growing.added.num_records:,} results are kept in {partial}; the '
          'same command goes on from there',
          flush=True,
        )
        raise
    os.replace(partial, path)
    state_path.unlink(missing_ok=True)
    durable_files.sync_folder(path.parent)


@contextlib.contextmanager
def grown_by_first(
  path: pathlib.Path, request: Mapping[str, str], num_bytes: int, verb: str
) -> Iterator[tuple[GrowingFile | None, Added, TextProgress]]:
  """The `growing_file` of several processes, which the first one writes.

  Yields (the file, None in other processes; the results that are there, whose
  counts the first one alone has; the progress over `num_bytes` of texts).
  """
  is_first = distributed.is_first()
  with contextlib.ExitStack() as stack:
    progress = stack.enter_context(TextProgress(num_bytes, is_first, verb))
    growing, added = None, Added()
    if is_first:
      growing = stack.enter_context(growing_file(path, request))
      added = growing.added
    num_records = distributed.as_first('results', added.num_records)
    yield growing, dataclasses.replace(added, num_records=num_records), progress


def _added_before(
  state_path: pathlib.Path, partial: pathlib.Path, request: Mapping[str, str]
) -> Added:
  """The results of a file that can be continued, which is cut to them."""
  if not request:
    return Added()
  try:
    state = json.loads(state_path.read_text('utf-8'))
    before = state['request']
    found = Added(
      int(state['num_bytes']),
      int(state['num_records']),
      dict(state['counts']),
    )
    is_whole = partial.stat().st_size >= found.num_bytes
  except (FileNotFoundError, ValueError, KeyError, TypeError):
    return Added()
  if before != request or not is_whole:
    changed = [name for name in request if before.get(name) != request[name]]
    why = f'another {changed[0]}' if changed else 'fewer results than it says'
    print(f'{partial} is begun anew: what is there has {why}', flush=True)
    return Added()
  os.truncate(partial, found.num_bytes)
  print(
    f'{found.num_records:,} results are there in {partial}; going on',
    flush=True,
  )
  return found
