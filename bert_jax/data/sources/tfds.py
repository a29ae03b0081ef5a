"""TensorFlow Datasets as a source: one string feature of a prepared data set.

Data sets are read as they lie on disk, in the array_record format, so that
neither TensorFlow nor the code that made the data set is needed, and nothing is
ever downloaded.
"""

import difflib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from bert_jax.data.remote import storage
from bert_jax.data.sources import base, files
from bert_jax.errors import InputError, listed, one_line, quoted

_SPEC = re.compile(
  r'(?P<name>\w[\w.\-]*(/\w[\w.\-]*)?)'
  r'(:(?P<version>\d+\.\d+\.\d+))?'
  r'(:(?P<split>\D.*))?'
)
_VERSION = re.compile(r'\d+\.\d+\.\d+')
_INFO_NAME = 'dataset_info.json'
_FEATURES_NAME = 'features.json'
_FORMAT = 'array_record'
_BATCH_BYTES = 2**23
_MAX_BATCH_EXAMPLES = 1024
# Examples, evenly spaced, that tell how much of the data set is text.
_NUM_SIZED = 64


class Spec(NamedTuple):
  """NAME[/CONFIG][:VERSION][:SPLIT], and '' for what is left out."""

  name: str
  version: str
  split: str


class TensorFlowDataset:
  """A split of a data set below a data folder.

  Args:
    spec: 'NAME[/CONFIG][:VERSION][:SPLIT]'. The newest version and the split
      'train' are taken where none is named; a split may be a part or a sum, as
      'train[:10%]+test'.
    text_field: The feature whose values are the documents, 'a.b' for the
      feature 'b' within 'a'.
    data_dir: Where the data sets lie; '' takes $TFDS_DATA_DIR or
      ~/tensorflow_datasets.

  Raises:
    InputError: There is no such data set, split or feature, or it is not in a
      format that can be read.
  """

  name = 'tfds'

  def __init__(
    self, spec: str, *, text_field: str = 'text', data_dir: str = ''
  ):
    parsed = _parse(spec)
    folder = _find(parsed, data_dir)
    self._split = parsed.split or 'train'
    self._name = f'{parsed.name}:{folder.name}'
    self._text_field = text_field
    self._what = f'{self.name}:{self._name}:{self._split}'
    builder = _builder(folder, self._what)
    self._features = _only(builder.info.features, text_field, self._what)
    self._records = _open(builder, folder, self._split, self._what)
    instructions = builder.info.splits[self._split].file_instructions
    names = dict.fromkeys(str(part.filename) for part in instructions)
    # The first of these says how a record is decoded.
    names = [str(folder / _FEATURES_NAME), *names]
    self._paths = [
      type(folder)(name) if storage.is_remote(name) else pathlib.Path(name)
      for name in names
    ]
    splits = builder.info.splits.values()
    # The size of all features and whole splits: that of a part is not known.
    self._num_bytes = sum(int(split.num_bytes) for split in splits)
    self._num_in_all = sum(split.num_examples for split in splits)

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    return base.require_documents(self._documents(report), self._what)

  def describe(self) -> dict:
    return {
      'kind': self.name,
      'data_set': self._name,
      'split': self._split,
      'text_field': self._text_field,
      'examples': len(self._records),
      'bytes_of_all_splits': self._num_bytes,
      'files': files.describe_files(self._paths),
    }

  def size_in_bytes(self) -> int:
    """Estimates bytes of text from a few examples.

    The data set knows the size of all features together alone."""
    step = max(1, -(-len(self._records) // _NUM_SIZED))
    numbers = range(0, len(self._records), step)
    sizes = [len(value or b'') for value in self._values(numbers)]
    return round(len(self._records) * sum(sizes) / max(1, len(sizes)))

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    bytes_each = self._num_bytes // max(1, self._num_in_all)
    count = _BATCH_BYTES // max(1, bytes_each)
    count = max(1, min(_MAX_BATCH_EXAMPLES, count))
    for first in range(0, len(self._records), count):
      numbers = range(first, min(first + count, len(self._records)))
      for number, value in zip(numbers, self._values(numbers), strict=True):
        origin = f'{self._what}:example {number + 1}'
        if value is None:
          detail = f'no feature {quoted(self._text_field)}'
          report.add('missing_field', origin, detail)
          continue
        yield from files.bounded_bytes(value, origin, report)

  def _values(self, numbers: range) -> Iterator[bytes | None]:
    """The text of examples, None where one has none."""
    from google.protobuf.message import DecodeError

    try:
      records = self._records.__getitems__(list(numbers))
      for record in records:
        # array_record gives an empty record where a file is cut at a block.
        if not record:
          raise DecodeError('an example is empty')
        value = self._features.deserialize_example_np(record)
        for part in self._text_field.split('.'):
          value = value.get(part) if value is not None else None
        yield value
    except (RuntimeError, IndexError, OSError, DecodeError) as error:
      raise _damaged(self._what, error) from error


def _parse(spec: str) -> Spec:
  match = _SPEC.fullmatch(spec)
  if not match:
    raise InputError(
      f'--input=tfds:{spec}: write tfds:NAME[/CONFIG][:VERSION][:SPLIT], such '
      'as tfds:wikipedia/20230601.en:1.0.0:train.'
    )
  return Spec(match['name'], match['version'] or '', match['split'] or '')


def _find(spec: Spec, data_dir: str) -> Any:
  """The folder of the version; an epath.Path."""
  from etils import epath

  where = f'--input=tfds:{spec.name}'
  root = data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  root = epath.Path(os.path.expanduser(root))
  if not root.is_dir():
    raise InputError(
      f'{where}: there is no folder {root}; name the one that holds the data '
      'sets with --data_dir.'
    )
  versions = _versions(root / spec.name)
  if not versions:
    names = _data_sets(root)
    near = [name for name in names if name.startswith(f'{spec.name}/')]
    near = near or difflib.get_close_matches(spec.name, names, 5)
    if near:
      why = f'not prepared in {root}; the nearest there: {", ".join(near[:20])}'
    else:
      why = f'{root} holds no data set; prepare one with `tfds build`'
      if names:
        why = f'not prepared in {root}; there are {", ".join(names[:20])}'
    raise InputError(f'{where}: {why}; --data_dir names another folder.')
  if not spec.version:
    return versions[-1]
  for folder in versions:
    if folder.name == spec.version:
      return folder
  raise InputError(
    f'{where}:{spec.version}: there is no such version in {root}; there are '
    f'{", ".join(folder.name for folder in versions)}.'
  )


def _data_sets(root: Any) -> list[str]:
  """'NAME' and 'NAME/CONFIG' of all that is prepared below a folder."""
  names = []
  for folder in _folders(root):
    if _versions(folder):
      names.append(folder.name)
    names += [
      f'{folder.name}/{config.name}'
      for config in _folders(folder)
      if _versions(config)
    ]
  return sorted(names)


def _versions(folder: Any) -> list[Any]:
  """The versions of a data set, from old to new."""
  found = [
    path
    for path in _folders(folder)
    if _VERSION.fullmatch(path.name) and (path / _INFO_NAME).exists()
  ]
  return sorted(found, key=lambda path: [*map(int, path.name.split('.'))])


def _folders(folder: Any) -> list[Any]:
  return (
    [path for path in folder.iterdir() if path.is_dir()]
    if folder.is_dir()
    else []
  )


def _builder(folder: Any, what: str) -> Any:
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(folder)
    is_whole = builder.info.features is not None and builder.info.splits
  # Any exception may come: classes that features.json names are imported.
  except Exception as error:
    raise InputError(
      f'{what}: {folder} cannot be read as a data set ({one_line(error)}); '
      'prepare or copy it again.'
    ) from error
  if not is_whole:
    raise InputError(
      f'{what}: {folder} names no features or no splits; prepare it again.'
    )
  return builder


def _only(features: Any, text_field: str, what: str) -> Any:
  """The one feature in its dicts: what is not text is then never decoded."""
  import numpy as np
  import tensorflow_datasets as tfds

  feature = features
  parts = text_field.split('.')
  for part in parts:
    # A Sequence of dicts has keys as well, but no single text.
    is_dict = isinstance(feature, tfds.features.FeaturesDict)
    if not is_dict or part not in feature:
      raise InputError(
        f'{what}: has no feature {quoted(text_field)}; name one of these with '
        f'--text_field: {listed(sorted(features))}.'
      )
    feature = feature[part]
  is_text = isinstance(feature, tfds.features.Tensor) and feature.shape == ()
  if not is_text or feature.np_dtype != np.object_:
    kind = one_line(feature)
    raise InputError(
      f'{what}: the feature {quoted(text_field)} is {kind}, not a string; '
      'name one of strings with --text_field.'
    )
  for part in reversed(parts[1:]):
    feature = tfds.features.FeaturesDict({part: feature})
  return tfds.features.FeaturesDict({parts[0]: feature})


def _open(builder: Any, folder: Any, split: str, what: str) -> Any:
  """The serialised examples of a split, by number."""
  import tensorflow_datasets as tfds

  names = ', '.join(builder.info.splits)
  formats = {format.value for format in builder.info.available_file_formats()}
  if _FORMAT not in formats:
    raise InputError(
      f'{what}: is stored as {", ".join(sorted(formats))}, not as {_FORMAT}; '
      'convert it once, where TensorFlow is installed: tfds convert_format '
      f'--dataset_version_dir={folder} --out_file_format={_FORMAT} (the new '
      'files lie beside the old ones).'
    )
  try:
    return builder.as_data_source(
      split,
      deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
      file_format=_FORMAT,
    )
  except ImportError as error:
    raise InputError(
      f'{what}: reading it needs a package: pip install array_record'
    ) from error
  except (ValueError, AssertionError) as error:
    raise InputError(
      f'{what}: cannot be taken as a split ({one_line(error)}); there are '
      f'{names}.'
    ) from error
  except (RuntimeError, OSError) as error:
    raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> InputError:
  return InputError(
    f'{what}: cannot be read ({one_line(error)}); a file is missing, cut '
    'short or damaged, so prepare or copy it again.'
  )
