"""Files of torch.save without torch: what they hold, and what is refused."""

import collections
import io
import os
import pathlib
import pickle
import struct
import zipfile

import fuzzing
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import load_file

from bert_jax.errors import InputError
from bert_jax.interop import torch_pickle

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'bert'
MAGIC_NUMBER, VERSION = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {'protocol_version': 1001, 'little_endian': True}


@pytest.mark.parametrize('name', ['zip.bin', 'old.bin'])
def test_both_formats_hold_what_safetensors_holds(name):
  found = torch_pickle.read(GOLDEN / name)
  expected = load_file(GOLDEN / 'model.safetensors')
  copies = {
    'cls.predictions.decoder.weight': 'bert.embeddings.word_embeddings.weight',
    'cls.predictions.decoder.bias': 'cls.predictions.bias',
  }
  assert found.keys() >= expected.keys()
  assert found.keys() - expected.keys() <= {
    *copies,
    'bert.embeddings.position_ids',
    'bert.embeddings.token_type_ids',
  }
  for name in expected:
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
  for copy, name in copies.items():
    np.testing.assert_array_equal(found[copy], expected[name])


def test_views_types_and_sizes():
  found = torch_pickle.read(GOLDEN / 'shapes.bin')
  np.testing.assert_array_equal(found['transposed'], [[0, 3], [1, 4], [2, 5]])
  np.testing.assert_array_equal(found['part'], [2, 3, 4])
  np.testing.assert_array_equal(found['expanded'], [[0, 1, 2, 3, 4, 5]])
  assert found['empty'].shape == (0, 3)
  for name in ('half', 'bfloat16', 'parameter', 'bool'):
    np.testing.assert_array_equal(found[name].astype(float), [1, 1, 1])
  assert found['bfloat16'].dtype.name == 'bfloat16'
  assert found['expanded'].dtype == np.int64


