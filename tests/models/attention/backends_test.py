"""Every backend: the numbers and gradients of the reference, or a refusal."""

import functools
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.models import attention
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.cudnn import CudnnAttention
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.splash import SplashAttention
from bert_jax.models.attention.view import Backend, Shapes, View
from bert_jax.parallel import compiled
from bert_jax.parallel.mesh import MeshConfig

# The lengths of packed texts, row by row; what they leave of a row is padding.
TEXTS = {
  300: ((300,), (130, 3, 1, 90, 60), (150, 85)),
  101: ((101,), (30, 3, 1, 50, 9), (45, 48)),
  64: ((64,), (31, 33), (1, 1, 1)),
  7: ((7,), (2, 3), ()),
}
# Windows that fill their blocks, smaller ones, and ones larger than the row.
CASES = [
  *((101, window, 'float32') for window in (0, 6, 40, 120, 250)),
  *((101, window, 'bfloat16') for window in (0, 40)),
  *((length, window, 'float32') for length in (64, 7) for window in (0, 4)),
]
# Twice the spacing of numbers near 1, for sums of one order or another.
TOLERANCE = {'float32': 1e-5, 'bfloat16': 2**-6}


def backends() -> list[type]:
  """The classes of backends in the files of models/attention/."""
  found = []
  for file in pkgutil.iter_modules(attention.__path__):
    name = f'{attention.__name__}.{file.name}'
    found += [
      cls
      for cls in vars(importlib.import_module(name)).values()
      if isinstance(cls, type)
      and cls is not Backend
      and cls.__module__ == name
      and issubclass(cls, Backend)
    ]
  return found


def as_tested(cls: type) -> Backend:
  """A backend with its defaults, but with its kernels as a CPU has them."""
  fields = {
    SplashAttention: dict(interpret=True),
    CudnnAttention: dict(implementation='xla'),
  }
  return cls(**fields.get(cls, {}))


def view_of(length: int, window: int) -> View:
  ids = np.zeros((len(TEXTS[length]), length), np.int32)
  for row, lengths in zip(ids, TEXTS[length], strict=True):
    numbers = np.repeat(np.arange(len(lengths)) + 1, lengths)
    row[: len(numbers)] = numbers
  return View(jnp.asarray(ids), window)


def attended(backend, view, dtype, **dropout):
  """The output of a backend for random inputs, and the inputs' gradients."""
  shape = (*view.segment_ids.shape, 2, 8)
  keys = jax.random.split(jax.random.key(0), 4)
  *inputs, weight = (jax.random.normal(key, shape, dtype) for key in keys)

  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
  def weighted_sum(query, key, value, view):
    found = backend.attend(query, key, value, view, **dropout)
    return jnp.sum(found.astype(jnp.float32) * weight), found

  (_, found), gradients = jax.jit(weighted_sum)(*inputs, view)
  assert found.dtype == dtype
  return found, *gradients


@pytest.mark.parametrize(('length', 'window', 'dtype'), CASES)
@pytest.mark.parametrize(
  'backend',
  [as_tested(cls) for cls in backends() if cls is not ReferenceAttention]
  # More than one block in these short rows.
  + [BlockedAttention(block_size=size) for size in (16, 50)],
  ids=str,
)
def test_a_backend_equals_the_reference_or_is_refused(
  backend, length, window, dtype
):
  cls, view = type(backend), view_of(length, window)
  backend.validate()
  shapes = Shapes(3, length, 2, 8, jnp.dtype(dtype), dropout=False)
  if backend.supports(view, shapes, jax.default_backend()):
    with pytest.raises(InputError, match=f'not {cls.__name__}: '):
      choose((backend,), view, shapes)
    return
  assert_equal_to_the_reference(backend, view, dtype)


def assert_equal_to_the_reference(backend, view, dtype):
  for ours, expected in zip(
    attended(backend, view, dtype),
    attended(ReferenceAttention(), view, dtype),
    strict=True,
  ):
    np.testing.assert_allclose(
      *(np.asarray(x, np.float32) for x in (ours, expected)),
      atol=TOLERANCE[dtype],
    )


@pytest.mark.parametrize(
  ('window', 'dtype'), [(0, 'float32'), (60, 'float32'), (60, 'bfloat16')]
)
def test_kernels_of_several_blocks(window, dtype):
  """Rows of three blocks, some of which lie outside a window altogether."""
  backend = SplashAttention(block_size=128, interpret=True)
  assert_equal_to_the_reference(backend, view_of(300, window), dtype)


@pytest.mark.parametrize('window', [0, 40])
def test_blocks_drop_what_the_reference_drops(window):
  """Dropping other weights would change the result by far more."""
  view = view_of(101, window)
  dropout = dict(
    dropout_rate=0.3, dropout_seeds_B=jnp.arange(3, dtype=jnp.uint32)
  )
  for ours, expected in zip(
    attended(BlockedAttention(block_size=32), view, 'float32', **dropout),
    attended(ReferenceAttention(), view, 'float32', **dropout),
    strict=True,
  ):
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE['float32'])


