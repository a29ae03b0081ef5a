"""Facts of a compiled program that stand in its text alone.

XLA's own analysis counts the body of a loop once, however often it runs, and so
leaves out most of a step whose layers or microbatches are a loop. Here a body
counts as often as the loop's condition lets it run.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

import jax
import numpy as np

COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.-]+) \(.*\{$')
_INSTRUCTION = re.compile(
  r'\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z\d-]*)\((.*)$'
)
_ARRAY = re.compile(r'\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\](\{[^}]*\})?')
_CALLED = re.compile(r'\b(?:calls|body|to_apply)=%?([\w.-]+)')
_BRANCHES = re.compile(r'\bbranch_computations=\{([^}]*)\}')
_CONDITION = re.compile(r'\bcondition=%?([\w.-]+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
# Operations that move no bytes by themselves: names, bodies that are counted on
# their own, and starts, whose bytes are counted where they are done.
_WITHOUT_TRAFFIC = {
  *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while'),
  *('conditional', 'call', 'after-all', 'partition-id', 'opt-barrier'),
}
_BETWEEN_SLICES = re.compile(r'\b_xla_megascale_transfer_type="(\w+)"')
_CHANNEL = re.compile(r'\bchannel_id=(\d+)')
_CONTRACTED = re.compile(r'\blhs_contracting_dims=\{([\d,]*)\}')
_GROUPS = re.compile(
  r'\b(?:replica_groups|source_target_pairs)=(?:'
  r'\{(?P<lists>\{[\d,{}]*\})?\}'
  r'|\[(?P<shape>[\d,]+)\]<=\[(?P<order>[\d,]+)\](?:T\((?P<axes>[\d,]+)\))?'
  r"|mesh\[(?P<mesh>(?:'\w+'=\d+,?)+)\] \{(?P<names>(?:'\w+',?)*)\})"
)
# Targets of calls that lay out memory or state a fact, and compute nothing.
_WITHOUT_KERNEL = {
  *('AllocateBuffer', 'ConcatBitcast', 'Sharding', 'SPMDFullToShardShape'),
  *('SPMDShardToFullShape', 'AssumeGatherIndicesInBound'),
  'GatherScatterIndicesBitpacked',
}
_TARGET = re.compile(r'\bcustom_call_target="([^"]+)"')
# Kinds of fusions that another compiler or library than XLA carries out.
_FUSION_KIND = re.compile(r'"kind":"(__(?:triton|cudnn|cutlass)[^"]*)"')
_READ_PARTS = ('dynamic-slice', 'slice', 'gather')


@dataclasses.dataclass(frozen=True)
class Collective:
  """Collectives of a kind in one run of a program.

  num_bytes: the arrays that they take or give, the larger of the two, on one
    device.
  crossing_bytes: those of collectives between devices of several slices; None
    if the text has groups of devices in a form that is not known here.
  """

  count: int
  num_bytes: int
  crossing_bytes: int | None = 0


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line; `results` and operands are arrays in the order of the text."""

  name: str
  kind: str
  results: str
  operands: tuple[str, ...]
  text: str


