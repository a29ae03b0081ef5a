"""Drill of kill -9: verbs are killed at random moments and started again.

.venv/bin/python experiments/benchmarks/kill_drill.py --kills=200
.venv/bin/python experiments/benchmarks/kill_drill.py --kills=300 \\
    --processes=2 --workdir=DIR

Each verb first runs undisturbed. Then it is started, killed at a random moment,
and started again, until it ends by itself. The result must equal that of the
undisturbed run, bit for bit: the bytes of a corpus; every array of the last
checkpoint, the metrics of every step and the results of a training. Of several
processes, which are those of launch/local_processes.py, one or all are killed;
the others have to end by themselves within two minutes, and to name who is
gone. The moment is a random part of a random phase, see kill_notes.py; of a
verb without phases, any part of its time. 'export' and 'convert' are those of
convert.

--workdir keeps a record of each start, and the same command goes on from there,
as long as the code stays the same; --kills=0 prints its tables. Logs of each
fault are kept beside them. The status is 1 if there is a fault: a result that
differs, a start that ends with an error, or others that do not end or do not
say why.

Measured on 2 cores (Intel Xeon) beside other work, at a load average of 1 to
10; Python 3.13, jax 0.12.0, 2026-11-30; --processes=2 --steps=60. Every run
that ended was equal, and every process that was left named who was gone:

          kills  runs  faults
pretrain    152    29       0
finetune    148    29       0
                    kills  of all           others ended          next new step
while initialising     44      12  21.2 (at most 23.8) s  33.3 (at most 55.6) s
while staging          45      13    1.0 (at most 1.1) s  15.3 (at most 53.9) s
while compiling        51      14    0.1 (at most 1.1) s  17.9 (at most 47.9) s
while training         61      26    0.2 (at most 1.1) s  15.9 (at most 48.5) s
while evaluating       26       9    1.1 (at most 1.3) s  14.2 (at most 39.2) s
while saving           10       5    1.0 (at most 1.2) s  17.6 (at most 17.6) s
while ending           63      24    0.4 (at most 1.1) s                      -

Processes that have not met yet wait for --start_timeout, 20 s here. On CPUs
JAX's cache of compiled programs serves process 0 alone: its key has the process
in it, so the others compile at each start.

As one process, before moments were drawn by phase; the first machine seldom
left prepare the time to end; every run equal:

AMD EPYC (Zen 3), seed 11
          kills  runs  before the first record  between steps  silent
prepare     101     2                        0              0     101
pretrain     52    13                       14             17      21
finetune     49     9                       21             21       7

Intel Xeon, seed 12, at 9999210
prepare      34    50                       30              0       4
pretrain     33    26                        5             19       9
finetune     33    26                       13             17       3
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator

import kill_digests
import kill_inputs
from absl import app, flags, logging
from kill_group import Group
from kill_records import Records, fault

# Time for all processes to end once one is killed.
_BOUND_SECONDS = 120.0
# A phase that comes often is waited for this often at most.
_MAX_ENTRIES = 3

_KILLS = flags.DEFINE_integer('kills', 200, 'How many, shared by the verbs.')
_PROCESSES = flags.DEFINE_integer('processes', 1, 'Of each start.')
_WORKDIR = flags.DEFINE_string('workdir', '', 'Keeps records; goes on there.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the moments.')
_VERBS = flags.DEFINE_list(
  'verbs', [], 'Which verbs, in turn; default: all that run as --processes.'
)
_MEGABYTES = flags.DEFINE_float('megabytes', 40, 'Text for prepare.')
_STEPS = flags.DEFINE_integer('steps', 300, 'Training steps.')


def main(unused_argv: list[str]) -> None:
  # Orbax logs many lines for each checkpoint that is compared.
  logging.set_verbosity(logging.WARNING)
  with contextlib.ExitStack() as stack:
    name = _WORKDIR.value or stack.enter_context(tempfile.TemporaryDirectory())
    folder = pathlib.Path(name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    records = Records(folder / 'records.jsonl')
    if _KILLS.value:
      # Runs of another size are not equal, and not continued.
      size = f'{_MEGABYTES.value:g}-megabytes-{_STEPS.value}-steps'
      for drill in in_turn(make_drills(folder / size, records), records):
        drill.run()
        print(drill.summary(), flush=True)
    print(records.tables())
    if records.faults():
      raise SystemExit(f'faults: {", ".join(records.faults())}')


def in_turn(drills: dict[str, 'Drill'], records: Records) -> Iterator['Drill']:
  """Yields the drill with the fewest kills, until each has its share."""
  while True:
    kills = {verb: records.kills(verb, _PROCESSES.value) for verb in drills}
    verb = min(kills, key=lambda verb: kills[verb])
    if kills[verb] * len(kills) >= _KILLS.value:
      return
    yield drills[verb]


class Drill:
  """One verb: `command` and `digest` take the folder that it makes."""

  def __init__(
    self,
    verb: str,
    folder: pathlib.Path,
    records: Records,
    command: Callable[[pathlib.Path], list[str]],
    digest: Callable[[pathlib.Path], dict[str, str]],
  ):
    self.verb = verb
    self.processes = _PROCESSES.value
    self.folder = folder / f'{verb}-{self.processes}'
    self.target = self.folder / 'killed'
    self.records = records
    self.command = command
    self.digest = digest

  def summary(self) -> str:
    kills = self.records.kills(self.verb, self.processes)
    return f'{self.verb}: {kills} kills, {len(self.records.faults())} faults'

  def expected(self) -> dict:
    """The result of an undisturbed run, and the seconds of its phases."""
    path = self.folder / 'expected.json'
    if not path.exists():
      shutil.rmtree(self.folder, ignore_errors=True)
      # This run also fills the cache of compiled programs.
      group = self.start(self.folder / 'untouched')
      group.wait()
      if any(group.statuses()):
        raise SystemExit(group.text())
      digests = self.digest(self.folder / 'untouched')
      value = {'digests': digests, 'phases': group.phases()}
      path.write_text(json.dumps(value))
    return json.loads(path.read_text())

  def start(self, target: pathlib.Path) -> Group:
    return Group(self.command(target), self.processes, self.folder / 'start')

  def run(self) -> None:
    """Starts the verb again and again until it ends by itself; compares."""
    expected = self.expected()
    death, steps, ended = None, 0, False
    while not ended:
      record, group = self.start_and_kill(expected['phases'])
      record['recovery'] = group.seconds_to_step(steps + 1, death)
      # A verb that makes a folder at once refuses to make it again.
      at_once = self.verb in ('export', 'convert') and self.target.exists()
      if ended := record['kind'] == 'end' or at_once:
        record['different'] = self.compare(record, expected['digests'])
      self.records.add(record)
      if fault(record):
        kept = self.folder / f'fault-{len(self.records.lines)}'
        kept.mkdir()
        (kept / 'log').write_text(group.text())
        if ended:
          shutil.move(self.target, kept)
      death, steps = record['time'], max(steps, group.steps())
    for path in self.folder.glob(f'{self.target.name}*'):
      shutil.rmtree(path) if path.is_dir() else path.unlink()

  def compare(self, record: dict, expected: dict[str, str]) -> list[str]:
    """Names of what differs from the undisturbed run, the first few."""
    if record['kind'] == 'end' and any(record['statuses']):
      return []
    found = self.digest(self.target)
    names = sorted({*found, *expected})
    return [name for name in names if found.get(name) != expected.get(name)][:9]

  def start_and_kill(self, phases: dict) -> tuple[dict, Group]:
    """Starts the verb and kills it, unless it ends before."""
    rng = random.Random(f'{_SEED.value} {self.verb} {len(self.records.lines)}')
    everybody = list(range(self.processes))
    victim = rng.choice(['all', *everybody]) if self.processes > 1 else 'all'
    victims = everybody if victim == 'all' else [victim]
    group = self.start(self.target)
    record = {'verb': self.verb, 'processes': self.processes, 'kind': 'end'}
    if group.comes_to(victims[0], *moment(rng, phases)):
      group.kill(victims)
    record['hung'] = not group.wait(_BOUND_SECONDS)
    record['time'] = group.death or time.time()
    record['load'] = os.getloadavg()[0]
    record['statuses'] = group.statuses()
    statuses = [group.statuses()[number] for number in victims]
    # A process may have ended by itself just before.
    if group.death and -signal.SIGKILL in statuses:
      record |= {
        'kind': 'kill',
        'victim': victim,
        'phase': group.phase(victims[0]) if len(phases) > 1 else '',
        **group.survivors(victims),
      }
    return record, group


def moment(rng: random.Random, phases: dict) -> tuple[str, int, float]:
  """(a phase, how often it is entered, the seconds after that)."""
  phase = rng.choice(list(phases))
  entry = rng.randrange(min(_MAX_ENTRIES, len(phases[phase])))
  # Late moments leave a verb without phases the time to end.
  return phase, entry + 1, rng.uniform(0, 1.1 * phases[phase][entry])


def make_drills(folder: pathlib.Path, records: Records) -> dict[str, Drill]:
  """The drills of the verbs that were chosen."""
  digests = {
    'pretrain': kill_digests.digest_run,
    'finetune': kill_digests.digest_run,
    'convert': kill_digests.digest_converted,
  }
  commands = kill_inputs.commands(folder / 'inputs', _STEPS.value)
  # Other verbs run as one process.
  several = ['pretrain', 'finetune']
  able = list(commands) if _PROCESSES.value == 1 else several
  verbs = _VERBS.value or able
  if unable := [verb for verb in verbs if verb not in able]:
    raise SystemExit(f'--verbs={unable[0]} must be of {", ".join(able)}')
  kill_inputs.make(folder / 'inputs', _MEGABYTES.value, verbs)
  files = kill_digests.digest_files
  return {
    verb: Drill(verb, folder, records, commands[verb], digests.get(verb, files))
    for verb in verbs
  }


if __name__ == '__main__':
  app.run(main)
