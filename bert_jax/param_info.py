"""What is known about one parameter, declared once, where it is used.

Sharding, growth, weight decay, layer-wise learning rates, Muon, LoRA and the
layouts of other libraries all read this declaration. Nothing decides by a
parameter's name.
"""

import dataclasses
import math
from collections.abc import Sequence

# The matrices inside an encoder's layers.
ATTENTION_KINDS = ('query', 'key', 'value', 'attention_output')
MLP_KINDS = ('mlp_input', 'mlp_gate', 'mlp_output')
# `projection`: from the width of the tables to that of the layers. `head`: a
# matrix above the encoder. `scale`: the factor of a norm.
KINDS = (
  *ATTENTION_KINDS,
  *MLP_KINDS,
  *('embedding', 'projection', 'head', 'scale', 'bias'),
)


@dataclasses.dataclass(frozen=True)
class ParamInfo:
  """The declaration of one parameter.

  axes: the logical name of each axis, which parallel/sharding.py maps to the
    axes of the mesh; None: the axis stays whole.
  kind: what the parameter is, one of KINDS.
  num_in: how many of the leading axes the product that reads the parameter sums
    over: the inputs of a matrix. A lookup in a table counts as a product with a
    one-hot vector. The other axes are outputs.
  decays: whether weight decay applies.
  sizes: the name of each axis's size, for growth: 'embed', 'table', 'heads',
    'mlp' and so on; None: a size that never grows. By default as `axes`.
  depth: 0 for embeddings, n for the n-th layer, None for what lies above the
    layers.
  """

  axes: tuple[str | None, ...]
  kind: str
  num_in: int = 0
  decays: bool = True
  sizes: tuple[str | None, ...] = ()
  depth: int | None = None

  def __post_init__(self):
    assert self.kind in KINDS, self.kind
    if not self.sizes:
      object.__setattr__(self, 'sizes', self.axes)
    assert len(self.sizes) == len(self.axes), self

  def matrix_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
    """(inputs, outputs) of a parameter of this shape; one axis for a vector."""
    parts = shape[: self.num_in], shape[self.num_in :]
    return tuple(math.prod(part) for part in parts if part)
