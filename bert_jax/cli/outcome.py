"""The last line of a training verb: how it ended and how to go on."""

import signal

from bert_jax import stopping
from bert_jax.train.loop import Outcome
from bert_jax.train.saving import kept_and_goes_on


def report_outcome(
  verb: str, outcome: Outcome, workdir: str, preempted_exit_code: int
) -> int:
  """Prints the line and returns the exit status.

  A saved SIGTERM is a clean end, since schedulers would count it as a failure
  otherwise; `preempted_exit_code` (0) lets launchers tell it from completion.
  Ctrl-C is 130, so that a script around it stops too.
  """
  if not outcome.stopped_by:
    print(f'{verb} is complete: {workdir}')
    return 0
  by = stopping.describe(signal.Signals[outcome.stopped_by])
  print(f'{verb} stopped by {by}; {kept_and_goes_on(outcome.saved_step)}')
  return preempted_exit_code if outcome.stopped_by == 'SIGTERM' else 130
