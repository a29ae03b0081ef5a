"""The speed of steps that check_device measured, beside their rooflines."""

import dataclasses
import math
from typing import Any

from bert_jax.errors import InputError, quoted
from bert_jax.parallel import topologies


@dataclasses.dataclass(frozen=True)
class MeasuredStep:
  """A timed step of a model. share: its roofline's time over its own time."""

  num_parameters: int
  row_length: int
  share: float


@dataclasses.dataclass(frozen=True)
class MeasuredSpeed:
  """The steps that were timed on a kind of device."""

  device_kind: str
  steps: tuple[MeasuredStep, ...]

  def figures(self, num_parameters: int, row_length: int) -> dict[str, Any]:
    """Fields of preflight's Figures: the share of the step that is most like.

    A share can be above 1: traffic is counted as if no cache held any of it.
    """

    def distance(step: MeasuredStep) -> float:
      return abs(math.log(step.num_parameters / num_parameters)) + abs(
        math.log(step.row_length / row_length)
      )

    share = min(self.steps, key=distance).share
    return {
      'shares_of_roofline': (share, share),
      'measured_on': self.device_kind,
    }


def measured_speed(
  report: dict[str, Any], topology: topologies.Topology
) -> MeasuredSpeed:
  """Reads the JSON of check_device; InputError if it is of another device."""
  try:
    kind = str(report['device_kind'])
    timed = report['parts']['recipes']['timed']
    steps = [
      MeasuredStep(
        int(step['num_parameters']),
        int(step['row_length']),
        float(step['share_of_roofline']),
      )
      for step in timed
    ]
  except (KeyError, TypeError, ValueError):
    steps, kind = [], ''
  # A device of which no peak is known has shares of 0.
  steps = [x for x in steps if min(dataclasses.astuple(x)) > 0]
  if not steps:
    raise InputError(
      '--measured: the file has no timed recipes with a share of their '
      'roofline; give one that bert-jax check_device wrote'
    )
  if not kind.startswith(topology.chip.device_kinds):
    raise InputError(
      f'--measured: the file is of {quoted(kind)}, and --topology='
      f'{topology.name} has {topology.chip.device_kinds[0]}; give that of the '
      'same kind'
    )
  return MeasuredSpeed(kind, tuple(steps))
