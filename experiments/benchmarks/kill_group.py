"""The processes of one start of a verb: killed, awaited, and read; no drill."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'launch'))

import local_processes  # noqa: E402
from kill_notes import FOLDER, PHASES  # noqa: E402

# Words of the lines in which a process says whom it has lost, or whom it waited
# for in vain.
_LOSS = r'is gone|has ended|did not come|did not answer'


@dataclasses.dataclass
class _Member:
  process: subprocess.Popen
  text: str = ''
  ended: float = 0.0

  def read(self) -> None:
    """Reads what it says until it ends; to be called in a thread."""
    self.text = self.process.communicate()[0].decode('utf-8', 'replace')
    self.ended = time.time()


class Group:
  """All processes of one start, which write their notes to `folder`.

  Attributes:
    death: the time when some were killed; None before.
  """

  def __init__(
    self, command: list[str], num_processes: int, folder: pathlib.Path
  ):
    self.death: float | None = None
    self._folder = folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[FOLDER] = str(folder)
    address = f'localhost:{local_processes.free_port()}'
    devices = 1 if num_processes == 1 else 2
    if num_processes > 1:
      # A process that is killed before they meet is missed for so long.
      command = [*command, '--start_timeout=20']
    self._began = time.time()
    self._members = []
    for number in range(num_processes):
      words = local_processes.flags(address, num_processes, number)
      process = local_processes.start(number, devices, [*command, *words])
      self._members.append(_Member(process))
    self._readers = [
      threading.Thread(target=member.read, daemon=True)
      for member in self._members
    ]
    for reader in self._readers:
      reader.start()

  def comes_to(
    self, number: int, phase: str, entry: int, seconds: float
  ) -> bool:
    """Waits until so long after a process's n-th entry into a phase.

    Returns False if a process ends before.
    """
    while all(reader.is_alive() for reader in self._readers):
      entries = [at for at, name, _ in self._changes(number) if name == phase]
      if len(entries) >= entry and time.time() >= entries[entry - 1] + seconds:
        return True
      time.sleep(0.01)
    return False

  def kill(self, victims: list[int]) -> None:
    """Kills processes, and the workers that they have started."""
    for number in victims:
      # A process that has just ended by itself has no group any more.
      with contextlib.suppress(ProcessLookupError):
        os.killpg(self._members[number].process.pid, signal.SIGKILL)
    self.death = time.time()

  def wait(self, seconds: float | None = None) -> bool:
    """Waits for the ends of all; if some take longer, kills all: False."""
    deadline = None if seconds is None else time.monotonic() + seconds
    for reader in self._readers:
      left = deadline and max(0.0, deadline - time.monotonic())
      reader.join(left)
    hung = any(reader.is_alive() for reader in self._readers)
    if hung:
      for member in self._members:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(member.process.pid, signal.SIGKILL)
      self.wait()
    return not hung

  def statuses(self) -> list[int]:
    return [member.process.returncode for member in self._members]

  def text(self) -> str:
    """All that the processes have said."""
    return '\n'.join(
      f'== process {number}, status {member.process.returncode}\n{member.text}'
      for number, member in enumerate(self._members)
    )

  def survivors(self, victims: list[int]) -> dict[str, Any]:
    """How those that were not killed have ended, for a record.

    'silent' are those that failed and did not say whom they have lost;
    'aborted' those that JAX has ended.
    """
    others = [n for n in range(len(self._members)) if n not in victims]
    members = [self._members[number] for number in others]
    named = re.compile(
      '|'.join(
        f'process(es)? .*\\b{victim}\\b.*({_LOSS})' for victim in victims
      )
    )
    assert self.death is not None
    return {
      'seconds': max((m.ended - self.death for m in members), default=None),
      'last_lines': [(m.text.splitlines() or [''])[-1][:200] for m in members],
      'silent': [
        number
        for number, member in zip(others, members, strict=True)
        if member.process.returncode and not named.search(member.text)
      ],
      'aborted': sum('Terminating process because' in m.text for m in members),
    }

  def phase(self, number: int) -> str:
    """The last phase of a process; without notes, the first one."""
    return [PHASES[0], *(name for _, name, _ in self._notes(number))][-1]

  def phases(self) -> dict[str, list[float]]:
    """Seconds that process 0, which has ended, was in each phase, in order."""
    found: dict[str, list[float]] = {}
    changes = self._changes(0)
    ends = [at for at, _, _ in changes[1:]] + [self._members[0].ended]
    for (at, name, _), end in zip(changes, ends, strict=True):
      found.setdefault(name, []).append(end - at)
    return found

  def steps(self) -> int:
    """The last step that process 0 has done; 0 if it has done none."""
    return max((step for _, _, step in self._notes(0)), default=0)

  def seconds_to_step(self, step: int, death: float | None) -> float | None:
    """Seconds from a death until the step; None if it was not done here."""
    times = [at for at, _, done in self._notes(0) if done >= step]
    return times[0] - death if times and death is not None else None

  def _changes(self, number: int) -> list[tuple[float, str, int]]:
    """The first note of each phase, which begins with the process."""
    changes = [(self._began, PHASES[0], 0)]
    for note in self._notes(number):
      if note[1] != changes[-1][1]:
        changes.append(note)
    return changes

  def _notes(self, number: int) -> list[tuple[float, str, int]]:
    """(time, phase, step) of each note of a process."""
    path = self._folder / f'notes-{number}'
    if not path.exists():
      return []
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(float(at), name, int(step)) for at, name, step in lines]