@pytest.mark.parametrize('name', ['zip.bin', 'old.bin'])
def test_a_file_cut_short_anywhere(tmp_path, name):
  whole = (GOLDEN / name).read_bytes()
  for size in (0, 1, 2, 30, 200, len(whole) // 2, len(whole) - 1):
    (tmp_path / 'cut.bin').write_bytes(whole[:size])
    with pytest.raises(InputError, match='cut.bin: '):
      torch_pickle.read(tmp_path / 'cut.bin')


@hypothesis.given(
  name=st.sampled_from(['zip.bin', 'shapes.bin']), data=st.data()
)
@fuzzing.settings(150)
def test_a_damaged_file_is_read_or_refused_in_a_line(tmp_path, name, data):
  """Never another exception, whatever byte is wrong."""
  content = bytearray((GOLDEN / name).read_bytes())
  for _ in range(data.draw(st.integers(1, 4))):
    # Most bytes of the file are numbers, which may be anything.
    place = data.draw(st.integers(0, 1000) | st.integers(-1000, -1))
    content[place] = data.draw(st.integers(0, 255))
  (tmp_path / 'x.bin').write_bytes(content)
  try:
    torch_pickle.read(tmp_path / 'x.bin')
  except InputError as error:
    assert len(str(error).splitlines()) == 1


class Call:
  """Pickles as the call of a function."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


CALLS = {
  'posix.system|nt.system': Call(os.system, 'touch MARK'),
  '__builtin__.eval': Call(eval, '__import__("os").mkdir("MARK")'),
  '__builtin__.getattr': Call(getattr, 'x', 'upper'),
  'pathlib': Call(pathlib.PurePosixPath, 'x'),
  'numpy': np.ones(2),
}


def as_zip(content: bytes, compression=zipfile.ZIP_STORED) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', compression) as archive:
    archive.writestr('x/data.pkl', content)
  return buffer.getvalue()


def as_old(content: bytes, keys=()) -> bytes:
  head = (MAGIC_NUMBER, VERSION, MACHINE)
  return b''.join(
    [*(pickle.dumps(part, 2) for part in head), content, pickle.dumps([*keys])]
  )


@pytest.mark.parametrize('wrap', [as_zip, as_old])
@pytest.mark.parametrize('name', CALLS)
def test_code_in_a_pickle_is_named_and_never_run(
  tmp_path, monkeypatch, wrap, name
):
  monkeypatch.chdir(tmp_path)
  content = pickle.dumps({'a.weight': CALLS[name]}, 2)
  (tmp_path / 'evil.bin').write_bytes(wrap(content))
  with pytest.raises(InputError, match=f'refers to ({name})') as caught:
    torch_pickle.read(tmp_path / 'evil.bin')
  assert 'nothing of it was run' in str(caught.value)
  assert os.listdir(tmp_path) == ['evil.bin']


def pickled(table, keys=()) -> bytes:
  """With storages by reference, as torch writes them."""
  buffer = io.BytesIO()

  class Pickler(pickle._Pickler):
    def persistent_id(self, value):
      return value if isinstance(value, tuple) else None

  Pickler(buffer, 2).dump(table)
  return buffer.getvalue()


def test_a_storage_of_no_known_type(tmp_path):
  reference = ('storage', 'FloatStorage', '0', 'cpu', 1)
  (tmp_path / 'x.bin').write_bytes(as_zip(pickled({'a': reference})))
  with pytest.raises(InputError, match="refers to 'storage'"):
    torch_pickle.read(tmp_path / 'x.bin')


@pytest.mark.parametrize(
  'content, message',
  [
    ([1, 2], 'it holds no table'),
    ({'step': 3}, "its entry 'step' is no tensor but int"),
    ({'model': {}}, "its entry 'model' is no tensor but dict"),
    ({3: 4}, 'its entry 3 is no tensor'),
    (collections.OrderedDict(a=1), "its entry 'a' is no tensor"),
  ],
)
def test_a_table_of_other_things(tmp_path, content, message):
  for wrap in (as_zip, as_old):
    (tmp_path / 'x.bin').write_bytes(wrap(pickle.dumps(content, 2)))
    with pytest.raises(InputError, match=message):
      torch_pickle.read(tmp_path / 'x.bin')


# Opcodes by hand: what no pickler writes. `c` pushes a global, `R` calls it,
# `b` sets attributes, `Q` makes a reference to a storage.
FLOAT = b'ctorch\nFloatStorage\n'
REBUILD = b'ctorch._utils\n_rebuild_tensor_v2\n'


def tensor(offset: int, shape: bytes, strides: bytes, count: bytes) -> bytes:
  storage = b'(Vstorage\n' + FLOAT + b'V0\nVcpu\n' + count + b'tQ'
  place = b'I%d\n' % offset
  return REBUILD + b'(' + storage + place + shape + strides + b'I00\nNtR'


@pytest.mark.parametrize(
  'value, message',
  [
    (tensor(0, b'(I9\nt', b'(I1\nt', b'I2\n'), 'larger than its storage'),
    (tensor(2, b'(I1\nt', b'(I1\nt', b'I2\n'), 'larger than its storage'),
    (tensor(0, b'(I2\nt', b'(I-1\nt', b'I2\n'), 'impossible shape'),
    (tensor(0, b'(I2\nI9\nt', b'(I0\nI0\nt', b'I2\n'), 'larger than its'),
    (tensor(0, b'(I2\nt', b't', b'I2\n'), '(?s).*'),
    (tensor(0, b'(I2\nt', b'(I1\nt', b'I-2\n'), 'impossible size'),
    (
      b'(Vb\n' + tensor(0, b'(I2\nt', b'(I1\nt', b'I2\n') + b'd',
      "lie one level down, under 'a'; save that alone",
    ),
    (REBUILD + b'(Vx\nI0\n(t(ttR', 'without a storage'),
    (FLOAT + b'(Vdtype\nVx\ndb', 'sets attributes'),
    (REBUILD + b'(N(V_function\nVx\ndtb', 'sets attributes'),
  ],
)
def test_tensors_that_cannot_be(tmp_path, value, message):
  content = b'(Va\n' + value + b'd.'
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    archive.writestr('x/data.pkl', content)
    archive.writestr('x/data/0', struct.pack('<2f', 1, 2))
  (tmp_path / 'x.bin').write_bytes(buffer.getvalue())
  with pytest.raises(InputError, match=message):
    torch_pickle.read(tmp_path / 'x.bin')


def test_a_compressed_archive_and_another_machine(tmp_path):
  path = tmp_path / 'x.bin'
  path.write_bytes(as_zip(pickle.dumps({}, 2), zipfile.ZIP_DEFLATED))
  with pytest.raises(InputError, match='it is compressed'):
    torch_pickle.read(path)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('x/data.pkl', pickle.dumps({}, 2))
    archive.writestr('x/byteorder', 'big')
  with pytest.raises(InputError, match='big-endian'):
    torch_pickle.read(path)
  path.write_bytes(pickle.dumps(MAGIC_NUMBER, 2) + pickle.dumps(1000, 2))
  with pytest.raises(InputError, match='of version 1000'):
    torch_pickle.read(path)
  path.write_bytes(pickle.dumps({'a': 1}, 2))
  with pytest.raises(InputError, match='does not begin as torch.save does'):
    torch_pickle.read(path)
