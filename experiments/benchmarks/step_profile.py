"""Profile of a training step: its time by scopes of the model.

.venv/bin/python experiments/benchmarks/step_profile.py --size=4x256

On a CPU only one core works, so that times add up. A fusion of operations
counts for the scope of its last operation, or of a matrix product in it.

Measured on one core of an AMD EPYC (Zen 3), with GLIBC_TUNABLES=
glibc.malloc.hugetlb=1, Python 3.13, jax 0.12.0; one run each. Columns: products
and all else, for 4x256 with 32 rows of 128 and 12x768 with 8 rows of 128, f32:

ms a step        4x256  other   share    12x768   other   share
dense           1207.6   27.9   61.2%    7201.5    88.8   83.0%
vocabulary       384.7   22.4   20.2%     288.6     4.5    3.3%
attention        107.9   56.1    8.1%     254.1   145.0    4.5%
norm               0.0   65.0    3.2%       0.0   140.4    1.6%
gelu               0.0   45.0    2.2%       0.0   183.1    2.1%
cross_entropy      0.0   31.6    1.6%       0.0     7.8    0.1%
optimizer          0.0   25.1    1.2%       0.0   285.6    3.3%
dropout            0.0   22.5    1.1%       0.0    76.6    0.9%
other              0.0   19.8    1.0%       0.0   106.2    1.2%
embedding          0.0    2.5    0.1%       0.0     2.8    0.0%
masks              0.0    1.6    0.1%       0.0     0.9    0.0%
all             1700.2  319.6  100.0%    7744.2  1041.9  100.0%
"""

import collections
import glob
import os
import re
import tempfile

import measuring
from absl import app, flags
from our_step import FAMILIES, SIZES, make_step

# Scopes, inner ones before those around them.
SCOPES = (
  'dropout',
  'rotary',
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
# Lines of a compiled program: 'NAME = SHAPE OPCODE(', and the rest.
_INSTRUCTION = re.compile(r'\s+(?:ROOT )?%?([\w.\-]+) = .+? ([\w\-]+)\((.*)')
_COMPUTATION = re.compile(r'(?:ENTRY )?%?([\w.\-]+) .*\{$')

_SIZE = flags.DEFINE_enum('size', '4x256', list(SIZES), 'Layers x width.')
_FAMILY = flags.DEFINE_enum('family', 'bert', list(FAMILIES), 'Architecture.')
_DTYPE = flags.DEFINE_enum(
  'dtype', 'float32', ['float32', 'bfloat16'], 'Of the matrix products.'
)


def main(unused_argv: list[str]) -> None:
  # One core must be set before jax makes its threads.
  os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
  import jax

  program, state, batch = make_step(_SIZE.value, _DTYPE.value, _FAMILY.value)
  compiled = program.lower(batch).compile()

  def step(state):
    return compiled(state, {}, batch, program.key, program.schedule)[0]

  with tempfile.TemporaryDirectory() as folder:
    state = jax.block_until_ready(step(state))
    with jax.profiler.trace(folder):
      for _ in range(NUM_STEPS):
        state = jax.block_until_ready(step(state))
    (trace,) = glob.glob(f'{folder}/**/*.xplane.pb', recursive=True)
    milliseconds = times_of_operations(trace)
  parts = attribute(milliseconds, compiled.as_text())
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
  print(f'{measuring.machine()}; {_FAMILY.value} {_SIZE.value}, {_DTYPE.value}')
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
  """Milliseconds by scope, each as {'product' or 'other': milliseconds}."""
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
    # A fusion has the name of its last operation, if it has one at all.
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
  """The innermost scope in an operation's name, or ''."""
  words = set(re.findall(r'\w+', op_name))
  for name in SCOPES:
    if name in words:
      # Layers inside the masked-LM head count for 'vocabulary'.
      return 'vocabulary' if 'vocabulary' in words else name
  return ''


if __name__ == '__main__':
  app.run(main)
