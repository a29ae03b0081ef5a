"""Flags of a verb that runs as several processes, one a host; no verb."""

import time
from collections.abc import Callable
from typing import Any

from absl import flags

from bert_jax.parallel.meeting import START_TIMEOUT

# When this process began to work, in seconds since 1970: before jax is loaded.
BEGAN = time.time()
# The functions define flags for the verb that calls them, not for this file.
flags.disclaim_key_flags()

_ONE_HOST = 'a launcher that JAX knows says it, or the run is on one host.'


def define_processes() -> Callable[[str], Any]:
  """Defines the flags; returns a function: verb -> a context, joined to all.

  The function raises InputError if the set-up is partial or contradicts itself.
  """
  address = flags.DEFINE_string(
    'coordinator_address',
    '',
    'HOST:PORT of process 0, for a run of several processes. Without it, '
    f'{_ONE_HOST}',
  )
  num_processes = flags.DEFINE_integer(
    'num_processes', None, f'Number of processes. Without it, {_ONE_HOST}'
  )
  process_id = flags.DEFINE_integer(
    'process_id',
    None,
    f'Number of this process, from 0. Without it, {_ONE_HOST}',
  )
  start_timeout = flags.DEFINE_float(
    'start_timeout',
    START_TIMEOUT,
    'Seconds to wait at the start for all processes.',
    lower_bound=1.0,
  )

  def join(verb: str) -> Any:
    from bert_jax.parallel import distributed

    setup = distributed.find_setup(
      address.value,
      num_processes.value,
      process_id.value,
      timeout=start_timeout.value,
    )
    return distributed.joined(setup, verb, start_timeout.value)

  return join


def define_preempted_exit_code() -> flags.FlagHolder:
  return flags.DEFINE_integer(
    'preempted_exit_code',
    0,
    'Exit status after SIGTERM, once all is saved; a launcher that has to tell '
    'this from completion gives another, such as 75.',
    lower_bound=0,
    upper_bound=125,
  )


def refuse_several(verb: str) -> None:
  """Raises InputError if several processes of a verb for one were started."""
  from bert_jax.parallel import distributed

  distributed.refuse_several(verb)
