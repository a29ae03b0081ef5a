"""What check_device has measured on a chip, for the estimates of preflight."""

import pathlib

from bert_jax.config.json_files import read_object
from bert_jax.errors import InputError, quoted, shown

_FIX = 'give the file that bert-jax check_device --json=FILE wrote'


def measured_shares(
  path: str | pathlib.Path, device_kinds: tuple[str, ...]
) -> tuple[float, float]:
  """The least and the greatest share of its roofline that a step has reached.

  A step takes the time of its roofline, by the chip's data sheet, over that
  share.

  Args:
    path: the JSON of check_device.
    device_kinds: the beginnings of jax.Device.device_kind of the chip.

  Raises:
    InputError: the file is not one of check_device, is of another chip, or has
      no step whose roofline is known.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f'{path}: there is no such file; {_FIX}')
  report = read_object(path, _FIX)
  kind = report.get('device_kind')
  if not isinstance(kind, str):
    raise InputError(f'{path}: names no device_kind; {_FIX}')
  if not any(map(kind.startswith, device_kinds)):
    raise InputError(
      f'{path}: is of a {shown(kind)}, and the estimate is for '
      f'{quoted(device_kinds[0])}; give the file of that one'
    )
  shares = [
    timed['share_of_roofline']
    for timed in report.get('parts', {}).get('recipes', {}).get('timed', ())
  ]
  shares = [share for share in shares if share > 0]
  if not shares:
    raise InputError(
      f'{path}: has no step of a known roofline; run bert-jax check_device '
      '--part=recipes on the chip'
    )
  return min(shares), max(shares)
