"""Reads the tensors of a pytorch_model.bin without torch, and nothing else.

The file is a pickle, and a pickle can call any function there is. This reader
knows a handful of names, all of them tensors and ordered dicts; any
other name ends it before anything is made or called.

Two formats, both by torch.save: a zip archive (since 1.6) with the pickle in
`*/data.pkl` and each storage in `*/data/KEY`; and before that, one after the
other, pickles of a magic number, a version, the machine, the content and the
list of storage keys, then each storage as an int64 count and its bytes.

Source: torch/serialization.py of https://github.com/pytorch/pytorch.
"""

import collections
import io
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from bert_jax.errors import InputError, one_line, shown

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_DTYPES = {
  'FloatStorage': np.dtype(np.float32),
  'HalfStorage': np.dtype(np.float16),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'DoubleStorage': np.dtype(np.float64),
  'LongStorage': np.dtype(np.int64),
  'IntStorage': np.dtype(np.int32),
  'ShortStorage': np.dtype(np.int16),
  'CharStorage': np.dtype(np.int8),
  'ByteStorage': np.dtype(np.uint8),
  'BoolStorage': np.dtype(np.bool_),
}
# Errors that a damaged or hostile pickle can make the unpickler raise.
_DAMAGE = (
  *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError),
  *(LookupError, OverflowError, MemoryError, RuntimeError, struct.error),
)


class _Refused(Exception):
  """The pickle holds something else than tensors; the message says what."""


class _Sealed:
  """An object that a pickle may hold but not change (BUILD would)."""

  __slots__ = ()

  def __setstate__(self, state):
    raise _Refused('it sets attributes')


class _StorageType(_Sealed):
  """The class of a storage, such as torch.FloatStorage."""

  __slots__ = ('dtype',)

  def __init__(self, dtype: np.dtype):
    self.dtype = dtype


class _Storage(_Sealed):
  """One flat array, known by its key; its bytes stand elsewhere in the file."""

  __slots__ = ('key', 'dtype', 'count')

  def __init__(self, key: str, dtype: np.dtype, count: int):
    self.key, self.dtype, self.count = key, dtype, count


class _Tensor(_Sealed):
  """A view of a storage: where it begins, its shape and its strides."""

  __slots__ = ('storage', 'offset', 'shape', 'strides')

  def __init__(self, storage, offset, shape, strides):
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
      raise _Refused('a tensor without a storage')
    if any(type(number) is not int or number < 0 for number in numbers):
      raise _Refused('a tensor with an impossible shape')
    last = sum(
      (size - 1) * stride for size, stride in zip(shape, strides, strict=True)
    )
    size = math.prod(shape)
    if size and (offset + last >= storage.count or size > storage.count):
      raise _Refused('a tensor that is larger than its storage')
    self.storage, self.offset = storage, offset
    self.shape, self.strides = tuple(shape), tuple(strides)

  def array(self, flat: np.ndarray) -> np.ndarray:
    if not math.prod(self.shape):
      return np.zeros(self.shape, flat.dtype)
    strides = [stride * flat.itemsize for stride in self.strides]
    view = np.lib.stride_tricks.as_strided(
      flat[self.offset :], self.shape, strides, writeable=False
    )
    return np.ascontiguousarray(view)


class _Function(_Sealed):
  """A function that a pickle may call."""

  __slots__ = ('_function',)

  def __init__(self, function: Callable[..., Any]):
    self._function = function

  def __call__(self, *args):
    return self._function(*args)


class _Table(collections.OrderedDict):
  """A state dict, without its attributes such as `_metadata`."""

  def __setstate__(self, state):
    del state


def _tensor(storage, offset, shape, strides, *unused) -> _Tensor:
  del unused  # requires_grad, hooks
  return _Tensor(storage, offset, shape, strides)


def _parameter(data, *unused) -> Any:
  del unused  # requires_grad, hooks
  return data


_FUNCTIONS = {
  ('collections', 'OrderedDict'): _Table,
  ('torch._utils', '_rebuild_tensor_v2'): _tensor,
  ('torch._utils', '_rebuild_parameter'): _parameter,
}


