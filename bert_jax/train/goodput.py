"""Where the wall-clock time of a run went, over all of its starts.

goodput.json holds what each start has noted of itself (see account.py). The
steps that a later start took again, and the time between two starts, follow
from it, so that they are right however a start ended.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import Annotated, TypedDict

import numpy as np

from bert_jax.config.json_decoder import Check, Decoder
from bert_jax.config.json_values import Count
from bert_jax.workdir import read_json

# Each moment of a start belongs to one of these.
PHASES = ('start_up', 'compile', 'input_wait', 'step', 'save', 'evaluation')
# The words for all that time goes into, in the order in which it is shown.
CATEGORIES = {
  'step': 'steps',
  'input_wait': 'input wait',
  'evaluation': 'evaluation',
  'save': 'save stall',
  'start_up': 'start-up',
  'compile': 'compilation',
  'lost': 'lost to restarts',
  'idle': 'idle',
}


def _is_step(name: str) -> bool:
  return name.isdecimal() and len(name) < 16


# A time in seconds, of a run or since 1970.
_Seconds = Annotated[
  float, Check(lambda value: 0 <= value < 1e10, 'a time in seconds')
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
  """One start of a run, up to its last sign of life.

  Attributes:
    began: seconds since 1970.
    seconds: by phase; their sum is all the time since it began.
    first_step: number of steps that were taken before it.
    last_step: number of steps that were taken in the end.
    step_seconds_at: seconds['step'] at each of its last saves, by their steps.
  """

  began: _Seconds
  seconds: Annotated[
    dict[str, _Seconds],
    Check(lambda found: found.keys() == {*PHASES}, 'the seconds of each phase'),
  ]
  first_step: Count
  last_step: Count
  step_seconds_at: Annotated[
    dict[str, _Seconds],
    Check(lambda found: all(map(_is_step, found)), 'a dict of seconds by step'),
  ]

  @property
  def ended(self) -> float:
    """Its last sign of life, in seconds since 1970."""
    return self.began + sum(self.seconds.values())

  def step_seconds_after(self, step: float) -> float:
    """Seconds in steps after that number of them; estimated between saves."""
    known = {
      self.first_step: 0.0,
      **{int(step): at for step, at in self.step_seconds_at.items()},
      # A step that was under way ends the account.
      self.last_step + 1: self.seconds['step'],
    }
    before = np.interp(step, sorted(known), [known[s] for s in sorted(known)])
    return max(0.0, self.seconds['step'] - float(before))


class _File(TypedDict):
  starts: list[Start]


def read_starts(path: pathlib.Path) -> list[Start]:
  """Reads goodput.json; none if there is no such file.

  Raises InputError if it is damaged.
  """
  if not path.exists():
    return []
  decoder = Decoder(where=str(path), fix='restore the file, or remove it')
  return decoder.decode(read_json(path), _File)['starts']


@dataclasses.dataclass(frozen=True)
class Goodput:
  """Seconds by category, over `num_starts` starts; their sum is all the time.

  It goes from the beginning of the first start to the last sign of life of the
  last one.
  """

  seconds: dict[str, float]
  num_starts: int

  @property
  def total(self) -> float:
    return sum(self.seconds.values())

  def share(self, category: str) -> float:
    return self.seconds[category] / max(self.total, 1e-9)

  def line(self) -> str:
    """A sentence for the terminal."""
    time = datetime.timedelta(seconds=round(self.total))
    starts = f' in {self.num_starts} starts' if self.num_starts > 1 else ''
    others = ', '.join(
      f'{words} {self.share(category):.1%}'
      for category, words in CATEGORIES.items()
      if category != 'step' and self.seconds[category]
    )
    return f'goodput {self.share("step"):.1%} of {time}{starts}: {others}'


def goodput_of(starts: Sequence[Start]) -> Goodput | None:
  """The account of all starts up to the last one that took a step.

  Later ones, such as of a run that was complete, had nothing to do. None if no
  step was taken.
  """
  stepped = [n for n, start in enumerate(starts) if _took_steps(start)]
  if not stepped:
    return None
  starts = starts[: stepped[-1] + 1]
  seconds = dict.fromkeys(CATEGORIES, 0.0)
  resumed, later = np.inf, None
  for start in reversed(starts):
    for phase in PHASES:
      seconds[phase] += start.seconds[phase]
    if later:
      seconds['idle'] += max(0.0, later.began - start.ended)
    if _took_steps(start):
      lost = start.step_seconds_after(resumed)
      seconds['step'] -= lost
      seconds['lost'] += lost
      resumed = min(resumed, start.first_step)
    later = start
  return Goodput(seconds, len(starts))


def _took_steps(start: Start) -> bool:
  return start.last_step > start.first_step
