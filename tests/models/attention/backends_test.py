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
from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import Backend, Shapes, View

# The lengths of packed texts, row by row; what they leave of a row is padding.
TEXTS = {
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


def view_of(length: int, window: int) -> View:
  ids = np.zeros((len(TEXTS[length]), length), np.int32)
  for row, lengths in zip(ids, TEXTS[length], strict=True):
    numbers = np.repeat(np.arange(len(lengths)) + 1, lengths)
    row[: len(numbers)] = numbers
  return View(jnp.asarray(ids), window)


def attended(backend, view, dtype):
  """The output of a backend for random inputs, and the inputs' gradients."""
  shape = (*view.segment_ids.shape, 2, 8)
  keys = jax.random.split(jax.random.key(0), 4)
  *inputs, weight = (jax.random.normal(key, shape, dtype) for key in keys)

  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
  def weighted_sum(query, key, value, view):
    found = backend.attend(query, key, value, view)
    return jnp.sum(found.astype(jnp.float32) * weight), found

  (_, found), gradients = jax.jit(weighted_sum)(*inputs, view)
  assert found.dtype == dtype
  return found, *gradients


@pytest.mark.parametrize(('length', 'window', 'dtype'), CASES)
@pytest.mark.parametrize(
  'cls', [cls for cls in backends() if cls is not ReferenceAttention]
)
def test_a_backend_equals_the_reference_or_is_refused(
  cls, length, window, dtype
):
  backend, view = cls(), view_of(length, window)
  backend.validate()
  shapes = Shapes(3, length, 2, 8, jnp.dtype(dtype), dropout=False)
  if backend.supports(view, shapes, jax.default_backend()):
    with pytest.raises(InputError, match=f'not {cls.__name__}: '):
      choose((backend,), view, shapes)
    return
  for ours, expected in zip(
    attended(backend, view, dtype),
    attended(ReferenceAttention(), view, dtype),
    strict=True,
  ):
    np.testing.assert_allclose(
      *(np.asarray(x, np.float32) for x in (ours, expected)),
      atol=TOLERANCE[dtype],
    )


def test_every_backend_of_the_room_is_found_and_used():
  names = {cls.__name__ for cls in backends()}
  assert {'ReferenceAttention', 'BlockedAttention'} <= names
  for cls in backends():
    assert any(
      not cls().supports(
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
