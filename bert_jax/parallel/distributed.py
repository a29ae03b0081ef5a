"""Several processes, one a host, that work as one run.

Who they are is found as JAX finds it (Cloud TPU, GKE, Slurm, Open MPI), or
given by flags. A single process needs nothing of this: it agrees with itself.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax._src.clusters import ClusterEnv

import bert_jax
from bert_jax.errors import DISK_ADVICE, InputError, one_line, shown
from bert_jax.parallel import meeting
from bert_jax.parallel.peers import Peers

# Time for JAX's own start, once all processes have met.
_JAX_START_SECONDS = 120
# Time in which the watcher notices that an error of this process's devices is
# due to another process.
_VERDICT_SECONDS = 10.0

# What Slurm tells a process that srun has started, and JAX asks for.
_SLURM = (
  'SLURM_JOB_ID',
  'SLURM_STEP_NODELIST',
  'SLURM_NTASKS',
  'SLURM_PROCID',
  'SLURM_LOCALID',
)
# Variables that tell of several processes, where JAX could not find them.
_COUNTS = ('OMPI_COMM_WORLD_SIZE', 'MEGASCALE_NUM_SLICES')

_peers: Peers | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
  """Process `process_id` of `num_processes`, which is 2 or more."""

  coordinator_address: str
  num_processes: int
  process_id: int


def find_setup(
  coordinator_address: str = '',
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  timeout: float = meeting.START_TIMEOUT,
  environment: Mapping[str, str] = os.environ,
) -> Setup | None:
  """The set-up of this process; None for a run of one process.

  What is not given is found as JAX finds it. `timeout`, in seconds, bounds the
  wait for the coordinator's name. Raises InputError if the set-up is partial
  or contradicts itself.
  """
  if num_processes is not None and num_processes < 1:
    raise InputError(f'--num_processes={num_processes} must be 1 or more')
  if num_processes == 1 and process_id in (None, 0):
    return None
  address = coordinator_address or environment.get(
    'JAX_COORDINATOR_ADDRESS', ''
  )
  given = (address, num_processes, process_id)
  found = (address or None, num_processes, process_id)
  if None in found:
    found = _found(found, timeout, environment, alone=given == ('', None, None))
  address, num_processes, process_id = found
  if num_processes == 1 or found == (None, None, None):
    return None
  if not address or num_processes is None or process_id is None:
    raise InputError(_missing(address, num_processes, process_id))
  setup = Setup(
    coordinator_address=address,
    num_processes=num_processes,
    process_id=process_id,
  )
  _check(setup, environment)
  return setup


def _found(
  given: tuple[str | None, int | None, int | None],
  timeout: float,
  environment: Mapping[str, str],
  *,
  alone: bool,
) -> tuple[str | None, int | None, int | None]:
  """Fills in what is None by what JAX finds.

  `alone`: all of it is None, so that nobody has told of other processes.
  """
  if alone:
    _check_slurm(environment)
  try:
    found = ClusterEnv.auto_detect_unset_distributed_params(
      *given, None, None, int(timeout)
    )[:3]
  except Exception as error:  # whatever a metadata server or a pod answers
    text = f'this host does not say who runs with it ({one_line(error)})'
    if not alone or _tells_of_several(environment):
      raise InputError(
        f'{text}; give --coordinator_address, --num_processes and --process_id'
      ) from error
    _say(f'{text}, so this run is on this host alone')
    return given
  if alone and found == (None, None, None) and _tells_of_several(environment):
    raise InputError(
      'the environment tells of several processes, but JAX does not know this '
      'launcher; give --coordinator_address, --num_processes and --process_id, '
      'or --num_processes=1 for a run on this host alone'
    )
  return found


def _tells_of_several(environment: Mapping[str, str]) -> bool:
  return 'JOB_COMPLETION_INDEX' in environment or any(
    environment.get(name, '1') != '1' for name in _COUNTS
  )


def _check_slurm(environment: Mapping[str, str]) -> None:
  missing = [name for name in _SLURM if name not in environment]
  tasks = environment.get('SLURM_NTASKS', '1')
  if missing and 'SLURM_JOB_ID' in environment and tasks != '1':
    raise InputError(
      f'SLURM_NTASKS={tasks}, but {missing[0]} is not set: this process was '
      'not started by srun; begin the command with srun, or give '
      '--num_processes=1 for a run on this host alone'
    )


def _missing(*values: str | int | None) -> str:
  names = ('coordinator_address', 'num_processes', 'process_id')
  told = {
    name: value
    for name, value in zip(names, values, strict=True)
    if value not in (None, '')
  }
  missing = next(name for name in names if name not in told)
  others = ', '.join(f'{name}={value}' for name, value in told.items())
  return (
    f'--{missing} is missing: this process was told {others}; give --{missing} '
    'too, or none of them for a run on this host alone'
  )


def _check(setup: Setup, environment: Mapping[str, str]) -> None:
  address, count = setup.coordinator_address, setup.num_processes
  name, _, port = address.rpartition(':')
  if not (name and port.isdecimal() and 0 < int(port) < 1 << 16):
    raise InputError(
      f'--coordinator_address={shown(address)} must be HOST:PORT, the host of '
      'process 0 and a free port there'
    )
  if not 0 <= setup.process_id < count:
    raise InputError(
      f'--process_id={setup.process_id} must be 0 to {count - 1}, since there '
      f'are {count} processes'
    )
  nodes = environment.get(
    'SLURM_STEP_NUM_NODES', environment.get('SLURM_NNODES', '1')
  )
  if meeting.is_loopback(address) and nodes != '1':
    raise InputError(
      f'--coordinator_address={address} is each host itself, and Slurm runs '
      f'this on {nodes} hosts; give the name of the host of process 0'
    )


def refuse_several(verb: str) -> None:
  """Raises InputError if a launcher has started several processes of a verb.

  They would work on the same folder as if each were alone.
  """
  try:
    setup = find_setup()
  except InputError:
    return  # a half environment, such as a shell in an allocation of Slurm
  if setup is not None:
    raise InputError(
      f'{verb} runs on one host, and {setup.num_processes} processes were '
      'started; start one'
    )


@contextlib.contextmanager
def joined(
  setup: Setup | None, verb: str, start_timeout: float
) -> Iterator[None]:
  """Joins the other processes for the time of a verb; nothing for None.

  An error of this process is told to the others, which end as well.
  """
  global _peers
  if setup is None:
    yield
    return
  _peers = _meet(setup, verb, start_timeout)
  try:
    _start_jax(setup)
    yield
    # JAX waits there for all processes, 90 seconds for one that has died.
    _peers.leave(jax.distributed.shutdown)
  except BaseException as error:
    if isinstance(error, jax.errors.JaxRuntimeError):
      # The watcher knows if it is another process that has broken it.
      time.sleep(_VERDICT_SECONDS)
    _peers.fail(*_ending(error))
    # At exit JAX and Orbax would wait for processes that are gone, and abort.
    # Of the interpreter's own hooks, this one is before it joins any thread.
    register: Any = getattr(threading, '_register_atexit')  # noqa: B009
    register(_exit_at_once, _exit_code(error))
    raise
  finally:
    _peers = None


def _ending(error: BaseException) -> tuple[str, int]:
  """The line of the others on this process's end, and their exit code."""
  if isinstance(error, KeyboardInterrupt):
    return 'stopped by a signal', _exit_code(error)
  name = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
  return one_line(f'{name}{error}', 400), _exit_code(error)


