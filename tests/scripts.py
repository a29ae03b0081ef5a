"""Scripts outside the package, as modules of a test."""

import importlib.util
import pathlib
import types

from absl import flags


def load_script(path: pathlib.Path) -> types.ModuleType:
  """The module of a script, without its flags, which others may have too."""
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  before = set(flags.FLAGS)
  spec.loader.exec_module(module)
  flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)
  return module
