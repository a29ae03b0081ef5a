"""Tells the parameters of one checkpoint from those of another."""

import json
import pathlib

from bert_jax.config.json_files import json_digest
from bert_jax.models import functional
from bert_jax.train.checkpoint import saved_steps
from bert_jax.train.digests import array_digests

# The version of the digests in a fingerprint. It never changes, since
# fingerprints are recorded without a version.
_FINGERPRINTED = 2


def fingerprint(params: functional.Params) -> str:
  """A SHA-256 that is equal for equal parameters, wherever they come from."""
  return json_digest(sorted(array_digests(params, _FINGERPRINTED).items()))


def params_digest(folder: pathlib.Path, step: int | None = None) -> str:
  """A SHA-256 that two checkpoints of the same parameters share.

  It is made of the digests that were recorded when the arrays were saved, so
  that no large file is read. Without `step`, the newest checkpoint that has
  digests counts. Returns '' if none has: loading it will say what is wrong.
  """
  for candidate in saved_steps(folder) if step is None else [step]:
    # Orbax writes the item `data` as it was given, into this file.
    path = folder / str(candidate) / 'data' / 'data.json'
    try:
      digests = json.loads(path.read_bytes())['data']['digests']
      params = sorted(d for d in digests.items() if d[0].startswith('params/'))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
      continue
    return json_digest(params)
  return ''
