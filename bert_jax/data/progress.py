"""Progress over text: how far a long command is."""

import sys
import time

_SECONDS_BETWEEN_LINES = 10.0


class TextProgress:
  """Shows how much is done: a bar on a terminal, lines in a log.

  Args:
    total_bytes: bytes of the whole; 0 where that is not known.
    enabled: False shows nothing.
    what: is done, 'prepare' or 'verify'; begins each line.
  """

  def __init__(self, total_bytes: int, enabled: bool, what: str = 'prepare'):
    self._total = total_bytes
    self._enabled = enabled
    self._what = what
    self._bar = None
    self._done = 0
    self._start = self._last_line = time.monotonic()

  def __enter__(self) -> 'TextProgress':
    if self._enabled and sys.stderr.isatty():
      import tqdm

      self._bar = tqdm.tqdm(
        total=self._total or None,
        unit='B',
        unit_scale=True,
        desc=self._what,
      )
    return self

  def __exit__(self, *unused_exception) -> None:
    if self._bar is not None:
      self._bar.close()

  def update(self, num_bytes: int, tokens: int = 0) -> None:
    """Adds `num_bytes`; `tokens` is the number so far, 0 shows none."""
    self._done += num_bytes
    if self._bar is not None:
      if tokens:
        self._bar.set_postfix_str(f'{tokens / 1e6:.1f}M tokens', refresh=False)
      self._bar.update(num_bytes)
      return
    now = time.monotonic()
    if self._enabled and now - self._last_line >= _SECONDS_BETWEEN_LINES:
      self._last_line = now
      share = (
        f' of {self._total / 1e6:.0f}' if self._total >= self._done else ''
      )
      line = f'{self._what}: {self._done / 1e6:.0f}{share} MB'
      if tokens:
        rate = tokens / (now - self._start)
        line += f', {tokens / 1e6:.1f}M tokens, {rate / 1e6:.2f}M tokens/s'
      print(line, file=sys.stderr, flush=True)
