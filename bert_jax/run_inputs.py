"""The inputs of a run, recorded by content in WORKDIR/inputs.json.

The config names paths; this file says what lay there. So a run refuses other
files at the same path, and accepts the same files at another path.
"""

import os
import pathlib
from typing import Any

from bert_jax import durable_files
from bert_jax.config.json_files import json_digest, read_object
from bert_jax.data.sources import content, files, installed_docs
from bert_jax.data.sources.content_changes import difference
from bert_jax.errors import InputError
from bert_jax.workdir import Workdir

NAME = 'inputs.json'
_FIX = 'restore it or start anew'
_INSTALLED_DOCS = 'installed_docs:'


class RunInputs:
  """The inputs of a workdir's run, now and when it began.

  Args:
    workdir: must be locked, since its lock tells the time.
    description: {config field: what it names}; see `describe_examples`.

  Raises:
    InputError: a file cannot be read.
  """

  def __init__(self, workdir: Workdir, description: dict[str, Any]):
    self._workdir = workdir
    self._path = workdir.path / NAME
    self._stamps = workdir.path / content.STAMPS_NAME
    self._contents = content.open_contents(self._stamps, workdir.lock_path)
    self._now = self._contents.identify(description)
    self._then: dict[str, Any] | None = None
    self._changes: list[str] = []
    if workdir.binds() and self._path.exists():
      self._then = read_object(self._path, _FIX)

  @property
  def is_recorded(self) -> bool:
    """False if the run began, or ended, without a record of its inputs."""
    return self._then is not None or not self._workdir.binds()

  def content(self) -> dict[str, str]:
    """A digest of each input by its name, to be compared between hosts."""
    return {
      f'content of {name}': json_digest(described)
      for name, described in self._now.items()
    }

  def check(
    self,
    experiment: Any,
    allow_change: tuple[str, ...],
    read_at_start: str = '',
  ) -> list[str]:
    """Returns the differences from config and inputs of then that are allowed.

    `allow_change` names them. Another path with the same content is no
    difference. The field `read_at_start` is not read any more: a change of its
    content is printed, and the record stays as it is.

    Raises InputError on any other difference.
    """
    then = self._then
    names = self._now if then is not None else ()
    found = {name: self._difference(name) for name in names}
    same = tuple(name for name in names if not found[name])
    self._changes = self._workdir.config_changes(experiment, allow_change, same)
    for name, what in found.items():
      if not what:
        continue
      since = f'{name}: {what} since --workdir={self._workdir.path} was begun'
      if any(name == a or name.startswith(f'{a}.') for a in allow_change):
        self._changes.append(f'{name}: {what}')
      elif then is not None and name == read_at_start:
        print(
          f'{since}, which goes on with the parameters that it took then',
          flush=True,
        )
        self._now[name] = then[name]
      else:
        raise InputError(
          f'{since}; put back what it was, or use another --workdir'
        )
    return self._changes

  def require_unchanged(self) -> None:
    """Raises InputError if a file has changed while it was read."""
    self._contents.require_unchanged()

  def write(self, experiment: Any, next_example: int) -> None:
    """Records config and inputs, once all checks have passed."""
    self._workdir.write_config(experiment, self._changes, next_example)
    if self._now:
      durable_files.write_json(self._path, self._now)
    self.spare_reading()

  def spare_reading(self) -> None:
    """Stamps the files, so that the next start need not read them again."""
    content.write_stamps(self._stamps, self._contents)

  def _difference(self, name: str) -> str:
    assert self._then is not None
    return difference(self._then.get(name), self._now[name])


def recorded_input(workdir: Workdir, field: str) -> Any:
  """The recorded input of one config field; None without a record."""
  path = workdir.path / NAME
  return read_object(path, _FIX).get(field) if path.is_file() else None


def describe_examples(path: str) -> Any:
  """Describes the file or package of labelled examples, for `RunInputs`."""
  if path.startswith(_INSTALLED_DOCS):
    return installed_docs.describe_examples(path.removeprefix(_INSTALLED_DOCS))
  file = pathlib.Path(os.path.expanduser(path))
  if not file.is_file():
    raise InputError(f'{path}: there is no such file; check the path.')
  return files.describe_files([file])
