"""launch/slurm.sbatch with stand-ins for srun and scontrol: three ends.

The stand-ins do what Slurm 22.05 was seen to do: srun ends with the highest
status of its tasks, `scancel --signal` signals the tasks and not the script,
and `scontrol show job` tells a job that was cancelled from one that runs.
"""

import signal
import subprocess
import time

import pytest
from launcher_machine import Machine

pytestmark = pytest.mark.hosts

SRUN = """
code=$(next_line srun)
if [ "$code" = wait ]; then
  : > "$PLAN/tasks_run"
  until [ -e "$PLAN/tasks_have_sigterm" ]; do sleep 0.02; done
  code=75
  mkdir -p "$WORKDIR/checkpoints/8"
fi
exit "$code"
"""
SCANCEL = """
: > "$PLAN/tasks_have_sigterm"
"""
SCONTROL = """
case "$*" in
  *'show job'*) echo "JobId=12 JobState=$(next_line state) Reason=None" ;;
  *requeue*) next_line requeue ;;
esac
"""


@pytest.fixture
def cluster(tmp_path):
  machine = Machine(tmp_path)
  machine.add('srun', SRUN)
  machine.add('scancel', SCANCEL)
  machine.add('scontrol', SCONTROL)
  machine.let(state='RUNNING')
  python = machine.root / '.venv' / 'bin' / 'python'
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/bash\n')
  python.chmod(0o755)
  machine.variables = {
    'SLURM_JOB_ID': '12',
    'SLURM_SUBMIT_DIR': str(machine.root),
    'WORKDIR': str(tmp_path / 'run'),
  }
  return machine


def submit(cluster, *flags, status=0, **variables):
  return cluster.run(
    'slurm.sbatch',
    f'--workdir={cluster.folder}/run',
    '--config=FILE',
    *flags,
    status=status,
    **{**cluster.variables, **variables},
  )


def requeues(cluster):
  return cluster.commands().count('scontrol requeue 12')


def test_complete_run_is_not_queued_again(cluster):
  cluster.let(srun='0')
  assert 'slurm.sbatch: complete: ' in submit(cluster)
  (srun,) = cluster.commands()
  python = cluster.root / '.venv' / 'bin' / 'python'
  assert srun == (
    f'srun --kill-on-bad-exit=0 --label {python} -m bert_jax pretrain'
    f' --workdir={cluster.folder}/run --config=FILE --preempted_exit_code=75'
  )


def test_stopped_run_is_queued_again_however_often(cluster):
  cluster.let(srun='75')
  for _ in range(5):
    submit(cluster, status=75)
  assert requeues(cluster) == 5


def test_bad_input_is_not_queued_again(cluster):
  cluster.let(srun='2')
  assert 'bad input, which the log above names' in submit(cluster, status=2)
  assert requeues(cluster) == 0


def test_crash_is_queued_again_three_times_without_a_checkpoint(cluster):
  cluster.let(srun='137')
  for _ in range(3):
    assert 'crashed (137); the job is' in submit(cluster, status=137)
  output = submit(cluster, status=137)
  assert 'crashed (137) after three restarts without a new checkp' in output
  assert requeues(cluster) == 3


def test_new_checkpoint_counts_crashes_anew(cluster):
  cluster.let(srun='137')
  for step in (9, 10, 80, 100, 1000):
    (cluster.folder / 'run' / 'checkpoints' / str(step)).mkdir(parents=True)
    submit(cluster, status=137)
  assert requeues(cluster) == 5


def start(cluster):
  """Starts the script with tasks that run until they get a SIGTERM."""
  cluster.let(srun='wait')
  process = subprocess.Popen(
    [
      cluster.root / 'launch' / 'slurm.sbatch',
      f'--workdir={cluster.folder}/run',
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=cluster.environment(**cluster.variables),
  )
  deadline = time.monotonic() + 20
  while not (cluster.plan / 'tasks_run').exists():
    assert time.monotonic() < deadline, 'srun was not called'
    time.sleep(0.02)
  return process


def test_near_time_limit_reaches_the_tasks_which_save(cluster):
  process = start(cluster)
  process.send_signal(signal.SIGUSR1)
  output, _ = process.communicate(timeout=20)
  assert process.returncode == 75, output
  assert cluster.commands().count('scancel --signal=TERM 12') == 1
  assert requeues(cluster) == 1
  assert (cluster.folder / 'run' / 'checkpoints' / '8').exists()


def test_sigterm_is_not_handed_on_since_slurm_sends_one_to_the_tasks(cluster):
  process = start(cluster)
  process.send_signal(signal.SIGTERM)
  (cluster.plan / 'tasks_have_sigterm').touch()
  cluster.let(state='CANCELLED')
  output, _ = process.communicate(timeout=20)
  assert process.returncode == 75, output
  assert 'scancel --signal=TERM 12' not in cluster.commands()
  assert requeues(cluster) == 0


def test_cancelled_job_saves_and_is_not_queued_again(cluster):
  cluster.let(srun='75', state='CANCELLED')
  submit(cluster, status=75)
  assert requeues(cluster) == 0


def test_requeue_that_fails_ends_as_an_error(cluster):
  cluster.let(srun='75', requeue='fail Requested operation is disabled')
  assert 'Requested operation is disabled' in submit(cluster, status=1)


def test_cpus_of_a_task_are_handed_to_srun_and_gpus_are_not_bound(cluster):
  cluster.let(srun='0')
  submit(cluster, SLURM_CPUS_PER_TASK='12', SLURM_GPUS_ON_NODE='8')
  (srun,) = cluster.commands()
  assert ' --gpu-bind=none --cpus-per-task=12 ' in srun


def test_dry_run_prints_the_commands_and_runs_none(cluster):
  output = submit(cluster, '--dry_run')
  assert '+ srun --kill-on-bad-exit=0' in output
  assert '+ scontrol requeue' in output
  assert cluster.commands() == []


@pytest.mark.parametrize(
  'variables, flag, message',
  [
    ({'SLURM_JOB_ID': ''}, '', 'there is no Slurm job; use sbatch'),
    ({'SLURM_SUBMIT_DIR': '/nowhere'}, '', 'call sbatch in the checkout'),
    ({}, '--workdir=', '--workdir=... is missing'),
    ({}, '--workdir=gs://b/run', '--workdir=gs://b/run: this script looks for'),
  ],
)
def test_bad_call_is_one_line(cluster, variables, flag, message):
  (line,) = submit(cluster, flag, status=2, **variables).splitlines()
  assert message in line
  assert cluster.commands() == []
