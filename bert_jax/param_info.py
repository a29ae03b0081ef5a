"""Declaration of a parameter, made once, in the layer that uses it.

Sharding, growth, weight decay, layer-wise learning rates, Muon, LoRA and the
layouts of other libraries all read this declaration, never a parameter's name.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

# Kinds of the matrices inside an encoder's layers.
ATTENTION_KINDS = ('query', 'key', 'value', 'attention_output')
MLP_KINDS = ('mlp_input', 'mlp_gate', 'mlp_output')
# Kinds of all matrices of an encoder. `projection`: a matrix from the width of
# the tables to that of the layers.
ENCODER_MATRICES = (*ATTENTION_KINDS, *MLP_KINDS, 'projection')
# All kinds. `head`: a matrix above the encoder. `scale`: the factor of a norm.
KINDS = (*ENCODER_MATRICES, 'embedding', 'head', 'scale', 'bias')


@dataclasses.dataclass(frozen=True)
class ParamInfo:
  """The declaration of one parameter.

  axes: the logical name of each axis, which parallel/sharding.py maps to the
    axes of the mesh; None: the axis stays whole.
  kind: one of KINDS.
  num_in: the number of leading axes that are inputs, summed over by the product
    that reads the parameter; the other axes are outputs. A lookup in a table
    counts as a product with a one-hot vector.
  decays: true if weight decay applies.
  sizes: the name of each axis's size, for growth: 'embed', 'table', 'heads',
    'mlp' and so on; None: a size that never grows. By default equal to `axes`.
  depth: 0 for embeddings, n for the n-th layer, None for parameters above the
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
    """Returns (inputs, outputs) of this shape; one axis for a vector."""
    parts = shape[: self.num_in], shape[self.num_in :]
    return tuple(math.prod(part) for part in parts if part)


# Declarations of a model's parameters by their paths.
Infos = Mapping[str, ParamInfo]
