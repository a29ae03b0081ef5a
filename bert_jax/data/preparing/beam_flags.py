"""Apache Beam's own flags: checked before the first document is read."""

import argparse
import difflib
import logging
from collections.abc import Sequence
from typing import Any, NoReturn

from bert_jax.errors import InputError, one_line, shown


def check(flags: Sequence[str]) -> str:
  """Returns --temp_location; raises InputError where Beam would only warn."""
  # Beam logs a warning for each package of Google Cloud that is missing.
  logging.disable(logging.WARNING)
  try:
    import apache_beam as beam
    from apache_beam.io import filesystems
    from apache_beam.options import pipeline_options
  except ModuleNotFoundError as error:
    raise InputError(
      f"--engine=beam: it needs a package ({error}): pip install 'bert_jax"
      "[beam]', or take --engine=local"
    ) from None
  finally:
    logging.disable(logging.NOTSET)
  parser = _FlagParser(allow_abbrev=False, add_help=False)
  for part in pipeline_options.PipelineOptions.__subclasses__():
    part._add_argparse_args(parser)
  known, unknown = parser.parse_known_args(flags)
  if unknown:
    name = unknown[0].partition('=')[0]
    near = difflib.get_close_matches(
      name, [f'--{known}' for known in vars(known)], 1
    )
    raise InputError(
      f'flags for Beam, after --: {shown(name)} is no flag; '
      + (f'the nearest is {near[0]}' if near else 'see its PipelineOptions')
    )
  try:
    # Finds the runner, and asks it for the flags that it needs.
    beam.Pipeline(options=pipeline_options.PipelineOptions(flags))
    if known.temp_location:
      filesystems.FileSystems.get_filesystem(known.temp_location)
  except (ValueError, ImportError, AttributeError) as error:
    raise InputError(
      f'flags for Beam, after --: {one_line(error, 300)}'
    ) from None
  return known.temp_location or ''


class _FlagParser(argparse.ArgumentParser):
  """A parser of Beam's flags whose errors are InputErrors of one line."""

  def add_value_provider_argument(self, *names: str, **options: Any) -> None:
    # Beam's parser has this method, and some of its option classes call it.
    self.add_argument(*names, **options)

  def error(self, message: str) -> NoReturn:
    raise InputError(f'flags for Beam, after --: {message}')
