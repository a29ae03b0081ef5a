"""The set-up of a run of several processes, found or refused in one line."""

import pytest

from bert_jax.errors import InputError
from bert_jax.parallel import distributed
from bert_jax.parallel.distributed import Setup, find_setup

SLURM = {
  'SLURM_JOB_ID': '4711',
  'SLURM_STEP_NODELIST': 'node[07-08]',
  'SLURM_NTASKS': '2',
  'SLURM_PROCID': '1',
  'SLURM_LOCALID': '0',
  'SLURM_STEP_NUM_NODES': '2',
}
OPEN_MPI = {
  'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911',
  'OMPI_COMM_WORLD_SIZE': '4',
  'OMPI_COMM_WORLD_RANK': '3',
  'OMPI_COMM_WORLD_LOCAL_RANK': '0',
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
  """Sets variables; JAX reads those of the process."""
  for name in (*SLURM, *OPEN_MPI, 'JAX_COORDINATOR_ADDRESS'):
    monkeypatch.delenv(name, raising=False)

  def setting(values):
    for name, value in values.items():
      monkeypatch.setenv(name, value)

  return setting


def test_a_run_on_one_host_needs_no_setup(environment):
  assert find_setup() is None
  assert find_setup(num_processes=1) is None
  environment(SLURM | {'SLURM_NTASKS': '1', 'SLURM_PROCID': '0'})
  assert find_setup() is None


def test_flags_are_taken_as_they_are():
  assert find_setup('host7:1234', 4, 3) == Setup(
    coordinator_address='host7:1234', num_processes=4, process_id=3
  )


def test_launchers_that_jax_knows_are_found(environment):
  environment(SLURM)
  found = find_setup()
  assert found.coordinator_address.startswith('node07:')
  assert (found.num_processes, found.process_id) == (2, 1)
  environment({'JAX_COORDINATOR_ADDRESS': 'other:1234'})
  assert find_setup().coordinator_address == 'other:1234'
  assert find_setup('third:1234').coordinator_address == 'third:1234'


def test_open_mpi_is_found(environment):
  environment(OPEN_MPI)
  found = find_setup()
  assert found.coordinator_address.startswith('10.96.0.1:')
  assert (found.num_processes, found.process_id) == (4, 3)


@pytest.mark.parametrize(
  'variables, given, names',
  [
    ({}, {'num_processes': 2}, ('--coordinator_address is missing',)),
    ({}, {'process_id': 1}, ('--coordinator_address is missing', 'id=1')),
    (
      {},
      {'coordinator_address': 'host:1', 'process_id': 0},
      ('--num_processes is missing',),
    ),
    (
      {'JAX_COORDINATOR_ADDRESS': 'host:1'},
      {},
      ('--num_processes is missing', 'coordinator_address=host:1'),
    ),
    ({}, {'num_processes': 0}, ('--num_processes=0',)),
    (
      {},
      {
        'coordinator_address': 'host:1',
        'num_processes': 2,
        'process_id': 2,
      },
      ('--process_id=2', '0 to 1'),
    ),
    (
      {},
      {'coordinator_address': 'host', 'num_processes': 2, 'process_id': 0},
      ('--coordinator_address=host', 'HOST:PORT'),
    ),
    (
      {name: SLURM[name] for name in ('SLURM_JOB_ID', 'SLURM_NTASKS')},
      {},
      ('SLURM_NTASKS=2', 'SLURM_STEP_NODELIST', 'srun'),
    ),
    (
      SLURM,
      {'coordinator_address': '127.0.0.1:1234'},
      ('--coordinator_address=127.0.0.1:1234', '2 hosts'),
    ),
    ({'OMPI_COMM_WORLD_SIZE': '4'}, {}, ('several processes',)),
  ],
)
def test_a_partial_or_contradictory_setup_is_one_line(
  environment, variables, given, names
):
  environment(variables)
  with pytest.raises(InputError) as error:
    find_setup(**given)
  for name in names:
    assert name in str(error.value)
  assert '\n' not in str(error.value)


def test_a_verb_for_one_process_refuses_several(environment):
  distributed.refuse_several('finetune')
  environment({'SLURM_JOB_ID': '1', 'SLURM_NTASKS': '2'})  # a shell of salloc
  distributed.refuse_several('finetune')
  environment(SLURM)
  with pytest.raises(InputError, match='finetune runs on one host, and 2'):
    distributed.refuse_several('finetune')


def test_hosts_that_differ_are_named(monkeypatch):
  everybody = [{'jax': '0.12'}, {'jax': '0.12'}, {'jax': '0.11'}]

  class Three:
    hosts = ['a', 'b', 'c']

    def agree(self, what, value):
      return everybody

  monkeypatch.setattr(distributed, '_peers', Three())
  with pytest.raises(InputError, match='process 2 on c has another jax than'):
    distributed.require_equal(everybody[0])


def test_a_run_of_one_process_agrees_with_itself():
  assert not distributed.several() and distributed.is_first()
  assert distributed.agree('what', 3) == [3]
  assert distributed.as_first('what', 3) == 3
  assert distributed.stops_here('SIGTERM') == 'SIGTERM'
  distributed.require_equal({'jax': '1'})
  with distributed.joined(None, 'pretrain', 1.0):
    assert not distributed.several()


def test_any_changed_file_changes_the_digest(monkeypatch, tmp_path):
  monkeypatch.setattr('bert_jax.__path__', [str(tmp_path)])
  (tmp_path / 'a.py').write_text('1')
  before = distributed.source_digest()
  (tmp_path / 'a.py').write_text('2')
  assert distributed.source_digest() != before
