"""When checkpoints are saved and which are kept; Orbax is not imported here."""

import dataclasses

from bert_jax.errors import InputError


@dataclasses.dataclass(kw_only=True, slots=True)
class CheckpointConfig:
  """Saves every `every_steps`; keeps the `keep_last` newest.

  With `keep_every` above 0, every checkpoint whose step is a multiple of it is
  kept as well. Step 0, the state that the run began with, is one of them.
  """

  every_steps: int = 1000
  keep_last: int = 3
  keep_every: int = 0

  def validate(self) -> None:
    if self.every_steps < 1 or self.keep_last < 1 or self.keep_every < 0:
      raise InputError(
        f'checkpoint.every_steps={self.every_steps} and keep_last='
        f'{self.keep_last} must be 1 or more, keep_every={self.keep_every} '
        'must be 0 or more'
      )