def _exit_code(error: BaseException) -> int:
  """The exit code that the error has at the command line."""
  of_disk = isinstance(error, OSError) and error.errno in DISK_ADVICE
  if of_disk or isinstance(error, InputError):
    return 2
  if isinstance(error, KeyboardInterrupt):
    return 128 + (error.args[0] if error.args else signal.SIGINT)
  return 1


def _exit_at_once(code: int) -> None:
  with contextlib.suppress(OSError, ValueError):  # nobody reads any more
    sys.stdout.flush()
    sys.stderr.flush()
  os._exit(code)


def _meet(setup: Setup, verb: str, start_timeout: float) -> Peers:
  """Waits for all processes at the coordinator's port."""
  address, process_id = setup.coordinator_address, setup.process_id

  def say(text: str) -> None:
    _say(f'{verb}: {text}')

  if process_id:
    links, hosts = meeting.join(
      address, process_id, setup.num_processes, start_timeout, say
    )
  else:
    links, hosts = meeting.host(
      address, setup.num_processes, start_timeout, say
    )
  return Peers(process_id, hosts, links, say)


def _delay_aborts() -> None:
  """Gives the watcher time to name who is gone before JAX aborts.

  JAX's client notices the end of process 0 as soon as the watcher does. It
  takes no callback of Python's, logs a stack of C++, and aborts. As the handler
  of SIGABRT, the C library's `sleep` is called with the signal's number: the
  thread that aborts waits for 6 seconds, and then it does abort.
  """
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
  libc.signal.restype = ctypes.c_void_p
  sleep = ctypes.cast(libc.sleep, ctypes.c_void_p)
  if before := libc.signal(signal.SIGABRT, sleep):
    libc.signal(signal.SIGABRT, before)  # such as that of faulthandler


