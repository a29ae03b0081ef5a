"""Files with damage anywhere, for tests that draw them."""

import hypothesis
from hypothesis import strategies as st

# Where readers go wrong, whatever the form of the file.
PIECES = (
  b'"',
  b'\t',
  b',',
  b'\r',
  b'\r\n',
  b'\n\n',
  b'\0',
  b'\xef\xbb\xbf',
  b'\xff',
  b'\\ud800',
  b'NaN',
)


def settings(max_examples: int) -> hypothesis.settings:
  """Settings for tests that write into the folder of the whole test."""
  return hypothesis.settings(
    max_examples=max_examples,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
  )


@st.composite
def changed(
  draw, data: bytes, pieces, *, most: int, longest: int | None = None
):
  """The bytes, with up to `most` places cut out, doubled or put in.

  pieces: the strategy of what is put in. longest: the most bytes that are cut
  out or doubled at once; None: any number.
  """
  for _ in range(draw(st.integers(0, most))):
    start = draw(st.integers(0, len(data)))
    last = len(data) if longest is None else min(len(data), start + longest)
    end = draw(st.integers(start, last))
    kept = draw(st.sampled_from([b'', data[start:end], data[start:end] * 2]))
    data = data[:start] + kept + draw(pieces) + data[end:]
  return data
