"""Parses and explains the flags of a verb; no verb itself.

absl and ml_collections do the parsing. Added to it: a misspelt flag or a wrong
value ends in one line, which names the nearest flag or config field.
"""

import difflib
import inspect
import textwrap
import types
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from bert_jax.cli import config_file
from bert_jax.errors import InputError, shown

# define_config() defines a flag for the verb that calls it, not for this file.
flags.disclaim_key_flags()

# The words that parse() parses. ml_collections looks for overrides here; in
# sys.argv it would insist on --config before them.
_argv: list[str] = []

_SHOULD_BE = {
  'int': 'should be an integer',
  'float': 'should be a number',
  'bool': 'should be true or false',
}


def define_config(
  default: str | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> flags.FlagHolder:
  """Defines `--config=FILE` with `--config.FIELD=VALUE` for each of its fields.

  Args:
    default: the experiment file taken without `--config`; None: it is an error
      to leave `--config` out; '': it may be left out, and the value is None.
    flag_values: the registry of the flag.

  Returns:
    The holder whose `.value` is what the file's `get_config()` returned, with
    the overrides of the command line set.
  """
  from ml_collections import config_flags

  # ml_collections would load a default while the flag is being defined, which
  # makes `--help` import jax; parse() fills it in instead.
  holder = config_flags.DEFINE_config_file(
    'config',
    None,
    'The experiment file; --config.FIELD=VALUE sets one of its fields.',
    flag_values=flag_values,
    sys_argv=_argv,
  )
  flag_values['config'].default_as_str = default
  return holder


def no_arguments(arguments: Sequence[str]) -> None:
  """Raises InputError when a verb that takes only flags was given a word."""
  if arguments:
    raise InputError(
      f'{arguments[0]!r} is not a flag; flags are written --name=value'
    )


def required(flag: flags.FlagHolder) -> Any:
  """The value of a flag that only some uses of a verb need; InputError if none.

  absl's `required=True` is for flags that every use needs.
  """
  if not flag.value:
    raise InputError(f'--{flag.name} is missing; give --{flag.name}=...')
  return flag.value


def whole_numbers(flag: flags.FlagHolder) -> tuple[int, ...]:
  """The value of a list flag, each item a whole number."""
  try:
    return tuple(int(value) for value in flag.value)
  except ValueError:
    raise InputError(
      f'--{flag.name}={shown(",".join(flag.value))}: give whole numbers, such '
      'as 128,512'
    ) from None


def parse(
  verb: str,
  arguments: Sequence[str],
  flag_values: flags.FlagValues = flags.FLAGS,
) -> list[str]:
  """Parses the flags of a verb whose module is imported.

  Args:
    verb: its name, for messages.
    arguments: the words after the verb on the command line.
    flag_values: the flags that are defined.

  Returns:
    The arguments that are not flags; flags may stand before and after them.

  Raises:
    InputError: for an unknown flag or config field, a value that does not fit,
      a required flag or `--config` left out.
  """
  flag_values.set_gnu_getopt(True)
  argv = [verb, *arguments]
  try:
    argv = flag_values.read_flags_from_files(argv, force_gnu=True)
  except (flags.Error, UnicodeDecodeError) as error:
    why = str(error).removeprefix('ERROR:: ')
    raise InputError(f'--flagfile: {why}; give a text file') from error
  has_config = 'config' in flag_values
  config = None
  fields = {}
  if has_config and (path := _config_path(argv, flag_values)):
    config = config_file.load_config(path)
    fields = config_file.config_fields(config)
  _refuse_unknown_flags(verb, argv, flag_values, list(fields))
  if has_config:
    if config is None and flag_values['config'].default_as_str is None:
      raise InputError(config_file.missing_config(verb))
  if config is not None:
    argv = [verb, f'--config={path}', *_checked(argv[1:], flag_values, fields)]
  _argv[:] = argv
  try:
    return flag_values(argv)[1:]
  except flags.Error as error:
    raise InputError(_explain(str(error), flag_values)) from error


def help_text(
  verb: str,
  module: types.ModuleType,
  arguments: Sequence[str] = (),
  flag_values: flags.FlagValues = flags.FLAGS,
) -> str:
  """Returns the help page of a verb: its docstring and the flags it defines.

  With `--config=FILE` among the arguments the page ends with that file's
  fields and their values.
  """
  lines = [inspect.getdoc(module) or '', '', 'Flags:']
  for flag in flag_values.flags_by_module_dict().get(module.__name__, ()):
    lines.append(f'  {_usage(flag)}')
    for paragraph in (flag.help or '').split('\n'):
      # A line that is set in is one of a table.
      margin = len(paragraph) - len(paragraph.lstrip())
      lines += textwrap.wrap(
        paragraph,
        width=78,
        initial_indent=' ' * 6,
        subsequent_indent=' ' * (6 + 2 * margin),
        break_on_hyphens=False,
      )
  if 'config' in flag_values:
    path = _config_path([verb, *arguments], flag_values)
    if path:
      fields = config_file.config_fields(config_file.load_config(path))
      lines += ['', f'Fields of {path}:']
      lines += [
        f'  --config.{name}={field.value}'
        for name, field in fields.items()
        if not field.is_group
      ]
    else:
      lines += ['', f'bert-jax {verb} --config=FILE --help lists its fields.']
  return '\n'.join(lines)


def _usage(flag: flags.Flag) -> str:
  if flag.boolean:
    return f'--{"" if flag.value else "[no]"}{flag.name}' + (
      f'  (on; --no{flag.name} turns it off)' if flag.value else ''
    )
  if flag.name == 'config':
    default = flag.default_as_str
    return f'--config={default}' if default else '--config=FILE  (required)'
  if isinstance(flag, flags.EnumFlag):
    kind = '|'.join(flag.parser.enum_values)
  else:
    kind = {'int': 'INTEGER', 'float': 'NUMBER'}.get(flag.flag_type(), 'TEXT')
  if flag.default is None:
    required = any(v.get_flags_names() == [flag.name] for v in flag.validators)
    return f'--{flag.name}={kind}' + ('  (required)' if required else '')
  if flag.default in ('', []):
    return f'--{flag.name}={kind}'
  shown = flag.default
  if isinstance(shown, list | tuple):
    shown = ','.join(map(str, shown))
  choices = f'  (one of {kind})' if isinstance(flag, flags.EnumFlag) else ''
  return f'--{flag.name}={shown}{choices}'


def _flags_in(
  argv: Sequence[str], flag_values: flags.FlagValues
) -> Iterator[tuple[int, str, str | None]]:
  """Yields (index, name, value or None) of each flag, read as absl does."""
  takes_value = False
  for i, argument in enumerate(argv):
    if argument == '--':
      return
    if takes_value:
      takes_value = False
    elif argument.startswith('-') and argument != '-':
      name, equals, value = argument.lstrip('-').partition('=')
      yield i, name, value if equals else None
      known = flag_values[name] if name in flag_values else None
      takes_value = not equals and known is not None and not known.boolean


def _config_path(
  argv: Sequence[str], flag_values: flags.FlagValues
) -> str | None:
  path = flag_values['config'].default_as_str
  for i, name, value in _flags_in(argv, flag_values):
    if name == 'config':
      path = value if value is not None else argv[i + 1 : i + 2]
      path = path if isinstance(path, str) else ''.join(path)
  return path


def _refuse_unknown_flags(
  verb: str,
  argv: Sequence[str],
  flag_values: flags.FlagValues,
  fields: list[str],
) -> None:
  own = [
    flag.name
    for name, defined in flag_values.flags_by_module_dict().items()
    for flag in defined
    if not name.startswith('absl')
  ]
  for _, name, _ in _flags_in(argv[1:], flag_values):
    positive = name.removeprefix('no')
    if (
      name in flag_values
      or (positive in flag_values and flag_values[positive].boolean)
      or ('config' in own and positive.startswith('config.'))
    ):
      continue
    near = difflib.get_close_matches(name, own, 1) or [
      f'config.{field}' for field in config_file.nearest(name, fields)
    ]
    if near:
      raise InputError(
        f'unknown flag --{shown(name)}; the nearest is --{near[0]}'
      )
    raise InputError(
      f'unknown flag --{shown(name)}; see them all with bert-jax {verb} --help'
    )


def _checked(
  argv: Sequence[str],
  flag_values: flags.FlagValues,
  fields: dict[str, config_file.Field],
) -> list[str]:
  """Returns argv without `--config`, with checked overrides of its fields."""
  argv = list(argv)
  drop = set()
  for i, name, value in _flags_in(argv, flag_values):
    positive = name.removeprefix('no')
    if name == 'config':
      drop.update([i] if value is not None else [i, i + 1])
    elif name.startswith('config.') or positive.startswith('config.'):
      negated = not name.startswith('config.')
      path = positive.removeprefix('config.')
      field = config_file.find_field(path, fields)
      if field.type is bool and value is None:
        continue
      if negated:
        raise InputError(f'--{name}: only a true-or-false field takes "no"')
      if value is None:
        if i + 1 >= len(argv):
          raise InputError(f'--{name}: the value is missing')
        value = argv[i + 1]
        drop.add(i + 1)
      argv[i] = f'--{name}={config_file.canonical(path, field, value)}'
  return [argument for i, argument in enumerate(argv) if i not in drop]


def _explain(message: str, flag_values: flags.FlagValues) -> str:
  """Turns absl's message into ours: which flag, which value, what it takes."""
  message = message.strip().removeprefix('flag ')
  head, _, why = message.partition(': ')
  name, _, value = head.removeprefix('--').partition('=')
  if name not in flag_values:
    return message
  if value == 'None' and 'other than None' in why:
    return f'--{name} is missing; give --{name}=...'
  if 'invalid literal' in why or 'convert' in why or 'Non-boolean' in why:
    why = _SHOULD_BE[flag_values[name].flag_type()]
  return f'--{name}={value}: {why}'