def _start_jax(setup: Setup) -> None:
  _delay_aborts()
  # Its handler of SIGTERM would take the place of ours.
  jax.config.update('jax_enable_preemption_service', False)
  jax.distributed.initialize(
    setup.coordinator_address,
    setup.num_processes,
    setup.process_id,
    initialization_timeout=_JAX_START_SECONDS,
  )
  # On CPUs the devices find each other at their first sum, for which they wait
  # half a minute; later on, each process would come to it when it has compiled.
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()), 'all')
  ones = jax.make_array_from_callback(
    (mesh.size,),
    jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('all')),
    lambda index: np.ones(mesh.size, np.int32)[index],
  )
  jax.block_until_ready(jax.jit(jax.numpy.sum)(ones))


def _say(text: str) -> None:
  # One write, so that lines of two threads do not mix.
  with contextlib.suppress(OSError):
    os.write(2, f'{text}\n'.encode())


def several() -> bool:
  """True if this process is one of several."""
  return _peers is not None


def is_first() -> bool:
  """True for the process that writes what all share; also if it is alone."""
  return _peers is None or _peers.process_id == 0


def agree(what: str, value: Any) -> list[Any]:
  """The values of all processes in order; all must ask the same `what`.

  Any decision that leads to a collective or not is to be made from them.
  Values are what JSON can hold.
  """
  return [value] if _peers is None else _peers.agree(what, value)


def as_first(what: str, value: Any) -> Any:
  """The value of process 0, for all."""
  return agree(what, value)[0]


def stops_here(name: str) -> str:
  """The signal at which all stop at this place, see Peers.stops_here."""
  return name if _peers is None else _peers.stops_here(name)


def announce(why: str, exit_code: int) -> None:
  """Tells the others that this process ends, so that all end alike."""
  if _peers is not None:
    _peers.announce(why, exit_code)


def require_equal(facts: Mapping[str, str]) -> None:
  """Raises InputError naming the first process that differs, and in what."""
  if _peers is None:
    return
  everybody = agree('facts', dict(facts))
  first = everybody[0]
  for process, theirs in enumerate(everybody):
    for name in [*first, *(name for name in theirs if name not in first)]:
      ours, other = first.get(name, 'nothing'), theirs.get(name, 'nothing')
      if ours != other:
        raise InputError(
          f'process {process} on {_peers.hosts[process]} has another {name} '
          f'than process 0 on {_peers.hosts[0]}: {shown(other)}, not '
          f'{shown(ours)}; give all hosts the same'
        )


def software() -> dict[str, str]:
  """Versions and devices, which have to be the same on all hosts."""
  return {
    'Python': sys.version.split()[0],
    'jax': jax.__version__,
    'jaxlib': jax.lib.__version__,
    'bert_jax': source_digest(),
    'kind of device': jax.devices()[0].device_kind,
    'number of devices': str(jax.local_device_count()),
  }


def source_digest() -> str:
  """A digest of the package's own files, which a version does not tell."""
  digest = hashlib.sha256()
  folder = pathlib.Path(bert_jax.__path__[0])
  for path in sorted(folder.rglob('*.py')):
    digest.update(f'{path.relative_to(folder)}\0'.encode())
    digest.update(path.read_bytes())
  return digest.hexdigest()[:16]
