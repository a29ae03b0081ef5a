"""Products of matrices in a lowered program, by the dtypes of operands."""

import math
import re
from typing import NamedTuple

# stablehlo.dot_general %a, %b, ... : (tensor<4x8xf32>, tensor<8x2xbf16>) -> ...
_PRODUCT = re.compile(
  r'stablehlo\.dot_general .*?'
  r'(?:batching_dims = \[[\d, ]*\] x \[[\d, ]*\], )?'
  r'contracting_dims = \[([\d, ]*)\] x .* : '
  r'\(tensor<([^>]*)>, tensor<([^>]*)>\) -> tensor<([^>]*)>'
)


class Product(NamedTuple):
  """left, right, result: dtypes, such as bf16; flops: two a multiplication."""

  left: str
  right: str
  result: str
  flops: int


def products(text: str) -> list[Product]:
  """The products in the text of a lowered program; loops count once."""
  found = []
  for contracting, left, right, result in _PRODUCT.findall(text):
    *sizes, left_dtype = left.split('x')
    *result_sizes, result_dtype = result.split('x')
    summed = math.prod(int(sizes[int(axis)]) for axis in contracting.split(','))
    flops = 2 * summed * math.prod(map(int, result_sizes))
    found.append(Product(left_dtype, right.split('x')[-1], result_dtype, flops))
  assert len(found) == text.count('stablehlo.dot_general')
  return found