class Program:
  """The computations of a compiled module, by name, from `Compiled.as_text()`.

  Raises ValueError on a text without an entry.
  """

  def __init__(self, text: str):
    self._computations: dict[str, dict[str, Instruction]] = {}
    self._entry = ''
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
      if match := _INSTRUCTION.match(line):
        name, results, kind, rest = match.groups()
        operands = tuple(re.findall(r'%([\w.-]+)', rest.split('), ')[0]))
        current[name] = Instruction(name, kind, results, operands, line)
      elif match := _COMPUTATION.match(line):
        current = self._computations[match[2]] = {}
        self._entry = match[2] if match[1] else self._entry
    if not self._entry:
      raise ValueError('the text of the compiled program has no ENTRY')

  def collectives(
    self, devices_per_slice: int | None = None
  ) -> dict[str, Collective]:
    """Collectives in one run by kind, those of loops as often as they run.

    Args:
      devices_per_slice: devices of the program that follow each other in one
        slice; None: all are in one.
    """
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    crossing: collections.Counter[str] = collections.Counter()
    unknown: set[str] = set()
    channels: set[tuple[str, str]] = set()
    for computation, instruction, times in self._walk(fusions=True):
      kind = instruction.kind.removesuffix('-start')
      # libtpu leaves what crosses slices to the host, which reduces or gathers.
      if between := _BETWEEN_SLICES.search(instruction.text):
        kind = between[1].lower().replace('_', '-')
      if kind not in COLLECTIVES or instruction.kind == 'recv':
        continue
      # libtpu repeats one in each of the fusions in which it makes progress.
      if channel := _CHANNEL.search(instruction.text):
        if (instruction.kind, channel[1]) in channels:
          continue
        channels.add((instruction.kind, channel[1]))
      taken = sum(
        num_bytes(computation[name].results) for name in instruction.operands
      )
      given = num_bytes(instruction.results)
      if kind != instruction.kind:
        given -= taken  # the results of a start have its operands too
      counts[kind] += times
      sizes[kind] += times * max(taken, given)
      crosses: bool | None = bool(between)
      if devices_per_slice and not between:
        crosses = _crosses(instruction.text, devices_per_slice)
      if crosses is None:
        unknown.add(kind)
      elif crosses:
        crossing[kind] += times * max(taken, given)
    return {
      kind: Collective(
        counts[kind], sizes[kind], None if kind in unknown else crossing[kind]
      )
      for kind in counts
    }

  def memory_traffic(self) -> int:
    """Bytes that one run reads from and writes to the memory of a device.

    Arrays that a layout puts on the chip (memory space S(1) and others) count
    nothing, and of an array that is read or updated in part, the part counts.
    """
    return sum(
      times * self._traffic(computation, instruction)
      for computation, instruction, times in self._walk(fusions=False)
    )

  def kernels(self) -> dict[str, int]:
    """Kernels in one run that are not XLA's own code, by name, most first.

    Names are those of Pallas kernels on a TPU, and on a GPU of the targets of
    calls, such as __cudnn$fmhaSoftmax, and of fusions, such as __triton_gemm.
    """
    found: collections.Counter[str] = collections.Counter()
    for _, instruction, times in self._walk(fusions=False):
      name = None
      if instruction.kind == 'custom-call':
        target = _TARGET.search(instruction.text)
        assert target, instruction.text
        name = target[1]
        if name == 'tpu_custom_call':
          name = re.sub(r'\.\d+$', '', instruction.name)
      elif instruction.kind in ('fusion', 'fusion-start'):
        kind = _FUSION_KIND.search(instruction.text)
        name = kind and kind[1]
      if name and name not in _WITHOUT_KERNEL:
        found[name] += times
    return dict(found.most_common())

  def products(self) -> dict[str, float]:
    """FLOPs of `dot` in one run by the dtypes of both operands, most first."""
    found: collections.Counter[str] = collections.Counter()
    for computation, instruction, times in self._walk(fusions=True):
      if instruction.kind != 'dot':
        continue
      contracted = _CONTRACTED.search(instruction.text)
      assert contracted, instruction.text
      (left, left_sizes), (right, _) = (
        _dtype_and_sizes(computation[name].results)
        for name in instruction.operands
      )
      result = math.prod(_dtype_and_sizes(instruction.results)[1])
      depth = math.prod(left_sizes[i] for i in _numbers(contracted[1]))
      found[f'{left} x {right}'] += times * 2 * result * depth
    return dict(found.most_common())

  def _walk(
    self, *, fusions: bool
  ) -> Iterator[tuple[dict[str, Instruction], Instruction, int]]:
    """Yields (its computation, instruction, how often it runs)."""
    ahead = [(self._entry, 1)]
    while ahead:
      name, times = ahead.pop()
      computation = self._computations[name]
      for instruction in computation.values():
        yield computation, instruction, times
        kind = instruction.kind
        if not (
          kind in ('while', 'conditional', 'call')
          or (fusions and kind in ('fusion', 'fusion-start', 'async-start'))
        ):
          continue
        trips = self._trips(instruction) if kind == 'while' else 1
        called = _CALLED.findall(instruction.text)
        for branches in _BRANCHES.findall(instruction.text):
          called += re.findall(r'[\w.-]+', branches)
        ahead += [(name, times * trips) for name in dict.fromkeys(called)]

  def _trips(self, loop: Instruction) -> int:
    """How often a loop runs: as noted, or as its condition counts from 0.

    A loop whose end depends on the data, such as one over the blocks of keys in
    view, counts once.
    """
    if noted := _TRIPS.search(loop.text):
      return int(noted[1])
    condition = _CONDITION.search(loop.text)
    lines = self._computations[condition[1]].values() if condition else ()
    limits = [
      int(number)
      for line in lines
      for number in re.findall(r' constant\((\d+)\)', line.text)
    ]
    return limits[0] if len(limits) == 1 else 1

  def _traffic(
    self, computation: dict[str, Instruction], instruction: Instruction
  ) -> int:
    kind, results = instruction.kind, instruction.results
    if kind in _WITHOUT_TRAFFIC or kind.endswith('-start'):
      return 0
    if 'custom_call_target="AllocateBuffer"' in instruction.text:
      return 0
    if kind == 'fusion-done':  # of CUDA; its start has the operands
      start = computation[instruction.operands[0]]
      return self._fusion_traffic(computation, start, results)
    if kind.endswith('-done'):
      # A copy or slice reads or writes the chip at its other end.
      both = kind.removesuffix('-done') in COLLECTIVES
      return num_bytes(results) * (1 + both)
    if kind == 'fusion':
      return self._fusion_traffic(computation, instruction, results)
    if kind in _READ_PARTS:
      return num_bytes(results) + num_bytes(results, in_memory=True)
    operands = [computation[name].results for name in instruction.operands]
    if kind == 'dynamic-update-slice':
      return 2 * num_bytes(operands[1])
    return sum(num_bytes(x, in_memory=True) for x in (results, *operands))

  def _fusion_traffic(
    self,
    computation: dict[str, Instruction],
    fusion: Instruction,
    results: str,
  ) -> int:
    inner = self._inner(fusion)
    parameters = self._parameters(inner)
    total = 0
    for number, name in enumerate(fusion.operands):
      array = computation[name].results
      if num_bytes(array, in_memory=True):
        total += min(num_bytes(array), self._read(inner, parameters[number]))
    written = num_bytes(results, in_memory=True)
    updates = [x for x in inner.values() if x.kind == 'dynamic-update-slice']
    for update in updates:
      whole = num_bytes(update.results)
      if whole <= written:
        written += num_bytes(inner[update.operands[1]].results) - whole
    return total + written

  def _read(self, computation: dict[str, Instruction], name: str) -> int:
    """Bytes that a fused computation reads of one of its parameters."""
    whole = num_bytes(computation[name].results)
    total = 0
    for user in computation.values():
      if name not in user.operands:
        continue
      place = user.operands.index(name)
      if user.kind in _READ_PARTS and place == 0:
        total += num_bytes(user.results)
      elif user.kind == 'bitcast':
        total += self._read(computation, user.name)
      elif user.kind == 'fusion':
        inner = self._inner(user)
        total += self._read(inner, self._parameters(inner)[place])
      elif user.kind != 'dynamic-update-slice' or place:
        return whole
    return min(total, whole)

  def _inner(self, fusion: Instruction) -> dict[str, Instruction]:
    return self._computations[_CALLED.findall(fusion.text)[0]]

  def _parameters(self, computation: dict[str, Instruction]) -> dict[int, str]:
    return {
      int(number): line.name
      for line in computation.values()
      if line.kind == 'parameter'
      for number in re.findall(r' parameter\((\d+)\)', line.text)
    }


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
  """True if a compiler found no room for a program on its device."""
  return str(error).startswith('RESOURCE_EXHAUSTED')


