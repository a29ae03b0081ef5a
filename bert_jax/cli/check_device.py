"""Measure this machine's device, and check what bert_jax computes on it.

  bert-jax check_device --json=device.json
  bert-jax check_device --part=recipes --recipes=bert_base,bert_large
  bert-jax check_device --part=recipes --config=FILE --config.remat=dots

Parts: `peaks` of a matrix product and a copy; `attention`, every backend beside
the reference; `precision`, a step in bf16 beside f32; `recipes`, the time, MFU
and memory of training steps on random rows; `determinism`, the same steps twice
and once resumed. It needs no corpus, only jax, flax, optax, numpy and absl-py.
On a CPU small models stand for the recipes. The exit status is 1 if numbers are
out of their bounds or a part fails.
"""

import pathlib
import sys
import time
from typing import Any

from absl import flags as absl_flags

from bert_jax.cli import flags
from bert_jax.errors import InputError, quoted
from bert_jax.jobs.check_device.processes import (
  PARTS,
  check_all,
  platform_here,
)

CONFIG = flags.define_config(default='')
PART = absl_flags.DEFINE_list(
  'part', list(PARTS), 'The parts to run, comma-separated.'
)
RECIPES = absl_flags.DEFINE_list(
  'recipes',
  [],
  'The recipes to time, such as bert_base,modernbert_base; default: all on an '
  'accelerator, bert_tiny on a CPU.',
)
STEPS = absl_flags.DEFINE_integer(
  'steps', 20, 'Steps of a run of the part determinism.', lower_bound=2
)
SECONDS = absl_flags.DEFINE_float(
  'seconds',
  120.0,
  'The time of a part, or of a recipe. Nothing new is begun after two thirds '
  'of it; one of several parts is ended at it.',
  lower_bound=1,
)
JSON = absl_flags.DEFINE_string('json', '', 'A file to write all figures to.')


def main(argv: list[str]) -> int:
  ends_at = time.monotonic() + SECONDS.value * 2 / 3
  flags.no_arguments(argv)
  parts = tuple(PART.value)
  for part in parts:
    if part not in PARTS:
      raise InputError(
        f'--part: there is no part {quoted(part)}; give some of '
        f'{", ".join(PARTS)}'
      )
  path = pathlib.Path(JSON.value)
  if not path.parent.is_dir():
    raise InputError(f'--json={path}: there is no folder {path.parent}')
  recipes = _recipes()
  if len(parts) == 1 and len(recipes) < 2:
    report = _check_part(parts[0], recipes, ends_at)
  else:
    report = check_all(parts, recipes, sys.argv[2:], SECONDS.value)
  if JSON.value:
    from bert_jax import durable_files

    durable_files.write_json(path, report)
  for line in report['failures']:
    print(f'check_device: {line}', file=sys.stderr)
  return 1 if report['failures'] else 0


def _recipes() -> tuple[str, ...]:
  """The recipes to time by name; none if they are not asked for."""
  from bert_jax.jobs.check_device import recipes

  names = tuple(RECIPES.value)
  if CONFIG.value is not None:
    recipes.check_own(CONFIG.value)
    if names:
      raise InputError(
        f'--recipes={",".join(names)}: --config is timed in their place; leave '
        'one out'
      )
    return ()
  recipes.check_names(names)
  if 'recipes' not in PART.value:
    return ()
  return names or recipes.names_for(platform_here())


def _check_part(
  part: str, recipes: tuple[str, ...], ends_at: float
) -> dict[str, Any]:
  from bert_jax.jobs.check_device.base import Setting
  from bert_jax.jobs.check_device.checking import check_part

  setting = Setting(
    recipes=recipes,
    own_recipe=CONFIG.value,
    num_steps=STEPS.value,
    ends_at=ends_at,
  )
  return check_part(part, setting)