# Python's unpickler, not the one in C: there a few bytes can ask for a table of
# gigabytes.
class _Unpickler(pickle._Unpickler):
  """An unpickler that knows the names above and nothing else."""

  def __init__(self, file: BinaryIO):
    super().__init__(file, encoding='utf-8')
    self.storages: dict[str, _Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) in _FUNCTIONS:
      return _Function(_FUNCTIONS[module, name])
    if module in ('torch', 'torch.storage') and name in _DTYPES:
      return _StorageType(_DTYPES[name])
    raise _Refused(f'it refers to {shown(f"{module}.{name}")}')

  def persistent_load(self, pid: Any) -> _Storage:
    kind, of_type, key, _, count, *view = pid
    if kind != 'storage' or not isinstance(of_type, _StorageType):
      raise _Refused(f'it refers to {shown(repr(kind))}')
    if any(part is not None for part in view):
      raise _Refused('it has a view of a storage')
    if type(count) is not int or count < 0:
      raise _Refused('it has a storage of an impossible size')
    key, dtype = str(key), of_type.dtype
    storage = self.storages.setdefault(key, _Storage(key, dtype, count))
    if storage.dtype != dtype:
      raise _Refused(f'it has storage {shown(key)} as two types')
    return storage


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All tensors of a file, by name.

  Raises:
    InputError: It is cut short or damaged, of another format, or holds anything
      but tensors. Nothing that it holds is ever called.
  """
  try:
    with open(path, 'rb') as file:
      if file.read(2) == b'PK':
        return _read_zip(path)
      file.seek(0)
      return _read_old(file)
  except _Refused as refused:
    raise InputError(
      f'{path}: {refused}; such a file may hold nothing but tensors by name '
      '(model.state_dict()). Refused, nothing of it was run'
    ) from None
  except (zipfile.BadZipFile, *_DAMAGE) as error:
    raise InputError(
      f'{path}: is cut short, damaged, or not by torch.save '
      f'({type(error).__name__}: {one_line(error, 100)}); fetch it again'
    ) from None


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
  size = path.stat().st_size
  with zipfile.ZipFile(path) as archive:
    if any(not 0 <= info.header_offset < size for info in archive.infolist()):
      raise zipfile.BadZipFile('a file of it lies outside')
    pickles = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(pickles) != 1:
      raise _Refused(f'it has {len(pickles)} files data.pkl')
    if any(info.compress_type for info in archive.infolist()):
      raise _Refused('it is compressed')
    folder = pickles[0].removesuffix('data.pkl')
    order = f'{folder}byteorder'
    if order in archive.namelist() and archive.read(order) != b'little':
      raise _Refused('it was written on a big-endian machine')
    unpickler = _Unpickler(io.BytesIO(archive.read(pickles[0])))
    table = _table(unpickler.load())
    flat = {
      key: np.frombuffer(
        archive.read(f'{folder}data/{key}'), storage.dtype, storage.count
      )
      for key, storage in unpickler.storages.items()
    }
  return _arrays(table, flat)


def _read_old(file: BinaryIO) -> dict[str, np.ndarray]:
  if _Unpickler(file).load() != _MAGIC_NUMBER:
    raise _Refused('it does not begin as torch.save does')
  if (version := _Unpickler(file).load()) != _PROTOCOL_VERSION:
    raise _Refused(f'it is of version {shown(repr(version))}')
  machine = _Unpickler(file).load()
  if not isinstance(machine, dict) or not machine.get('little_endian'):
    raise _Refused('it was written on a big-endian machine')
  unpickler = _Unpickler(file)
  table = _table(unpickler.load())
  keys = _Unpickler(file).load()
  if not isinstance(keys, list) or set(keys) != set(unpickler.storages):
    raise _Refused('its storages are not those that it lists')
  flat = {}
  for key in keys:
    storage = unpickler.storages[key]
    (count,) = struct.unpack('<q', file.read(8))
    if count != storage.count:
      raise _Refused(f'storage {shown(key)} is not of the size that it says')
    flat[key] = np.frombuffer(
      file.read(count * storage.dtype.itemsize), storage.dtype, count
    )
  return _arrays(table, flat)


def _table(content: Any) -> dict[str, _Tensor]:
  if not isinstance(content, dict):
    raise _Refused('it holds no table')
  inner = [name for name, value in content.items() if _holds_tensors(value)]
  if inner:
    names = ' or '.join(shown(repr(name)) for name in inner[:3])
    raise _Refused(
      f'its tensors lie one level down, under {names}; save that alone '
      '(torch.save(torch.load(FILE)[NAME], FILE))'
    )
  for name, value in content.items():
    if not isinstance(name, str) or not isinstance(value, _Tensor):
      raise _Refused(
        f'its entry {shown(repr(name))} is no tensor but {type(value).__name__}'
      )
  return content


def _holds_tensors(value: Any) -> bool:
  """Returns whether an entry of a table is such a table itself."""
  return isinstance(value, dict) and any(
    isinstance(one, _Tensor) for one in value.values()
  )


def _arrays(
  table: dict[str, _Tensor], flat: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  return {
    name: tensor.array(flat[tensor.storage.key])
    for name, tensor in table.items()
  }
