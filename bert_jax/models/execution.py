"""How layers are computed, which changes speed and memory and not the numbers.

Saved arrays are chosen by name: Dense layers and attention backends name their
outputs with `checkpoint_name`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bert_jax.errors import InputError, quoted
from bert_jax.models.attention import choose
from bert_jax.models.attention.view import ATTENDED, Backend
from bert_jax.models.layers import DENSE

_names = jax.checkpoint_policies.save_only_these_names

# Policies of saving within a layer for the backward pass, which computes the
# rest again. 'dots' saves the outputs of Dense layers and of attention,
# 'attention' those of attention alone, and 'full' the input of the layer alone.
_POLICIES = {
  'none': None,
  'dots': _names(DENSE, ATTENDED),
  'attention': _names(ATTENDED),
  'full': jax.checkpoint_policies.nothing_saveable,
}
REMATS = tuple(_POLICIES)


class LayerExecution(NamedTuple):
  """The fields of an experiment that say how layers are computed.

  attention: backends in order of preference; empty: chosen automatically.
  remat: 'none', 'dots', 'attention' or 'full': the less is saved for the
  backward pass, the more is computed again. scan_layers: layers are stacked and
  compiled once, as the body of a loop; their numbers differ by rounding.
  """

  attention: tuple[Backend, ...] = ()
  remat: str = 'none'
  scan_layers: bool = False

  def validate(self) -> None:
    choose.validate(self.attention)
    if self.remat not in _POLICIES:
      raise InputError(
        f'remat is {quoted(self.remat)}; choose {", ".join(_POLICIES)}'
      )

  def checkpointed(
    self, function: Callable[..., Any], *, in_loop: bool = False
  ) -> Callable[..., Any]:
    """The function, with what it saves for the backward pass limited."""
    if self.remat == 'none':
      return function
    # Outside a loop, XLA would merge the two computations into one again.
    return jax.checkpoint(
      function, policy=_POLICIES[self.remat], prevent_cse=not in_loop
    )
