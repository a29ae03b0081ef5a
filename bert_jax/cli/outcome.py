"""The last line of a training verb: how it ended and how to go on."""

from bert_jax.train.loop import Outcome


def report_outcome(verb: str, outcome: Outcome, workdir: str) -> int:
  """Prints the line and returns the exit status.

  A saved SIGTERM is a clean end (0): schedulers would count it as a failure
  otherwise. Ctrl-C is 130, so that a script around it stops too.
  """
  if not outcome.stopped_by:
    print(f'{verb} is complete: {workdir}')
    return 0
  kept = (
    f'the checkpoint of step {outcome.saved_step} is kept'
    if outcome.saved_step >= 0
    else 'nothing was computed yet'
  )
  print(
    f'{verb} stopped by {outcome.stopped_by}; {kept}. '
    'The same command goes on from there.'
  )
  return 0 if outcome.stopped_by == 'SIGTERM' else 130
