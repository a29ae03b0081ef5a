"""Where the time of a training step goes, by the named scopes of the model.

.venv/bin/python experiments/benchmarks/step_profile.py --size=4x256

On a CPU one core alone works, so that times add up. What the compiler has fused
counts for the scope of its last operation, or of a matrix product in it.
"""

import collections
import glob
import os
import re
import tempfile

import measuring
from absl import app, flags
from our_step import SIZES, make_step

# Innermost first, where scopes lie within one another.
SCOPES = (
  'dropout',
  'gelu',
  'norm',
  'cross_entropy',
  'dense',
  'attention',
  'embedding',
  'vocabulary',
  'masks',
  'optimizer',
)
NUM_STEPS = 3
# 'NAME = SHAPE OPCODE(', and what follows.
_INSTRUCTION = re.compile(r'\s+(?:ROOT )?%?([\w.\-]+) = .+? ([\w\-]+)\((.*)')
_COMPUTATION = re.compile(r'(?:ENTRY )?%?([\w.\-]+) .*\{$')

_SIZE = flags.DEFINE_enum('size', '4x256', list(SIZES), 'Layers x width.')
_DTYPE = flags.DEFINE_enum(
  'dtype', 'float32', ['float32', 'bfloat16'], 'Of the matrix products.'
)


def main(unused_argv: list[str]) -> None:
  # Before jax makes its threads.
  os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
  import jax

  program, state, batch = make_step(_SIZE.value, _DTYPE.value)
  step = (
    jax.jit(program.step_fn, donate_argnums=0).lower(state, batch).compile()
  )
  with tempfile.TemporaryDirectory() as folder:
    state = jax.block_until_ready(step(state, batch)[0])
    with jax.profiler.trace(folder):
      for _ in range(NUM_STEPS):
        state = jax.block_until_ready(step(state, batch)[0])
    (trace,) = glob.glob(f'{folder}/**/*.xplane.pb', recursive=True)
    milliseconds = times_of_operations(trace)
  parts = attribute(milliseconds, step.as_text())
  total = sum(sum(times.values()) for times in parts.values())
  rows = [['ms a step', 'products', 'other', 'share']]
  for scope, times in sorted(
    parts.items(), key=lambda item: -sum(item[1].values())
  ):
    share = sum(times.values()) / total
    rows.append(
      [scope, f'{times["product"]:.1f}', f'{times["other"]:.1f}']
      + [f'{share:.1%}']
    )
  sums = [sum(t[kind] for t in parts.values()) for kind in ('product', 'other')]
  rows.append(['all', *(f'{value:.1f}' for value in sums), '100.0%'])
  print(f'{measuring.machine()}; {_SIZE.value}, {_DTYPE.value}')
  print(measuring.table(rows))


def times_of_operations(trace: str) -> dict[str, float]:
  """Milliseconds a step of each operation of the compiled program."""
  import jax

  times = collections.Counter()
  for plane in jax.profiler.ProfileData.from_file(trace).planes:
    for line in plane.lines:
      for event in line.events:
        operation = dict(event.stats).get('hlo_op')
        if operation:
          times[operation] += event.duration_ns / 1e6 / NUM_STEPS
  return times


def attribute(
  times: dict[str, float], hlo: str
) -> dict[str, collections.Counter]:
  """{scope: {'product' or 'other': milliseconds}}."""
  inside: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
  called: dict[str, str] = {}
  own: dict[str, tuple[str, str]] = {}
  computation = ''
  for line in hlo.splitlines():
    if match := _COMPUTATION.fullmatch(line.rstrip()):
      computation = match.group(1)
    elif match := _INSTRUCTION.match(line):
      name, opcode, rest = match.groups()
      op_name = re.search(r'op_name="([^"]*)"', rest)
      own[name] = opcode, op_name.group(1) if op_name else ''
      inside[computation].append(own[name])
      if callee := re.search(r'(?:calls|to_apply)=%?([\w.\-]+)', rest):
        called[name] = callee.group(1)
  parts = collections.defaultdict(collections.Counter)
  for name, spent in times.items():
    # A fusion bears the name of its last operation, if it bears one.
    candidates = [
      own.get(name, ('', '')),
      *reversed(inside.get(called.get(name, ''), [])),
    ]
    products = [part for part in candidates if part[0] == 'dot']
    scopes = [scope(op_name) for _, op_name in products or candidates]
    place = next(filter(None, scopes), 'other')
    parts[place]['product' if products else 'other'] += spent
  return parts


def scope(op_name: str) -> str:
  """The innermost scope of an operation's name, '' without one."""
  words = set(re.findall(r'\w+', op_name))
  for name in SCOPES:
    if name in words:
      # The head's own layers belong to it.
      return 'vocabulary' if 'vocabulary' in words else name
  return ''


if __name__ == '__main__':
  app.run(main)
