"""Values of JSON that a page can show, as annotations for json_decoder."""

import math
import re
from typing import Annotated, Any

from bert_jax.config.json_decoder import Check

# A bound above every loss, perplexity and count, and safe in any arithmetic.
_MAX_NUMBER = 1e305


def is_number(value: Any) -> bool:
  return type(value) in (int, float) and not _MAX_NUMBER < abs(value) < math.inf


# A lone surrogate cannot be written into a page.
Text = Annotated[
  str, Check(lambda text: not re.search('[\ud800-\udfff]', text), 'a text')
]
Count = Annotated[int, Check(lambda n: abs(n) <= 2**53, 'a whole number')]
Number = Annotated[float, Check(is_number, 'a number')]
