"""Host rows -> global sharded arrays, prepared ahead by a thread.

The only file of data/ that knows jax. A process asks the stream for the rows
of its own devices and for no others; which rows those are is decided by the
sharding alone, so the global batch never depends on the number of hosts.
"""

import queue
import threading
import time
from collections.abc import Iterable
from typing import Protocol

import jax
import numpy as np

Arrays = dict[str, np.ndarray]


class RowStream(Protocol):
  """Rows as a pure function of example numbers, which a feed reads."""

  def batch(self, example_numbers: np.ndarray) -> Arrays:
    """Arrays with one entry for each number along the batch axis."""
    ...


class DeviceFeed:
  """Iterates over global batches; use it in a `with`, it owns a thread.

  `wait_seconds` is how long the consumer has stood waiting in total.
  """

  def __init__(
    self,
    stream: RowStream,
    sharding: jax.sharding.NamedSharding,
    batches: Iterable[tuple[int, int]],
    *,
    batch_axis: int = 0,
    prefetch: int = 2,
  ):
    """`sharding` splits `batch_axis`; `batches`: (first example, size) each."""
    self._stream = stream
    self._sharding = sharding
    self._batches = batches
    self._batch_axis = batch_axis
    self._queue: queue.Queue = queue.Queue(maxsize=prefetch)
    self._closing = threading.Event()
    self.wait_seconds = 0.0
    self._thread = threading.Thread(
      target=self._produce, name='device-feed', daemon=True
    )

  def __enter__(self) -> 'DeviceFeed':
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._closing.set()
    self._thread.join()

  def __iter__(self) -> 'DeviceFeed':
    return self

  def __next__(self) -> dict[str, jax.Array]:
    start = time.perf_counter()
    item = self._queue.get()
    self.wait_seconds += time.perf_counter() - start
    if item is None:
      raise StopIteration
    if isinstance(item, BaseException):
      raise item
    return item

  def _produce(self) -> None:
    try:
      for first, size in self._batches:
        if not self._put(self._global_batch(first, size)):
          return
      self._put(None)
    except BaseException as error:  # handed to the consumer, which raises it
      self._put(error)

  def _put(self, item: object) -> bool:
    while not self._closing.is_set():
      try:
        self._queue.put(item, timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def _global_batch(self, first: int, size: int) -> dict[str, jax.Array]:
    numbers = np.uint64(first) + np.arange(size, dtype=np.uint64)
    return place_batch(
      self._stream, numbers, self._sharding, batch_axis=self._batch_axis
    )


def place_batch(
  stream: RowStream,
  numbers: np.ndarray,
  sharding: jax.sharding.NamedSharding,
  *,
  batch_axis: int = 0,
) -> dict[str, jax.Array]:
  """The global batch of these example numbers (uint64 [B]) on the devices."""
  rows = jax.sharding.NamedSharding(
    sharding.mesh, jax.sharding.PartitionSpec(sharding.spec[batch_axis])
  )
  pieces: dict[tuple[int, int], Arrays] = {}
  placed: dict[str, list[jax.Array]] = {}
  indices = rows.addressable_devices_indices_map((len(numbers),))
  for device, index in indices.items():
    assert index is not None  # each device here holds some of the rows
    start, stop, _ = index[0].indices(len(numbers))
    if (start, stop) not in pieces:
      pieces[start, stop] = stream.batch(numbers[start:stop])
    for name, array in pieces[start, stop].items():
      placed.setdefault(name, []).append(jax.device_put(array, device))
  batch: dict[str, jax.Array] = {}
  for name, shards in placed.items():
    shape = list(shards[0].shape)
    shape[batch_axis] = len(numbers)
    batch[name] = jax.make_array_from_single_device_arrays(
      tuple(shape), sharding, shards
    )
  return batch
