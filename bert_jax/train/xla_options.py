"""Options of XLA for the step alone, such as flags of a TPU's scheduler."""

from collections.abc import Sequence

import jax

from bert_jax.errors import InputError, one_line, quoted

# Values of an option as XLA takes them.
Options = dict[str, bool | int | float | str]


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


def check(texts: Sequence[str]) -> None:
  """Raises InputError for options that the XLA of this device does not take.

  XLA would name them only when the step is compiled, after all data is open.
  """
  options = parse(texts)
  if not options:
    return
  try:
    jax.jit(lambda: 0, compiler_options=options)()
  except jax.errors.JaxRuntimeError as error:
    raise refusal(error, jax.default_backend()) from error


def refusal(error: jax.errors.JaxRuntimeError, platform: str) -> InputError:
  """The refusal of options that XLA named in an error of compilation."""
  return InputError(
    f'xla_options are refused by XLA on {platform}: {one_line(error)}; correct '
    'or leave out the option'
  )
