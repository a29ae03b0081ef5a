"""The flags that say who prepares the blocks of a corpus; no verb itself."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from bert_jax.cli.flags import no_arguments
from bert_jax.errors import InputError, shown

# define_engine() defines flags for the verb that calls it, not for this file.
flags.disclaim_key_flags()


def define_engine() -> Callable[[Sequence[str]], dict[str, Any]]:
  """Defines the flags; returns what takes the arguments that are no flags.

  It gives `num_workers` and `beam_flags` as `prepare.prepare` takes them.
  """
  engine = flags.DEFINE_enum(
    'engine',
    'local',
    ['local', 'beam'],
    'Where blocks are worked on: processes of this machine, or Apache Beam, '
    'whose own flags follow after --. The bytes are the same.',
  )
  workers = flags.DEFINE_integer(
    'workers', 0, 'Processes on this machine; 0 takes all cores.'
  )

  def chosen(arguments: Sequence[str]) -> dict[str, Any]:
    beam_flags = None
    if engine.value == 'beam':
      from bert_jax.data.preparing import beam_flags as checks

      beam_flags = tuple(arguments)
      checks.check(beam_flags)
    elif arguments and arguments[0].startswith('-'):
      raise InputError(
        f'{shown(arguments[0])} follows --, where the flags of Beam stand; '
        'give --engine=beam'
      )
    else:
      no_arguments(arguments)
    return {'num_workers': workers.value, 'beam_flags': beam_flags}

  return chosen
