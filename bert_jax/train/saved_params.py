"""Tells the parameters of one checkpoint from those of another."""

import hashlib
import json
import pathlib

from bert_jax.models import functional
from bert_jax.train.checkpoint import saved_steps
from bert_jax.train.digests import array_digests

# The version of digests that a fingerprint is made of, for good: fingerprints
# are recorded without a version.
_FINGERPRINTED = 2


def fingerprint(params: functional.Params) -> str:
  """What two models of the same parameters share, wherever they come from."""
  return _sha256(sorted(array_digests(params, _FINGERPRINTED).items()))


def params_digest(folder: pathlib.Path, step: int | None = None) -> str:
  """A number that two checkpoints of the same parameters share.

  From the digests that were recorded when the arrays were saved, so that
  nothing of gigabytes is read. Without `step`, of the newest checkpoint that
  has them; '' where none has: loading says what is wrong with it.
  """
  for candidate in saved_steps(folder) if step is None else [step]:
    # Where Orbax puts the item `data`, in the form that it was given in.
    path = folder / str(candidate) / 'data' / 'data.json'
    try:
      digests = json.loads(path.read_bytes())['data']['digests']
      params = sorted(d for d in digests.items() if d[0].startswith('params/'))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
      continue
    return _sha256(params)
  return ''


def _sha256(digests: list[tuple[str, int]]) -> str:
  return hashlib.sha256(json.dumps(digests).encode()).hexdigest()
