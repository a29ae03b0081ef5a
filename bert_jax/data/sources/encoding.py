"""UTF-8 with a stray byte, told from bytes that are another encoding or none.

A stray byte becomes U+FFFD and is counted. Where most of what is not ASCII
cannot be decoded, the file is in another encoding, and every accented letter of
it would be lost: that is refused.
"""

import re

from bert_jax.errors import InputError

# Fewer bytes say nothing: they may be strays of any text.
_MIN_BAD_BYTES = 4
# English in Windows-1252 has one such byte in 100 to 300 characters, German in
# Latin-1 one in 60; strays are one in thousands.
_MAX_BAD_SHARE = 0.001
# Limit for files that also have correct characters: texts that were cut at a
# number of bytes have one undecodable byte in a hundred.
_MAX_BAD_SHARE_OF_MIXED = 0.05
# A letter of hardly any text in Latin-1, and common in what is no text at all.
_NO_LETTER = b'\xff'
# Tabs, line breaks and the escape of coloured terminals stand in text.
_CONTROL = bytes(set(range(32)) - set(b'\t\n\v\f\r\x1b'))
_MAX_CONTROL_SHARE = 0.02
# Escapes by which ISO-2022-JP and its kin turn to two bytes a character.
_ISO_2022 = (b'\x1b$B', b'\x1b$@', b'\x1b$A', b'\x1b$)')
# The share is looked at each so many bytes, and at the end of the file.
_BYTES_BETWEEN_CHECKS = 2**20


def decode(data: bytes) -> tuple[str, int]:
  """UTF-8 text, and how many bytes were not UTF-8 (each one U+FFFD)."""
  try:
    return data.decode('utf-8'), 0
  except UnicodeDecodeError:
    text = data.decode('utf-8', 'surrogateescape')
    return re.subn('[\udc80-\udcff]', '\ufffd', text)


class ByteCounts:
  """Counts of a file's bytes so far, and the refusal that they lead to.

  Args:
    where: The file, for the message.
  """

  def __init__(self, where: object):
    self._where = where
    self._total = self._bad = self._letters = self._continuation = 0
    self._next_check = _BYTES_BETWEEN_CHECKS

  def add(self, data: bytes, text: str, num_bad: int) -> None:
    """Counts `data`, which was decoded to `text`; see check()."""
    self._total += len(data)
    if num_bad:
      self._bad += num_bad
      self._letters += num_bad - data.count(_NO_LETTER)
    # A character of n bytes has n - 1 of these.
    self._continuation += len(data) - len(text)
    if self._total >= self._next_check:
      self._next_check = self._total + _BYTES_BETWEEN_CHECKS
      self.check()

  def check(self) -> None:
    """Raises InputError if so many bytes cannot be decoded as no UTF-8 has."""
    if self._bad < _MIN_BAD_BYTES:
      return
    share = self._bad / self._total
    is_other_encoding = (
      self._letters >= _MIN_BAD_BYTES
      and self._letters > self._continuation
      and self._letters > _MAX_BAD_SHARE * self._total
    )
    if not is_other_encoding and share <= _MAX_BAD_SHARE_OF_MIXED:
      return
    raise InputError(
      f'{self._where}: is not UTF-8 text ({self._bad:,} of its first '
      f'{self._total:,} bytes are not, {share:.1%}); convert it: '
      f'{_iconv(share)}, or leave it out.'
    )


def check_marks(data: bytes, where: object) -> None:
  """Raises InputError where marks in `data` name another encoding.

  Args:
    data: The unpacked beginning of a file.
    where: The file, for the message.
  """
  for mark, name in _BYTE_ORDER_MARKS:
    if data.startswith(mark):
      raise InputError(
        f'{where}: is {name}, not UTF-8; convert it: iconv -f {name} -t UTF-8, '
        'or leave it out.'
      )
  if any(mark in data for mark in _ISO_2022):
    raise InputError(
      f'{where}: is in an encoding that changes by escapes (ISO-2022), not '
      'UTF-8; convert it: iconv -f ISO-2022-JP -t UTF-8, or leave it out.'
    )


def check_encoding(data: bytes, where: object) -> None:
  """Raises InputError where the beginning of a file is no UTF-8 text.

  Args:
    data: Unpacked bytes; a character that is cut off at the end is no matter.
    where: The file, for the message.
  """
  check_marks(data, where)
  if b'\0' in data:
    raise nul_error(where)
  text, num_bad = decode(data)
  counts = ByteCounts(where)
  counts.add(data, text, num_bad - num_cut_off(data))
  counts.check()
  num_control = len(data) - len(data.translate(None, _CONTROL))
  if num_control >= _MIN_BAD_BYTES and (
    num_control > _MAX_CONTROL_SHARE * len(data)
  ):
    raise InputError(
      f'{where}: is no text ({num_control:,} of its first {len(data):,} bytes '
      'are control characters); leave it out.'
    )


def num_cut_off(data: bytes) -> int:
  """Bytes of a character that goes on behind the end of `data`, 0 to 3."""
  for count in range(1, min(3, len(data)) + 1):
    try:
      data[-count:].decode('utf-8')
      return 0
    except UnicodeDecodeError as error:
      if error.reason == 'unexpected end of data' and error.start == 0:
        return count
  return 0


def nul_error(where: object) -> InputError:
  """The refusal of a file with a NUL byte at `where`, 'path' or 'path:line'."""
  return InputError(
    f'{where}: holds NUL bytes, which no text has; convert it if it is UTF-16 '
    '(iconv -f UTF-16 -t UTF-8), drop them if they are strays (tr -d '
    "'\\000'), or leave it out."
  )


# The mark of UTF-32 begins with that of UTF-16, so it comes first.
_BYTE_ORDER_MARKS = (
  (b'\xff\xfe\0\0', 'UTF-32'),
  (b'\0\0\xfe\xff', 'UTF-32'),
  (b'\xff\xfe', 'UTF-16'),
  (b'\xfe\xff', 'UTF-16'),
)


def _iconv(share: float) -> str:
  if share < 0.3:
    return 'iconv -f latin1 -t UTF-8 (or -f cp1252, as it was written)'
  return 'iconv -f ENCODING -t UTF-8, with the encoding it was written in'
