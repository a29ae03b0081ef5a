"""Parts of a corpus, each prepared by a command of its own: --part=I/N.

Part I of N has the groups of files number I, I + N, ... (groups.py). Parts run
at any time, on one machine or on several that share the disk of the output, and
a part that was killed or is given twice goes on from what is finished. What
they finish lies in the folder of unfinished work, where the command without
--part finds it: it does what is left, and joins all.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from bert_jax import durable_files
from bert_jax.data.preparing import ending, unfinished
from bert_jax.errors import InputError, shown


class Part(NamedTuple):
  """Part `number` of `count`; numbers begin at 1."""

  number: int
  count: int

  def __str__(self) -> str:
    return f'{self.number}/{self.count}'

  def lock_of(self, output: pathlib.Path) -> pathlib.Path:
    """The name whose lock the process has that prepares the part."""
    name = f'{output.name}.part-{self.number}-of-{self.count}'
    return output.with_name(name)

  def stamps_in(self, partial: pathlib.Path) -> pathlib.Path:
    return partial / f'stamps-{self.number}-of-{self.count}.json'


def parse(text: str) -> Part:
  """The part that --part=I/N names."""
  match = re.fullmatch(r'(\d{1,9})/(\d{1,9})', text)
  if match:
    part = Part(int(match[1]), int(match[2]))
    if 1 <= part.number <= part.count:
      return part
  raise InputError(
    f'--part={shown(text)}: give I/N, part I of N, such as 1/4 to 4/4'
  )


@contextlib.contextmanager
def guarded(output: pathlib.Path, part: Part | None) -> Iterator[pathlib.Path]:
  """Holds the lock of a part of an output, or those of all of it.

  Yields the lock file. A part waits for a process that joins the parts.

  Raises:
    InputError, Stopped: see ending.guarded.
  """
  partial = unfinished.folder_of(output)
  if part:
    with ending.guarded(part.lock_of(output), partial) as lock:
      what = f'--output={output}'
      whole = output.with_name(output.name + '.lock')
      with durable_files.exclusive_lock(whole, what, _say_waiting):
        pass
      yield lock
    return
  with ending.guarded(output, partial) as lock, contextlib.ExitStack() as stack:
    for path in output.parent.iterdir():
      if re.fullmatch(
        re.escape(output.name) + r'\.part-\d+-of-\d+\.lock', path.name
      ):
        what = f'--output={output}: a part of it'
        stack.enter_context(durable_files.exclusive_lock(path, what))
    yield lock


def _say_waiting(owner: str) -> None:
  print(f'prepare: waiting for {owner}', flush=True)
