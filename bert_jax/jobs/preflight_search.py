"""The fastest plan of a pretraining step that fits a topology.

A plan is rematerialisation x microbatches x batch x mesh x attention. Estimates
(jobs/plan_estimate.py) put all plans in order and leave out those that are far
too large; a few are compiled, the fastest first. What a compilation said is
kept in a file, so that a search goes on where it was stopped.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from bert_jax import durable_files, stopping
from bert_jax.config.codec import encode
from bert_jax.config.json_files import json_digest, read_object
from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment
from bert_jax.jobs import preflight
from bert_jax.jobs.plans import Estimate, Estimator
from bert_jax.parallel import topologies

# Plans whose estimate is larger than this share of the memory are left out.
_LARGEST = 1.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
  """A plan that was compiled.

  bytes_needed: on one device, of the largest stage; None if the compiler only
    said that there is no room. seconds: of a token, estimated from the compiled
    programs; 0 if it does not fit.
  """

  estimate: Estimate
  bytes_needed: int | None
  fits: bool
  seconds: float
  compile_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """The result of a search. counts: plans by what became of them."""

  topology: topologies.Topology
  tried: tuple[Tried, ...]
  counts: dict[str, int]

  @property
  def best(self) -> Tried | None:
    fitting = [tried for tried in self.tried if tried.fits]
    return min(fitting, key=lambda tried: tried.seconds, default=None)


def search(
  experiment: PretrainExperiment,
  topology_name: str,
  path: pathlib.Path,
  *,
  vocab_size: int | None = None,
  batch_sizes: tuple[int, ...] = (),
  limit: int = 6,
) -> Found:
  """Compiles at most `limit` plans that are not in the file yet.

  Args:
    experiment: a pretraining experiment; its fields of execution are replaced.
    topology_name: such as v5e:2x4.
    path: a JSON file, made here or by an earlier search.
    vocab_size: as of `preflight`.
    batch_sizes: rows of a step to choose from; empty: those of the experiment,
      since another batch is another recipe.
    limit: the most compilations, counting those in the file.

  Raises:
    InputError: as `preflight`; no plan can be laid out; or nothing is known of
      the links between devices.
  """
  preflight.check_kind(experiment)
  topology = topologies.named(topology_name)
  if not topology.can_be_compiled_for:
    raise InputError(f'--search: {topologies.WITHOUT_SPECIFICATION}')
  kept = f'what was compiled is in {path}; the same command goes on.'
  with stopping.stoppable(kept):
    file = _File(path)
    estimator = Estimator(experiment, topology, vocab_size)
    estimates, counts = _estimates(estimator, batch_sizes)
    tried: list[Tried] = []
    start, ahead = time.perf_counter(), estimates
    while ahead and len(tried) < limit:
      ahead = sorted(ahead, key=lambda x: x.seconds)
      best = min((x.seconds for x in tried if x.fits), default=float('inf'))
      if ahead[0].seconds >= best:
        break
      plan = ahead[0].plan
      print(
        f'plan {len(tried) + 1} of at most {limit}, '
        f'{time.perf_counter() - start:.0f} s so far: {plan.flags(experiment)}',
        file=sys.stderr,
        flush=True,
      )
      stages = file.stages(plan.of(experiment), topology, vocab_size, kept)
      tried.append(_tried(estimator, ahead[0], stages))
      ahead = [x for x in ahead if may_be_better(x, tried[-1])]
  counts['not compiled'] = len(estimates) - len(tried)
  return Found(topology=topology, tried=tuple(tried), counts=counts)


def _estimates(
  estimator: Estimator, batch_sizes: tuple[int, ...]
) -> tuple[list[Estimate], dict[str, int]]:
  """Plans that may fit, and how many do not come into question."""
  found, counts = [], {'cannot be laid out': 0, 'too large by the estimate': 0}
  smallest = None
  for plan in estimator.plans(batch_sizes):
    estimate = estimator.estimate(plan)
    if estimate is None:
      counts['cannot be laid out'] += 1
      continue
    if smallest is None or estimate.memory < smallest.memory:
      smallest = estimate
    if estimate.memory > _LARGEST * estimator.device_memory:
      counts['too large by the estimate'] += 1
    else:
      found.append(estimate)
  if smallest is None:
    sizes = batch_sizes or (estimator.experiment.batch_size,)
    raise InputError(
      f'--search: no mesh of {estimator.topology.name} divides a batch of '
      f'{" or ".join(map(str, sizes))}; give another --topology, or '
      '--search_batches'
    )
  if not found:
    # The estimate may be wrong, so that the smallest plan is compiled anyway.
    counts['too large by the estimate'] -= 1
    found = [smallest]
  return found, counts


def may_be_better(ahead: Estimate, tried: Tried) -> bool:
  """False for a plan that a compilation makes hopeless or pointless.

  Where a plan does not fit, larger ones do not either; where it does, more
  microbatches and another mesh would only save memory.
  """
  if ahead is tried.estimate:
    return False
  if not tried.fits:
    return ahead.memory < tried.estimate.memory
  one, other = ahead.plan, tried.estimate.plan
  return (one.batch_size, one.remat, one.attention) != (
    other.batch_size,
    other.remat,
    other.attention,
  )


def _tried(
  estimator: Estimator, estimate: Estimate, stages: list[dict[str, Any]]
) -> Tried:
  sizes = [stage['memory'] for stage in stages]
  fits = all(
    size is not None and size <= estimator.device_memory for size in sizes
  )
  return Tried(
    estimate=estimate,
    bytes_needed=None if None in sizes else max(sizes),
    fits=fits,
    seconds=estimator.seconds(
      estimate.plan,
      [(stage['traffic'], stage['collectives']) for stage in stages],
    )
    if fits
    else 0.0,
    compile_seconds=sum(stage['compile_seconds'] for stage in stages),
  )


class _File:
  """The figures of compiled plans, by a digest of all that decides them."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.plans: dict[str, Any] = {}
    if path.exists():
      fix = '--search keeps plans in the file of --json; give another'
      value = read_object(path, fix)
      if not isinstance(value.get('plans'), dict):
        raise InputError(f'--json={path}: it has no plans; {fix}')
      self.plans = value['plans']

  def stages(
    self,
    experiment: PretrainExperiment,
    topology: topologies.Topology,
    vocab_size: int | None,
    kept: str,
  ) -> list[dict[str, Any]]:
    """The figures of a plan from the file, or else from the compiler."""
    versions = preflight.compiler_versions(topology.chip.platform)
    facts = [encode(experiment), vocab_size, topology.name, versions]
    digest = json_digest(facts, sort_keys=True)[:16]
    if digest not in self.plans:
      figures = preflight.preflight(
        experiment, topology.name, vocab_size=vocab_size, kept=kept
      )
      self.plans[digest] = {
        'topology': topology.name,
        'versions': versions,
        'remat': experiment.remat,
        'num_microbatches': experiment.num_microbatches,
        'batch_size': experiment.batch_size,
        'mesh': dataclasses.asdict(experiment.mesh),
        'attention': [
          type(backend).__name__ for backend in experiment.attention
        ],
        'stages': [_stage(stage) for stage in figures.stages],
      }
      durable_files.write_json(self.path, {'plans': self.plans})
    return self.plans[digest]['stages']


