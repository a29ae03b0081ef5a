"""The parts of a check, run in this process; what they find as JSON."""

import dataclasses
import datetime
import math
import os
import platform
from collections.abc import Callable
from typing import Any

import jax

import bert_jax
from bert_jax.jobs.check_device import (
  attention,
  determinism,
  peaks,
  precision,
  recipes,
)
from bert_jax.jobs.check_device.base import Result, Setting
from bert_jax.jobs.check_device.processes import PARTS
from bert_jax.workdir import versions_of

_RUN: dict[str, Callable[[Setting], Result]] = {
  'peaks': peaks.run,
  'attention': attention.run,
  'precision': precision.run,
  'recipes': recipes.run,
  'determinism': determinism.run,
}
assert tuple(_RUN) == PARTS


def check_part(name: str, setting: Setting) -> dict[str, Any]:
  """Runs a part, prints its rows of the table, and returns a report.

  The report has the form of `processes.check_all`.
  """
  about = environment()
  print(f'{name}, on {about["device_kind"]} ({about["platform"]})', flush=True)
  result: Any = _RUN[name](setting)
  for line in result.lines():
    print(line)
  return {
    **about,
    'parts': {name: _without_nan(dataclasses.asdict(result))},
    'failures': list(result.failures()),
  }


def _without_nan(value: Any) -> Any:
  """The value with None for what is no number, which JSON has no word for."""
  if isinstance(value, dict):
    return {key: _without_nan(x) for key, x in value.items()}
  if isinstance(value, list | tuple):
    return [_without_nan(x) for x in value]
  is_nan = isinstance(value, float) and not math.isfinite(value)
  return None if is_nan else value


def environment() -> dict[str, Any]:
  """The device, packages and settings behind the figures."""
  device = jax.devices()[0]
  now = datetime.datetime.now(datetime.UTC)
  return {
    'date': now.isoformat(timespec='seconds'),
    'device_kind': device.device_kind,
    'platform': device.platform,
    'platform_version': device.client.platform_version,
    'num_devices': len(jax.devices()),
    'versions': {
      'python': platform.python_version(),
      'bert_jax': bert_jax.__version__,
      **versions_of(_PACKAGES),
    },
    'XLA_FLAGS': os.environ.get('XLA_FLAGS', ''),
  }


_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
