"""Records that are skipped, counted until they are the greater part of a file.

A few bad lines of a crawl are counted and printed. A file whose records are bad
for the most part is not what it is taken for.
"""

from collections.abc import Callable

from bert_jax.data.sources.base import ReadReport
from bert_jax.errors import InputError

_FIRST_CHECK = 256


class Tally:
  """Good and bad records of one file.

  Args:
    report: Receives the bad ones.
    refusal: Makes the error from (number of bad records, of all so far, the
      first bad one as 'path:line: why').
    max_share: The largest share of bad records among all.
  """

  def __init__(
    self,
    report: ReadReport,
    refusal: Callable[[int, int, str], InputError],
    max_share: float = 0.5,
  ):
    self._report = report
    self._refusal = refusal
    self._max_share = max_share
    self._num_all = self._num_bad = 0
    self._first = ''
    self._next_check = _FIRST_CHECK

  def add_good(self) -> None:
    self._num_all += 1
    if self._num_all == self._next_check:
      self.check()

  def add_bad(self, kind: str, where: str, detail: str) -> None:
    """Reports a bad record as `kind`; `where` is 'path:line'."""
    self._report.add(kind, where, detail)
    self._first = self._first or f'{where}: {detail}'
    self._num_bad += 1
    self.add_good()

  def check(self) -> None:
    """Raises InputError if most are bad; to be called at the end as well."""
    self._next_check = 2 * self._num_all
    if self._num_bad > self._max_share * self._num_all:
      raise self._refusal(self._num_bad, self._num_all, self._first)
