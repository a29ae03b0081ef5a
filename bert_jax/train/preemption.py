"""SIGTERM and Ctrl-C: finish the step, save, leave.

Cloud hosts announce a preemption by SIGTERM; a second signal ends at once.
"""

import signal


class StopSignal:
  """While entered, signals are noted in `name` instead of ending the process.

  A second signal raises KeyboardInterrupt where the program stands.
  """

  def __init__(self):
    self.name = ''
    self._previous: dict[int, object] = {}

  def __enter__(self) -> 'StopSignal':
    for number in (signal.SIGTERM, signal.SIGINT):
      self._previous[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  @property
  def requested(self) -> bool:
    return bool(self.name)

  def _note(self, number: int, frame: object) -> None:
    if self.requested:
      raise KeyboardInterrupt
    self.name = signal.Signals(number).name