def _crosses(collective: str, devices_per_slice: int) -> bool | None:
  """True if a collective joins devices of several slices.

  Its groups stand as lists of devices, `{{0,1},{2,3}}`; as an order of all,
  `[2,2]<=[4]` or `[2,2]<=[2,2]T(1,0)`; or as the axes of a mesh along which
  devices form a group, `mesh['data'=2,'fsdp'=2] {'fsdp'}`. `{}` means all in
  one. Returns None for another form.
  """
  match = _GROUPS.search(collective)
  if not match:
    return None
  if match['lists']:
    lists = re.findall(r'\{([\d,]+)\}', match['lists'])
    groups = [_numbers(group) for group in lists]
  elif match['shape']:
    order = _numbers(match['order'])
    axes = _numbers(match['axes']) if match['axes'] else None
    ids = np.arange(math.prod(order)).reshape(order).transpose(axes)
    groups = ids.reshape(_numbers(match['shape'])).tolist()
  elif match['mesh']:
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", match['mesh']))
    along = re.findall(r'\w+', match['names'])
    order = [*sorted(sizes.keys() - set(along)), *along]
    ids = np.arange(math.prod(map(int, sizes.values())))
    ids = ids.reshape([int(size) for size in sizes.values()])
    ids = ids.transpose([list(sizes).index(name) for name in order])
    size = math.prod(int(sizes[name]) for name in along)
    groups = ids.reshape(-1, size).tolist()
  else:
    return True
  return any(
    len({device // devices_per_slice for device in group}) > 1
    for group in groups
  )


def _dtype_and_sizes(array: str) -> tuple[str, list[int]]:
  """The parts of the type of one array, such as `f32[8,2]{1,0}`."""
  match = _ARRAY.search(array)
  assert match, array
  return match[1], _numbers(match[3])


def _numbers(text: str) -> list[int]:
  return [int(number) for number in text.split(',') if number]


def num_bytes(arrays: str, *, in_memory: bool = False) -> int:
  """Bytes of the arrays in a type, such as `(f32[8,2]{1,0:S(1)}, s32[])`.

  `in_memory` leaves out those whose layout has a memory space of its own.
  """
  return sum(
    math.ceil(int(bits or 8) / 8 * math.prod(map(int, filter(None, sizes))))
    for bits, sizes, layout in (
      (match[2], match[3].split(','), match[4] or '')
      for match in _ARRAY.finditer(arrays)
    )
    if not (in_memory and re.search(r'S\([1-9]', layout))
  )
