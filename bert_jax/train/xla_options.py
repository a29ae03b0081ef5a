"""Options of XLA for the step, such as flags of a TPU's scheduler.

A deterministic run has options of its own on a GPU, for its evaluation too.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import jax

from bert_jax.errors import InputError, one_line, quoted


class OptionFields(Protocol):
  """The fields of an experiment of either kind that become options of XLA."""

  xla_options: tuple[str, ...]
  deterministic: bool


# Values of an option as XLA takes them.
Options = dict[str, bool | int | float | str]
# The options that give the same bits each time on a GPU: no operation in which
# threads add in whatever order they come, and no kernel chosen by a measurement
# that may come out otherwise in the next compilation. Programs for TPU and CPU
# need none. Source: https://openxla.org/xla/determinism.
DETERMINISTIC: Mapping[str, bool | int] = {
  'xla_gpu_exclude_nondeterministic_ops': True,
  'xla_gpu_autotune_level': 0,
}
# Names that devices of JAX, or topologies to compile for, give to GPUs.
_GPU = ('gpu', 'cuda', 'rocm')


def parse(texts: Sequence[str]) -> Options:
  """Reads the field `xla_options`, texts NAME=VALUE; InputError if it cannot.

  true, false and numbers are read as such.
  """
  options: Options = {}
  for number, text in enumerate(texts):
    name, equals, value = text.partition('=')
    if not name or not equals or not value:
      raise InputError(
        f'xla_options[{number}] is {quoted(text)}; give NAME=VALUE, such as '
        'xla_tpu_enable_latency_hiding_scheduler=true'
      )
    if name in options:
      raise InputError(f'xla_options gives {quoted(name)} twice; keep one')
    options[name] = _value(value)
  return options


def _value(text: str) -> bool | int | float | str:
  if text in ('true', 'false'):
    return text == 'true'
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return text


def validate(fields: OptionFields) -> None:
  """Raises InputError for options that cannot be read, or that contradict."""
  options = parse(fields.xla_options)
  for name, value in DETERMINISTIC.items() if fields.deterministic else ():
    if options.get(name, value) != value:
      raise InputError(
        f'xla_options gives {name}={str(options[name]).lower()}, but '
        f'deterministic is true and needs {str(value).lower()}; leave one out'
      )


def deterministic_options(deterministic: bool, platform: str) -> Options:
  """The options of any program of a run on a platform, such as 'gpu'."""
  return dict(DETERMINISTIC) if deterministic and platform in _GPU else {}


def step_options(fields: OptionFields, platform: str) -> Options:
  """The options of the step of a run on a platform."""
  fixed = deterministic_options(fields.deterministic, platform)
  return parse(fields.xla_options) | fixed


def print_promise(deterministic: bool) -> None:
  """Prints what a run on this platform does not promise, if anything."""
  if not deterministic and jax.default_backend() in _GPU:
    print(
      'deterministic is false: on a GPU, a run that is resumed or repeated may '
      'differ in its last bits; --config.deterministic=true makes them equal, '
      'and steps slower',
      flush=True,
    )


def check(texts: Sequence[str], deterministic: bool = False) -> None:
  """Raises InputError for options that the XLA of this device does not take.

  XLA would name them only when the step is compiled, after all data is open.
  """
  fixed = deterministic_options(deterministic, jax.default_backend())
  options = parse(texts) | fixed
  if not options:
    return
  try:
    jax.jit(lambda: 0, compiler_options=options)()
  except jax.errors.JaxRuntimeError as error:
    raise refusal(error, jax.default_backend()) from error


def check_run(fields: OptionFields) -> None:
  """Checks the options of a run, and prints what it does not promise."""
  check(fields.xla_options, fields.deterministic)
  print_promise(fields.deterministic)


def refusal(error: jax.errors.JaxRuntimeError, platform: str) -> InputError:
  """The refusal of options that XLA named in an error of compilation."""
  return InputError(
    f'xla_options are refused by XLA on {platform}: {one_line(error)}; correct '
    'or leave out the option'
  )
