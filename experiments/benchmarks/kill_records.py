"""Records of kill_drill.py, one line of JSON a start, and their tables."""

import json
import pathlib
import statistics
from typing import Any

import measuring
from kill_notes import PHASES

Record = dict[str, Any]


class Records:
  """The lines of a file; those of earlier drills come first."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self.lines: list[Record] = []
    if path.exists():
      self.lines = [json.loads(line) for line in path.read_text().splitlines()]

  def add(self, record: Record) -> None:
    self.lines.append(record)
    with open(self._path, 'a') as file:
      file.write(json.dumps(record) + '\n')

  def kills(self, verb: str, processes: int) -> int:
    return sum(
      line['kind'] == 'kill'
      for line in self.lines
      if (line['verb'], line['processes']) == (verb, processes)
    )

  def faults(self) -> list[str]:
    """The starts in which something went wrong, with what it was."""
    return [
      f'start {number} ({line["verb"]}): {what}'
      for number, line in enumerate(self.lines, 1)
      if (what := fault(line))
    ]

  def tables(self) -> str:
    """A table of the verbs and one of the phases, by number of processes."""
    texts = []
    for processes in sorted({line['processes'] for line in self.lines}):
      lines = [line for line in self.lines if line['processes'] == processes]
      loads = [line['load'] for line in lines]
      texts.append(
        f'--processes={processes}; {measuring.machine()}; load average '
        f'{measuring.spread(loads)}'
      )
      texts.append(_verbs_table(lines))
      if phases := _phases_table(lines):
        texts.append(phases)
    return '\n'.join([*texts, *self.faults()])


def fault(line: Record) -> str:
  """The fault of a start in a few words, '' if there is none."""
  if line['hung']:
    return 'it hung'
  if line.get('silent'):
    return f'no word of the loss from {line["silent"]}'
  if line['kind'] == 'end' and any(line['statuses']):
    return f'it ended with {line["statuses"]}'
  different = ', '.join(line.get('different', []))
  return f'not equal: {different}' if different else ''


def _verbs_table(lines: list[Record]) -> str:
  rows = [['', 'kills', 'runs', 'faults']]
  for verb in dict.fromkeys(line['verb'] for line in lines):
    mine = [line for line in lines if line['verb'] == verb]
    kills = sum(line['kind'] == 'kill' for line in mine)
    faults = sum(bool(fault(line)) for line in mine)
    runs = sum('different' in line for line in mine)
    rows.append([verb, str(kills), str(runs), str(faults)])
  return measuring.table(rows)


def _phases_table(lines: list[Record]) -> str:
  """Kills in each phase, with the most and the median of their seconds."""
  rows = [['', 'kills', 'of all', 'others ended', 'next new step']]
  recoveries = _recoveries(lines)
  for phase in PHASES:
    kills = [line for line in lines if line.get('phase') == phase]
    if not kills:
      continue
    ends = [line['seconds'] for line in kills if line['seconds'] is not None]
    rows.append(
      [
        f'while {phase}',
        str(len(kills)),
        str(sum(line['victim'] == 'all' for line in kills)),
        _seconds(ends),
        _seconds(recoveries.get(phase, [])),
      ]
    )
  return measuring.table(rows) if rows[1:] else ''


def _recoveries(lines: list[Record]) -> dict[str, list[float]]:
  """Seconds to the next new step, by the phase of the kill before it."""
  found: dict[str, list[float]] = {}
  before: dict[str, Record] = {}
  for line in lines:
    if line['recovery'] is not None:
      phase = before[line['verb']]['phase']
      found.setdefault(phase, []).append(line['recovery'])
    before[line['verb']] = line
  return found


def _seconds(values: list[float]) -> str:
  if not values:
    return '-'
  return f'{statistics.median(values):.1f} (at most {max(values):.1f}) s'