def _stage(stage: preflight.StageFigures) -> dict[str, Any]:
  return {
    'memory': stage.memory and stage.memory.total,
    'refusal': stage.refusal,
    'traffic': stage.traffic,
    'collectives': sum(x.num_bytes for x in stage.collectives.values()),
    'compile_seconds': round(stage.compile_seconds, 1),
  }


def lines(found: Found, experiment: PretrainExperiment) -> Iterator[str]:
  """Yields the table of compiled plans, and the flags of the best one."""
  counts = ', '.join(f'{x:,} {name}' for name, x in found.counts.items())
  yield f'{found.topology.name}: {len(found.tried)} plans compiled; {counts}'
  yield (
    '   GiB a device    tokens/s  seconds  plan (GiB by the estimate, tokens/s '
    'by it)'
  )
  yield from (_line(tried, experiment) for tried in found.tried)
  yield (
    'GiB are those of the compiler; tokens/s are rooflines '
    '(bert_jax/jobs/plan_estimate.py), which no device has confirmed.'
  )
  if found.best is not None:
    yield 'The fastest that fits:'
    yield found.best.estimate.plan.flags(experiment)


def _line(tried: Tried, experiment: PretrainExperiment) -> str:
  size, estimate = tried.bytes_needed, tried.estimate
  gib = 'more' if size is None else f'{size / 2**30:.2f}'
  speed = f'{1 / tried.seconds:,.0f}' if tried.fits else 'no room'
  return (
    f'{gib:>15}{speed:>12}{tried.compile_seconds:>9.0f}  '
    f'{estimate.plan.flags(experiment)} ({estimate.memory / 2**30:.2f}, '
    f'{1 / estimate.seconds:,.0f})'
  )


def none_fits(found: Found) -> str:
  """One line for a search without a plan that fits."""
  return (
    f'none of the {len(found.tried)} plans that were compiled fits a chip of '
    f'{found.topology.name}; raise --compile_limit, take a larger --topology, '
    'or a smaller batch with --search_batches'
  )
