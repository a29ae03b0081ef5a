"""Parses and explains the flags of a verb; no verb itself.

absl does the parsing. Two things are added: `--config=FILE` with its fields,
and one line, naming the nearest flag or config field, for a misspelt one.
"""

import difflib
import inspect
import textwrap
import types
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from bert_jax.config import overrides
from bert_jax.config.experiment_file import (
  load_classes,
  load_config,
  missing_config,
)
from bert_jax.errors import InputError, quoted, shown

# define_config() defines a flag for the verb that calls it, not for this file.
flags.disclaim_key_flags()

_SHOULD_BE = {
  'int': 'should be an integer',
  'float': 'should be a number',
  'bool': 'should be true or false',
}


class _ExperimentFlag(flags.Flag):
  """`--config` of a verb that runs what the file says.

  overrides: the fields that the command line sets. path: the file.
  """

  overrides: tuple[str, ...] = ()
  path: str = ''


def define_config(
  default: str | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> flags.FlagHolder:
  """Defines `--config=FILE` with `--config.FIELD=VALUE`, and `--import`.

  Args:
    default: the experiment file taken without `--config`; None: it is an error
      to leave `--config` out; '': it may be left out, and the value is None.
    flag_values: the registry of the flag.

  Returns:
    The holder whose `.value` is what the file's `get_config()` returned, with
    the overrides of the command line set.
  """
  # The file is loaded by parse(), so that `--help` does not import jax.
  holder = flags.DEFINE_flag(
    _ExperimentFlag(
      flags.ArgumentParser(),
      flags.ArgumentSerializer(),
      'config',
      None,
      'The experiment file; --config.FIELD=VALUE sets one of its fields.',
    ),
    flag_values,
  )
  flag_values['config'].default_as_str = default
  _define_import(flag_values)
  return holder


def overridden(flag_values: flags.FlagValues = flags.FLAGS) -> tuple[str, ...]:
  """The fields of `--config` that the command line sets."""
  flag = _experiment_flag(flag_values)
  return () if flag is None else flag.overrides


def config_path(flag_values: flags.FlagValues = flags.FLAGS) -> str:
  """The file that `--config` names, '' for none."""
  flag = _experiment_flag(flag_values)
  return '' if flag is None else flag.path


def define_own_classes(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines `--config` and `--import` of a verb that opens what a run made.

  They make classes known that config.json names, such as a user's objective.
  """
  flags.DEFINE_string(
    'config',
    '',
    'The experiment file with your own classes, if the run has any.',
    flag_values=flag_values,
  )
  _define_import(flag_values)


def _define_import(flag_values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    'import',
    [],
    'Modules with classes of your own that a config.json names, '
    'comma-separated.',
    flag_values=flag_values,
  )


def no_arguments(arguments: Sequence[str]) -> None:
  """Raises InputError when a verb that takes only flags was given a word."""
  if arguments:
    raise InputError(
      f'{quoted(arguments[0])} is not a flag; flags are written --name=value'
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
  experiment = _experiment_flag(flag_values)
  config = None
  fields = {}
  path = _config_path(argv, flag_values) if experiment is not None else None
  if path:
    config = load_config(path)
    fields = overrides.config_fields(config)
  _refuse_unknown_flags(verb, argv, flag_values, list(fields))
  if config is None and experiment is not None:
    if experiment.default_as_str is None:
      raise InputError(missing_config(verb))
  if experiment is not None and config is not None:
    argv, paths = _with_overrides(argv, flag_values, config)
    experiment.overrides, experiment.path = tuple(paths), path or ''
  try:
    words = flag_values(argv)[1:]
  except flags.Error as error:
    raise InputError(_explain(str(error), flag_values)) from error
  if experiment is not None and config is not None:
    experiment.value = config
  if 'import' in flag_values:
    file = None if experiment is not None else flag_values['config'].value
    load_classes(file or '', flag_values['import'].value or ())
  return words


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
  if _experiment_flag(flag_values) is not None:
    path = _config_path([verb, *arguments], flag_values)
    if path:
      fields = overrides.config_fields(load_config(path))
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
  if isinstance(flag, _ExperimentFlag):
    default = flag.default_as_str
    required = '  (required)' if default is None else ''
    return f'--config={default or "FILE"}{required}'
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


def _experiment_flag(flag_values: flags.FlagValues) -> _ExperimentFlag | None:
  flag = flag_values['config'] if 'config' in flag_values else None
  return flag if isinstance(flag, _ExperimentFlag) else None


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
  has_fields = _experiment_flag(flag_values) is not None
  for _, name, _ in _flags_in(argv[1:], flag_values):
    positive = name.removeprefix('no')
    if (
      name in flag_values
      or (positive in flag_values and flag_values[positive].boolean)
      or (has_fields and positive.startswith('config.'))
    ):
      continue
    near = difflib.get_close_matches(name, own, 1) or [
      f'config.{field}' for field in overrides.nearest(name, fields)
    ]
    if near:
      raise InputError(
        f'unknown flag --{shown(name)}; the nearest is --{near[0]}'
      )
    raise InputError(
      f'unknown flag --{shown(name)}; see them all with bert-jax {verb} --help'
    )


def _with_overrides(
  argv: Sequence[str], flag_values: flags.FlagValues, config: Any
) -> tuple[list[str], list[str]]:
  """Sets the fields that argv names; returns what is left, and their paths."""
  drop = set()
  paths = []
  for i, name, value in _flags_in(argv, flag_values):
    positive = name.removeprefix('no')
    if name == 'config':
      drop.update([i] if value is not None else [i, i + 1])
    elif positive.startswith('config.') or name.startswith('config.'):
      drop.add(i)
      path = positive.removeprefix('config.')
      field = overrides.find_field(path, overrides.config_fields(config))
      negated = not name.startswith('config.')
      if field.type is bool and value is None:
        value = 'false' if negated else 'true'
      elif negated:
        raise InputError(f'--{name}: only a true-or-false field takes "no"')
      elif value is None:
        if i + 1 >= len(argv):
          raise InputError(f'--{name}: the value is missing')
        value = argv[i + 1]
        drop.add(i + 1)
      overrides.set_field(config, path, value)
      paths.append(path)
  rest = [argument for i, argument in enumerate(argv) if i not in drop]
  return rest, paths


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
  return f'--{name}={shown(value)}: {why}'