@pytest.mark.parametrize(
  ('backend', 'rate'),
  [
    (BlockedAttention(block_size=32), 0.3),
    (SplashAttention(interpret=True), 0.0),
    (CudnnAttention(implementation='xla'), 0.0),
  ],
  ids=str,
)
@pytest.mark.parametrize(
  'mesh', [dict(data=4), dict(data=2, fsdp=2), dict(data=2, tensor=2)], ids=str
)
def test_backends_on_a_mesh(mesh, backend, rate):
  """Rows lie on the axes data and fsdp, heads on the axis tensor."""
  shape = (4, 64, 2, 8)
  inputs = [
    jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0))
  ]
  ids = np.concatenate([view_of(64, 0).segment_ids, np.ones((1, 64), np.int32)])
  seeds = jnp.arange(4, dtype=jnp.uint32)

  def total(query, key, ids, seeds):
    found = backend.attend(
      query, key, key, View(ids), dropout_rate=rate, dropout_seeds_B=seeds
    )
    return jnp.sum(found * query)

  compute = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
  expected = compute(*inputs, ids, seeds)
  mesh = MeshConfig(**mesh).build(jax.devices()[:4])
  with jax.set_mesh(mesh):
    rows = jax.sharding.PartitionSpec(('data', 'fsdp'))
    heads = jax.sharding.PartitionSpec(('data', 'fsdp'), None, 'tensor')
    placed = [
      jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))
      for x, spec in zip(
        (*inputs, ids, seeds), (heads, heads, rows, rows), strict=True
      )
    ]
    found = compute(*placed)
  for ours, theirs in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_devices_agree_on_what_all_blocks_see_at_once():
  """The number of collectives does not grow with the length."""
  mesh = MeshConfig(data=4).build(jax.devices()[:4])
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))

  def attended(query, ids):
    return BlockedAttention(block_size=8).attend(query, query, query, View(ids))

  def count(length) -> int:
    query = jax.ShapeDtypeStruct((4, length, 2, 8), jnp.float32, sharding=rows)
    ids = jax.ShapeDtypeStruct((4, length), jnp.int32, sharding=rows)
    with jax.set_mesh(mesh):
      step = jax.jit(jax.grad(lambda *args: jnp.sum(attended(*args) ** 2)))
      text = step.lower(query, ids).compile().as_text()
    return compiled.Program(text).collectives()['all-reduce'].count

  # The first and the last block of keys, forward and backward.
  assert 1 <= count(16) <= 4
  assert count(128) == count(16)


def test_blocks_need_memory_by_length_alone():
  """Twice as long a row needs twice the memory, not four times."""

  def memory(backend, length) -> int:
    def total(query, key, value, ids):
      return jnp.sum(backend.attend(query, key, value, View(ids)) ** 2)

    heads = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
    step = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    compiled = step.lower(heads, heads, heads, ids).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  sizes = [memory(BlockedAttention(), length) for length in (4096, 8192)]
  # The blocks themselves, 256 x 256, are as large in both.
  assert sizes[1] < 2.1 * sizes[0]
  assert memory(ReferenceAttention(), 4096) > 30 * sizes[0]


def test_every_backend_of_the_room_is_found_and_used():
  names = {cls.__name__ for cls in backends()}
  assert {
    'ReferenceAttention',
    'BlockedAttention',
    'WindowedAttention',
    'SplashAttention',
    'CudnnAttention',
  } <= names
  for cls in backends():
    assert any(
      not as_tested(cls).supports(
        view_of(length, window),
        Shapes(3, length, 2, 8, jnp.dtype(dtype), dropout=False),
        jax.default_backend(),
      )
      for length, window, dtype in CASES
    )


@pytest.mark.parametrize(
  ('length', 'window'), sorted({case[:2] for case in CASES})
)
def test_the_reference_is_a_plain_sum_over_what_is_in_view(length, window):
  view = view_of(length, window)
  shape = (*view.segment_ids.shape, 2, 8)
  query, key, value = np.random.default_rng(0).normal(size=(3, *shape))
  found = ReferenceAttention().attend(
    *(jnp.asarray(x, jnp.float32) for x in (query, key, value)), view
  )
  ids = np.asarray(view.segment_ids)
  for row, t in [(0, 0), (0, length - 1), (1, length // 2), (2, length - 1)]:
    seen = [
      s
      for s in range(length)
      if ids[row, s] == ids[row, t]
      and (not window or abs(s - t) <= window // 2)
    ]
    weights = np.exp(
      np.einsum('NH,SNH->SN', query[row, t], key[row, seen]) / 8**0.5
    )
    weights /= weights.sum(axis=0)
    expected = np.einsum('SN,SNH->NH', weights, value[row, seen])
    np.testing.assert_allclose(found[row, t], expected, atol=1e-5)


@pytest.mark.parametrize(
  ('length', 'window'), sorted({case[:2] for case in CASES})
)
def test_both_forms_of_a_view_are_one(length, window):
  view = view_of(length, window)
  start_BT, end_BT = view.interval()
  column = np.arange(length)
  in_interval = (start_BT[..., None] <= column) & (column < end_BT[..., None])
  np.testing.assert_array_equal(in_interval, view.mask()[:, 0])
