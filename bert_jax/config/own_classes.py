"""A user's own classes, such as an objective, an optimizer or a task.

config.json records such a class by module and name. Reading it imports nothing:
the class has been imported before, by --config=FILE, by --import=MODULE, or by
an `import` in the user's Python.
"""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
import re
import sys
import types
from collections.abc import Iterable

from bert_jax.errors import InputError, quoted, shown

# Names that `load_file` has put into sys.modules, and folders that it has put
# into sys.path.
_loaded: set[str] = set()
_searched: set[str] = set()


def load_file(path: str) -> types.ModuleType:
  """Runs a Python file as a module named after the file, without .py.

  Its imports are also looked for in its folder, after all other places.

  Raises:
    InputError: it is no Python file, or it defines dataclasses although another
      module has its name, and config.json could not tell the two apart.
  """
  name = re.sub(r'\W', '_', pathlib.Path(path).stem)
  spec = importlib.util.spec_from_file_location(name, path)
  if spec is None or spec.loader is None:
    raise InputError(f'--config={path}: an experiment is a file *.py')
  module = importlib.util.module_from_spec(spec)
  is_taken = name not in _loaded and _is_taken(name, path)
  _search(os.path.dirname(os.path.abspath(path)))
  if not is_taken:
    # dataclasses looks up a class's annotations in sys.modules.
    sys.modules[name] = module
    _loaded.add(name)
  spec.loader.exec_module(module)
  if is_taken and any(
    dataclasses.is_dataclass(value) and value.__module__ == name
    for value in vars(module).values()
    if isinstance(value, type)
  ):
    raise InputError(
      f'--config={path}: it defines classes, and there is another module '
      f'{name}; rename the file'
    )
  return module


def import_modules(names: Iterable[str]) -> None:
  """Imports modules by name, from the current folder or installed ones.

  Raises:
    InputError: there is no module of such a name.
  """
  _search(os.getcwd())
  for name in names:
    try:
      importlib.import_module(name)
    except (ModuleNotFoundError, ValueError, TypeError) as error:
      # The missing module may be one that this module imports: re-raise then.
      missing = getattr(error, 'name', None) or name
      if not f'{name}.'.startswith(f'{missing}.'):
        raise
      raise InputError(
        f'--import={shown(name)}: there is no module {quoted(missing)}; give '
        'the name of one that is installed or in the current folder, or its '
        'file as --config=FILE'
      ) from None


def recorded_name(cls: type) -> str:
  """The name 'module.Class' by which config.json names a class.

  Raises:
    InputError: the name does not lead back to the class.
  """
  module = _main_name() if cls.__module__ == '__main__' else cls.__module__
  name = f'{module}.{cls.__qualname__}'
  if _lookup(name) is not cls:
    raise InputError(
      f'{shown(name)}: config.json could not name this class; define it at the '
      'top of a module, and make the config after the last import of that'
    )
  return name


def find(name: str) -> type | None:
  """The dataclass of a recorded name, if its module is imported."""
  cls = _lookup(name)
  if isinstance(cls, type) and dataclasses.is_dataclass(cls):
    # A class that the module only imported is refused.
    module = _main_name() if cls.__module__ == '__main__' else cls.__module__
    if f'{module}.{cls.__qualname__}' == name:
      return cls
  return None


def _lookup(name: str) -> object:
  module_name, _, class_name = name.rpartition('.')
  is_main = module_name == _main_name()
  module = sys.modules.get('__main__' if is_main else module_name)
  # A module may answer getattr by an import, so its __dict__ is read.
  return getattr(module, '__dict__', {}).get(class_name)


def _main_name() -> str:
  """The name under which the running script can be imported."""
  main = sys.modules['__main__']
  if spec := getattr(main, '__spec__', None):
    return spec.name
  path = getattr(main, '__file__', None)
  return pathlib.Path(path).stem if path else '__main__'


def _is_taken(name: str, path: str) -> bool:
  """Returns whether `name` is another module than this file."""
  if name in sys.modules:
    origin = getattr(sys.modules[name], '__file__', None) or name
  else:
    spec = importlib.util.find_spec(name)
    # A folder without __init__.py has no origin and no code.
    origin = spec.origin if spec else None
  return (
    origin is not None
    and os.path.realpath(origin) != os.path.realpath(path)
    and os.path.dirname(origin) not in _searched
  )


def _search(folder: str) -> None:
  if folder not in sys.path:
    sys.path.append(folder)
    _searched.add(folder)
